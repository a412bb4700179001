"""Capital.com's history: ``GET prices/{epic}``, window by window."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from ...bus.messages import Bar
from ...bus.names import Key, timeframe_ms
from ..calendar import Calendar
from .rows import RESOLUTIONS, naive_iso, price_bar
from .session import Session

_MOST = 1000
_PAGE = 500
_WINDOW = _MOST - 1
"""Bars from edge to edge of a window: both edges count, and a wider one is refused although it may hold few rows."""


class Prices:
    """What the venue's history says of any key."""

    def __init__(self, session: Session, counters: Counter[str]) -> None:
        self.calendars: dict[Key, Calendar] = {}
        """The hours of the keys whose instrument was asked for."""
        self._session = session
        self._counters = counters

    def ends_ms(self, key: Key, open_ms: int) -> int:
        """When a bar that opens then is over: its length, or the end of its session."""
        calendar = self.calendars.get(key)
        return calendar.end_of(open_ms) if calendar else open_ms + timeframe_ms(key.timeframe)

    async def since(self, key: Key, since_ms: int) -> list[Bar]:
        """The bars after ``since_ms``, all of them or a good page; without a time those of the last window."""
        start_ms = since_ms if since_ms > 0 else self._session.now_ms() - _WINDOW * timeframe_ms(key.timeframe)
        page: list[Bar] = []
        async for bars in self._windows(key, start_ms + 1, None):
            page += bars
            if len(page) >= _PAGE:
                break
        return page

    async def between(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """All closed bars that open in the span, ``to_ms`` itself left out."""
        return [bar async for bars in self._windows(key, from_ms, to_ms) for bar in bars
                if bar.closed and bar.time_ms < to_ms]

    async def _windows(self, key: Key, from_ms: int, to_ms: int | None) -> AsyncIterator[list[Bar]]:
        """The bars of one window after the other, until now or ``to_ms``: closed hours may fill whole windows."""
        from_ms = -(-from_ms // 1000) * 1000  # the venue's times are in seconds, both edges included
        now_ms = self._session.now_ms()
        until_ms = now_ms if to_ms is None else min(to_ms, now_ms)
        while from_ms <= until_ms:
            edge_ms = from_ms + _WINDOW * timeframe_ms(key.timeframe)
            yield await self._window(key, from_ms, edge_ms if edge_ms < now_ms else None)
            from_ms = edge_ms + 1000

    async def _window(self, key: Key, from_ms: int, to_ms: int | None) -> list[Bar]:
        """One request; without an end it goes until now, for an end in the future is refused."""
        asked: dict[str, str | int] = {
            "resolution": RESOLUTIONS[key.timeframe], "max": _MOST, "from": naive_iso(from_ms),
        }  # fmt: skip
        if to_ms is not None:
            asked["to"] = naive_iso(to_ms)
        now_ms = self._session.now_ms()  # what forms while it answers is not closed
        told = await self._session.get(f"/prices/{quote(key.symbol, safe='')}", asked)
        return [bar for bar in self._bars(told, key, now_ms) if from_ms <= bar.time_ms <= (to_ms or bar.time_ms)]

    def _bars(self, told: Any, key: Key, now_ms: int) -> list[Bar]:
        """The rows as bars, oldest first; one that cannot be read is counted and left out."""
        rows = told.get("prices") if isinstance(told, dict) else None
        bars = []

        def closed(open_ms: int) -> bool:
            return self.ends_ms(key, open_ms) <= now_ms

        for row in rows if isinstance(rows, list) else ():
            try:
                bars.append(price_bar(row, closed))
            except (KeyError, TypeError, ValueError):
                self._counters["malformed"] += 1
        return sorted(bars, key=lambda bar: bar.time_ms)
