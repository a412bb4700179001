# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a step of the engine is in the bus's own messages.

An order is called after its bar and its place among the bar's orders (``1700000000000:0``), a trade after the order
that opened it, its stop and its target after the trade (``…:sl``, ``…:tp``): the same bars give the same names.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from ...bus.messages import Account, Fill, Holding, Message, Order, Signal
from ..figures import Figures
from . import library
from .engine import Engine, Step, without

Phase = Literal["history", "live"]
_SL, _TP = ":sl", ":tp"


class Reporter:
    """Says what an engine does, step by step."""

    def __init__(self, engine: Engine, cash: float) -> None:
        self._engine = engine
        self._cash = cash
        self._account: Account | None = None
        self._profit = 0.0
        self._figures = Figures(cash)

    def report(self, step: Step, phase: Phase = "live") -> list[Message]:
        """The trades that were closed and the signal; of history, a signal only where there are orders in it."""
        self._name_trades(step)
        fills = [self._fill(trade, step) for trade in step.closed]
        self._profit += sum(fill.profit for fill in fills)
        for fill in fills:
            self._figures.add(fill)
        signal = self._signal(step, phase)
        return [*fills, signal] if phase == "live" or signal.orders else [*fills]

    def account(self, time_ms: int) -> list[Message]:
        """The book, if it is another one than was said last."""
        broker = self._engine.broker
        trades = tuple(
            Holding(trade.live_id, float(trade.size), self._time(trade.entry_bar), float(trade.entry_price),
                    float(trade.pl), _text(trade.tag))
            for trade in broker.trades
        )  # fmt: skip
        size = sum(trade.size for trade in trades)
        average = sum(trade.size * trade.entry_price for trade in trades) / size if size else None
        equity, open_profit = self._equity(), float(broker.position.pl) if trades else 0.0
        said = Account(time_ms, size, average, equity, open_profit, self._profit, trades)
        self._figures.mark(self._cash + self._profit, equity - open_profit + self._worst())
        if self._account and replace(self._account, time_ms=time_ms) == said:
            return []
        self._account = said
        return [replace(said, statistics=self._figures.news(self._profit))]

    def _worst(self) -> float:
        """The least open profit within the bar."""
        data = self._engine.data
        return min(
            float(sum(trade.size * (prices[-1] - trade.entry_price) for trade in self._engine.broker.trades))
            for prices in (data.Low, data.High)
        )

    def flatten(self, time_ms: int) -> list[Message]:
        """The end: what would close all that is open, ordered and never filled here."""
        engine = self._engine
        step = Step(time_ms, len(engine.data) - 1, decided=True)
        waiting = list(engine.broker.orders)
        for trade in engine.broker.trades:
            trade.close()
        step.placed = without(engine.broker.orders, waiting)
        for number, order in enumerate(step.placed):
            order.live_id = f"{time_ms}:end:{number}"
        return [replace(self._signal(step, "live"), reason="the stream is over")] if step.placed else []

    # --- trades ---------------------------------------------------------------------------------------------

    def _name_trades(self, step: Step) -> None:
        """Call each new trade after its order: the first of those gone that has its direction and its tag."""
        entries = [order for order in step.gone if not order.parent_trade]
        named: dict[tuple[int, float], str] = {}
        for trade in step.opened:
            if hasattr(trade, "live_id"):
                continue  # it is the closed part of one that has a name
            place = trade.entry_bar, trade.entry_price
            order = next((o for o in entries if o.is_long == trade.is_long and o.tag is trade.tag), None)
            if order:
                entries.remove(order)
                named[place] = order.live_id
            trade.live_id = named[place]

    def _fill(self, trade: library.Trade, step: Step) -> Fill:
        exit_id, why = self._exit(trade, step)
        return Fill(
            step.time_ms, trade.live_id, exit_id, float(trade.size), self._time(trade.entry_bar),
            float(trade.entry_price), self._time(trade.exit_bar), float(trade.exit_price), float(trade.pl),
            _text(trade.tag), why, float(trade._commissions),
        )  # fmt: skip

    def _exit(self, trade: library.Trade, step: Step) -> tuple[str, str]:
        """Which order has closed the trade, and the word for it."""
        for order in step.gone:
            if order.parent_trade and order.parent_trade.live_id == trade.live_id and not _part(order):
                return order.live_id, "close"
        if (target := trade._tp_order) and target.limit * trade.size <= trade.exit_price * trade.size:
            return trade.live_id + _TP, "take profit"
        if (stop := trade._sl_order) and (stop.stop is None or self._touched(stop.stop, trade.is_long)):
            return trade.live_id + _SL, "stop loss"
        for order in step.gone:
            if not order.parent_trade and order.is_long != trade.is_long:
                return order.live_id, "reverse"
        return "", "out of money"

    def _touched(self, price: float, long: bool) -> bool:
        data = self._engine.data
        return bool(data.Low[-1] <= price if long else data.High[-1] >= price)

    def _time(self, place: int) -> int:
        return self._engine.data.time_ms(place)

    # --- the signal -----------------------------------------------------------------------------------------

    def _signal(self, step: Step, phase: Phase) -> Signal:
        orders = self._orders(step)
        action, reason = _action(step.placed)
        if self._engine.halted:
            reason = "halted: the money is gone"
        elif not step.decided:
            reason = "warming up"
        elif step.withheld:
            reason = f"{step.withheld} withheld: the stream is out"
        held = float(self._engine.broker.position.size)
        return Signal(
            step.time_ms, action, held, self._equity(), reason, float(self._engine.data.Close[-1]),
            _target(held, step.placed), orders, self._confidence(step), phase,
        )  # fmt: skip

    def _orders(self, step: Step) -> tuple[Order, ...]:
        """What was placed, in the broker's order, then what was taken back and not replaced."""
        for number, order in enumerate(step.placed):
            if not (_part(order) or hasattr(order, "live_id")):
                order.live_id = f"{step.time_ms}:{number}"
        before = {_id(order) for order in step.cancelled}
        placed = [_order(order, "replace" if _id(order) in before else "place") for order in step.placed]
        kept = {order.id for order in placed}
        return (*placed, *(_order(order, "cancel") for order in step.cancelled if _id(order) not in kept))

    def _equity(self) -> float:
        return float(self._engine.broker.equity)

    def _confidence(self, step: Step) -> float | None:
        """The strategy's own word, by an order's tag or an attribute; nothing is made up."""
        tags = [order.tag["confidence"] for order in step.placed
                if isinstance(order.tag, dict) and "confidence" in order.tag]  # fmt: skip
        said = tags[-1] if tags else getattr(self._engine.strategy, "confidence", None)
        return float(said) if isinstance(said, int | float) else None


def _part(order: library.Order) -> str:
    """``:sl`` or ``:tp`` for the stop or the target of a trade, nothing for an order of its own."""
    if order.parent_trade is None:
        return ""
    return _SL if order.stop else _TP if order.limit else ""


def _id(order: library.Order) -> str:
    return str(order.parent_trade.live_id + _part(order) if _part(order) else order.live_id)


def _order(order: library.Order, op: Literal["place", "replace", "cancel"]) -> Order:
    trade, size = order.parent_trade, abs(order.size)
    share = size < 1
    return Order(
        _id(order), op, "buy" if order.is_long else "sell", float(size),
        "available" if share else "units", _kind(order), order.limit, order.stop, None, None, order.sl, order.tp,
        trade.live_id if trade else "", trade.live_id if _part(order) else "", _text(order.tag),
    )  # fmt: skip


def _kind(order: library.Order) -> Literal["market", "limit", "stop", "stop-limit"]:
    if order.stop:
        return "stop-limit" if order.limit else "stop"
    return "limit" if order.limit else "market"


def _action(placed: list[library.Order]) -> tuple[Literal["buy", "sell", "close", "hold"], str]:
    """What is wanted, by the last order that opens; one that also closes is a reversal."""
    entries = [order for order in placed if not order.parent_trade]
    closes = [order for order in placed if order.parent_trade and not _part(order)]
    if entries:
        return "buy" if entries[-1].is_long else "sell", "reverse" if closes else ""
    return ("close", "") if closes else ("hold", "")


def _target(held: float, placed: list[library.Order]) -> float | None:
    """What is held once the market orders are filled; unknown where one is a share of what there is then."""
    market = [order for order in placed if _kind(order) == "market"]
    if any(abs(order.size) < 1 for order in market):
        return None
    return held + float(sum(order.size for order in market))


def _text(tag: object) -> str:
    return "" if tag is None else str(tag)
