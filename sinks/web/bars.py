"""One stream's bars as the page shows them: in columns, each row with the number of its last change."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from math import inf
from typing import Any, NamedTuple, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...bus.messages import Bar, End, Instrument, Message, Origin, State, as_object
from ...bus.names import parse_key, timeframe_ms

COLUMNS = ("time_ms", "open", "high", "low", "close", "volume", "origin")
ORIGINS: tuple[str, ...] = get_args(Origin)
"""What a number in the column ``origin`` means."""

Short = list[Any]
"""One message for the browsers: a JSON array whose first element says what it is."""
Row = tuple[float, float, float, float, float, float, float]


class Page(NamedTuple):
    """Rows in columns; ``older`` says that there are more before the first one, or more that have changed."""

    columns: list[array[float]]
    older: bool


class BarStore:
    """The closed bars of a stream, keyed by time, the forming one, and how the stream is.

    ``n`` counts what has changed: closed bars, corrections, states. Whoever knows the stream as of ``n`` asks for what
    has changed since.

    :param most: closed bars that are kept; the oldest go, some at a time
    """

    kind = "bars"

    def __init__(self, stream: str, instrument: Instrument | None, most: int) -> None:
        self.stream = stream
        self.n = 0
        self.instrument = instrument
        self.forming: Row | None = None
        self.state = State("live", 0)
        self.end: End | None = None
        self.previous_close: float | None = None
        self._most = most
        self._clear()

    def _clear(self) -> None:
        self._columns = [array("d") for _ in COLUMNS]
        self._times = self._columns[0]
        self._added = array("q")
        """By row the number of the change that added it, never falling."""
        self._revised: dict[float, int] = {}
        """By time the last change of a row that was corrected, or came late."""
        self._begun = self.n
        """Who knows the stream as of an earlier change knows rows that are gone."""
        self._day_ends = -inf

    # --- what the stream says -------------------------------------------------------------------------------------

    def take(self, messages: Sequence[Message]) -> list[Short]:
        """Keep what is said next; what the browsers are to be told of it."""
        said = []
        for message in messages:
            if self.end and type(message) is not End:  # it goes on, as it was before
                self.end = None
                said.append(self._tell_state())
            if type(message) is Bar:
                told = self._close(message) if message.closed else self._form(message)
            elif type(message) is State:
                self.state = message
                told = self._tell_state()
            elif type(message) is End:
                self.end = message
                told = self._tell_state()
            elif type(message) is Instrument:
                told = self._open(message)
            else:
                continue
            if told:
                said.append(told)
        return said

    def _close(self, bar: Bar) -> Short | None:
        row = row_of(bar)
        if bar.time_ms <= self.last_ms and bar.origin == "fallback":
            return None  # a stand-in says nothing of what has been said
        self.n += 1
        if bar.time_ms > self.last_ms:
            self._roll(bar)
            self._insert(len(self._times), row, self.n)
        elif bar.time_ms < self.first_ms:
            self._begun = self.n  # a correction of what is not kept here
        else:
            self._correct(row)
        if self.forming and self.forming[0] <= bar.time_ms:
            self.forming = None
        self._trim()
        return ["b", self.stream, self.n, bar.time_ms, *row[1:6], 1, int(row[6])]

    def _correct(self, row: Row) -> None:
        """Another word on a bar that is there, or one that comes late."""
        at = bisect_left(self._times, row[0])
        if self._times[at] != row[0]:
            self._insert(at, row, self._added[at])
        self._revised[row[0]] = self.n
        for column, value in zip(self._columns, row, strict=True):
            column[at] = value

    def _insert(self, at: int, row: Row, added: int) -> None:
        for column, value in zip(self._columns, row, strict=True):
            column.insert(at, value)
        self._added.insert(at, added)

    def _trim(self) -> None:
        count = len(self._times) - self._most
        if count <= max(self._most // 8, 1):
            return
        first_ms = self._times[count]
        gone = [n for time_ms, n in self._revised.items() if time_ms < first_ms]
        self._begun = max(self._begun, self._added[count - 1], *gone)
        self._revised = {time_ms: n for time_ms, n in self._revised.items() if time_ms >= first_ms}
        for column in self._columns:
            del column[:count]
        del self._added[:count]

    def _form(self, bar: Bar) -> Short | None:
        if bar.time_ms <= self.last_ms:
            return None
        self._roll(bar)
        self.forming = row = row_of(bar)
        return ["b", self.stream, self.n, bar.time_ms, *row[1:6], 0, int(row[6])]

    def _tell_state(self) -> Short:
        self.n += 1
        return ["s", self.stream, self.n, self.shown, self.state.since_ms, self.reason]

    def _open(self, instrument: Instrument) -> Short | None:
        """Something else under the same name begins anew."""
        known, self.instrument = self.instrument, instrument
        if known is None or known.source == instrument.source:
            return None
        self.n += 1
        self.forming = self.previous_close = None
        self.state = State("live", 0)
        self._clear()
        return ["reset", self.stream]

    def _roll(self, bar: Bar) -> None:
        """With a new day of the exchange the close before it is the one that changes are counted from."""
        if bar.time_ms >= self._day_ends:
            if self._times:
                self.previous_close = self._columns[4][-1]
            now = datetime.fromtimestamp(bar.time_ms / 1000, _zone(self.instrument))
            midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
            self._day_ends = midnight.timestamp() * 1000

    # --- what is asked --------------------------------------------------------------------------------------------

    @property
    def last_ms(self) -> float:
        """When the last closed bar opens; before all time if there is none."""
        return self._times[-1] if self._times else -inf

    @property
    def first_ms(self) -> float:
        """When the first bar opens that is kept; after all time if there is none."""
        return self._times[0] if self._times else inf

    @property
    def shown(self) -> str:
        """How the stream is, in a word."""
        return "ended" if self.end else self.state.state

    @property
    def reason(self) -> str:
        """Why it is so."""
        return self.end.reason if self.end else self.state.reason

    @property
    def last(self) -> Row | None:
        """The forming bar, else the last closed one."""
        if self.forming or not self._times:
            return self.forming
        return tuple(column[-1] for column in self._columns)  # type: ignore[return-value]  # there are seven

    def page(
        self, before_ms: float = inf, from_ms: float = -inf, since_n: int | None = None, limit: int = 5000
    ) -> Page:
        """The newest closed bars of a span of time; with ``since_n`` only those that have changed since."""
        low, high = bisect_left(self._times, from_ms), bisect_left(self._times, before_ms)
        if since_n is not None:
            return self._changed(max(low, bisect_right(self._added, since_n)), low, high, since_n, limit)
        first = max(low, high - limit)
        return Page([column[first:high] for column in self._columns], first > low or from_ms < self.first_ms)

    def _changed(self, added: int, low: int, high: int, since_n: int, limit: int) -> Page:
        times = [time_ms for time_ms, n in self._revised.items() if n > since_n]
        places = {bisect_left(self._times, time_ms) for time_ms in times}
        rows = sorted(place for place in places if low <= place < min(added, high))
        rows += range(added, high)
        older = since_n < self._begun or len(rows) > limit
        rows = rows[-limit:]
        return Page([array("d", [column[row] for row in rows]) for column in self._columns], older)

    def about(self) -> dict[str, Any]:
        """The stream's line in the list of streams."""
        last, instrument = self.last, self.instrument
        timeframe = parse_key(self.stream.partition(":")[2]).timeframe
        return {
            "stream": self.stream, "kind": self.kind, "state": self.shown, "reason": self.reason,
            "since_ms": self.state.since_ms, "n": self.n, "bars": len(self._times),
            "instrument": instrument and as_object("", instrument)["message"], "timeframe": timeframe,
            "timeframe_ms": timeframe_ms(timeframe), "last": last and as_row(last),
            "closed_ms": int(self.last_ms) if self._times else None, "previous_close": self.previous_close,
            "run": None, "ended": self.end is not None,
        }  # fmt: skip

    def quote(self) -> Short:
        """Its line in a list of prices."""
        last = self.last
        return [self.stream, last and last[4], self.previous_close, self.shown, last and int(last[0])]


def _zone(instrument: Instrument | None) -> tzinfo:
    try:
        return ZoneInfo(instrument.timezone if instrument and instrument.timezone else "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def as_row(row: Row) -> list[float]:
    """As JSON: the time and the origin are whole numbers."""
    return [int(row[0]), *row[1:6], int(row[6])]


def row_of(bar: Bar) -> Row:
    """A bar in the order of the columns."""
    origin = ORIGINS.index(bar.origin)
    return bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, origin
