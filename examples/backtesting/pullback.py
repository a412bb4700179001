# SPDX-License-Identifier: AGPL-3.0-or-later
"""Buys a pullback in a rising market, risks a fixed share of the equity, takes half off and trails the rest."""

import numpy as np
import pandas as pd
from backtesting import Strategy


def smooth(values, length):
    return pd.Series(values).ewm(span=length, adjust=False).mean()


def strength(prices, length):
    change = np.diff(prices, prepend=np.nan)
    gain = pd.Series(np.maximum(change, 0)).ewm(alpha=1 / length).mean()
    loss = pd.Series(np.maximum(-change, 0)).ewm(alpha=1 / length).mean()
    return 100 * gain / (gain + loss)


def true_range(data, length):
    before = np.concatenate(([np.nan], data.Close[:-1]))
    span = np.fmax(data.High, before) - np.fmin(data.Low, before)
    return pd.Series(span).rolling(length).mean()


def bands(prices, length, width):
    rolling = pd.Series(prices).rolling(length)
    middle, spread = rolling.mean(), rolling.std()
    return pd.DataFrame({"upper": middle + width * spread, "lower": middle - width * spread})


def highest(prices, length):
    return pd.Series(prices).rolling(length).max()


class Pullback(Strategy):
    trend = 48
    risk = 0.01

    def init(self):
        self.average = self.I(smooth, self.data.Close, self.trend)
        self.rsi = self.I(strength, self.data.Close, 14)
        self.atr = self.I(true_range, self.data, 14)
        self.bands = self.I(bands, self.data.Close, 20, 2.0)
        self.peak = self.I(highest, self.data.High, 10)
        self.halved = False

    def next(self):
        price = self.data.Close[-1]
        for trade in self.trades:
            trade.sl = max(trade.sl or 0, price - 3 * self.atr[-1])
        if not self.position:
            self.halved = False
            self.enter(price, self.atr[-1])
        elif not self.halved and price > self.bands[0][-1]:
            self.position.close(0.5)
            self.halved = True
        elif self.rsi[-1] > 75:
            self.position.close()

    def enter(self, price, atr):
        for order in self.orders:
            order.cancel()
        if price <= self.average[-1]:
            return
        if self.rsi[-1] < 50:
            units = max(int(self.equity * self.risk / (3 * atr)), 1)
            self.buy(size=units, sl=price - 3 * atr, tp=price + 6 * atr, tag="pullback")
        elif price >= self.peak[-2]:
            self.buy(size=0.2, limit=price - atr / 2, sl=price - 4 * atr, tag="breakout")
