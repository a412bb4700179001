"""Streams that are made from another one, never in its place: holes filled, or prices smoothed.

``derive = { "BINANCE:BTC/USDT@1" = ["fill", "mean:5"] }`` publishes ``…BTC/USDT~fill@1`` and ``…BTC/USDT~mean:5@1``
beside the stream itself. Every bar of them has origin ``derived``; one that nobody traded has ``extra["filled"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from ..bus.archive import Archive, Page
from ..bus.errors import Hopeless
from ..bus.messages import Bar, StreamState
from .calendar import Calendar
from .ledger import Ledger

MEMORY = 1024
"""Bars of a derived stream that are known by heart: of a sparse source, many are made of a few."""

LONGEST = 60
"""Of a mean, in bars: what a ledger remembers has to be enough to make them again after a restart."""

_PRICES = ("open", "high", "low", "close")

Method = Callable[[Sequence[Bar], int, Calendar], Iterator[Bar]]
"""Makes the derived bars from the index of the first bar that is new or has changed."""


def method_of(name: str) -> Method:
    """The method called ``fill`` or ``mean:N``.

    :raises ValueError: there is none of that name
    """
    kind, _, length = name.partition(":")
    if name == "fill":
        return _fill
    if kind == "mean" and length.isdecimal() and 2 <= int(length) <= LONGEST:
        return partial(_mean, int(length))
    raise ValueError(f"'{name}' is none: there is fill, and mean:2 … mean:{LONGEST}")


def fault_of(name: str) -> str:
    """Why there is no such method; empty if there is."""
    try:
        method_of(name)
    except ValueError as error:
        return str(error)
    return ""


class DerivedArchive(Archive):
    """The past of a producer's streams, of the derived ones too: made of their sources' past.

    :param sources: by derived stream what it is made of and how; filled as the streams are begun
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.sources: dict[str, tuple[str, str, Calendar]] = {}

    async def older(self, stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        if stream not in self.sources:
            return await self._archive.older(stream, count, after_ms, before_ms)
        source, name, calendar = self.sources[stream]
        earlier_ms = max(after_ms - LONGEST * calendar.length_ms, 0)
        bars = await self._archive.older(source, count + LONGEST, earlier_ms, before_ms)
        return [bar for bar in method_of(name)(bars, 0, calendar) if bar.time_ms > after_ms][-count:]

    async def fetch(self, stream: str, from_ms: int, to_ms: int, fresh: bool = False) -> Page:
        if stream in self.sources:
            raise Hopeless(f"{stream} is derived: download {self.sources[stream][0]}, which it is made of")
        return await self._archive.fetch(stream, from_ms, to_ms, fresh)

    async def symbols(self, search: str = "") -> list[str]:
        return await self._archive.symbols(search)


class Derived:
    """One derived stream: follows the ledger of its source, corrections included."""

    def __init__(self, source: Ledger, own: Ledger, calendar: Calendar, name: str) -> None:
        self._source = source
        self._own = own
        self._calendar = calendar
        self._method = method_of(name)
        source.followers.append(self)
        self.follow(0)  # a kill may have come between the source's bar and what follows from it

    def say(self, state: StreamState, since_ms: int, reason: str) -> None:
        """It is as its source is."""
        self._own.say(state, since_ms, reason)

    def follow(self, time_ms: int) -> None:
        """The source's bar of a time is new or has changed: say what follows from it."""
        bars = [bar for bar in self._source.remembered() if bar.origin != "fallback"]  # its own may still come
        first = next((index for index, bar in enumerate(bars) if bar.time_ms >= time_ms), len(bars))
        for bar in self._method(bars, first, self._calendar):
            if self._own.last is None or bar.time_ms > self._own.floor_ms:
                self._own.publish(bar)


def _fill(bars: Sequence[Bar], first: int, calendar: Calendar) -> Iterator[Bar]:
    """The bars themselves, and one for each empty place before them: all prices the close before it, no volume."""
    for index in range(first, len(bars)):
        if index:
            before = bars[index - 1]
            time_ms = calendar.next_open(before.time_ms)
            while time_ms < bars[index].time_ms:
                price = before.close
                yield Bar(time_ms, price, price, price, price, 0.0, origin="derived", extra={"filled": 1.0})
                time_ms = calendar.next_open(time_ms)
        yield replace(bars[index], origin="derived", revision=0)


def _mean(length: int, bars: Sequence[Bar], first: int, calendar: Calendar) -> Iterator[Bar]:
    """Each price the mean of that price in the last bars; the volume is the bar's own."""
    for index in range(max(first, length - 1), len(bars)):
        window = bars[index + 1 - length : index + 1]
        open_, high, low, close = (sum(getattr(bar, name) for bar in window) / length for name in _PRICES)
        yield Bar(bars[index].time_ms, open_, high, low, close, bars[index].volume, origin="derived")
