"""What is asked of a ccxt exchange by REST: its markets, its time and its candles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from math import isfinite
from typing import Any, TypeVar

import ccxt

from ...bus.messages import Bar
from ...bus.names import Key, timeframe_ms
from .. import clock
from ..budget import LOOK, Budget, urgency
from ..contract import Disconnected, Refused
from ..venue_clock import VenueClock
from . import symbols
from .errors import meaning
from .venues import Venue

T = TypeVar("T")
BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What comes of an answer, or of a frame, that is not as documented."""
_RATE_PAUSE_S = 5.0
_CLOCK_LOOK_S = 1.0
_PAGE = 100
_ENOUGH = 100
"""So many candles are a good answer to what is new: whoever wants more asks on from there."""


class Rest:
    """One exchange's requests, within its budget; every failure is one of the contract's."""

    def __init__(self, ex: Any, venue: Venue, budget: Budget) -> None:
        self._ex, self._venue, self._budget = ex, venue, budget
        self._loading = asyncio.Lock()
        self.clock = VenueClock()

    async def load(self) -> None:
        """Get the table of markets, once.

        :raises Disconnected: there is none, or an empty one
        """
        async with self._loading:
            if not self._ex.markets:
                await self._asked(self._ex.load_markets(True))
            if not self._ex.markets:  # ccxt makes that of an answer that it could not read
                raise Disconnected(f"{self._ex.id.upper()} has sent an empty table of markets", kind="protocol")

    async def compare_clocks(self) -> None:
        """Ask what time it is there; where that cannot be asked, what comes live has to tell it.

        :raises Disconnected: the venue wants to be left alone
        """
        if self._ex.has.get("fetchTime") is not True:
            return
        sent_s = clock.monotonic()
        try:
            self.clock.told(int(await self._asked(self._ex.fetch_time())), sent_s)
        except (Disconnected, Refused, TypeError) as error:
            if isinstance(error, Disconnected) and error.kind in ("rate", "banned", "maintenance"):
                raise

    async def mind_clock(self) -> None:
        """Compare the clocks again whenever it is due, until cancelled; a failure is none of the stream's."""
        urgency.set(LOOK)
        while True:
            await asyncio.sleep(max(_CLOCK_LOOK_S / clock.SPEED, 0.1))
            if self.clock.is_due():
                with suppress(Disconnected):
                    await self.compare_clocks()

    def market(self, key: Key) -> dict[str, Any]:
        """The market of a stream.

        :raises Refused: there is none
        """
        return symbols.market_of(self._ex, symbols.split(key.symbol)[1])

    def page_size(self, key: Key) -> int:
        """How many candles one answer has."""
        if self._venue.page:
            return self._venue.page
        said = self._ex.feature_value(symbols.split(key.symbol)[1], "fetchOHLCV", "limit")
        return int(said) if said else _PAGE

    async def page(self, key: Key, since_ms: int | None, limit: int) -> list[Bar]:
        """Candles from a time on, oldest first, or the last ones; the one that forms now is not closed.

        :raises Refused: the venue has no such candles
        """
        await self.load()
        symbol, timeframe = self.market(key)["symbol"], symbols.timeframe_of(key.timeframe)
        now_ms, step_ms = self.clock.now_ms(), timeframe_ms(key.timeframe)  # what forms while it answers is not closed
        rows = await self._asked(self._ex.fetch_ohlcv(symbol, timeframe, since_ms, limit))
        try:
            bars = [_bar(row, now_ms - step_ms) for row in rows]
        except BROKEN as error:
            raise self._garbled(error) from error
        bars.sort(key=lambda bar: bar.time_ms)
        return [bar for bar in bars if since_ms is None or bar.time_ms >= since_ms]

    async def since(self, key: Key, since_ms: int) -> list[Bar]:
        """The candles after a time, all of them or a good page of the oldest.

        Many venues answer for a window of time and leave quiet bars out, so that a short answer, or an empty one, only
        is the end when its window reaches until now.
        """
        step_ms, size = timeframe_ms(key.timeframe), self.page_size(key)
        found: list[Bar] = []
        at_ms, now_ms = since_ms + 1, self.clock.now_ms()
        while len(found) < _ENOUGH:
            limit = max(2, min((now_ms - at_ms) // step_ms + 2, size))
            page = await self.page(key, at_ms, limit)
            found += page
            if at_ms + limit * step_ms > now_ms:
                break
            at_ms = page[-1].time_ms + 1 if page else at_ms + (limit - 1) * step_ms  # its edge may not count
        return found

    async def download(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The closed candles of a span, page by page; after an empty page the next one begins where it would end."""
        await self.load()
        step_ms, size = timeframe_ms(key.timeframe), self.page_size(key)
        found: list[Bar] = []
        at_ms, end_ms = from_ms, min(to_ms, self.clock.now_ms())
        while at_ms < end_ms:
            page = await self.page(key, at_ms, size)
            found += [bar for bar in page if bar.closed and bar.time_ms < to_ms]
            at_ms = page[-1].time_ms + step_ms if page else at_ms + size * step_ms
        return found

    async def _asked(self, question: Awaitable[T]) -> T:
        try:
            return await question
        except ccxt.BaseError as error:
            meant = meaning(error, self._ex.id)
            if isinstance(meant, Disconnected) and meant.kind in ("rate", "banned"):
                self._budget.hold(meant.retry_after or _RATE_PAUSE_S)
            raise meant from error
        except BROKEN as error:
            raise self._garbled(error) from error

    def _garbled(self, error: Exception) -> Disconnected:
        said = f"{type(error).__name__}: {error}"
        return Disconnected(f"{self._ex.id.upper()} has sent an answer that cannot be read ({said})", kind="protocol")


def _bar(row: Any, last_closed_ms: int) -> Bar:
    """A candle of six numbers, and what the venue says beyond them.

    :raises TypeError, ValueError: it is none; ccxt makes such ones of what is no list of candles
    """
    time_ms, open_, high, low, close, volume = (float(value) for value in row[:6])
    if time_ms <= 0 or not all(map(isfinite, (open_, high, low, close, volume))):
        raise ValueError(f"{row!r:.80} is no candle")
    return Bar(
        int(time_ms), open_, high, low, close, volume, closed=time_ms <= last_closed_ms, origin="backfill",
        received_ns=time.time_ns(), extra=row[6] if len(row) > 6 and row[6] else None,
    )  # fmt: skip
