"""PyneCore from the inside: with its loop (`loop.py`) the one file that leans on its private names.

PyneCore 6.11 runs a script for a command line: it pulls bars, prints alerts and keeps its state in module
attributes. What a host needs beyond its public surface is gathered here, each name pinned by
``tests/test_pynecore_contract.py``, so that another PyneCore is one file to look at.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ..bus import sockets  # noqa: F401 - behind PyneCore nobody could import zmq
from ..bus.messages import Bar

# ruff: noqa: E402 - PyneCore reads these while it is imported.
# Every import of a script would rewrite its .toml, and runners that start together read it half-written.
os.environ["PYNE_SAVE_SCRIPT_TOML"] = "0"
os.environ.setdefault("PYNE_NO_COLOR_LOG", "1")
# Without bytecode each start transforms PyneCore's library and the script again: 1.4 s instead of 0.2 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import pynecore.lib.alert
import pynecore.lib.log  # noqa: F401 - both are had from sys.modules below
from pynecore import lib
from pynecore.core import viz
from pynecore.core.drawing_snapshot import _accessors
from pynecore.core.format_args import check_format_args
from pynecore.core.script_runner import LIVE_TRANSITION
from pynecore.core.strategy_stats import calculate_strategy_statistics
from pynecore.core.syminfo import SymInfo
from pynecore.lib import barstate, strategy, string
from pynecore.types import script_type
from pynecore.types.color import Color
from pynecore.types.ohlcv import OHLCV

from .loop import LiveRunner

__all__ = ["LIVE_TRANSITION", "OHLCV", "LiveRunner"]

# `pynecore.lib.alert` the attribute is callable and may be the function: the module is had by its name.
_alert: Any = sys.modules["pynecore.lib.alert"]
_log: Any = sys.modules["pynecore.lib.log"]

# PyneCore's own handler draws each line with rich, at 1 ms, and ends the process when nobody reads standard error.
_log.logger.handlers.clear()
_log.logger.parent = logging.getLogger("pynelive")

_INPUT_TYPES: dict[str, Any] = {
    "int": int, "float": (int, float), "price": (int, float), "bool": bool, "string": str, "source": str,
}

PlotValue = float | str | bool | None
Drawn = dict[tuple[str, int], tuple[object, dict[str, Any]]]
"""By kind and id: a drawing's values in PyneCore, and its description."""

_DRAWN: dict[str, Any] = {
    "line": viz._line_mod, "label": viz._label_mod, "box": viz._box_mod, "table": viz._table_mod,
    "polyline": viz._polyline_mod, "linefill": viz._linefill_mod,
}  # fmt: skip
_REGISTRIES = [module._registry for module in _DRAWN.values()]
_DEEP = ("table", "linefill")
"""Their descriptions hold more than their own values."""


class Listener(Protocol):
    """What a script says while its body runs."""

    def on_alert(self, message: str, freq: str, site: object) -> None:
        """``alert()``; ``site`` identifies the call in the script's source."""

    def on_condition(self, title: str, message: str) -> None:
        """``alertcondition()`` whose condition holds."""

    def on_log(self, level: str, text: str) -> None:
        """``log.info``, ``log.warning`` or ``log.error``."""

    def on_order(self, order: Any) -> None:
        """The simulator is about to fill an order."""

    def on_fill(self, order: Any, price: float) -> None:
        """It has done so."""


def warm() -> None:
    """Import what nearly every script imports."""
    for module in ("pynecore.core.viz", "pynecore.lib.strategy", "pynecore.lib.ta"):
        import_module(module)


def load(
    path: Path, syminfo: SymInfo, inputs: Mapping[str, Any], warmup: int | None, output: Path | None,
    kind: type[LiveRunner] = LiveRunner,
) -> LiveRunner:  # fmt: skip
    """Import and transform the script; whatever it raises passes through.

    The output files are those of ``pyne run``; nothing is opened before the first bar.
    """
    if output:
        output.mkdir(parents=True, exist_ok=True)
    files = {
        "plot_path": output / "plot.csv",
        "strat_path": output / "strategy.csv",
        "trade_path": output / "trades.csv",
    } if output else {}
    return kind(
        path, (), syminfo, live=True, inputs=dict(inputs), lossless_prices=True, lossless_volume=True,
        last_bar_index=None if warmup is None else warmup - 1, **files,
    )


def is_strategy(runner: LiveRunner) -> bool:
    """Whether the script is a strategy; anything else that can be loaded here is an indicator."""
    return bool(runner.script.script_type == script_type.strategy)


def unfit(runner: LiveRunner) -> str | None:
    """Why PyneCore cannot run this script live, found before its first bar."""
    if runner.script.script_type == script_type.library:
        return "is a library, which only other scripts can run"
    if runner._script_timeframe is not None:
        return f"asks for the timeframe '{runner.script.timeframe}', which PyneCore runs only on history"
    return None


def wrong_inputs(runner: LiveRunner, inputs: Mapping[str, Any]) -> list[str]:
    """The inputs that PyneCore would take as na or beyond their bounds, each with what is wanted."""
    declared = {name.removesuffix("__global__"): data for name, data in runner.script.inputs.items()}
    return [f"'{name}' is {value!r} but {want}" for name, value in inputs.items()
            if (want := _wanted(declared[name], value))]


def _wanted(data: Any, value: object) -> str | None:
    kind = _INPUT_TYPES.get(data.input_type)
    if kind and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        return f"must be of type {data.input_type}"
    if data.options and value not in data.options:
        return f"must be one of {', '.join(map(str, data.options))}"
    if isinstance(value, int | float) and data.minval is not None and value < data.minval:
        return f"must be at least {data.minval}"
    if isinstance(value, int | float) and data.maxval is not None and value > data.maxval:
        return f"must be at most {data.maxval}"
    return None


def to_ohlcv(bar: Bar) -> OHLCV:
    """A bar as PyneCore executes it."""
    return OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.extra, bar.closed)


def keep_trade_history() -> None:
    """Let the strategy trade on history too, as a backtest does; the transition to live sets the same."""
    lib._strategy_suppressed = False


def let_order(runner: LiveRunner, allowed: str, halted: bool) -> bool:
    """What a live strategy may order in its body: ``all``, ``exits`` or ``none``. Orders that wait are filled as ever.

    ``none`` is PyneCore's own switch for history, ``exits`` that of its risk rules, which are not looked at meanwhile.

    :param halted: whether this has halted it before; returned is whether it is halted by this now
    """
    lib._strategy_suppressed = allowed == "none"
    position = runner.script.position
    if allowed == "exits":
        halted = halted or not position.risk_halt_trading  # else its own rules have
        position.risk_halt_trading = True
        return halted
    if halted:
        position.risk_halt_trading = False
    return False


def time_ms() -> int:
    """The opening time of the bar that the script stands on."""
    return int(lib._time)


def is_realtime() -> bool:
    """Pine's ``barstate.isrealtime``."""
    return bool(barstate.isrealtime)


def is_confirmed() -> bool:
    """Pine's ``barstate.isconfirmed``."""
    return bool(barstate.isconfirmed)


def is_last_of_history() -> bool:
    """Pine's ``barstate.islastconfirmedhistory``."""
    return bool(barstate.islastconfirmedhistory)


def changed_metas(revision: int) -> tuple[int, list[dict[str, Any]]]:
    """How plots are to be drawn, where that has changed since a revision; and the revision now."""
    revision, plots = viz.collect_meta_changes(revision)
    return revision, plots


def styles() -> dict[str, Any]:
    """The dynamic colours of the bar that has just run, by plot."""
    dynamic = lib._viz_dyn
    return {name: viz._encode_color_channel(style) for name, style in dynamic.items()} if dynamic else {}


def draws() -> bool:
    """Whether anything stands on the chart."""
    return any(_REGISTRIES)


def drawings(known: Drawn) -> Drawn:
    """All that stands on the chart, by kind and id; what has not changed since ``known`` is taken from there."""
    drawn: Drawn = {}
    for kind, module in _DRAWN.items():
        for each in module._registry:
            values, before = _accessors(each)[0](each), known.get((kind, each.vid))
            if before is None or before[0] != values or kind in _DEEP:
                fields = viz._scrub(viz.serialize_drawing(each))
                before = values, {name: value for name, value in fields.items() if name != "id"}
            drawn[kind, each.vid] = before
    return drawn


def plot_values(plots: Mapping[str, object]) -> dict[str, PlotValue]:
    """Plots as they travel: na (and what PyneCore exports as na, infinity) is None, numbers are floats."""
    return {title: _plain(value) for title, value in plots.items()}


def forming_plots() -> dict[str, PlotValue]:
    """The plots of a forming bar that has just run."""
    return plot_values(lib._plot_data)


def forget_forming() -> None:
    """Take away what a forming bar has plotted.

    PyneCore does so at a close only: the next tick would find the titles in use and number them.
    """
    for state in (lib._plot_data, lib._viz_dyn, lib._viz_seq):
        state.clear()


def _plain(value: Any) -> PlotValue:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Color):
        return f"#{value.value:08X}"
    if isinstance(value, bool | str):
        return value
    return None if value is None or lib.is_na(value) else str(value)


def position(runner: LiveRunner) -> tuple[float, float]:
    """The signed size that a strategy holds and its equity, as PyneCore keeps its equity curve."""
    held = runner.script.position
    return float(held.size), float(held.equity or runner.script.initial_capital)


def closes(order: Any) -> bool:
    """Whether an order can only close, as those of ``strategy.exit`` and ``strategy.close``."""
    return bool(order.order_type == strategy._order_type_close)


def reverses(order: Any) -> bool:
    """Whether an order turns a position round, as that of ``strategy.entry``."""
    return bool(order.order_type == strategy._order_type_entry)


def mintick() -> float:
    """What PyneCore's distances count."""
    return float(lib.syminfo.mintick)


def statistics(runner: LiveRunner, ratios: bool) -> dict[str, float | str | None]:
    """The figures of the strategy so far, by PyneCore's names.

    :param ratios: Sharpe's and Sortino's too, which look at every bar of the run
    """
    figures = calculate_strategy_statistics(
        runner.script.position, runner.script.initial_capital, runner.equity_curve if ratios else None,
        runner.first_price, runner.last_price,
    ).to_dict()
    left_out = () if ratios else ("Sharpe Ratio", "Sortino Ratio")
    return {name: float(value) if math.isfinite(value) else None
            for name, value in figures.items() if name not in left_out}  # fmt: skip


def listen(listener: Listener) -> None:
    """Send the script's alerts and logs to the listener.

    Call sites look the functions up in their modules at run time, so replacing them there is enough.
    PyneCore's own ``alert`` prints and its ``alertcondition`` does nothing.
    """
    _alert.alert = _alert_to(listener)
    lib.alertcondition = _condition_to(listener)
    for level in ("info", "warning", "error"):
        setattr(_log, level, _log_to(listener, level))
    strategy.SimPosition.fill_order = _fill_to(listener, strategy.SimPosition.fill_order)


def _alert_to(listener: Listener) -> Callable[..., None]:
    default = _alert.freq_once_per_bar

    def alert(message: str, freq: object = default) -> None:
        if not lib._lib_semaphore:
            caller = sys._getframe(1)
            listener.on_alert(str(message), str(freq), (caller.f_code, caller.f_lasti))

    return alert


def _condition_to(listener: Listener) -> Callable[..., None]:
    def alertcondition(condition: Any = False, title: str | None = None, message: str | None = None) -> None:
        if not (lib._lib_semaphore or lib.is_na(condition)) and condition:
            listener.on_condition(str(title or ""), str(message or title or ""))

    return alertcondition


def _log_to(listener: Listener, level: str) -> Callable[..., None]:
    def log(formatString: str, *args: Any, **_: Any) -> None:
        check_format_args(args)
        if not lib._lib_semaphore:
            listener.on_log(level, str(string.format(formatString, *args) if args else formatString))

    return log


def _fill_to(listener: Listener, fill: Callable[..., bool]) -> Callable[..., bool]:
    def fill_order(position: Any, order: Any, price: float) -> bool:
        filled = position._fill_counter
        listener.on_order(order)
        turned = fill(position, order, price)
        if position._fill_counter != filled:
            listener.on_fill(order, float(price))
        return turned

    return fill_order
