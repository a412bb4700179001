"""The bars of Massive's streams: how time is cut into them, and how they form from seconds and minutes."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter

from msgspec.structs import replace

from ...bus.messages import Bar
from ...bus.names import Key, timeframe_ms
from .markets import market_of

SECOND_MS, MINUTE_MS, DAY_MS = 1_000, 60_000, 86_400_000


def unit_ms(key: Key) -> int:
    """The length of the aggregates that a stream is made of: seconds or minutes."""
    return SECOND_MS if key.timeframe.endswith("S") else MINUTE_MS


def exact(key: Key) -> bool:
    """Whether the venue sends this very bar live."""
    return timeframe_ms(key.timeframe) == unit_ms(key)


def venue_range(timeframe: str) -> str:
    """A timeframe as history is asked for: ``5/minute``, ``1/hour``, ``1/day``, ``30/second``."""
    if timeframe.endswith("S"):
        return f"{timeframe[:-1] or 1}/second"
    if timeframe.endswith("D"):
        return "1/day"
    return "1/hour" if timeframe == "60" else f"{timeframe}/minute"


def slot_of(key: Key, time_ms: int) -> int:
    """When the bar opens in which a time lies; days begin at midnight of the market's zone."""
    length_ms = timeframe_ms(key.timeframe)
    if length_ms < DAY_MS:
        return time_ms - time_ms % length_ms
    local = datetime.fromtimestamp(time_ms // 1000, market_of(key).zone)
    return int(local.replace(hour=0, minute=0, second=0, fold=0).timestamp()) * 1000


def slot_after(key: Key, open_ms: int) -> int:
    """When the bar is over that opens then; a day may have 23 or 25 hours."""
    length_ms = timeframe_ms(key.timeframe)
    if length_ms < DAY_MS:
        return open_ms + length_ms
    return slot_of(key, open_ms + length_ms + 120 * MINUTE_MS)


class Growing:
    """The forming bar of a stream: what history said of it, and the finer aggregates since.

    A minute that is over replaces its seconds; what comes for a bar that is over is dropped.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self._open_ms = self._closed_ms = self._known_ms = -1
        self._base: Bar | None = None
        self._minutes: dict[int, Bar] = {}
        self._seconds: dict[int, Bar] = {}

    def close(self, open_ms: int) -> None:
        """The venue has sent this bar as a whole."""
        self._closed_ms = max(self._closed_ms, open_ms)

    def start_from(self, bar: Bar, now_ms: int) -> None:
        """Take what history says of the bar up to now; the aggregate of this very moment may count twice in volume."""
        self._begin(bar.time_ms)
        self._base = bar
        self._known_ms = now_ms - now_ms % (SECOND_MS if timeframe_ms(self._key.timeframe) <= MINUTE_MS else MINUTE_MS)
        for known in (self._minutes, self._seconds):
            for time_ms in [time_ms for time_ms in known if time_ms < self._known_ms]:
                del known[time_ms]

    def add(self, part: Bar, length_ms: int) -> Bar | None:
        """The forming bar with one more second or minute in it."""
        open_ms = slot_of(self._key, part.time_ms)
        minute_ms = part.time_ms - part.time_ms % MINUTE_MS
        if open_ms <= self._closed_ms or open_ms < self._open_ms or part.time_ms < self._known_ms \
                or (length_ms == SECOND_MS and minute_ms in self._minutes):
            return None
        self._begin(open_ms)
        if length_ms == SECOND_MS:
            self._seconds[part.time_ms] = part
        else:
            self._minutes[part.time_ms] = part
            for second_ms in [at_ms for at_ms in self._seconds if at_ms - at_ms % MINUTE_MS == minute_ms]:
                del self._seconds[second_ms]
        return self._bar(part.received_ns)

    def _begin(self, open_ms: int) -> None:
        if open_ms != self._open_ms:
            self._open_ms, self._known_ms, self._base = open_ms, -1, None
            self._minutes.clear()
            self._seconds.clear()

    def _bar(self, received_ns: int) -> Bar:
        parts = sorted((*self._minutes.values(), *self._seconds.values()), key=attrgetter("time_ms"))
        parts = [self._base, *parts] if self._base else parts
        grown = Bar(
            self._open_ms, parts[0].open, max(bar.high for bar in parts), min(bar.low for bar in parts),
            parts[-1].close, sum(bar.volume for bar in parts), closed=False, received_ns=received_ns,
        )  # fmt: skip
        return replace(grown, extra={"estimated": "volume"}) if self._base else grown
