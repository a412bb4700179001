"""What a person sees of a running topology: a table on a terminal, lines in a pipe, JSON if asked."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..bus.children import Phase, View
from ..bus.status import StreamStatus
from .columns import Layout
from .lines import rate, span

Views = Callable[[], list[View]]

REFRESH_S = 0.5
PLAIN_S = 10.0
"""How often plain lines come when nothing changes."""

_COLOURS = {
    "running": "green",
    "done": "dim",
    "stopped": "dim",
    "failed": "bold red",
    "stalled": "bold magenta",
}


class Screen(Protocol):
    """Where `up` shows what happens."""

    def event(self, text: str) -> None:
        """Something happened to an actor."""

    async def follow(self, views: Views) -> None:
        """Show the actors until cancelled."""

    def summary(self, lines: list[str]) -> None:
        """The end."""


def screen(form: str) -> Screen:
    """The screen for ``json``, ``none``, or what standard output is (``auto``)."""
    if form == "none":
        return _Silent()
    if form == "json":
        return _Json()
    return _Terminal() if sys.stdout.isatty() else _Plain()


class Addresses:
    """Where a person can see what a sink shows: said once, and again when it is another one."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def fresh(self, views: Sequence[View]) -> Iterator[str]:
        """A line for each that has not been said."""
        for view in views:
            address = view.status.address if view.status else ""
            if address and self._said.get(view.name) != address:
                self._said[view.name] = address
                yield f"{view.name}: {address}"


class _Silent:
    def event(self, text: str) -> None:
        """Events are in the supervisor's log."""

    async def follow(self, views: Views) -> None:
        """Nobody looks."""

    def summary(self, lines: list[str]) -> None:
        """`pynelive stop` shows it."""


class _Json:
    def event(self, text: str) -> None:
        _emit({"event": text})

    async def follow(self, views: Views) -> None:
        while True:
            await asyncio.sleep(1)
            _emit({"actors": views()})

    def summary(self, lines: list[str]) -> None:
        _emit({"summary": lines})


def _emit(what: dict[str, object]) -> None:
    click.echo(msgspec.json.encode({"time_ms": time.time_ns() // 1_000_000, **what}).decode())


class _Plain:
    def event(self, text: str) -> None:
        click.echo(f"{_clock()} {text}")

    async def follow(self, views: Views) -> None:
        shown: list[tuple[str, Phase]] = []
        due = math.inf
        addresses = Addresses()
        while True:
            now = views()
            for line in addresses.fresh(now):
                self.event(line)
            phases = [(view.name, view.phase) for view in now]
            if (phases and phases != shown) or time.monotonic() >= due:
                self.event(", ".join(_words(view) for view in now))
                shown, due = phases, time.monotonic() + PLAIN_S
            await asyncio.sleep(REFRESH_S)

    def summary(self, lines: list[str]) -> None:
        for line in lines:
            click.echo(line)


def _clock() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}"


def _words(view: View) -> str:
    if view.status is None or not view.status.bars:
        return f"{view.name} {view.phase}"
    lag = max((stream.lag for stream in view.status.streams), default=0)
    behind = f", lag {lag:,}" if lag else ""
    return f"{view.name} {view.phase} ({view.status.bars:,} bars, {rate(view.status.rate)}/s{behind})"


class _Terminal:
    def __init__(self) -> None:
        self._console = Console()

    def event(self, text: str) -> None:
        self._console.print(Text(f"{_clock()} {text}", "yellow"), soft_wrap=True)

    async def follow(self, views: Views) -> None:
        addresses = Addresses()
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                for line in addresses.fresh(views()):
                    self._console.print(Text(line, "bold green"), soft_wrap=True)
                room = max(self._console.height - 4, 3)
                live.update(table(views(), self._console.width, room), refresh=True)
                await asyncio.sleep(REFRESH_S)

    def summary(self, lines: list[str]) -> None:
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)


def actor_cells(view: View) -> list[str | Text]:
    """The cells of ``ACTOR_TITLES``: an actor in one row, with the lag of the stream that it is furthest behind in."""
    streams = view.status.streams if view.status else []
    furthest = max(streams, key=lambda stream: stream.lag, default=None)
    return [_COLUMNS[_TITLES.index(title)].cell(view, furthest) for title in ACTOR_TITLES]


def print_views(views: list[View]) -> None:
    """The actors once, for `ps`."""
    room = Console().width if sys.stdout.isatty() else sys.maxsize
    made, layout = _table(views, room, rows=None, details=True)
    Console(width=layout.width).print(made)
    if layout.missing:
        click.echo(layout.apology())


def table(views: list[View], width: int, rows: int) -> Table:
    """One row a stream, for `up`: at most ``rows`` of them, and what fits into ``width`` columns."""
    return _table(views, width, rows, details=False)[0]


def _table(views: list[View], width: int, rows: int | None, details: bool) -> tuple[Table, Layout]:
    """:param details: with the process's number and the disk that its journal uses"""
    lines = list(_rows(views))
    columns = [column for column in _COLUMNS if details or not column.detail]
    cells = [_cells(columns, view, stream) for view, stream in lines[:rows]]
    layout = Layout([column.title for column in columns], cells, _MAY_GO, width, elastic=_SAID)
    words = {column.title for column in columns if column.justify == "left"}
    made = layout.table(cells, words, framed=sys.stdout.isatty())
    if rows is not None and len(lines) > rows:
        made.caption = f"… and {len(lines) - rows} more streams: pynelive ps"
    return made, layout


def _cells(columns: Sequence[_Column], view: View, stream: StreamStatus | None) -> list[str | Text]:
    first = stream is None or (view.status is not None and stream is view.status.streams[0])
    return [column.cell(view, stream) if first or column.repeats else "" for column in columns]


def _rows(views: list[View]) -> Iterator[tuple[View, StreamStatus | None]]:
    for view in views:
        streams: Sequence[StreamStatus | None] = view.status.streams if view.status else ()
        yield from ((view, stream) for stream in streams or (None,))


class _Column(NamedTuple):
    """``repeats``: said of each stream, not once an actor; ``detail``: for `ps` alone."""

    title: str
    cell: Callable[[View, StreamStatus | None], str | Text]
    repeats: bool = False
    detail: bool = False
    justify: Literal["left", "right"] = "left"


def _phase(view: View, _stream: StreamStatus | None) -> Text:
    return Text(view.phase, _COLOURS.get(view.phase, "yellow"))


def _uptime(view: View, _stream: StreamStatus | None) -> str:
    return span(view.uptime_s) if view.pid else ""


def _said(view: View, _stream: StreamStatus | None) -> Text:
    status = view.status
    said = view.why or (status.warning or status.said or status.address if status else "")
    return Text(said.partition("\n")[0], no_wrap=True, overflow="ellipsis")


def _memory(view: View, _stream: StreamStatus | None) -> str:
    return f"{view.status.memory_mb:.0f} MB" if view.status and view.status.memory_mb else ""


def _cpu(view: View, _stream: StreamStatus | None) -> str:
    return f"{view.cpu:.1%}" if view.pid else ""


def _journal(view: View, _stream: StreamStatus | None) -> str:
    return f"{view.journal_mb:.1f} MB" if view.journal_mb else ""


def _rate(view: View, _stream: StreamStatus | None) -> str:
    return f"{rate(view.status.rate)}/s" if view.pid and view.status and view.status.bars else ""


def _bars(view: View, stream: StreamStatus | None) -> str:
    return f"{stream.bars:,}" if stream else ""


def _lag(view: View, stream: StreamStatus | None) -> str:
    return f"{stream.lag:,}" if stream else ""


def _stream(view: View, stream: StreamStatus | None) -> Text:
    if stream is None:
        return Text()
    odd = stream.state not in ("", "live")
    name = f"{stream.stream} ({stream.state})" if odd else stream.stream
    return Text(name, "yellow" if odd else "", no_wrap=True, overflow="ellipsis")


def _last(view: View, stream: StreamStatus | None) -> str:
    if stream is None or not stream.last_ms:
        return ""
    return f"{datetime.fromtimestamp(stream.last_ms / 1000, UTC):%y-%m-%d %H:%M}"


def _price(view: View, stream: StreamStatus | None) -> str:
    return f"{stream.last_price:,.10g}" if stream and stream.last_ms else ""


_SAID = "last said"
_COLUMNS = (
    _Column("actor", lambda view, _: view.name),
    _Column("state", _phase),
    _Column("pid", lambda view, _: str(view.pid or ""), detail=True, justify="right"),
    _Column("up", _uptime, justify="right"),
    _Column("restarts", lambda view, _: str(view.restarts or ""), justify="right"),
    _Column("memory", _memory, justify="right"),
    _Column("cpu", _cpu, detail=True, justify="right"),
    _Column("journal", _journal, detail=True, justify="right"),
    _Column("stream", _stream, repeats=True),
    _Column("bars", _bars, repeats=True, justify="right"),
    _Column("rate", _rate, justify="right"),
    _Column("lag", _lag, repeats=True, justify="right"),
    _Column("last bar", _last, repeats=True),
    _Column("price", _price, repeats=True, justify="right"),
    _Column(_SAID, _said),
)
_MAY_GO = (_SAID, "cpu", "journal", "up", "last bar", "price", "pid", "memory", "restarts")
"""Where the terminal is too narrow, in this order."""
_TITLES = [column.title for column in _COLUMNS]
ACTOR_TITLES = ("actor", "state", "up", "restarts", "memory", "cpu", "rate", "lag", _SAID)
"""What is said of an actor itself."""
