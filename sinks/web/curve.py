"""A strategy's equity, and how far it is below its peak, on each confirmed bar.

The drawdown is measured as PyneCore and TradingView measure the maximum: from the highest **realised** equity so far
(equity without open profit; the initial capital at first) down to the equity now, open profit included. It is taken at
the close of each bar; PyneCore's maximum also looks at the worst price within a bar, so it can be larger.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import chain
from math import inf

from ...bus.messages import Account, Signal

Point = tuple[int, float, float]
"""Of a bar its time (ms), the equity and the drawdown, both in the account's currency."""


class Curve:
    """The equity of one run.

    :param most: so many bars are kept; the oldest are let go of, an eighth of them at a time
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.peak = -inf
        """The highest realised equity so far."""
        self._times = array("d")
        self._equity = array("d")
        self._drawdown = array("d")

    def add(self, signal: Signal) -> None:
        """A bar was confirmed."""
        self._times.append(signal.time_ms)
        self._equity.append(signal.equity)
        self._drawdown.append(self._below(signal.equity))
        if len(self._times) > self._most + self._most // 8:
            for column in (self._times, self._equity, self._drawdown):
                del column[: -self._most]

    def settle(self, account: Account) -> None:
        """The book behind a bar, which may have a new peak."""
        self.peak = max(self.peak, account.equity - account.open_profit)
        if self._times and self._times[-1] == account.time_ms:
            self._drawdown[-1] = self._below(self._equity[-1])

    def _below(self, equity: float) -> float:
        return max(self.peak - equity, 0.0)

    def points(self, count: int) -> list[Point]:
        """The curve in at most so many points (4 at least): of each stretch its ends and its extremes."""
        bars = len(self._times)
        rows: Iterable[int] = range(bars)
        if bars > count:
            stretch = -(-bars * 4 // max(count, 4))
            rows = chain.from_iterable(self._extremes(range(bars)[at : at + stretch]) for at in range(0, bars, stretch))
        return [(int(self._times[row]), self._equity[row], self._drawdown[row]) for row in rows]

    def _extremes(self, rows: range) -> list[int]:
        equity, drawdown = self._equity, self._drawdown
        return sorted({
            min(rows, key=equity.__getitem__), max(rows, key=equity.__getitem__),
            max(rows, key=drawdown.__getitem__), rows[-1],
        })  # fmt: skip
