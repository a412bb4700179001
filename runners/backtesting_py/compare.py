# SPDX-License-Identifier: AGPL-3.0-or-later
"""A strategy's decisions, bar by bar: in the library's own backtest of all bars, and live."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd

from ...bus.messages import Bar
from .engine import Engine, without
from .library import Backtest, Order, Strategy
from .settings import Settings

_DIGITS = 8
_CENT = 1e-6


class Decision(NamedTuple):
    """What was ordered and cancelled on a bar, and what there was before that."""

    placed: tuple[str, ...]
    cancelled: tuple[str, ...]
    equity: float
    position: float


def frame(bars: Iterable[Bar]) -> pd.DataFrame:
    """Bars as a backtest wants them: capital names, times in UTC without saying so."""
    rows = [(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
    data = pd.DataFrame(rows, columns=["time", "Open", "High", "Low", "Close", "Volume"])
    return data.set_index(pd.to_datetime(data.pop("time"), unit="ms").rename(None)).astype(float)


def backtest(
    kind: type[Strategy], inputs: Mapping[str, Any], settings: Settings, bars: pd.DataFrame
) -> dict[int, Decision]:
    """What the library decides, by the place of the bar."""
    said: dict[int, Decision] = {}

    class Watched(kind):  # type: ignore[misc]
        def next(self) -> None:
            broker, before = self._broker, list(self._broker.orders)
            equity, position = broker.equity, broker.position.size
            super().next()
            said[len(self.data) - 1] = _decision(
                without(broker.orders, before), without(before, broker.orders), equity, position
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Backtest(bars, Watched, **settings.broker).run(**inputs)
    return said


def live(
    kind: type[Strategy], inputs: Mapping[str, Any], settings: Settings, bars: pd.DataFrame, history: int
) -> dict[int, Decision]:
    """What the strategy decides when it trades on ``history`` bars first, and then gets one bar at a time."""
    engine, said = Engine(kind, inputs, settings), {}
    rows = [(time.value // 1_000_000, row) for time, row in zip(bars.index, bars.to_dict("records"), strict=True)]
    for row in rows[:history]:
        engine.push(*row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in chain(engine.replay(), (engine.step(*row) for row in rows[history:])):
            if step.decided:  # looked at before the next bar, which changes orders
                said[step.place] = _decision(step.placed, step.cancelled, step.equity, step.position)
    return said


def differing(one: Mapping[int, Decision], other: Mapping[int, Decision]) -> list[int]:
    """The bars on which the two do not decide alike."""
    return [place for place in sorted(one.keys() | other.keys()) if not _alike(one.get(place), other.get(place))]


def _alike(one: Decision | None, other: Decision | None) -> bool:
    if one is None or other is None:
        return False
    return one[:2] == other[:2] and one.position == other.position and abs(one.equity - other.equity) <= _CENT


def _decision(placed: list[Order], cancelled: list[Order], equity: float, position: float) -> Decision:
    return Decision(tuple(sorted(map(_key, placed))), tuple(sorted(map(_key, cancelled))), float(equity), position)


def _key(order: Order) -> str:
    what = "order" if not order.parent_trade else "exit" if order.stop or order.limit else "close"
    prices = (order.size, order.limit, order.stop, order.sl, order.tp)
    return f"{what} {[price and round(float(price), _DIGITS) for price in prices]} {order.tag!r}"
