"""PyneCore's loop over the bars, with some of its steps as a host wants them.

Imported by ``pynecore.py`` alone, which prepares the process for it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..bus import sockets  # noqa: F401 - behind PyneCore nobody could import zmq

# isort: split
from pynecore import lib
from pynecore.core import instance_state, script_runner
from pynecore.core.drawing_snapshot import DrawingSnapshot
from pynecore.core.instance_state import RootChildSnapshot, RootVarSnapshot
from pynecore.core.script_runner import ScriptRunner
from pynecore.lib import barstate
from pynecore.types import script_type
from pynecore.types.ohlcv import OHLCV


def _spared(kind: Any) -> Any:
    """A snapshot of what a run of the body changes, not taken where no other run of it can follow.

    A bar that is confirmed is not run again, but for the last one of history, which the live feed may go on with.
    """

    class Spared(kind):  # type: ignore[misc]
        __slots__ = ("_taken",)

        def save(self) -> None:
            self._taken = not barstate.isconfirmed or barstate.islastconfirmedhistory
            if self._taken:
                super().save()

        def restore(self) -> None:
            if self._taken:
                super().restore()

    return Spared


_VARS, _CHILDREN, _DRAWINGS = _spared(RootVarSnapshot), _spared(RootChildSnapshot), _spared(DrawingSnapshot)


class LiveRunner(ScriptRunner):  # type: ignore[misc]
    """Fills orders on the close where the script says so, and within the bar where it is calculated there.

    A strategy that is calculated on every tick trades within the bar: PyneCore's loop fills all its orders when the
    bar closes, along the whole bar, also along what was over when they were placed.
    """

    __slots__ = ("_last", "_traded")

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._last: OHLCV | None = None
        """The update up to which orders were filled."""
        self._traded: list[Any] = []
        """The trades that were closed on the forming bar."""

    def _run_iter(self, *given: Any, **named: Any) -> Iterator[Any]:
        if not (self.script.calc_on_order_fills or self.script.calc_on_every_history_tick):  # which run a bar again
            instance_state.RootVarSnapshot, instance_state.RootChildSnapshot = _VARS, _CHILDREN
            script_runner.DrawingSnapshot = _DRAWINGS
        return super()._run_iter(*given, **named)  # type: ignore[no-any-return]

    def trade_on(self, candle: OHLCV) -> None:
        """Before a forming update is executed: fill what its prices fill, from the last update's price on."""
        script = self.script
        ticks = script.script_type == script_type.strategy and script.calc_on_every_tick
        forming = not (candle.is_closed or barstate.isconfirmed) and lib._time == candle.timestamp  # else it is dropped
        if ticks and forming and not script.calc_on_order_fills:
            self._fill_from_last(candle)

    def _process_orders_magnified(self, position: Any, sub_bars: list[OHLCV], candle: OHLCV) -> None:
        if self._last is None or self._last.timestamp != candle.timestamp:
            super()._process_orders_magnified(position, sub_bars, candle)
            return
        self._fill_from_last(candle)
        position.new_closed_trades[:] = self._traded
        self._last, self._traded = None, []

    def _fill_from_last(self, candle: OHLCV) -> None:
        position, last = self.script.position, self._last
        way = candle[1:5]
        if last is None or last.timestamp != candle.timestamp:
            self._traded = []
        else:
            position.settle_immediate_closes()
            start, end = last.close, candle.close
            high = candle.high if candle.high > last.high else max(start, end)
            low = candle.low if candle.low < last.low else min(start, end)
            way = (start, high, low, end)
        lib.open, lib.high, lib.low, lib.close = way
        position.process_orders()
        lib.open, lib.high, lib.low, lib.close = candle[1:5]
        self._last = candle
        self._traded += position.new_closed_trades

    def _process_deferred_margin_call(self, position: Any) -> None:
        """Make ``process_orders_on_close`` true live too: PyneCore has that step on history only, behind this one."""
        super()._process_deferred_margin_call(position)
        if barstate.isrealtime and self.script.process_orders_on_close:
            position.process_orders_at_close()

    def _log_sim_fills(self, position: Any) -> None:
        """PyneCore narrates each fill in a line; here they are messages."""
