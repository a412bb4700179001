"""Bars from a venue's trades, where it has no candles to subscribe."""

from __future__ import annotations

from typing import Any

from .taps import Row


class Buckets:
    """The bar of one stream that its trades form now.

    The first bucket is never told: its beginning was missed. The feed asks the venue's history for it.
    """

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self._first_ms: int | None = None
        self._row: Row | None = None
        self._seen: set[str] = set()

    def add(self, trade: dict[str, Any]) -> Row | None:
        """Take a trade as ccxt parses it; the bar as it is with it, if there is one to tell.

        :raises TypeError, ValueError: it has no price, amount or time
        """
        time_ms, price, amount = int(trade["timestamp"]), float(trade["price"]), float(trade["amount"])
        open_ms = time_ms - self._anchor(time_ms)
        if self._first_ms is None:
            self._first_ms = open_ms
        if open_ms <= self._first_ms or (self._row is not None and open_ms < self._row.time_ms):
            return None
        if self._row is None or open_ms > self._row.time_ms:
            self._row, self._seen = Row("", "", "", open_ms, (price, price, price, price, 0.0)), set()
        if trade.get("id") is not None:
            if trade["id"] in self._seen:
                return None
            self._seen.add(trade["id"])
        self._row = _with(self._row, time_ms, price, amount, trade.get("side") == "buy")
        return self._row

    def _anchor(self, time_ms: int) -> int:
        """How far into its bar a time is; weeks start on Monday, and 1970 began on a Thursday."""
        shift_ms = 3 * 86_400_000 if self._step_ms % 604_800_000 == 0 else 0
        return (time_ms + shift_ms) % self._step_ms


def _with(row: Row, time_ms: int, price: float, amount: float, bought: bool) -> Row:
    before = row.extra or {"trades": 0.0, "quote_volume": 0.0, "taker_base": 0.0}
    extra: dict[str, float | str] = {
        "trades": float(before["trades"]) + 1,
        "quote_volume": float(before["quote_volume"]) + price * amount,
        "taker_base": float(before["taker_base"]) + (amount if bought else 0.0),
    }
    open_, high, low, _, volume = row.values
    values = (open_, max(high, price), min(low, price), price, volume + amount)
    return row._replace(values=values, event_ms=time_ms, extra=extra)
