"""What the contract promises of one stream, checked bar by bar; the trial around it is ``conformance.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import isclose, isfinite
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..bus.messages import Bar, Instrument, State
from ..bus.names import Key, timeframe_ms
from .calendar import Calendar
from .contract import Provider

_DAY_S = 86_400
Fault = tuple[str, str]
"""The rule, and how it is broken."""


class Stream:
    """One stream on trial: what it has said, and what is wrong with that."""

    def __init__(self, key: Key, instrument: Instrument, provider: Provider) -> None:
        self.key = key
        self.over = False
        self.closed: dict[int, Bar] = {}
        self._opened: set[int] = set()
        self._forming = False
        self._instrument = instrument
        self._provider = provider
        self._length_ms = timeframe_ms(key.timeframe)
        self._last_ms = -1

    @property
    def count(self) -> int:
        """How many bars have closed, or have been begun by a provider that closes none itself."""
        return len(self.closed) if self._provider.capabilities.flagged else len(self._opened) - 1

    def known_from(self, since_ms: int) -> set[int]:
        """The times of the bars that have closed live after one."""
        return {time_ms for time_ms in self.closed if time_ms > since_ms}

    def begin(self) -> None:
        """Another connection: what was closed before may come again."""
        self._last_ms = -1

    def judge(self, message: object) -> Iterator[Fault]:
        """What is wrong with an update."""
        if isinstance(message, State):
            return
        if not isinstance(message, Bar):
            yield "kind", f"watch() yields a {type(message).__name__}: only Bar and State are updates"
            return
        yield from self._bar_faults(message)
        self._opened.add(message.time_ms)
        if message.closed:
            yield from self._close_faults(message)
            self.closed.setdefault(message.time_ms, message)
            self._last_ms = max(self._last_ms, message.time_ms)
        else:
            self._forming = True
            if message.time_ms <= self._last_ms:
                yield "order", f"a forming bar of {_at(message)} comes after the close of {_at(self._last_ms)}"

    def _close_faults(self, bar: Bar) -> Iterator[Fault]:
        if bar.time_ms == self._last_ms:
            yield "order", f"the bar of {_at(bar)} is closed twice"
        elif bar.time_ms < self._last_ms:
            yield "order", f"the close of {_at(bar)} comes after the one of {_at(self._last_ms)}"
        if self._provider.capabilities.paced and self._ends_ms(bar) > self._provider.now_ms() + 1000:
            yield "early", f"the bar of {_at(bar)} is closed before it is over"
        if not self._provider.capabilities.flagged:
            yield "capabilities", "watch() closes bars, and its capabilities say that it does not (flagged)"

    def promises(self) -> Iterator[Fault]:
        """What the capabilities say and the updates did not show."""
        if self._provider.capabilities.forming and self.closed and not self._forming:
            yield "capabilities", "it promises forming bars, and none came"
        if self._forming and not self._provider.capabilities.forming:
            yield "capabilities", "forming bars came, and its capabilities do not say so"

    def history_faults(self, name: str, bars: Sequence[Bar], since_ms: int) -> Iterator[Fault]:
        """What is wrong with the bars that a question about closed ones has brought."""
        for bar in bars:
            yield from self._bar_faults(bar)
            if bar.time_ms <= since_ms:
                yield "history", f"{name} gives the bar of {_at(bar)}, which was not asked for"
            if not bar.closed:
                yield "history", f"{name} gives a bar that it says to be forming"
            elif self._provider.capabilities.paced and self._ends_ms(bar) > self._provider.now_ms() + 1000:
                yield "history", f"{name} gives the bar of {_at(bar)}, which is still forming"
        for before, after in pairwise(bars):
            if after.time_ms <= before.time_ms:
                yield "history", f"{name} is not oldest first: {_at(after)} comes after {_at(before)}"

    def latest_faults(self, bars: Sequence[Bar], told: Sequence[Bar]) -> Iterator[str]:
        """What is wrong with the answer to ``latest``, which came after ``backfill_closed_bars`` told some."""
        if any(not bar.closed for bar in bars[:-1]):
            yield "latest gives a forming bar that is not the last one"
        if missing := {bar.time_ms for bar in told} - {bar.time_ms for bar in bars}:
            yield f"latest lacks the bar of {_at(min(missing))}, which backfill_closed_bars gives"

    def contradictions(self, told: Sequence[Bar], got: Sequence[Bar], since_ms: int) -> Iterator[str]:
        """Where the two ways to ask for history, or history and stream, say different things."""
        until_ms = min(told[-1].time_ms, got[-1].time_ms) if told and got else -1
        if values_until(told, until_ms) != values_until(got, until_ms):
            yield "backfill_closed_bars and download_ohlcv disagree on the same bars"
        known = {bar.time_ms: bar for bar in (*told, *got)}
        for time_ms in sorted(self.known_from(since_ms)):
            bar = self.closed[time_ms]
            if known and time_ms not in known:
                yield f"the bar of {_at(bar)} was closed live, and the history lacks it"
            elif known and values(bar) != values(known[time_ms]):
                yield f"the bar of {_at(bar)} was {values(bar)} live and is {values(known[time_ms])} in the history"

    def _bar_faults(self, bar: Bar) -> Iterator[Fault]:
        prices = bar.open, bar.high, bar.low, bar.close
        if not all(isinstance(value, float | int) and isfinite(value) for value in (*prices, bar.volume)):
            yield "values", f"the bar of {_at(bar)} has a value that is no finite number: {values(bar)}"
        elif bar.high < max(prices) or bar.low > min(prices) or bar.volume < 0:
            yield "values", f"the bar of {_at(bar)} cannot be: {values(bar)}"
        if not isinstance(bar.time_ms, int) or not self._on_grid(bar.time_ms):
            yield "grid", f"the bar of {bar.time_ms} opens off the grid of its timeframe"

    def _on_grid(self, time_ms: int) -> bool:
        """Whether a bar can open then: on UTC's grid, or so many bars after a session's start."""
        if time_ms % self._length_ms == 0:
            return True
        local = datetime.fromtimestamp(time_ms / 1000, ZoneInfo(self._instrument.timezone or "UTC"))
        second = local.hour * 3600 + local.minute * 60 + local.second
        starts = {span.start_s for span in (*self._instrument.session_starts, *self._instrument.opening_hours)} | {0}
        step_s = min(self._length_ms // 1000, _DAY_S)
        return time_ms % 1000 == 0 and any((second - start_s) % step_s == 0 for start_s in starts)

    def _ends_ms(self, bar: Bar) -> int:
        return Calendar(self._instrument, self.key.timeframe).end_of(bar.time_ms)


def odd(instrument: Instrument, key: Key) -> Iterator[str]:
    """What is wrong with an instrument."""
    if instrument.timeframe != key.timeframe:
        yield f"its instrument is of timeframe '{instrument.timeframe}'"
    for name in ("mintick", "pricescale", "minmove", "pointvalue", "mincontract"):
        if not getattr(instrument, name) > 0:
            yield f"{name} of its instrument is {getattr(instrument, name)}: it must be more than 0"
            return
    if not isclose(instrument.mintick, instrument.minmove / instrument.pricescale, rel_tol=1e-9):
        yield (f"its tick grid contradicts itself: mintick {instrument.mintick:g} is not "
               f"minmove {instrument.minmove} / pricescale {instrument.pricescale}")
    try:
        ZoneInfo(instrument.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        yield f"its time zone '{instrument.timezone}' is unknown"
    yield from _odd_hours(instrument)


def _odd_hours(instrument: Instrument) -> Iterator[str]:
    if not instrument.opening_hours:
        yield "its instrument has no opening_hours: around the clock is 0 to 86,399 s on seven days"
    for span in instrument.opening_hours:
        if not (0 <= span.day <= 6 and 0 <= span.start_s < _DAY_S and span.start_s < span.end_s <= 2 * _DAY_S):
            yield f"its opening_hours hold {span}: days are 0 to 6, seconds count from midnight, and end after start"
    ends = {(span.day, span.start_s) for span in instrument.opening_hours}
    if strange := [span for span in instrument.session_starts if (span.day, span.start_s) not in ends]:
        yield f"its session_starts name {strange[0]}, when no trading begins"


def values(bar: Bar) -> tuple[float, ...]:
    """What a bar says."""
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def values_until(bars: Sequence[Bar], until_ms: int) -> dict[int, tuple[float, ...]]:
    """What each bar says, up to a time."""
    return {bar.time_ms: values(bar) for bar in bars if bar.time_ms <= until_ms}


def _at(bar: Bar | int) -> str:
    time_ms = bar if isinstance(bar, int) else bar.time_ms
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(time_ms)
