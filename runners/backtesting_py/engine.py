# SPDX-License-Identifier: AGPL-3.0-or-later
"""One strategy, live: bar by bar what a backtest of all bars would do, without one that comes later.

A backtest computes ``init()`` once over all of the data and then reveals it slowly. Here, for each closed bar,
``init()`` is run on a throw-away instance with the bars that there are, and its series are handed to the one that
lives on. The library's own broker, fed with the same bars, is the book that the strategy sees: its position, its
equity, its stops. What it decides is the difference between that broker's orders before and after ``next()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct, field

from ..contract import Allowed
from . import series
from .data import GrowData, LazyIndex
from .library import Broker, Indicator, Order, OutOfMoney, Strategy, Trade, warmup
from .settings import Settings

_ROOM = 1024


class Step(Struct):
    """What happened on one bar: the broker filled, then the strategy decided.

    ``gone`` are the orders that the broker has filled or refused, ``opened`` the trades that were not there before
    (new ones, and the closed part of one that goes on); ``equity`` and ``position`` are what the strategy saw.
    """

    time_ms: int
    place: int
    decided: bool = False
    """False: it has not begun yet, or has no money left."""
    gone: list[Order] = field(default_factory=list)
    opened: list[Trade] = field(default_factory=list)
    closed: list[Trade] = field(default_factory=list)
    equity: float = 0.0
    position: float = 0.0
    placed: list[Order] = field(default_factory=list)
    withheld: int = 0
    cancelled: list[Order] = field(default_factory=list)


class Shadow(Broker):  # type: ignore[misc]
    """The library's broker, with room for bars that are yet to come; it takes no orders before the first bar."""

    def __init__(self, data: GrowData, settings: Settings) -> None:
        super().__init__(data=data, index=range(_ROOM), **settings.broker)
        self._equity: Any = self._equity
        self.accepts = False

    def new_order(self, *given: Any, **named: Any) -> Order:
        if not self.accepts:
            raise ValueError("an order was placed in init(), where a live strategy has no bar to place it on")
        return super().new_order(*given, **named)

    def next(self) -> None:
        if (missing := len(self._data) - len(self._equity)) > 0:
            self._equity = np.concatenate((self._equity, np.full(max(missing, len(self._equity)), np.nan)))
        super().next()


class Engine:
    """A strategy with its data and its broker: ``push`` takes history, then each ``step`` is a live bar."""

    def __init__(self, kind: type[Strategy], inputs: Mapping[str, Any], settings: Settings) -> None:
        """:param settings: ``lookback`` is what is to be used, already chosen"""
        self.data = GrowData()
        self._index = LazyIndex(self.data)
        self.broker = Shadow(self.data, settings)
        self.halted = False
        self.allowed: Allowed = "all"
        self._kind = kind
        self._inputs = dict(inputs)
        self._lookback = settings.lookback
        self._window = settings.window
        self._judge = Shadow(self.data, settings)  # for init() alone: whatever is asked of it, it has no orders
        self._strategy: Strategy | None = None
        self._series: list[str] = []

    @property
    def strategy(self) -> Strategy | None:
        """The instance that lives, once it has begun to decide."""
        return self._strategy

    def push(self, time_ms: int, values: Mapping[str, float]) -> None:
        """A bar of history."""
        self.data.append(time_ms, values)

    def replay(self) -> Iterator[Step]:
        """Decide on all bars of history, as a backtest does: ``init()`` once, then bar by bar."""
        bars = len(self.data)
        if not self._begun(whole=True):
            return
        strategy = self._strategy
        full = {name: value for name, value in vars(strategy).items() if isinstance(value, Indicator)}
        for place in range(max(1 + warmup(strategy), self._lookback - 1), bars):
            self.data._set_length(place + 1)
            for name, value in full.items():
                setattr(strategy, name, value[..., : place + 1])
            yield self._decide()
        self.data._set_length(bars)

    def step(self, time_ms: int, values: Mapping[str, float]) -> Step:
        """A live bar: what the broker filled on it, and what the strategy then decided."""
        self.data.append(time_ms, values)
        if self._strategy is not None:
            self._renew(self._strategy)
        else:
            self._begun()
        return self._decide()

    def indicators(self) -> dict[str, float | None]:
        """The last values of the indicators by the names of their attributes; None is NaN."""
        found: dict[str, float | None] = {}
        for name, value in vars(self._strategy).items() if self._strategy else ():
            if isinstance(value, Indicator):
                newest = np.atleast_1d(np.asarray(value[..., -1], float))
                names = [name] if len(newest) == 1 else [f"{name}[{row}]" for row in range(len(newest))]
                found |= {key: None if np.isnan(one) else float(one) for key, one in zip(names, newest, strict=True)}
        return found

    # --- the instance ---------------------------------------------------------------------------------------

    def _begun(self, whole: bool = False) -> bool:
        """Make the instance that lives on, if all that it computes has a value by now.

        :param whole: over all bars there are, however many
        """
        bars = len(self.data)
        if bars < max(self._lookback, 2):
            return False
        data = self.data if whole else self._shown()
        strategy = self._kind(self.broker, data, self._inputs)
        self._init(strategy, data)
        if not _is_ready(strategy, len(data)):
            return False
        strategy._data = self.data
        self._series = series.held(strategy, len(data))
        if missing := bars - len(data):
            ended = len(data), missing, self._index
            self._each(strategy, strategy, len(data), lambda old, _: series.padded(old, *ended))
        self._strategy = strategy
        self.broker.accepts = True
        return True

    def _renew(self, strategy: Strategy) -> None:
        """Run ``init()`` on the bars that there are, and hand its series to the instance that lives."""
        data = self._shown()
        fresh = self._kind(self._judge, data, self._inputs)
        self._init(fresh, data)
        if data is self.data:
            self._each(strategy, fresh, len(data), lambda old, new: new)
        else:
            self._each(strategy, fresh, len(data), lambda old, new: series.extended(old, new, len(data), self._index))

    def _each(self, strategy: Strategy, fresh: Strategy, bars: int, join: Callable[[Any, Any], Any]) -> None:
        for name in self._series:
            if name in vars(fresh):
                setattr(strategy, name, series.renewed(getattr(strategy, name), getattr(fresh, name), bars, join))

    def _init(self, strategy: Strategy, data: GrowData) -> None:
        strategy.init()
        data._update()
        if data is not self.data:
            self.data.adopt(data)

    def _shown(self) -> GrowData:
        return self.data if len(self.data) <= self._window else self.data.tail(self._window)

    # --- one bar --------------------------------------------------------------------------------------------

    def _decide(self) -> Step:
        """The broker fills what was ordered before this bar; then the strategy looks at it and orders."""
        broker, strategy, place = self.broker, self._strategy, len(self.data) - 1
        step = Step(self.data.time_ms(place), place)
        if strategy is None or self.halted:
            return step
        orders, trades, closed = list(broker.orders), list(broker.trades), len(broker.closed_trades)
        with np.errstate(invalid="ignore"):
            try:
                broker.next()
            except OutOfMoney:
                self.halted = True
            step.gone = without(orders, broker.orders)
            step.closed = broker.closed_trades[closed:]
            step.opened = without([*broker.trades, *step.closed], trades)
            step.equity, step.position = broker.equity, broker.position.size
            if not self.halted:
                self._ask(strategy, step)
        return step

    def _ask(self, strategy: Strategy, step: Step) -> None:
        """Let the strategy decide, and take back what is not allowed: entries, or all that it did."""
        broker = self.broker
        orders, exits = list(broker.orders), [(trade, trade._sl_order, trade._tp_order) for trade in broker.trades]
        strategy.next()
        wanted = without(broker.orders, orders)
        if self.allowed == "none":
            broker.orders[:] = orders
            for trade, stop, target in exits:
                trade._replace(sl_order=stop, tp_order=target)
        elif self.allowed == "exits":
            broker.orders[:] = [order for order in broker.orders if order.parent_trade or order in orders]
        step.decided = True
        step.cancelled = without(orders, broker.orders)
        step.placed = without(broker.orders, orders)
        step.withheld = len(wanted) - len(step.placed)


def _is_ready(strategy: Strategy, bars: int) -> bool:
    """A backtest skips the bars before the last indicator's first value, and one more."""
    shown = [value for value in vars(strategy).values() if isinstance(value, Indicator)]
    counted = [np.atleast_2d(value).astype(float) for value in shown if not value._opts["scatter"]]
    if any(np.isnan(value).all(axis=-1).any() for value in counted):
        return False  # the library takes it for one without a warm-up
    return bars > 1 + int(warmup(strategy))


def without(items: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Those that are in the first list alone, by identity."""
    known = {id(other) for other in others}
    return [item for item in items if id(item) not in known]
