# SPDX-License-Identifier: AGPL-3.0-or-later
"""Strategies of backtesting.py that a live engine has to get right, and three that look ahead."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
from backtesting import Strategy
from backtesting.lib import SignalStrategy, TrailingStrategy, crossover, resample_apply


def mean(values: Any, length: int) -> Any:
    return pd.Series(values).rolling(length).mean()


class Trail(TrailingStrategy):  # type: ignore[misc]
    """The library's own trailing stop: an array that it reads by the number of the bar."""

    def init(self) -> None:
        super().init()
        self.set_trailing_sl(4)
        self.slow = self.I(mean, self.data.Close, 30)

    def next(self) -> None:
        super().next()
        if not self.position and self.data.Close[-1] > self.slow[-1]:
            self.buy(size=0.5)


class TrailPct(Trail):
    """Its distance is an average over all of the data."""

    def init(self) -> None:
        super().init()
        self.set_trailing_pct(0.05)


class Vec(SignalStrategy):  # type: ignore[misc]
    """Entries and exits as vectors, by the library's own helper."""

    def init(self) -> None:
        super().init()
        fast, slow = mean(self.data.Close, 12), mean(self.data.Close, 26)
        up = (fast > slow) & (fast.shift(1) <= slow.shift(1))
        down = (fast < slow) & (fast.shift(1) >= slow.shift(1))
        self.set_signal(0.6 * up, 1.0 * down)


class Mtf(Strategy):  # type: ignore[misc]
    """An average of the closes of a longer timeframe."""

    rule = "W-FRI"

    def init(self) -> None:
        self.slow = resample_apply(self.rule, mean, self.data.Close, 5)

    def next(self) -> None:
        if crossover(self.data.Close, self.slow):
            self.buy(size=0.4)
        elif crossover(self.slow, self.data.Close):
            self.position.close()


class Cum(Strategy):  # type: ignore[misc]
    """An average over all bars that there ever were."""

    def init(self) -> None:
        close, volume = pd.Series(self.data.Close), pd.Series(self.data.Volume)
        ratio = (close / mean(close, 20)).fillna(1)
        self.ratio = self.I(lambda: ratio, name="ratio")
        self.usual = self.I(lambda: (ratio * volume).cumsum() / volume.cumsum(), name="usual")

    def next(self) -> None:
        if crossover(self.ratio, self.usual):
            self.buy(size=0.3)
        elif crossover(self.usual, self.ratio):
            self.position.close()


class Rand(Strategy):  # type: ignore[misc]
    """Its memory is a generator: one call too many and nothing is the same."""

    def init(self) -> None:
        self.chance = random.Random(3)

    def next(self) -> None:
        drawn = self.chance.random()
        if drawn < 0.08:
            self.buy(size=0.1 + drawn, sl=self.data.Close[-1] * 0.95)
        elif drawn < 0.14:
            self.sell(size=2)
        elif drawn < 0.2:
            self.position.close(0.5)


class Repaint(Strategy):  # type: ignore[misc]
    """A mean and a deviation over all of the data, and an average that is centred."""

    def init(self) -> None:
        close = pd.Series(self.data.Close)
        self.z = self.I(lambda: (close - close.mean()) / close.std(), name="z")
        self.m = self.I(lambda: close.rolling(5, center=True, min_periods=1).mean(), name="m")

    def next(self) -> None:
        if crossover(self.data.Close, self.m) and self.z[-1] < 0:
            self.buy(size=0.5)
        elif crossover(self.m, self.data.Close):
            self.position.close()


class ListInd(Strategy):  # type: ignore[misc]
    """The library reveals no indicator that is in a list: in a backtest the last value is that of the last bar."""

    def init(self) -> None:
        self.s = [self.I(mean, self.data.Close, length) for length in (10, 20)]

    def next(self) -> None:
        if self.data.Close[-1] > self.s[0][-1] and not self.position:
            self.buy(size=0.5)
        elif self.data.Close[-1] < self.s[1][-1]:
            self.position.close()
