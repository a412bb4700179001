"""The bars that are made of CoinMarketCap's prices, and the instruments of its coins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from ...bus.messages import Bar, Instrument, Span
from ...bus.names import Key, timeframe_ms
from .wire import Quote, known

_OWN = {"none": frozenset(), "hourly": frozenset({"60", "1D"}), "daily": frozenset({"1D"})}
_WEEK = tuple(Span(day, 0, 86_399) for day in range(7))


def exact(key: Key, history: str) -> bool:
    """Whether the plan has the venue's own bars of this length."""
    return key.timeframe in _OWN[history]


def split(key: Key) -> tuple[str, str]:
    """The coin and the currency of ``BTC/USD`` or ``id:1/USD``."""
    coin, _, currency = key.symbol.rpartition("/")
    return coin, currency


class Samples:
    """The bar that one stream's prices make.

    It is closed by the first price of the next bar, if prices came steadily from just before it until then, and
    enough of them: a bar that was joined late, or has a hole in it, stays a forming one.
    """

    def __init__(self, key: Key, at_least: int) -> None:
        self._length_ms = timeframe_ms(key.timeframe)
        self._at_least = at_least
        self._forming: Bar | None = None
        self._last_ms = self._count = 0
        self._whole = False
        self.thin = 0
        """How many bars were not closed, for want of prices."""

    def take(self, quote: Quote, patience_ms: float, received_ns: int) -> list[Bar]:
        """The bar that this price closes, if it does, and the one that forms; nothing if the price is known."""
        if quote.time_ms <= self._last_ms:
            return []
        steady = quote.time_ms <= self._last_ms + patience_ms
        self._last_ms = quote.time_ms
        open_ms = quote.time_ms - quote.time_ms % self._length_ms
        closed = self._closed(open_ms, steady)
        if self._forming is None:
            price = quote.price
            self._forming, self._count, self._whole = Bar(open_ms, price, price, price, price, 0.0), 0, steady
        self._count += 1
        self._whole &= steady
        self._forming = replace(
            self._forming, high=max(self._forming.high, quote.price), low=min(self._forming.low, quote.price),
            close=quote.price, closed=False, origin="sampled", received_ns=received_ns,
            extra=known(samples=self._count, volume_24h=quote.volume_24h, market_cap=quote.market_cap),
        )  # fmt: skip
        return [*closed, self._forming]

    def _closed(self, open_ms: int, steady: bool) -> list[Bar]:
        before = self._forming
        if before is None or open_ms == before.time_ms:
            return []
        self._forming = None
        if self._whole and steady and self._count >= self._at_least:
            return [replace(before, closed=True)]
        self.thin += 1
        return []


def instrument(key: Key, coin: Mapping[str, Any], price: float, history: str) -> Instrument:
    """The instrument, with a tick of seven digits of the price: the venue itself has none.

    ``{"id":1,"name":"Bitcoin","symbol":"BTC","slug":"bitcoin","is_active":1,"cmc_rank":1,"quote":{"USD":{…}}}``
    """
    currency, own = split(key)[1], exact(key, history)
    digits = min(max(6 - math.floor(math.log10(price)), 2), 9) if price > 0 else 9
    return Instrument(
        ticker=f"{coin['symbol']}{currency}",
        timeframe=key.timeframe,
        prefix="COINMARKETCAP",
        description=f"{coin['name']} in {currency}",
        currency=currency,
        basecurrency=coin["symbol"],
        mintick=1 / 10**digits,
        pricescale=10**digits,
        volumetype="quote" if own else "base",
        opening_hours=_WEEK,
        session_starts=tuple(Span(day, 0, 0) for day in range(7)),
        session_ends=tuple(Span(day, 86_399, 0) for day in range(7)),
        source=f"coinmarketcap:{coin['id']}:{'ohlcv' if own else 'sampled'}",
    )
