"""The bar that forms between two closes, made of quotes: Capital.com sends bars only when they are over."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...bus.messages import Bar
from ...bus.names import Key, timeframe_ms

_HOUR_MS = 3_600_000
_HOLD_MS = 15_000
"""So long the first quotes of a bar wait for the close of the one before, which is being confirmed."""


class Forming:
    """One stream's forming bar: bids are prices, and the number of quotes estimates the volume."""

    def __init__(self, key: Key) -> None:
        self._step_ms = timeframe_ms(key.timeframe)
        self._phase_ms = 0
        self._open_ms = 0
        self._before_ms = 0
        self._prices = (0.0, 0.0, 0.0, 0.0)
        self._volume = 0.0
        self.closed: Bar | None = None
        """The last bar that is known to be over, as the history has it."""

    @property
    def closed_ms(self) -> int:
        """When it opened; 0 if there is none."""
        return self.closed.time_ms if self.closed else 0

    def close(self, bar: Bar) -> None:
        """A bar is over."""
        if bar.time_ms > self.closed_ms:
            self.closed, self._phase_ms = bar, bar.time_ms % self._step_ms

    def learn(self, bars: Sequence[Bar]) -> None:
        """Take over what the venue's history says: what is closed, and what it has of the bar that forms."""
        for bar in bars:
            if bar.closed:
                self.close(bar)
            else:
                self._seed(bar)

    def _seed(self, bar: Bar) -> None:
        if bar.time_ms < self._open_ms:
            return
        if bar.time_ms > self._open_ms:
            self._begin(bar.time_ms, bar.close)
        _, high, low, close = self._prices
        self._prices = bar.open, max(high, bar.high), min(low, bar.low), close
        self._volume = max(self._volume, bar.volume)

    def quote(self, time_ms: int, bid: float, ask: float) -> Bar | None:
        """The forming bar after a quote; None for a late one, or while the bar before is not yet confirmed."""
        open_ms = self._slot(time_ms)
        if open_ms is None or open_ms < self._open_ms or open_ms <= self.closed_ms:
            return None
        if open_ms > self._open_ms:
            self._begin(open_ms, bid)
        first, high, low, _ = self._prices
        self._prices = first, max(high, bid), min(low, bid), bid
        self._volume += 1
        if self.closed_ms < self._before_ms and time_ms < open_ms + _HOLD_MS:
            return None
        return Bar(
            open_ms, *self._prices, self._volume, closed=False, received_ns=time.time_ns(),
            extra={"bid": bid, "ask": ask, "spread": abs(ask - bid), "estimated": "volume"},
        )  # fmt: skip

    def _begin(self, open_ms: int, price: float) -> None:
        self._phase_ms = open_ms % self._step_ms
        self._before_ms, self._open_ms = self._open_ms, open_ms
        self._prices, self._volume = (price, price, price, price), 0.0

    def _slot(self, time_ms: int) -> int | None:
        """When the bar of a quote opens; of more than an hour the grid is the venue's, and known from its rows only."""
        if 0 < self._open_ms <= time_ms < self._open_ms + self._step_ms:
            return self._open_ms
        return time_ms - (time_ms - self._phase_ms) % self._step_ms if self._step_ms <= _HOUR_MS else None
