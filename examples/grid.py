"""Buys a unit at each step down, and sells it a step higher."""

from dataclasses import dataclass

from pynelive import Bar, Order, Strategy


class Grid(Strategy):
    """Limit orders around the last close, ``steps`` on each side, ``step`` percent apart."""

    @dataclass
    class Config:
        step: float = 0.5
        steps: int = 3
        size: float = 1.0

    def on_data(self, bar: Bar) -> None:
        self.price = bar.close
        self.plot("average", self.average_price)

    def generate_signals(self) -> list[Order]:
        step, size = self.config.step / 100, self.config.size
        held = round(self.position / size)
        buys = [
            self.buy(size, id=f"buy {n}", limit=self.price * (1 - n * step))
            for n in range(1, self.config.steps + 1 - held)
        ]
        sells = [
            self.sell(size, id="sell", limit=(self.average_price or self.price) * (1 + step), closes="*")
        ] if held else []
        unused = [self.cancel(f"buy {n}") for n in range(len(buys) + 1, self.config.steps + 1)]
        return buys + sells + unused
