"""The commands that attach to a running bus, each leaving it as it was: tail, record, exec."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..bus.actor import run_role
from ..bus.calls import Start
from ..bus.discovery import find_bus
from ..bus.errors import Fault
from ..bus.messages import Executed, Message, is_forming
from ..bus.rundir import RunDir
from ..bus.specs import BusSpec, RunnerSpec, SinkSpec
from ..bus.subscribe import Heard, listen
from ..bus.subscriber import Subscriber
from ..bus.topology import Topology
from . import names
from .app import host_option
from .lines import PlainLines, json_line, say

bus_option = click.option(
    "--bus",
    metavar="NAME|DIR",
    help="The bus: its name or folder. Else PYNELIVE_BUS, ./topology.toml, or the only one up.",
)


def since(text: str) -> Start:
    """``-500`` (bars), ``earliest``, or a time in ISO 8601, UTC unless it says otherwise."""
    if text == "earliest":
        return Start()
    if text.startswith("-") and text[1:].isdigit():
        return Start(last=int(text[1:]))
    try:
        return Start(from_ms=_milliseconds(text))
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is no start: write -500 (bars), earliest, or a time such as 2026-01-31T14:30"
        ) from None


def time_ms(text: str) -> int:
    """A time in ISO 8601, UTC unless it says otherwise, as Unix milliseconds."""
    try:
        return _milliseconds(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no time: write one such as 2026-01-31T14:30") from None


def _milliseconds(text: str) -> int:
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def run_until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Run; Ctrl-C and SIGTERM end it quietly, and so does a pipe that nobody reads."""

    async def main() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            pass  # the person has seen enough

    asyncio.run(main())


# --- tail ---------------------------------------------------------------------------------------------------


@click.command()
@click.argument("patterns", metavar="STREAM...", nargs=-1, required=True, shell_complete=names.streams)
@click.option(
    "--from",
    "start",
    type=since,
    default="-0",
    help="-500 (bars), earliest, or a time (ISO 8601).",
)
@click.option("--forming", is_flag=True, help="Forming bars too, and what a script says of them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message.")
@click.option("-n", "count", type=click.IntRange(1), metavar="COUNT", help="Leave after so many messages.")
@bus_option
@host_option
def tail(
    patterns: tuple[str, ...], start: Start, forming: bool, as_json: bool, count: int | None, bus: str | None, host: str
) -> None:
    """Attach to streams and print what they say, history first if --from asks for it."""
    run_until_interrupted(
        _tail(patterns, start, _wanted(forming), json_line if as_json else PlainLines(), count, find_bus(bus, host))
    )


async def _tail(
    patterns: tuple[str, ...], start: Start, wanted: Callable[[Message], bool], line: Callable[[Heard], str],
    count: int | None, run: RunDir,
) -> None:  # fmt: skip
    seen = 0
    async with listen(*patterns, start=start, bus=run, name="tail") as heard:
        async for item in heard:
            if not wanted(item.message):
                continue
            say(line(item))
            seen += 1
            if seen == count:
                return


def _wanted(forming: bool) -> Callable[[Message], bool]:
    def wanted(message: Message) -> bool:
        said = message.bar if isinstance(message, Executed) else message
        return forming or not is_forming(said)

    return wanted


# --- record and exec ----------------------------------------------------------------------------------------


def attached(
    run: RunDir, sinks: tuple[SinkSpec, ...] = (), runners: tuple[RunnerSpec, ...] = ()
) -> Topology:
    """What a command attaches with: a topology of one actor on somebody else's bus."""
    return Topology(Path.cwd() / "attached", BusSpec(run.bus, str(run.root)), (), sinks, runners)


async def _found(run: RunDir, patterns: tuple[str, ...]) -> None:
    """Make sure that the streams are there before anything is opened for them."""
    subscriber = Subscriber(run, patterns, lambda cursor, messages: None)
    subscriber.open()
    try:
        await subscriber.all_found(3.0)
    finally:
        await subscriber.close()


@click.command()
@click.argument("patterns", metavar="STREAM...", nargs=-1, required=True, shell_complete=names.streams)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--from",
    "start",
    type=since,
    default="-0",
    help="Where a new file begins: -500, earliest, a time.",
)
@bus_option
@host_option
def record(patterns: tuple[str, ...], folder: Path, start: Start, bus: str | None, host: str) -> int:
    """Attach a recorder: .ohlcv files of the streams in DIR; an existing file is continued without a hole."""
    from ..sinks.feed import SinkFeed

    run = find_bus(bus, host)
    asyncio.run(_found(run, patterns))
    if sys.stderr.isatty():
        click.echo(f"recording {', '.join(patterns)} into {folder}; Ctrl-C ends it", err=True)
    spec = SinkSpec(f"record-{os.getpid()}", "ohlcv", patterns, {"dir": str(folder.absolute())})
    role = SinkFeed(attached(run, sinks=(spec,)), spec, start)
    code = run_role(role, lambda: _say_progress(role.status().bars))
    click.echo("\n".join(role.status().summary) or "nothing was recorded")
    return code


def _say_progress(bars: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{bars:,} bars", nl=False, err=True)


@click.command("exec")
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("stream", shell_complete=names.streams)
@click.option("--history", type=click.IntRange(0), default=500, show_default=True, help="Bars of warm-up.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of the script; repeatable."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write plot.csv, trades.csv … here too.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message.")
@bus_option
@host_option
def exec_script(
    script: Path,
    stream: str,
    history: int,
    inputs: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    bus: str | None,
    host: str,
) -> int:
    """Attach a PyneCore script to a stream: warm it up with history, then print what it says live."""
    from ..runners.feed import RunnerFeed
    from ..runners.kinds import misfit

    values = dict(map(named_value, inputs))
    if fault := misfit(script, "pyne"):
        raise Fault(fault)
    run = find_bus(bus, host)
    asyncio.run(_found(run, (stream,)))
    name = f"exec-{script.stem}-{os.getpid()}"
    spec = RunnerSpec(
        name, str(script.absolute()), stream, history=history, inputs=values,
        output=str(output.absolute()) if output else "",
    )  # fmt: skip
    line = json_line if as_json else PlainLines()
    role = RunnerFeed(
        attached(run, runners=(spec,)),
        spec,
        attached=True,
        say=lambda said: say(line(Heard(f"run:{name}", said))),
    )
    return run_role(role)


def named_value(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; VALUE is JSON or a word.

    :raises click.UsageError: it has no =
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"'{text}' is no input or option: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
