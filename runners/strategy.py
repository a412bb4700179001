"""A strategy in Python: told every bar, and asked behind each what it wants.

    from pynelive import Bar, Order, Strategy

    class Momentum(Strategy):
        def on_data(self, bar: Bar) -> None: ...
        def generate_signals(self) -> list[Order]: ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..bus.messages import Alert, Bar, Instrument, Log, Message, Order

Side = Literal["buy", "sell"]


class Strategy(ABC):
    """What a person writes; ``runners/python.py`` runs it.

    One object a stream, made anew at every start: it is then told everything again, and must say the same. So it
    asks no clock and no network, and draws no random numbers without a seed.
    """

    @dataclass
    class Config:
        """The inputs with their defaults; unknown keys and wrong types are refused before the start."""

    title: ClassVar[str] = ""
    """What it is called; the name of its class by default."""

    def __init__(self, config: Any, instrument: Instrument) -> None:
        self.config = config
        self.instrument = instrument
        """What is traded; of a stream ``run:…`` nothing is known but its name."""
        self.position = 0.0
        """What it holds; negative is short."""
        self.average_price: float | None = None
        self.equity = 0.0
        self.confidence: float | None = None
        """What it says of its signals, from 0 to 1."""
        self.time_ms = 0
        """Of the bar that it was told last."""
        self.plots: dict[str, float | str | bool | None] = {}
        self.said: list[Message] = []
        self._orders = 0

    # --- what is asked of it --------------------------------------------------------------------------------

    def on_start(self) -> None:  # noqa: B027 - not every one has something to prepare
        """Once, before anything else."""

    @abstractmethod
    def on_data(self, bar: Bar) -> None:
        """Each closed bar, those of the warm-up first; with ``updates = "all"`` forming ones too."""

    def on_message(self, stream: str, message: Message) -> None:  # noqa: B027
        """Whatever else it was given to read: what a script says (``Plot``, ``Signal`` …), other bars, a ``State``."""

    def generate_signals(self) -> Iterable[Order]:
        """What it wants, behind each closed bar; without this method it is an indicator."""
        return ()

    def on_stop(self) -> None:  # noqa: B027
        """Once, at the end."""

    # --- what it may say ------------------------------------------------------------------------------------

    def plot(self, title: str, value: float | None) -> None:
        """A value at this bar; None is Pine's na."""
        self.plots[title] = value

    def alert(self, message: str, title: str = "") -> None:
        """Something that a person is to hear."""
        self.said.append(Alert(self.time_ms, message, "all", title))

    def log(self, text: str, level: str = "info") -> None:
        """Something for the log."""
        self.said.append(Log(self.time_ms, level, text))

    # --- what it may want -----------------------------------------------------------------------------------

    def buy(self, size: float, **order: Any) -> Order:
        """Buy so much: at the next open, or at a ``limit`` or ``stop``; other fields of ``Order`` by name."""
        return self._order("buy", size, order)

    def sell(self, size: float, **order: Any) -> Order:
        """Sell so much, as with ``buy``; what is not held is sold short."""
        return self._order("sell", size, order)

    def close(self, **order: Any) -> Order:
        """Close all that is held."""
        side: Side = "sell" if self.position > 0 else "buy"
        return self._order(side, abs(self.position) or 1.0, {"closes": "*", **order})

    def target(self, size: float, **order: Any) -> list[Order]:
        """Hold so much (negative is short) from the next open on: one order, or none if it is held already."""
        if size == self.position:
            return []
        if size == 0:
            return [self.close(**order)]
        change = size - self.position
        return [self.buy(change, **order) if change > 0 else self.sell(-change, **order)]

    def cancel(self, order_id: str) -> Order:
        """Take back an order that waits."""
        return Order(order_id, "cancel", "buy", 0.0)

    def _order(self, side: Side, size: float, order: dict[str, Any]) -> Order:
        self._orders += 1
        kind = "limit" if order.get("limit") is not None else "stop" if order.get("stop") is not None else "market"
        return Order(**{"id": str(self._orders), "op": "place", "side": side, "size": size, "kind": kind, **order})
