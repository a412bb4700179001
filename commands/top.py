"""`pynelive top`: the bus on a terminal, looked at again every second."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live

from ..bus.census import Census, Registrar, census
from ..bus.discovery import find_bus, require_up
from ..bus.logs import Line, LogReader
from ..bus.rundir import RunDir
from .app import host_option
from .attach import bus_option, run_until_interrupted
from .overview import Wishes, keys, picture

LOG_BYTES = 20_000
"""How much of each actor's log is read at the start."""
_KEPT = 2_000
"""Lines of the logs."""


@click.command()
@click.option("--once", is_flag=True, help="Print it once and leave, as without a terminal.")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, metavar="SECONDS",
              help="How often to look.")  # fmt: skip
@bus_option
@host_option
@click.option("--json", "as_json", is_flag=True, help="Print it once, as one JSON object.")
def top(once: bool, interval: float, bus: str | None, host: str, as_json: bool) -> None:
    """Watch what is up: its actors, its streams, its logs. q leaves.

    A bus that is not up is waited for.
    """
    run = find_bus(bus, host)
    if once or as_json or not sys.stdout.isatty():
        _print(run, as_json)
    else:
        run_until_interrupted(_Top(run, interval).watch())


def _print(run: RunDir, as_json: bool) -> None:
    require_up(run)
    found = asyncio.run(census(run))
    lines = LogReader(run.logs, last_bytes=LOG_BYTES).fresh()
    if as_json:
        said = [{**line._asdict(), "level": line.level} for line in lines[-_KEPT:]]
        click.echo(msgspec.json.encode({**msgspec.to_builtins(found), "log": said}))
        return
    width = Console().width if sys.stdout.isatty() else 10_000
    Console(width=width).print(picture(found, lines, Wishes(), width, None), soft_wrap=True)


class _Top:
    """One person in front of one bus."""

    def __init__(self, run: RunDir, interval_s: float) -> None:
        self._run, self._interval_s = run, interval_s
        self._wishes = Wishes()
        self._census: Census | None = None
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._changed = asyncio.Event()
        self._left = False

    async def watch(self) -> None:
        """Show it until q is hit."""
        looking = asyncio.create_task(self._look())
        looking.add_done_callback(lambda _: self._changed.set())
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._changed.set)
        console = Console()
        try:
            with _hit(self._on_key), Live(console=console, screen=True, auto_refresh=False) as live:
                while not (self._left or looking.done()):
                    await self._changed.wait()
                    self._changed.clear()
                    if self._census:
                        live.update(self._picture(self._census, console), refresh=True)
            if looking.done():
                looking.result()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def _picture(self, found: Census, console: Console) -> Group:
        shown = picture(found, self._lines, self._wishes, console.width, console.height - 1)
        return Group(shown, keys(self._wishes))

    async def _look(self) -> None:
        registrar, logs = Registrar(self._run), LogReader(self._run.logs, last_bytes=LOG_BYTES)
        try:
            while True:
                self._census = await registrar.take()
                self._lines.extend(await asyncio.to_thread(logs.fresh))
                self._changed.set()
                await asyncio.sleep(self._interval_s)
        finally:
            registrar.close()
            logs.close()

    def _on_key(self, key: str) -> None:
        if key == "q" and not self._wishes.typing:
            self._left = True
        self._wishes = self._wishes.after(key)
        self._changed.set()


@contextmanager
def _hit(take: Callable[[str], None]) -> Iterator[None]:
    """Hand over each key as it is hit, if there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def read() -> None:
        pressed = os.read(keyboard, 64).decode(errors="replace")
        if pressed.startswith("\x1b["):
            return  # an arrow, or another key of that kind
        for key in pressed:
            take(key)

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
