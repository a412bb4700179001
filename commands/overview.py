"""The bus in one picture for a terminal: what `pynelive top` shows, as large as there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from textwrap import wrap
from typing import NamedTuple, TypeVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..bus.census import Census, StreamRow
from ..bus.children import View
from ..bus.logs import LEVELS, Line
from .columns import Layout
from .lines import clock, rate
from .table import ACTOR_TITLES, actor_cells

SORTS = ("name", "trouble", "rate", "lag")
STREAM_TITLES = ("stream", "state", "bars", "rate", "lag", "last bar (UTC)", "age", "repaired", "followers", "price")
_WORDS = ("actor", "state", "stream", "last said")
_ACTORS_MAY_GO = ("last said", "cpu", "up", "memory", "restarts", "lag", "rate")
_STREAMS_MAY_GO = ("price", "bars", "last bar (UTC)", "followers", "repaired", "age")
_LEAST_LOG = 4
_ONCE = 10
"""Lines of the logs where there is no end to the room."""
_COLOURS = {"live": "green", "ended": "dim", "closed": "dim", "stale": "yellow", "healing": "yellow"}
_FINE = ("running", "done", "live", "ended", "closed")
Row = TypeVar("Row")
_LEVEL_COLOURS = {"error": "red", "warning": "yellow", "info": "", "debug": "dim"}


@dataclass(frozen=True)
class Wishes:
    """What the person in front of it wants to see: in which order, only trouble, only what has some letters in it."""

    sort: str = SORTS[0]
    trouble: bool = False
    letters: str = ""
    level: str = "info"
    typing: bool = False

    def after(self, key: str) -> Wishes:
        """What is wanted after a key was hit."""
        if self.typing:
            return self._typed(key)
        if key == "s":
            return replace(self, sort=_next(SORTS, self.sort))
        if key == "l":
            return replace(self, level=_next(LEVELS, self.level))
        if key == "p":
            return replace(self, trouble=not self.trouble)
        return replace(self, typing=key == "/", letters="" if key in "/\x1b" else self.letters)

    def _typed(self, key: str) -> Wishes:
        if key in "\r\n\x1b":
            return replace(self, typing=False, letters="" if key == "\x1b" else self.letters)
        letters = self.letters[:-1] if key in "\x7f\b" else self.letters + key * key.isprintable()
        return replace(self, letters=letters)

    def actors(self, census: Census) -> list[View]:
        """The actors that are wanted, in the wanted order."""
        found = (view for view in census.actors if self._wants(view.phase, view.name))
        streams = {view.name: view.status.streams if view.status else [] for view in census.actors}
        return self._sorted(
            found, lambda view: view.phase, lambda view: view.status.rate if view.status else 0.0,
            lambda view: max((stream.lag for stream in streams[view.name]), default=0),
        )  # fmt: skip

    def streams(self, census: Census) -> list[StreamRow]:
        """Likewise the streams, without what runners keep for themselves."""
        rows = (row for row in census.streams if not row.stream.startswith("exec:"))
        found = (row for row in rows if self._wants(row.state, row.stream or row.publisher))
        return self._sorted(found, lambda row: row.state, lambda row: row.rate, lambda row: row.lag)

    def _sorted(
        self, rows: Iterable[Row], state: Callable[[Row], str], rate: Callable[[Row], float], lag: Callable[[Row], int]
    ) -> list[Row]:
        order: dict[str, Callable[[Row], float]] = {
            "name": lambda row: 0, "trouble": lambda row: state(row) in _FINE, "rate": lambda row: -rate(row),
            "lag": lambda row: -lag(row),
        }  # fmt: skip
        return sorted(rows, key=order[self.sort])

    def lines(self, lines: Iterable[Line]) -> list[Line]:
        """Likewise the lines of the logs."""
        least = LEVELS.index(self.level)
        return [line for line in lines if LEVELS.index(line.level) >= least
                and self.letters.lower() in f"{line.name} {line.text}".lower()]  # fmt: skip

    def _wants(self, state: str, name: str) -> bool:
        return not (self.trouble and state in _FINE) and self.letters.lower() in name.lower()


def _next(choices: Sequence[str], chosen: str) -> str:
    return choices[(choices.index(chosen) + 1) % len(choices)]


def picture(census: Census, lines: Sequence[Line], wishes: Wishes, width: int, height: int | None) -> Group:
    """The bus, in so many columns and exactly so many lines (None: as many as there are)."""
    actors, streams, logged = wishes.actors(census), wishes.streams(census), wishes.lines(lines)
    heads = [_heading(census, width), *(Text(line, "red") for line in wrap(census.fault, width))]
    rows = _share(len(actors), len(streams), None if height is None else height - len(heads))
    tables = [
        *_table(ACTOR_TITLES, [actor_cells(view) for view in actors], _ACTORS_MAY_GO, width, rows.actors, "actors"),
        *_table(STREAM_TITLES, list(map(_stream_cells, streams)), _STREAMS_MAY_GO, width, rows.streams, "streams"),
    ]
    tail = [_log_line(line, width) for line in logged[-rows.log :]] if rows.log else []
    return Group(*heads, *tables, *tail, *[Text("")] * (rows.log - len(tail) if height is not None else 0))


class _Rows(NamedTuple):
    actors: int
    streams: int
    log: int


def _share(actors: int, streams: int, height: int | None) -> _Rows:
    """How many lines each gets; the tables, which have a line of titles each, give way when there is too much."""
    if height is None:
        return _Rows(actors, streams, _ONCE)
    tables = max(height - 2 - _LEAST_LOG, 2)
    if actors + streams > tables:
        actors = min(actors, max(tables // 2, tables - streams))
        streams = min(streams, tables - actors)
    return _Rows(actors, streams, max(height - 2 - actors - streams, 0))


def _heading(census: Census, width: int) -> Text:
    actors = Counter[str](view.phase for view in census.actors)
    streams = Counter(row.state for row in census.streams if not row.stream.startswith("exec:"))
    counts = [f"{name} {_counted(each)}" for name, each in (("actors", actors), ("streams", streams)) if each]
    time = f"{datetime.fromtimestamp(census.time_ms / 1000, UTC):%H:%M:%S} UTC"
    said = Text("  ".join([census.bus, *counts]), "bold", no_wrap=True, overflow="ellipsis")
    said.truncate(max(width - len(time) - 2, 0), overflow="ellipsis")
    said.pad_right(max(width - len(time) - said.cell_len, 1) if width < 1_000 else 2)
    return said.append(time, "dim")


def _counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.most_common())


def _table(
    titles: Sequence[str], cells: list[list[str | Text]], may_go: Sequence[str], width: int, most: int, what: str
) -> list[Table | Text]:
    """The first rows; if there are more, the last line says so. Nothing at all of nothing."""
    if not cells:
        return [Text(f"no {what}", "dim")]
    cut = len(cells) > most
    rows = cells[: max(most - 1, 0)] if cut else cells
    layout = Layout(titles, rows, may_go, width, elastic="last said" if "last said" in titles else "")
    made = layout.table(rows, _WORDS)
    made.header_style = "dim"
    if not cut:
        return [made]
    return [made, Text(f"… and {len(cells) - len(rows)} more {what}: s sorts them, / finds one", "dim", no_wrap=True)]


def _stream_cells(row: StreamRow) -> list[str | Text]:
    if not row.stream:
        return [f"({row.place})", Text(row.state, "red"), *[""] * (len(STREAM_TITLES) - 2)]
    return [
        row.stream, Text(row.state, _COLOURS.get(row.state, "red")), f"{row.bars:,}", f"{rate(row.rate)}/s",
        f"{row.lag:,}", clock(row.last_ms)[2:16], "" if row.age_s is None else _age(row.age_s),
        f"{row.counters.get('gaps_healed', 0):,}", str(row.subscribers),
        "" if row.last_price is None else f"{row.last_price:,.10g}",
    ]  # fmt: skip


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds)} s"


def _log_line(line: Line, width: int) -> Text:
    said = Text(no_wrap=True, overflow="ellipsis")
    said.append(f"{line.time[11:19]} ", "dim").append(f"{line.name} ", "cyan")
    said.append("".join(letter if letter.isprintable() else " " for letter in line.text), _LEVEL_COLOURS[line.level])
    if width < 1_000:
        said.truncate(width, overflow="ellipsis")
    return said


def keys(wishes: Wishes) -> Text:
    """The last line: what can be hit, and what holds."""
    if wishes.typing:
        return Text(f"only what has in it: {wishes.letters}▏ (Enter keeps it, Esc drops it)", "reverse")
    only = f" ({wishes.letters})" if wishes.letters else ""
    trouble = "all" if wishes.trouble else "only trouble"
    said = f"q leave   s sort: {wishes.sort}   p {trouble}   / find{only}   l log: {wishes.level}"
    return Text(said, "dim", no_wrap=True, overflow="ellipsis")
