"""PyneCore's private names that runners/pynecore.py leans on: what breaks when another PyneCore lacks one."""

from __future__ import annotations

import inspect
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pynecore import lib
from pynecore.core import live_runner, plugin, script, script_runner, security, security_process, viz
from pynecore.core.script_runner import LIVE_TRANSITION, ScriptRunner
from pynecore.core.strategy_stats import StrategyStatistics
from pynecore.lib import barstate, strategy
from pynecore.lib import log as log_module
from pynecore.types.color import Color
from pynecore.types.ohlcv import OHLCV
from pynelive.runners import pynecore

_ADAPTERS = ("pynecore.py", "loop.py", "contexts.py", "context_child.py")
SOURCE = inspect.getsource(ScriptRunner._run_iter)


def test_version_is_the_one_that_was_read() -> None:
    """The adapter was written against the source of 6.11."""
    assert version("pynesys-pynecore").startswith("6.11."), "read run_iter again before raising the pin"


@pytest.mark.parametrize(
    ("name", "kind", "breaks"),
    [
        ("_plot_data", dict, "plots of forming bars are lost"),
        ("_viz_dyn", dict, "colours of forming bars pile up"),
        ("_viz_seq", dict, "ordinals of forming bars pile up"),
        ("_strategy_suppressed", bool, "trade_history has no effect"),
        ("_lib_semaphore", bool, "libraries speak for the script"),
        ("_time", int, "alerts and logs lose the time of their bar"),
    ],
)
def test_state_of_the_library(name: str, kind: type, breaks: str) -> None:
    """State that the adapter reads or sets stands in pynecore.lib."""
    assert isinstance(getattr(lib, name, None), kind), breaks


@pytest.mark.parametrize(
    ("fragment", "breaks"),
    [
        ("while next_item is not LIVE_TRANSITION", "the transition is not told by identity"),
        ("ohlcv_iterator = iter(self.ohlcv_iter)", "the source of bars cannot be set late"),
        ("lib._strategy_suppressed = self._live", "trade history must be allowed at another place"),
        ("barstate.isrealtime = True", "alerts are not told live from history"),
        ("barstate.isconfirmed = bar_update.is_closed", "alerts at the close fire early"),
        ("lib._plot_data.clear()", "titles are numbered anew"),
        ("yield candle, lib._plot_data, position.new_closed_trades", "fills lose their bar"),
        ("except GeneratorExit", "a run that is dropped does not close its files"),
        ("barstate.islastconfirmedhistory = (next_item is LIVE_TRANSITION)", "what history has drawn is never said"),
    ],
)
def test_what_run_iter_does(fragment: str, breaks: str) -> None:
    """The loop that the host turns inside out works as it was read."""
    assert fragment in SOURCE, breaks


def test_transition_is_one_object() -> None:
    """The mark between history and live is compared by identity and must be PyneCore's own."""
    assert pynecore.LIVE_TRANSITION is LIVE_TRANSITION is script_runner.LIVE_TRANSITION
    fields = "timestamp open high low close volume extra_fields is_closed"
    assert " ".join(OHLCV._fields) == fields, "to_ohlcv() fills other fields"


def test_runner_takes_what_it_is_given() -> None:
    """The constructor has every argument, and the runner every attribute, that the adapter uses."""
    arguments = inspect.signature(ScriptRunner).parameters
    files = {"plot_path", "strat_path", "trade_path"}
    wanted = files | {"live", "inputs", "lossless_prices", "lossless_volume", "last_bar_index"}
    assert wanted <= set(arguments), "load() passes arguments that are gone"
    assert "copy_results" in inspect.signature(ScriptRunner.run_iter).parameters
    made = inspect.getsource(ScriptRunner.__init__)
    assert "self._script_timeframe" in made, "unfit() misses script timeframes"
    assert "if self.strat_writer and position" in SOURCE, "strategy.csv is not written at the end of a run"
    assert {"input_type", "minval", "maxval", "options"} <= set(script.InputData.__annotations__), (
        "wrong_inputs() cannot check"
    )


def test_live_loop_has_the_steps_that_are_replaced() -> None:
    """Behind the body and before the output the live loop settles, there alone; it fills nothing at the close."""
    live = SOURCE[SOURCE.index("# ── Bar close ──") :]
    body, settle = live.index("settle_immediate_closes()"), live.index("self._process_deferred_margin_call(position)")
    assert body < settle < live.index("_write_bar_output(candle)"), "LiveRunner fills at the close at another place"
    assert "process_orders_at_close" not in live, "PyneCore fills at the close itself: LiveRunner does it twice"
    assert "self._log_sim_fills(position)" in live, "fills are narrated again"
    assert "self._process_orders_magnified(position, sub_bars_list, aggregated_candle)" in SOURCE, "ticks fill twice"
    ticks = SOURCE[SOURCE.index("barstate.isconfirmed = bar_update.is_closed") :]
    steps = [ticks.index(step) for step in ("_set_lib_properties(candle", "on_tick(candle)", "sub_bars = [candle]")]
    assert steps == sorted(steps), "ticks fill at other prices"
    history = SOURCE[: SOURCE.index("# --- Live mode: transition and intra-bar loop ---")]
    assert history.rindex("_process_deferred_margin_call") < history.rindex("process_orders_at_close()")


def test_what_is_run_once_needs_no_snapshot() -> None:
    """Snapshots are made anew for each run, by names that are looked up then; a bar that has closed is never run again,
    but for the last one of history."""
    for name in ("instance_state.RootVarSnapshot(root_keys)", "instance_state.RootChildSnapshot(root_keys)"):
        assert SOURCE.count(name) == 2, "a snapshot is taken at each close"
    assert "drawing_snapshot = DrawingSnapshot()" in SOURCE, "what is drawn is copied at each close"
    live = SOURCE[SOURCE.index("for bar_update in live_stream:") :]
    dropped = live.index("and candle.timestamp <= last_confirmed_timestamp):\n                        broker_warning(")
    confirmed = live.index("barstate.isconfirmed = bar_update.is_closed")
    assert dropped < confirmed < live.index("drawing_snapshot.save()"), "a closed bar may be run again"
    assert live.count("_coof_loop()") == 1, "a fill runs a bar again"
    assert "if broker_mode or not coof_active:" in SOURCE, "a fill runs a bar again"
    again = SOURCE[: SOURCE.index("drawing_snapshot.save()\n                    if child_snapshot")]
    assert again.rindex("if is_live and next_item is LIVE_TRANSITION:") > again.rindex("_coof_loop()"), (
        "the last bar of history cannot be gone on with"
    )


def test_position_orders_and_trades() -> None:
    """A strategy's position, its orders and its trades have the fields of Signal, Account, Order and Fill."""
    position = {"size", "avg_price", "openprofit", "new_closed_trades", "open_trades", "closed_trades_count",
                "entry_orders", "exit_orders", "market_orders", "_fill_counter"}  # fmt: skip
    assert position <= set(strategy.SimPosition.__slots__), "signals and accounts cannot be told"
    assert {"equity", "netprofit", "fill_order"} <= set(dir(strategy.SimPosition)), "accounts cannot be told"
    for order in (strategy.entry, strategy.order):
        assert "if position.risk_halt_trading:\n        return" in inspect.getsource(order), "exits-only has no effect"
    for order in (strategy.entry, strategy.order, strategy.exit, strategy.close, strategy.cancel):
        assert "lib._strategy_suppressed:\n        return" in inspect.getsource(order), "hold has no effect"
    trade = {"entry_id", "exit_id", "size", "entry_time", "entry_price", "exit_time", "exit_price", "profit",
             "entry_comment", "exit_comment", "commission", "max_runup", "max_drawdown"}  # fmt: skip
    assert trade <= set(strategy.Trade.__slots__), "fills lack a field"
    order = {"order_id", "exit_id", "order_type", "size", "limit", "stop", "stop_limit", "trail_price", "trail_offset",
             "profit_ticks", "loss_ticks", "trail_points_ticks", "ticks_resolved", "is_market_order", "consumed",
             "skip_flip", "oca_name", "comment", "filled_by_type", "sign", "alert_message", "alert_profit",
             "alert_loss", "alert_trailing"}  # fmt: skip
    assert order <= set(strategy.Order.__slots__), "orders lack a field"
    assert strategy._order_type_close != strategy._order_type_entry, "exits are taken for entries"


def test_statistics_and_looks() -> None:
    """The figures have their names, and what is drawn can be had at any time."""
    names = StrategyStatistics().to_dict()
    assert {"Sharpe Ratio", "Sortino Ratio", "Net Profit"} <= names.keys(), "dear figures are made at each trade"
    assert pynecore.drawings({}) == {}, "an empty chart is not told from a full one"
    assert all(hasattr(module, "_registry") for module in pynecore._DRAWN.values()), "drawings are not seen"
    assert pynecore.changed_metas(0)[1] == [], "plots are not described"
    assert viz._encode_color_channel((Color("#11223344"), None)) == ["#11223344", None], "colours have another form"
    assert {"equity_curve", "first_price", "last_price"} <= set(ScriptRunner.__slots__), "figures cannot be made"


def test_functions_are_replaced_in_their_modules() -> None:
    """alert(), alertcondition() and log.* are looked up where the adapter puts its own."""
    alert = sys.modules["pynecore.lib.alert"]
    assert str(alert.freq_once_per_bar) == "once_per_bar", "alert frequencies have other names"
    assert {str(alert.freq_all), str(alert.freq_once_per_bar_close)} == {"all", "once_per_bar_close"}
    assert callable(alert.alert), "alerts are not heard"
    assert callable(lib.alertcondition), "alert conditions are not heard"
    for level in ("info", "warning", "error"):
        assert callable(getattr(log_module, level)), "logs are not heard"
    assert {"isrealtime", "isconfirmed"} <= set(dir(barstate)), "alerts cannot be gated"


def test_environment_is_set_before_a_script_is_imported() -> None:
    """Starting a script never writes its .toml, and keeps its bytecode."""
    assert "PYNE_SAVE_SCRIPT_TOML" in inspect.getsource(script), "each start rewrites the script's .toml"
    assert not sys.dont_write_bytecode, "each start transforms the script anew"


def test_what_awaits_a_late_bar() -> None:
    """A context's streamer, whose patience plugin/patience.py replaces, is asked as it was read."""
    assert "_provider" in inspect.getsource(live_runner.LiveBarStreamer.__init__), "whose stream it is cannot be told"
    assert callable(live_runner.LiveBarStreamer.peek_developing_bar), "a bar that was never traded is awaited"
    asked = inspect.getsource(security_process)
    assert "live_streamer.wait_for_bars(remaining)" in asked, "higher timeframes hold the chart up again"
    assert "live_streamer.pop_new_closed_bars()" in asked, "what was taken last is not known"
    assert asked.index("time_to = datetime.now(UTC)") < asked.index("streamer.start()"), "the past ends elsewhere"
    confirmed = security._get_confirmed_time
    assert list(inspect.signature(confirmed).parameters)[1:] == ["chart_time", "next_chart_time", "round_tick"]
    assert "if state.same_timeframe:" in inspect.getsource(confirmed), "another symbol's bar is asked for otherwise"


@pytest.mark.parametrize(
    ("where", "fragment", "breaks"),
    [
        (script_runner, "setup_security_states, create_chart_protocol,", "states are not ours to bind"),
        (script_runner, "from .security_process import security_process_main", "contexts run PyneCore's own process"),
        (script_runner, "self._resolve_security_data(static_contexts)", "constant contexts are looked for elsewhere"),
        (script_runner, "resolved = self._resolve_security_data(", "contexts by input are looked for elsewhere"),
        (security, "while ptr + 1 < n and closes[ptr + 1] <= asof", "a context's bars are not paired by their close"),
        (security, "tick = int(datetime.now().timestamp() * 1000)", "forming bars end by the clock on the wall"),
        (security, "elif state.bar_opens is not None and state.bar_closes is not None", "lower timeframes are guessed"),
        (security, "dev_transport = state.is_live or (", "higher timeframes are made of the chart's bars"),
        (security_process, "live_runner.LiveBarStreamer(", "contexts follow a venue"),
        (security_process, "live_runner.download_warmup_in_memory(", "contexts download"),
        (security_process, "from .plugin import load_plugin", "contexts load a plugin"),
        (security_process, "collected, ltf_next_idx = _collect_in_period_intrabars(", "arrays wait by the clock"),
    ],
)
def test_how_a_context_is_fed(where: object, fragment: str, breaks: str) -> None:
    """The places where runners/contexts.py and runners/context_child.py put themselves are as they were read."""
    assert fragment in inspect.getsource(where), breaks  # type: ignore[arg-type]
    assert callable(plugin.load_plugin), breaks


def test_what_a_context_state_holds() -> None:
    """What the chart's process knows of a context, and when a bar closes."""
    wanted = {"bar_opens", "bar_closes", "calendar", "is_dwm", "lookahead", "htf_aggregator"}
    assert wanted <= set(security.SecurityState.__dataclass_fields__), "contexts cannot be bound"
    assert list(inspect.signature(security.actual_bar_close).parameters)[:3] == ["open_ms", "next_open_ms", "cal"]
    assert callable(security.break_end_after), "the next bar of a session cannot be told"


def test_values_become_plain() -> None:
    """What a plot may hold travels as a number, a truth, a text or nothing."""
    values = [float("nan"), lib.is_na(), float("inf"), 3, True, "up", Color("#11223344")]
    plain = pynecore.plot_values({str(number): value for number, value in enumerate(values)})
    assert list(plain.values()) == [None, None, None, 3.0, True, "up", "#11223344"]


def test_private_names_stand_in_one_file() -> None:
    """No other file than the adapters touches PyneCore's private side."""
    runners = Path(inspect.getfile(pynecore)).parent
    private = re.compile(r"\b(lib|viz|strategy|position|order|trade|_runner|runner)\._[a-z]")
    for path in sorted(runners.glob("*.py")):
        if path.name not in (*_ADAPTERS, "seat.py", "feed.py"):  # the last two know no PyneCore
            assert not private.search(path.read_text()), f"{path.name} leans on a private name"
