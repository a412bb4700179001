# SPDX-License-Identifier: AGPL-3.0-or-later
"""The self-test that a runner begins with: live equals a backtest, with the library that is installed here."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from itertools import pairwise
from math import sin

import numpy as np

from ...bus.errors import Hopeless
from ...bus.messages import Bar
from .compare import backtest, differing, frame, live
from .library import Strategy
from .settings import Settings

_BARS = 300
_FEWEST = 20


class _Trial(Strategy):  # type: ignore[misc]
    """Orders of each kind, stops that trail and a partial close, on waves."""

    def init(self) -> None:
        self.fast = self.I(_mean, self.data.Close, 4)
        self.slow = self.I(_mean, self.data.Close, 12)

    def next(self) -> None:
        price = self.data.Close[-1]
        for trade in self.trades:
            trade.sl = max(trade.sl or 0, price * 0.96)
        if len(self.data) % 40 == 0:
            self.position.close(0.5)
        if not self.position and self.fast[-1] > self.slow[-1]:
            for order in self.orders:
                order.cancel()
            self.buy(size=0.5, sl=price * 0.96, tp=price * 1.05)
            self.buy(size=3, limit=price * 0.99, tag="limit")


def _mean(values: np.ndarray, count: int) -> np.ndarray:
    sums = np.cumsum(np.insert(values, 0, 0.0))
    return np.concatenate((np.full(count - 1, np.nan), (sums[count:] - sums[:-count]) / count))


@cache
def self_test() -> None:
    """Run it, once a process.

    :raises Hopeless: another version of the library works in another way
    """
    closes = [100 + 8 * sin(n / 7) + 3 * sin(n / 2.3) for n in range(_BARS + 1)]
    bars = frame(
        Bar(n * 86_400_000, before, max(before, close) + 1, min(before, close) - 1, close, 1.0)
        for n, (before, close) in enumerate(pairwise(closes))
    )
    said = backtest(_Trial, {}, Settings(), bars)
    ordered = sum(len(decision.placed) for decision in said.values())
    if ordered < _FEWEST or differing(said, live(_Trial, {}, Settings(), bars, _BARS // 3)):
        raise Hopeless(
            f"backtesting.py {version('backtesting')} does not decide live as in a backtest: "
            "pip install 'pynelive[backtesting]' for a version that does"
        )
