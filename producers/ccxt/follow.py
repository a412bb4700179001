"""Following streams one by one, where a venue's candles cannot be subscribed together, or are not there at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import ccxt

from ...bus.names import Key, timeframe_ms
from ..contract import Disconnected, Refused
from .errors import meaning
from .subscribe import Market
from .taps import Row
from .trades import Buckets

Take = Callable[[Key, list[Row]], None]
_PATIENCE = 3


class Follower:
    """A task for each stream of a connection; :meth:`run` once."""

    def __init__(
        self, ex: Any, wanted: dict[Key, tuple[Market, str]], way: str, take: Take, refuse: Callable[[Key, str], None],
        answer_s: float,
    ) -> None:  # fmt: skip
        """
        :param way: ``tap`` (the raw frames are taken elsewhere), ``candles`` (as ccxt parses them) or ``trades``
        :param take: gets the rows of ``candles`` and of bars made from ``trades``
        :param refuse: called with each stream that the venue does not give, and why
        :param answer_s: how long the venue may be silent after the subscriptions
        """
        self._ex, self._wanted, self._way = ex, wanted, way
        self._take, self._refuse, self._answer_s = take, refuse, answer_s
        self._fed: set[Key] = set()
        self._frames = 0

    async def run(self) -> None:
        """Follow all streams until one of them finds the connection broken.

        :raises Disconnected: it is, or the venue says nothing at all
        """
        try:
            async with asyncio.TaskGroup() as group:
                for key in self._wanted:
                    group.create_task(self._follow(key))
                group.create_task(self._listen())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    def hear(self, frame: Any) -> None:
        """Count a frame: the venue is there."""
        self._frames += 1

    def fed(self, key: Key) -> None:
        """A candle of this stream has come."""
        self._fed.add(key)

    async def _listen(self) -> None:
        before = self._frames
        await asyncio.sleep(self._answer_s)
        if self._frames == before and self._wanted:
            raise Disconnected(
                f"{self._ex.id.upper()} has not said a word in the {self._answer_s:g} s since the subscriptions",
                kind="protocol",
            )

    async def _follow(self, key: Key) -> None:
        """Follow one stream for ever, or until it is refused."""
        for _ in range(_PATIENCE):
            try:
                await self._stream(key)
            except ccxt.BaseError as error:
                if self._is_final(key, error):
                    self._refuse(key, str(meaning(error, self._ex.id)))
                    return
        self._refuse(key, f"{self._ex.id.upper()} goes on refusing something of this connection")

    def _is_final(self, key: Key, error: Exception) -> bool:
        """Whether an error is about this stream: ccxt tells everybody of every refusal.

        :raises Disconnected: it is about the connection
        """
        meant = meaning(error, self._ex.id)
        if not isinstance(meant, Refused) and type(error) is not ccxt.ExchangeError:
            raise meant from error
        others = [other for other in self._wanted if other != key]
        return self._is_named(key, error) or not any(self._is_named(other, error) for other in others)

    def _is_named(self, key: Key, error: Exception) -> bool:
        market, _ = self._wanted[key]
        return any(
            re.search(rf"(?<![A-Za-z0-9]){re.escape(str(name))}(?![A-Za-z0-9])", str(error))
            for name in (market["id"], market["symbol"])
        )

    async def _stream(self, key: Key) -> None:
        market, timeframe = self._wanted[key]
        if self._way == "trades":
            await self._make(key, market["symbol"])
        while True:
            rows = await self._ex.watch_ohlcv(market["symbol"], timeframe)
            if self._way == "candles":
                self._take(key, [Row("", "", "", int(row[0]), tuple(row[1:6])) for row in rows])

    async def _make(self, key: Key, symbol: str) -> None:
        """Make the bars from trades."""
        buckets = Buckets(timeframe_ms(key.timeframe))
        while True:
            for trade in sorted(await self._ex.watch_trades(symbol), key=_order):
                if row := buckets.add(trade):
                    self._take(key, [row])


def _order(trade: dict[str, Any]) -> tuple[float, int, str]:
    """Venues put the newest first, or not; of one instant the lower id was first."""
    number = str(trade.get("id") or "")
    return trade.get("timestamp") or 0, len(number), number
