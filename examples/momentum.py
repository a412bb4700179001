"""Holds one unit in the direction in which the price has moved over some bars."""

from collections import deque
from dataclasses import dataclass

from pynelive import Bar, Order, Strategy


class Momentum(Strategy):
    """Long above what the price was ``length`` bars ago, short below."""

    @dataclass
    class Config:
        length: int = 20
        size: float = 1.0

    def on_start(self) -> None:
        self.closes: deque[float] = deque(maxlen=self.config.length + 1)

    def on_data(self, bar: Bar) -> None:
        self.closes.append(bar.close)
        self.plot("momentum", bar.close - self.closes[0])

    def generate_signals(self) -> list[Order]:
        if len(self.closes) <= self.config.length:
            return []
        side = 1 if self.closes[-1] > self.closes[0] else -1
        return self.target(side * self.config.size, comment=f"{self.closes[-1] - self.closes[0]:+.2f}")
