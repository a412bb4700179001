# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two moving averages: long when the fast one crosses above the slow one, short when it crosses below."""

import pandas as pd
from backtesting import Strategy
from backtesting.lib import crossover

LOOKBACK = 21  # the slow average, and one bar more to see it crossed


def mean(prices, length):
    return pd.Series(prices).rolling(length).mean()


class SmaCross(Strategy):
    fast = 10
    slow = 20

    def init(self):
        self.quick = self.I(mean, self.data.Close, self.fast)
        self.calm = self.I(mean, self.data.Close, self.slow)

    def next(self):
        if crossover(self.quick, self.calm):
            self.position.close()
            self.buy()
        elif crossover(self.calm, self.quick):
            self.position.close()
            self.sell()
