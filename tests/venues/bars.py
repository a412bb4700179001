"""Where the laboratory's markets get their true bars from: the demo's walk, bokeh's sample of AAPL, or a CSV file."""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Protocol

from pynelive.bus.names import Key, timeframe_ms
from pynelive.producers.demo import Market as Invented
from pynelive.producers.sessions import Hours, StockExchange

MONDAY_MS = 4 * 86_400_000
"""The first Monday of 1970: weeks begin there."""

FOREVER = 10**9

Values = tuple[float, float, float, float, float]


class Grid(NamedTuple):
    """How a timeframe cuts the time of a market."""

    slot: Callable[[int], tuple[int, int]]
    """When the bar opens and closes (ms) that a time falls into."""
    bars_within: int
    """How many base bars one bar has, at most."""


class Bars(Protocol):
    """True bars by number, at their own timeframe."""

    price_digits: int
    volume_digits: int
    ends: tuple[int, int]
    """The first and the last number."""

    def span(self, index: int) -> tuple[int, int]:
        """When a bar opens and closes (ms)."""

    def index_at(self, time_ms: int) -> int:
        """The last bar that opens at or before a time; may be outside what there is."""

    def bar(self, index: int) -> Values:
        """Open, high, low, close and volume."""

    def grid(self, timeframe: str) -> Grid:
        """How another timeframe, as long or longer, cuts the same market."""


class Walk:
    """The demo's seeded walk: endless in both directions, in the hours of its kind of symbol."""

    def __init__(self, seed: int, symbol: str, timeframe: str) -> None:
        self._market = Invented(seed, Key(symbol, timeframe))
        self._hours = self._market.hours
        self._step_ms = timeframe_ms(timeframe)
        self.price_digits = self._market.digits
        self.volume_digits = 4 if "/" in symbol else 0
        self.ends = (-FOREVER, FOREVER)

    def span(self, index: int) -> tuple[int, int]:
        slot = self._hours.slot(index)
        return slot.open_ms, slot.close_ms

    def index_at(self, time_ms: int) -> int:
        return self._hours.index_at(time_ms)

    def bar(self, index: int) -> Values:
        bar = self._market.bar(index)
        return bar.open, bar.high, bar.low, bar.close, bar.volume

    def grid(self, timeframe: str) -> Grid:
        step_ms = timeframe_ms(timeframe)
        if isinstance(self._hours, StockExchange):
            return Grid(_by_hours(StockExchange(timeframe)), -(-step_ms // self._step_ms))
        return _utc_grid(step_ms, self._step_ms)


class Listed:
    """Given bars, with the gaps that they have; round the clock."""

    def __init__(self, rows: Sequence[tuple[int, Values]], timeframe: str) -> None:
        """:param rows: opening times (ms) and values, oldest first"""
        self._times = [time_ms for time_ms, _ in rows]
        self._values = [values for _, values in rows]
        self._step_ms = timeframe_ms(timeframe)
        self.price_digits = _digits(value for values in self._values for value in values[:4])
        self.volume_digits = _digits(values[4] for values in self._values)
        self.ends = (0, len(rows) - 1)

    def span(self, index: int) -> tuple[int, int]:
        return self._times[index], self._times[index] + self._step_ms

    def index_at(self, time_ms: int) -> int:
        return bisect_right(self._times, time_ms) - 1

    def bar(self, index: int) -> Values:
        return self._values[index]

    def grid(self, timeframe: str) -> Grid:
        return _utc_grid(timeframe_ms(timeframe), self._step_ms)


def bars_of(source: str, seed: int, symbol: str, timeframe: str) -> Bars:
    """The bars that a source names: ``walk``, ``aapl`` (daily), or a CSV file's path (its times in Unix ms)."""
    if source == "walk":
        return Walk(seed, symbol, timeframe)
    return Listed(_aapl() if source == "aapl" else _csv(source), timeframe)


@lru_cache(maxsize=8)
def _csv(path: str) -> list[tuple[int, Values]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [_row(int(row["time"]), row.values()) for row in csv.DictReader(file)]


@lru_cache(maxsize=1)
def _aapl() -> list[tuple[int, Values]]:
    packed = (resources.files("bokeh_sampledata") / "_data" / "stocks.csv.gz").read_bytes()
    rows = [row for row in csv.DictReader(gzip.decompress(packed).decode().splitlines()) if row["Ticker"] == "AAPL"]
    names = ("Open", "High", "Low", "Close", "Volume")
    return [_row(_day_ms(row["Date"]), ["", *(row[name] for name in names)]) for row in rows]


def _row(time_ms: int, texts: Iterable[str]) -> tuple[int, Values]:
    _, open_, high, low, close, volume, *_ = texts
    return time_ms, (float(open_), float(high), float(low), float(close), float(volume))


def _day_ms(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)


def _by_hours(hours: Hours) -> Callable[[int], tuple[int, int]]:
    def slot(time_ms: int) -> tuple[int, int]:
        found = hours.slot(hours.index_at(time_ms))
        return found.open_ms, found.close_ms

    return slot


def _utc_grid(step_ms: int, base_ms: int) -> Grid:
    shift_ms = MONDAY_MS if step_ms % (7 * 86_400_000) == 0 else 0

    def slot(time_ms: int) -> tuple[int, int]:
        open_ms = time_ms - (time_ms - shift_ms) % step_ms
        return open_ms, open_ms + step_ms

    return Grid(slot, -(-step_ms // base_ms))


def _digits(values: Iterable[float]) -> int:
    """The decimal places that are in use, 8 at most."""
    texts = (f"{value:.8f}".rstrip("0") for value in values)
    return max((len(text.partition(".")[2]) for text in texts), default=0)
