"""When the demo's markets trade, bar by bar: round the clock, or in the hours of the US stock exchanges.

Bars are numbered from the epoch, before it with negative numbers; closed hours have no bars, so no number.
Holidays are trading days here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ..bus.messages import Instrument, Span
from ..bus.names import timeframe_ms

EPOCH_MS = 1_736_173_800_000
"""Where the demo begins: Monday 2025-01-06 14:30 UTC, when the stock exchanges open."""

END_MS = 253_370_764_800_000
"""Where calendars end, and the demo with them: the year 9999."""

DAY_S = 86_400
NEW_YORK = ZoneInfo("America/New_York")
OPEN = time(9, 30)
SESSION_S = 23_400  # 09:30 to 16:00
_NIGHT_S = 3_600  # the walk goes on a little while the exchange is closed, and opens with a gap


class Slot(NamedTuple):
    """The place of a bar: in time, and in seconds of its symbol's walk."""

    open_ms: int
    close_ms: int
    first_s: int
    last_s: int


class Hours(ABC):
    """The trading hours of a symbol, cut into the bars of a timeframe."""

    epoch_s: ClassVar[int]
    """The epoch in seconds of the walk."""

    def __init__(self, timeframe: str) -> None:
        self.step_ms = timeframe_ms(timeframe)

    @abstractmethod
    def slot(self, index: int) -> Slot:
        """The place of a bar."""

    @abstractmethod
    def index_at(self, time_ms: int) -> int:
        """The last bar that opens at or before a time."""

    @abstractmethod
    def describe(self, instrument: Instrument) -> Instrument:
        """The instrument with these hours in it."""


class RoundTheClock(Hours):
    """24 hours on 7 days, on the grid of UTC."""

    epoch_s = EPOCH_MS // 1000

    def __init__(self, timeframe: str) -> None:
        super().__init__(timeframe)
        self._first_ms = EPOCH_MS - EPOCH_MS % self.step_ms

    def slot(self, index: int) -> Slot:
        open_ms = self._first_ms + index * self.step_ms
        close_ms = open_ms + self.step_ms
        return Slot(open_ms, close_ms, open_ms // 1000, close_ms // 1000)

    def index_at(self, time_ms: int) -> int:
        return (time_ms - self._first_ms) // self.step_ms

    def describe(self, instrument: Instrument) -> Instrument:
        return with_hours(instrument, "UTC", range(7), 0, DAY_S - 1)


class StockExchange(Hours):
    """09:30 to 16:00 in New York, Monday to Friday; bars begin with the session and never outlast it."""

    epoch_s = 0

    def __init__(self, timeframe: str) -> None:
        super().__init__(timeframe)
        self._bars = -(-SESSION_S * 1000 // self.step_ms)

    def slot(self, index: int) -> Slot:
        session, number = divmod(index, self._bars)
        start_s = number * self.step_ms // 1000
        end_s = min(start_s + self.step_ms // 1000, SESSION_S)
        bell_s, walk_s = _bell_s(session), session * (SESSION_S + _NIGHT_S)
        return Slot((bell_s + start_s) * 1000, (bell_s + end_s) * 1000, walk_s + start_s, walk_s + end_s)

    def index_at(self, time_ms: int) -> int:
        day = datetime.fromtimestamp(time_ms // 1000, NEW_YORK).date()
        weeks, weekday = divmod((day - _epoch_day()).days, 7)
        session = weeks * 5 + min(weekday, 4)
        since_bell_ms = time_ms - _bell_s(session) * 1000
        number = min(since_bell_ms // self.step_ms, self._bars - 1)
        return session * self._bars + max(number, -1)

    def describe(self, instrument: Instrument) -> Instrument:
        start_s = OPEN.hour * 3600 + OPEN.minute * 60
        return with_hours(instrument, NEW_YORK.key, range(5), start_s, start_s + SESSION_S)


def with_hours(instrument: Instrument, timezone: str, days: range, start_s: int, end_s: int) -> Instrument:
    """The instrument with one session on each of the days."""
    return replace(
        instrument,
        timezone=timezone,
        opening_hours=tuple(Span(day, start_s, end_s) for day in days),
        session_starts=tuple(Span(day, start_s, 0) for day in days),
        session_ends=tuple(Span(day, end_s, 0) for day in days),
    )


@lru_cache(maxsize=4096)
def _bell_s(session: int) -> int:
    """The Unix time at which a session opens; the zone's rules know daylight saving."""
    weeks, weekday = divmod(session, 5)
    day = _epoch_day() + timedelta(days=weeks * 7 + weekday)
    return int(datetime.combine(day, OPEN, NEW_YORK).timestamp())


def _epoch_day() -> date:
    return datetime.fromtimestamp(EPOCH_MS / 1000, UTC).date()
