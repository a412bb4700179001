"""What a strategy's simulator holds and what stands in its order books, as messages.

PyneCore's books hold what stands. What a strategy wants is how they differ from the bar before: an order that is new
was placed, one that is gone and was not filled was cancelled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

from msgspec import structs

from ..bus.messages import Account, Fill, Holding, Order
from . import pynecore

Wanted = tuple[Order, ...]


class Book:
    """A strategy's orders, as they were at the end of the last bar that was asked about."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Order]] = {}
        self._met: dict[int, tuple[Any, Order]] = {}
        self._filled: set[int] = set()

    def on_order(self, order: Any) -> None:
        """An order is about to be filled: keep one that was placed on this very bar as it is now."""
        if id(order) not in self._known:
            self._met.setdefault(id(order), (order, to_order(order)))

    def on_fill(self, order: Any) -> None:
        """An order was filled."""
        self._filled.add(id(order))

    def turn(self, position: Any) -> tuple[Wanted, Wanted]:
        """What the strategy has placed, changed and cancelled since the last turn; and the orders that stand."""
        if not (position.entry_orders or position.exit_orders or self._known or self._met):
            return (), ()
        now = {id(order): (order, to_order(order)) for order in standing(position)}
        before, self._known = self._known, {}
        heirs = defaultdict(list)  # of orders that are gone: issuing an order again replaces its object
        for number in before.keys() - now.keys():
            heirs[_name(before[number][1])].append(number)
        wanted = []
        met = {number: said for number, said in self._met.items() if number in self._filled}
        for number, (order, said) in {**met, **now}.items():
            if number not in before and heirs[_name(said)]:
                before[number] = before.pop(heirs[_name(said)].pop())
            known = before.pop(number, None)
            taken = {other.id for _, other in (*before.values(), *self._known.values())}
            said = structs.replace(said, id=known[1].id if known else _free(said.id, taken))
            self._known[number] = (order, said)
            if known is None:
                wanted.append(said)
            elif known[1] != said:
                wanted.append(structs.replace(said, op="replace"))
        wanted += [structs.replace(said, op="cancel") for number, (_, said) in before.items()
                   if number not in self._filled]  # fmt: skip
        self._known = {number: known for number, known in self._known.items() if number in now}
        self._met.clear()
        self._filled.clear()
        return tuple(wanted), tuple(said for _, said in self._known.values())


def standing(position: Any) -> Iterable[Any]:
    """The orders in PyneCore's books that can still be filled."""
    orders = (*position.entry_orders.values(), *position.exit_orders.values())
    return (order for order in orders if not order.consumed and (order.is_market_order or _has_price(order)))


def _has_price(order: Any) -> bool:
    prices = (order.limit, order.stop, order.trail_price, order.profit_ticks, order.loss_ticks,
              order.trail_points_ticks)  # fmt: skip
    return any(price is not None for price in prices)


def to_order(order: Any) -> Order:
    """An order of PyneCore's as it is wanted: prices, and distances in prices instead of ticks."""
    closing, tick = pynecore.closes(order), pynecore.mintick()
    trails = order.trail_price is not None or order.trail_points_ticks is not None
    return Order(
        (order.exit_id if closing else order.order_id) or "", "place", "buy" if order.size > 0 else "sell",
        abs(float(order.size)), kind=_kind(order, closing, trails),
        limit=_price(order.limit if order.stop_limit is None else order.stop_limit), stop=_price(order.stop),
        trail_price=_price(order.trail_price), trail_offset=float(order.trail_offset) * tick if trails else None,
        closes=(order.order_id or "*") if closing else "", oca=_group(order.oca_name), comment=order.comment or "",
        profit=_distance(order, order.profit_ticks), loss=_distance(order, order.loss_ticks),
        trail_points=_distance(order, order.trail_points_ticks),
    )  # fmt: skip


def alert_of(order: Any, price: float) -> str:
    """What is to be told when an order is filled; a bracket's legs may have words of their own."""
    legs = {"profit": order.alert_profit, "loss": order.alert_loss, "trailing": order.alert_trailing}
    return str(legs[order.filled_by_type or _leg(order, price)] or order.alert_message or "")


def _leg(order: Any, price: float) -> str:
    """Which leg a price fills; where a market opens beyond one, PyneCore does not say."""
    return "profit" if order.limit is not None and (price - order.limit) * order.sign <= 0 else "loss"


def _distance(order: Any, ticks: Any) -> float | None:
    """From the entry's price, until the entry is filled and this has become a price."""
    return None if ticks is None or order.ticks_resolved else float(ticks) * pynecore.mintick()


def _kind(
    order: Any, closing: bool, trails: bool
) -> Literal["market", "limit", "stop", "stop-limit", "trailing", "bracket"]:
    if order.is_market_order:
        return "market"
    limits = order.limit is not None or order.stop_limit is not None or order.profit_ticks is not None
    stops = order.stop is not None or order.loss_ticks is not None
    if limits + stops + trails > 1:
        return "bracket" if closing else "stop-limit"
    return "trailing" if trails else "limit" if limits else "stop"


def _price(price: Any) -> float | None:
    return None if price is None or price != price else float(price)


def _group(name: str | None) -> str:
    """An exit without a group of its own gets one of PyneCore's, which means nothing to others."""
    return "" if name is None or name.startswith("__exit_") else name


def _name(order: Order) -> tuple[str, str]:
    return order.id.partition("#")[0], order.closes


def _free(name: str, taken: set[str]) -> str:
    """The order's name; of several that stand under one, the others are numbered."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}#{number}"
    return free


def action(wanted: Wanted) -> Literal["buy", "sell", "close", "hold"]:
    """What new orders add up to: the side of the last one that may open, else whether any closes."""
    placed = [order for order in wanted if order.op == "place"]
    opening = [order.side for order in placed if not order.closes]
    return opening[-1] if opening else "close" if placed else "hold"


def target(position: Any) -> float:
    """What is held when the market orders that stand are filled, each in its turn."""
    held = float(position.size)
    for order in position.market_orders.values():
        size = float(order.size)
        if pynecore.closes(order):
            held += max(size, -held) if held > 0 else min(size, -held)
        elif pynecore.reverses(order) and held * size < 0 and not order.skip_flip:
            held = size
        else:
            held += size
    return held


def account(position: Any, equity: float, time_ms: int, orders: Wanted, statistics: dict[str, Any]) -> Account:
    """The book after a bar."""
    holdings = tuple(
        Holding(trade.entry_id or "", float(trade.size), int(trade.entry_time), float(trade.entry_price),
                float(trade.profit), trade.entry_comment or "")
        for trade in position.open_trades
    )  # fmt: skip
    return Account(
        time_ms, float(position.size), _price(position.avg_price) if position.size else None, equity,
        float(position.openprofit), float(position.netprofit), holdings, statistics, orders,
    )  # fmt: skip


def to_fills(trades: Iterable[Any], time_ms: int) -> list[Fill]:
    """The trades that were closed on the bar."""
    return [
        Fill(
            time_ms, trade.entry_id or "", trade.exit_id or "", float(trade.size),
            int(trade.entry_time), float(trade.entry_price), int(trade.exit_time), float(trade.exit_price),
            float(trade.profit), trade.entry_comment or "", trade.exit_comment or "", float(trade.commission),
            float(trade.max_runup), float(trade.max_drawdown),
        )
        for trade in trades
    ]  # fmt: skip
