"""Buys what has fallen far below its average, sells what has risen far above it, and closes at the average."""

from collections import deque
from dataclasses import dataclass
from statistics import fmean, pstdev

from pynelive import Bar, Order, Strategy


class MeanReversion(Strategy):
    """Enters ``width`` standard deviations away from the mean of ``length`` closes."""

    title = "Mean reversion"

    @dataclass
    class Config:
        length: int = 20
        width: float = 2.0
        size: float = 1.0

    def on_start(self) -> None:
        self.closes: deque[float] = deque(maxlen=self.config.length)
        self.score: float | None = None

    def on_data(self, bar: Bar) -> None:
        self.closes.append(bar.close)
        spread = pstdev(self.closes) if len(self.closes) == self.config.length else 0.0
        self.score = (bar.close - fmean(self.closes)) / spread if spread else None
        self.plot("score", self.score)

    def generate_signals(self) -> list[Order]:
        score, width = self.score, self.config.width
        if score is None:
            return []
        if not self.position and abs(score) > width:
            self.alert(f"{score:+.1f} deviations from the mean")
            return self.target(-self.config.size if score > 0 else self.config.size, comment=f"{score:+.1f}")
        return [self.close(comment="at the mean")] if self.position * score > 0 else []
