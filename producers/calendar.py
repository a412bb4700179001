"""Which bars an instrument's trading hours have: when the next one opens, and when one ends.

The hours are the Instrument's, in its own time zone, so daylight saving is the zone's business. Holidays are not in
them: on such a day the venue is asked, and says that there is nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ..bus.messages import Instrument
from ..bus.names import timeframe_ms

_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_SEAM_S = 60
"""Hours that end at 23:59 or 23:59:59 go on at midnight."""


class Session(NamedTuple):
    """How far (ms) into a session a time is, and how much of it is left."""

    into_ms: int
    left_ms: int


class Calendar:
    """The trading hours of one instrument, cut into the bars of a timeframe; without hours, it always trades."""

    def __init__(self, instrument: Instrument, timeframe: str) -> None:
        self.length_ms = timeframe_ms(timeframe)
        self._zone = ZoneInfo(instrument.timezone or "UTC")
        self._spans = _weekly([(span.day * _DAY_S + span.start_s, span.day * _DAY_S + span.end_s)
                               for span in instrument.opening_hours])
        self.always = not self._spans or self._spans == [(0, _WEEK_S)]

    def is_open(self, time_ms: int) -> bool:
        """Whether the instrument trades then."""
        return self.always or self._session_at(time_ms) is not None

    def end_of(self, open_ms: int) -> int:
        """When the bar that opens then is over: its length, or the end of the session within the day."""
        end_ms = open_ms + self.length_ms
        if self.always or self.length_ms >= _DAY_S * 1000:
            return end_ms
        session = self._session_at(open_ms)
        return end_ms if session is None else min(end_ms, open_ms + session.left_ms)

    def next_open(self, open_ms: int) -> int:
        """When the bar after the one that opens then opens, at the earliest."""
        next_ms = open_ms + self.length_ms
        if self.always:
            return next_ms
        if self.length_ms >= _DAY_S * 1000:
            for _ in range(7):
                if self._trades_within(next_ms):
                    break
                next_ms += self.length_ms
            return next_ms
        end_ms = self.end_of(open_ms)
        return next_ms if end_ms == next_ms and self.is_open(next_ms) else self._session_after(end_ms)

    def missing(self, before_ms: int, after_ms: int) -> bool:
        """Whether a bar could have been between two that open then; half a bar of slack is daylight saving's."""
        return after_ms > self.next_open(before_ms) + self.length_ms // 2

    def off_grid(self, open_ms: int) -> int:
        """How far (ms) from the grid of the timeframe a bar opens, negative if it is early; 0 is on it.

        The grid is the clock's, in UTC, or the session's. Days and weeks have none here.
        """
        if self.length_ms >= _DAY_S * 1000:
            return 0
        off_ms = [self._nearest(open_ms)]
        if off_ms[0] and not self.always:
            half_ms = self.length_ms // 2  # a bar that is early opens before its session does
            sessions = (self._session_at(open_ms), self._session_at(open_ms + half_ms))
            off_ms += [self._nearest(session.into_ms - late_ms)
                       for session, late_ms in zip(sessions, (0, half_ms), strict=True) if session is not None]
        return min(off_ms, key=abs)

    def _nearest(self, into_ms: int) -> int:
        off_ms = into_ms % self.length_ms
        return off_ms if off_ms <= self.length_ms // 2 else off_ms - self.length_ms

    def _trades_within(self, from_ms: int) -> bool:
        start = self._week_second(from_ms)
        end = start + self.length_ms / 1000
        return any(a + week < end and start < b + week for a, b in self._spans for week in (-_WEEK_S, 0, _WEEK_S))

    def _session_after(self, time_ms: int) -> int:
        """When the first session opens at or after a time."""
        local = datetime.fromtimestamp(time_ms / 1000, self._zone)
        second = self._week_second(time_ms)
        wait_s = min((start - second) % _WEEK_S for start, _ in self._spans)
        wall = local.replace(tzinfo=None) + timedelta(seconds=wait_s)
        return round(wall.replace(tzinfo=self._zone, fold=local.fold).timestamp() * 1000)

    def _week_second(self, time_ms: int) -> float:
        local = datetime.fromtimestamp(time_ms / 1000, self._zone)
        return local.weekday() * _DAY_S + local.hour * 3600 + local.minute * 60 + local.second + time_ms % 1000 / 1000

    def _session_at(self, time_ms: int) -> Session | None:
        second = self._week_second(time_ms)
        for start, end in self._spans:
            into_s = (second - start) % _WEEK_S
            if into_s < end - start:
                return Session(round(into_s * 1000), round((end - start - into_s) * 1000))
        return None


def _weekly(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in seconds of the week, those that touch made one; the last may go on into the next week."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((start, end if end > start else end + _DAY_S) for start, end in spans):
        if merged and start <= merged[-1][1] + _SEAM_S:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    if merged and merged[-1][1] >= merged[0][0] + _WEEK_S - _SEAM_S:  # Sunday goes on on Monday
        if len(merged) == 1:
            return [(0, _WEEK_S)]
        _, monday = merged.pop(0)
        start, sunday = merged.pop()
        merged.append((start, max(monday + _WEEK_S, sunday)))
    return merged
