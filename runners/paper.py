"""A simulated book: orders wait, are filled by the bars that come after them, and make a position.

Market orders are filled at the next bar's open. A limit or a stop is filled in the first bar that reaches it, at its
price, or at the open of a bar that opens beyond it. Of several in one bar the first that was placed is filled
first: what the price did inside of a bar is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import copysign

from msgspec import Struct

from ..bus.errors import Hopeless
from ..bus.messages import Account, Bar, Fill, Holding, Order

_KINDS = ("market", "limit", "stop")


class Lot(Struct):
    """What is left of an entry; ``size`` is signed, ``fee`` is what is left of its commission."""

    order: Order
    size: float
    time_ms: int
    price: float
    fee: float


class Book:
    """One position in one instrument; what was bought first is sold first.

    :param cash: the equity at the start
    :param commission: of a fill's value, 0.001 is a tenth of a percent
    :param point: the value of one point of one unit
    """

    def __init__(self, cash: float, commission: float, point: float) -> None:
        self.lots: list[Lot] = []
        self.waiting: dict[str, Order] = {}
        self._cash = cash
        self._profit = 0.0
        self._commission = commission
        self._point = point

    @property
    def position(self) -> float:
        """What is held; negative is short."""
        return sum((lot.size for lot in self.lots), 0.0)

    @property
    def average_price(self) -> float | None:
        """What was paid for it; None if there is nothing."""
        position = self.position
        return sum(lot.size * lot.price for lot in self.lots) / position if position else None

    def equity(self, price: float) -> float:
        """What it would all be worth at the price."""
        return self._cash + self._profit + self._open_profit(price)

    def target(self, price: float) -> float | None:
        """What it will hold when its market orders are filled; None if a share is among them."""
        position = self.position
        for order in (order for order in self.waiting.values() if order.kind == "market"):
            if order.size_of == "available" and not order.closes:
                return None
            position += self._units(order, position, price)
        return position

    def place(self, orders: Iterable[Order]) -> None:
        """Take orders, changes and cancellations; an order with the id of one that waits replaces it.

        :raises Hopeless: an order that no bar could fill
        """
        for order in orders:
            self.waiting.pop(order.id, None)
            if order.op != "cancel":
                self.waiting[order.id] = _sound(order)

    def fill(self, bar: Bar) -> list[Fill]:
        """Fill what a closed bar reaches; the trades that were closed."""
        fills = []
        for order in list(self.waiting.values()):
            price = _price(order, bar)
            if price is not None:
                del self.waiting[order.id]
                fills += self._trade(order, self._units(order, self.position, price), price, bar.time_ms)
        return fills

    def account(self, time_ms: int, price: float) -> Account:
        """The book as others see it."""
        holdings = tuple(
            Holding(lot.order.id, lot.size, lot.time_ms, lot.price, self._gain(lot, lot.size, price), lot.order.comment)
            for lot in self.lots
        )
        return Account(
            time_ms, self.position, self.average_price, self.equity(price), self._open_profit(price), self._profit,
            holdings,
        )  # fmt: skip

    def _units(self, order: Order, position: float, price: float) -> float:
        """The signed size of an order; one that closes never turns the position."""
        size = order.size
        if order.size_of == "available":
            size *= max(self.equity(price), 0.0) / (price * self._point)
        signed = size if order.side == "buy" else -size
        if not order.closes:
            return signed
        return copysign(min(abs(signed), abs(position)), signed) if signed * position < 0 else 0.0

    def _trade(self, order: Order, size: float, price: float, time_ms: int) -> list[Fill]:
        """Close lots of the other side, and open one with what is left."""
        fills = []
        while size and self.lots and self.lots[0].size * size < 0:
            lot = self.lots[0]
            part = copysign(min(abs(size), abs(lot.size)), lot.size)
            fills.append(self._close(lot, part, order, price, time_ms))
            size += part
            if not lot.size:
                self.lots.pop(0)
        if size:
            fee = abs(size) * price * self._point * self._commission
            self._profit -= fee
            self.lots.append(Lot(order, size, time_ms, price, fee))
        return fills

    def _close(self, lot: Lot, size: float, order: Order, price: float, time_ms: int) -> Fill:
        entry_fee = lot.fee * size / lot.size
        exit_fee = abs(size) * price * self._point * self._commission
        gain = self._gain(lot, size, price)
        self._profit += gain - exit_fee
        lot.size, lot.fee = lot.size - size, lot.fee - entry_fee
        return Fill(
            time_ms, lot.order.id, order.id, size, lot.time_ms, lot.price, time_ms, price,
            gain - entry_fee - exit_fee, lot.order.comment, order.comment, entry_fee + exit_fee,
        )  # fmt: skip

    def _gain(self, lot: Lot, size: float, price: float) -> float:
        return size * (price - lot.price) * self._point

    def _open_profit(self, price: float) -> float:
        return sum((self._gain(lot, lot.size, price) for lot in self.lots), 0.0)


def _sound(order: Order) -> Order:
    if order.kind not in _KINDS or order.stop_loss or order.take_profit or order.oca:
        raise Hopeless(f"order '{order.id}': the simulated book fills {', '.join(_KINDS)} orders, each for itself")
    if not order.size > 0:
        raise Hopeless(f"order '{order.id}': its size is {order.size:g}, which must be more than 0")
    if (order.kind == "limit" and order.limit is None) or (order.kind == "stop" and order.stop is None):
        raise Hopeless(f"order '{order.id}': a {order.kind} order needs its price")
    return order


def _price(order: Order, bar: Bar) -> float | None:
    """Where the bar fills the order, if it does."""
    if order.kind == "market":
        return bar.open
    level = order.limit if order.kind == "limit" else order.stop
    assert level is not None
    falls = (order.side == "buy") == (order.kind == "limit")  # a buy limit and a sell stop wait below
    if falls:
        return min(level, bar.open) if bar.low <= level else None
    return max(level, bar.open) if bar.high >= level else None
