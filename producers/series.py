"""Recorded bars in memory: found, read from ``.ohlcv`` or CSV, checked, and kept in 48 bytes a bar."""

from __future__ import annotations

import csv
import gzip
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import file_digest
from importlib.util import find_spec
from itertools import islice
from math import inf
from operator import sub
from pathlib import Path
from typing import IO, TypeVar

from ..bus.errors import Fault
from ..bus.messages import Bar
from ..bus.names import Key, timeframe_ms

_COLUMNS = ("open", "high", "low", "close", "volume")
_TIME_COLUMNS = ("time", "timestamp", "date")
_EPOCH = datetime.fromtimestamp(0, UTC)
Row = TypeVar("Row")

_LEAST_MS = 10**11  # a smaller number is a time in seconds
_PACKAGE = "package:"


class Series:
    """The bars of one file, ascending in time."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self.times = array("q")
        self.columns = tuple(array("d") for _ in _COLUMNS)
        self.extras: dict[int, dict[str, float | str]] = {}

    def __len__(self) -> int:
        return len(self.times)

    def bar(self, index: int) -> Bar:
        """The bar as it was recorded, except that it says so."""
        open_, high, low, close, volume = (column[index] for column in self.columns)
        return Bar(self.times[index], open_, high, low, close, volume,
                   origin="replay", extra=self.extras.get(index))

    def append(self, bar: Bar) -> None:
        """Add a bar.

        :raises ValueError: it is not after the last one, or no candle
        """
        if self.times and bar.time_ms <= self.times[-1]:
            what = "there twice" if bar.time_ms == self.times[-1] else "before the last one"
            raise ValueError(f"time {_iso(bar.time_ms)} is {what}")
        if not -inf < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high < inf:
            prices = f"open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close}"
            raise ValueError(f"{prices} is no candle: low must be the lowest and high the highest")
        if not -inf < bar.volume < inf:
            raise ValueError(f"volume {bar.volume} is no number")
        if bar.extra:
            self.extras[len(self.times)] = bar.extra
        self.times.append(bar.time_ms)
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)


def locate(base: Path, file: str) -> Path:
    """Where a file of the options is: below ``base``, or in an installed package (``package:NAME/PATH``).

    :raises Fault: the package is not installed
    """
    if not file.startswith(_PACKAGE):
        return base / file
    name, _, inside = file.removeprefix(_PACKAGE).partition("/")
    found = find_spec(name) if name.isidentifier() else None  # nothing of the package is imported
    if found is None or not found.submodule_search_locations:
        raise Fault(f"{file} is in a package that is not installed: pip install {name.replace('_', '-')}")
    return Path(found.submodule_search_locations[0]) / inside


def load(path: Path, key: Key) -> Series:
    """Read and check a whole file; takes seconds for a year of minutes, so call it in a thread.

    :raises Fault: the file, the line and what is wrong there
    """
    try:
        with path.open("rb") as file:
            series = Series(path, file_digest(file, "sha256").hexdigest())
        if path.suffix.lower() == ".ohlcv":
            _fill(series, _recorded(path, key.timeframe), lambda bar: bar, "bar")
        else:
            _fill_from_csv(series, key.symbol)
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        raise Fault(f"{path} cannot be read: {error}") from error
    _check_steps(series, key.timeframe)
    return series


def _recorded(path: Path, timeframe: str) -> Iterator[tuple[int, Bar]]:
    from ..bus.ohlcv import read_bars, read_period  # loads PyneCore, which a CSV does not need

    if (period := read_period(path)) != timeframe:
        raise Fault(f"{path} holds bars of {period}, its stream says @{timeframe}: write @{period}")
    return enumerate(read_bars(path), 1)


def _fill_from_csv(series: Series, symbol: str) -> None:
    with _opened(series.path) as file:
        reader = csv.reader(file)
        header = [name.strip().casefold() for name in next(reader, [])]
        places = _places(series.path, header)
        rows: Iterator[tuple[int, list[str]]] = ((reader.line_num, row) for row in reader if row)
        if "ticker" in header:
            rows = _of_symbol(series.path, rows, header.index("ticker"), symbol)
        _fill(series, rows, lambda row: _parsed(row, places), "line")


def _opened(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")


def _of_symbol(
    path: Path, rows: Iterable[tuple[int, list[str]]], place: int, symbol: str
) -> Iterator[tuple[int, list[str]]]:
    """The rows of one symbol in a file of many; a row that is too short is left to the parser."""
    others: set[str] = set()
    found = False
    for number, row in rows:
        ticker = row[place].strip() if place < len(row) else symbol
        if ticker == symbol:
            found = True
            yield number, row
        else:
            others.add(ticker)
    if others and not found:
        raise Fault(f"{path} has no rows of '{symbol}': its tickers are {', '.join(sorted(others))}")


def _fill(
    series: Series, rows: Iterable[tuple[int, Row]], parse: Callable[[Row], Bar], unit: str
) -> None:
    for number, row in rows:
        try:
            series.append(parse(row))
        except ValueError as error:
            raise Fault(f"{series.path}, {unit} {number}: {error}") from error
    if not series.times:
        raise Fault(f"{series.path} holds no bars")


def _places(path: Path, header: Sequence[str]) -> list[int]:
    """Where the time and the five values stand in a row."""
    time = next((name for name in _TIME_COLUMNS if name in header), None)
    missing = [name for name in _COLUMNS if name not in header]
    if time is None or missing:
        lacks = ", ".join(([] if time else ["time"]) + missing)
        raise Fault(f"{path}, line 1: the header lacks {lacks}: it must name time,{','.join(_COLUMNS)}")
    return [header.index(name) for name in (time, *_COLUMNS)]


def _parsed(row: Sequence[str], places: Sequence[int]) -> Bar:
    try:
        time, *values = [row[place] for place in places]
    except IndexError:
        raise ValueError(f"has {len(row)} columns, fewer than the header") from None
    open_, high, low, close, volume = map(_number, values, _COLUMNS)
    return Bar(_time_ms(time.strip()), open_, high, low, close, volume)


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{column} '{text}' is no number") from None


def _time_ms(text: str) -> int:
    """Unix time in milliseconds or seconds, or ISO 8601 (a date alone, too), UTC unless it says so."""
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit() and len(text) != len("20250106"):
            number = float(text)
            return round(number if abs(number) >= _LEAST_MS else number * 1000)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time '{text}' is neither Unix time nor ISO 8601") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def _check_steps(series: Series, timeframe: str) -> None:
    """Refuse a file of shorter bars than its stream says; longer steps may be quiet hours."""
    steps = Counter(map(sub, islice(series.times, 1, None), series.times))
    usual_ms = steps.most_common(1)[0][0] if steps else timeframe_ms(timeframe)
    if usual_ms < timeframe_ms(timeframe):
        apart = f"bars {usual_ms / 1000:g} s apart"
        raise Fault(f"{series.path} holds {apart}, which is too close for its stream's @{timeframe}")


def _iso(time_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat()
