"""A pushed script says what PyneCore says: the oracle is PyneCore's own runner, fed with the same updates."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from jobs import CRYPTO, EXAMPLES, Run, crypto_bars, daily_bars, files_of, make_job, with_forming, write_script

# State of every kind: a forming update is rolled back from `var` and averages, never from `varip`.
MEMORY = '''"""@pyne"""
from pynecore import Persistent
from pynecore.types import IBPersistent
from pynecore.lib import bar_index, barstate, close, color, high, low, plot, plotchar, script, ta, volume

@script.indicator("Memory")
def main():
    bars: Persistent[int] = 0
    runs: IBPersistent[int] = 0
    peak: Persistent[float] = 0.0
    bars += 1
    runs += 1
    peak = max(peak, high)
    plot(bars, "bars")
    plot(runs, "runs")
    plot(peak - low, "peak")
    plot(ta.ema(close, 9) - ta.sma(close, 21), "averages")
    plot(ta.vwma(close, 5), "same title")
    plot(volume, "same title")
    plotchar(barstate.isrealtime, "realtime")
    return {"index": bar_index, "confirmed": barstate.isconfirmed}
'''

TALK = '''"""@pyne"""
from pynecore.lib import alert, alertcondition, bar_index, barstate, close, log, plot, script, string

@script.indicator("Talk")
def main():
    print("a script may print what it likes")
    alert("each", alert.freq_all)
    alert("once " + string.tostring(close))
    alert("at close", alert.freq_once_per_bar_close)
    alertcondition(bar_index % 2 == 0, "even", '{{ticker}} {{close}} {{plot("index")}} {{plot_0}} {{no}}')
    log.warning("bar {0} of {1}", bar_index, "this")
    plot(bar_index, "index")
'''


HEAD = '''"""@pyne"""
import sys
from pynecore.lib import bar_index, close, input, plot, request, script

'''

@pytest.mark.parametrize("trade_history", [False, True])
@pytest.mark.parametrize("forming", [False, True])
@pytest.mark.parametrize("name", ["memory", "ema_cross", "stops"])
def test_live_equals_the_oracle(
    run: Run, tmp_path: Path, name: str, forming: bool, trade_history: bool
) -> None:
    """Plots, trades and files are PyneCore's, value for value, wherever history ends."""
    script = write_script(tmp_path, MEMORY) if name == "memory" else str(EXAMPLES / f"{name}.py")
    bars = daily_bars(300)
    jobs = []
    for place in (1, len(bars) // 2, len(bars) - 1):
        updates, transition = with_forming(bars, place) if forming else (bars, place)
        job = make_job(script, updates, transition, trade_history=trade_history)
        jobs += [job, job | {"mode": "oracle"}]
    results = run(*jobs)
    for host, oracle in zip(results[::2], results[1::2], strict=True):
        assert host["fault"] is None
        assert [time_ms for time_ms, _ in host["plots"]] == [bar[0] for bar in bars]
        assert host["plots"] == oracle["plots"]
        assert host["trades"] == oracle["trades"]
        assert files_of(host) == files_of(oracle)
    assert name == "memory" or len(results[0]["trades"]) > 2


def test_updates_out_of_order_equal_the_oracle(run: Run, tmp_path: Path) -> None:
    """Late, repeated and missing updates do to a pushed script exactly what they do to PyneCore."""
    script, jobs = write_script(tmp_path, MEMORY), []
    for seed in range(3):
        chance = random.Random(seed)
        updates, transition = with_forming(daily_bars(80), 40)
        live = [bar for bar in updates[transition:] if chance.random() > 0.1]
        for _ in range(15):
            live.insert(chance.randrange(len(live)), chance.choice(live))
        job = make_job(script, updates[:transition] + live, transition)
        jobs += [job, job | {"mode": "oracle"}]
    results = run(*jobs)
    for host, oracle in zip(results[::2], results[1::2], strict=True):
        assert host["plots"] == oracle["plots"]
        assert files_of(host) == files_of(oracle)
        runs = [values["runs"] for _, values in host["forming"]]
        assert runs == sorted(set(runs)), "each plot of a forming bar is that of a run of its own"


@pytest.mark.parametrize("name", ["ema_cross", "stops"])
def test_closes_only_equal_the_backtest(run: Run, name: str) -> None:
    """With its trade history a strategy trades live as `pyne run` does on the file, bar for bar."""
    job = make_job(str(EXAMPLES / f"{name}.py"), daily_bars(1000), 400)
    host, backtest = run(job | {"trade_history": True}, job | {"mode": "backtest"})
    assert host["plots"] == backtest["plots"]
    assert host["trades"] == backtest["trades"]
    assert len(host["trades"]) > 10
    assert files_of(host) == files_of(backtest)


def test_indicator_equals_the_backtest(run: Run) -> None:
    """An indicator that was fed forming updates ends each bar as the backtest does."""
    bars = crypto_bars(600)
    updates, transition = with_forming(bars, 100)
    job = make_job(str(EXAMPLES / "rsi.py"), updates, transition, instrument=CRYPTO)
    host, backtest = run(job, job | {"mode": "backtest", "bars": bars})
    assert host["plots"] == backtest["plots"]
    assert files_of(host)["plot.csv"] == files_of(backtest)["plot.csv"]
    assert len(host["alerts"]) > 5


def test_files_equal_those_of_the_pyne_command(run: Run, tmp_path: Path) -> None:
    """The real `pyne run` on a recording of the same bars writes the same three files."""
    job = make_job(str(EXAMPLES / "ema_cross.py"), crypto_bars(800), 500, instrument=CRYPTO)
    host, command = run(job | {"trade_history": True}, job | {"mode": "command"})
    assert files_of(host) == files_of(command)
    assert files_of(host)["trades.csv"].count(b"\n") > 20


def test_a_rerun_rebuilds_thefiles_of(run: Run, tmp_path: Path) -> None:
    """A restarted runner pushes the whole run again: the files are those of a run that was never broken."""
    updates, transition = with_forming(daily_bars(200), 100)
    job = make_job(str(EXAMPLES / "stops.py"), updates, transition, trade_history=True)
    again = {"output": str(tmp_path / "again")}
    whole, _, rebuilt = run(job, job | again | {"bars": updates[:300]}, job | again)
    assert files_of(rebuilt) == files_of(whole)
    assert len(files_of(whole)) == 3
    assert rebuilt["trades"] == whole["trades"] != []


def test_live_bars_are_realtime(run: Run, tmp_path: Path) -> None:
    """barstate.isrealtime holds on every live bar and on no other; forming plots keep their titles."""
    bars = daily_bars(60)
    updates, transition = with_forming(bars, 30)
    (host,) = run(make_job(write_script(tmp_path, MEMORY), updates, transition, warmup=30))
    assert [values["realtime"] for _, values in host["plots"]] == [0.0] * 30 + [1.0] * 30
    assert [time_ms for time_ms, _ in host["forming"]] == [bar[0] for bar in bars[30:] for _ in range(3)]
    assert {tuple(values) for _, values in host["forming"]} == {tuple(host["plots"][0][1])}
    assert {values["confirmed"] for _, values in host["forming"]} == {False}
    assert host["plots"][-1][1]["runs"] == 30 + 4 * 30, "each update is executed exactly once"
    assert host["plots"][-1][1]["bars"] == 60


def test_alerts_follow_their_frequency(run: Run, tmp_path: Path) -> None:
    """Alerts fire on live bars only: each time, once a bar or at the close; logs on history too."""
    bars = daily_bars(4)
    updates, transition = with_forming(bars, 2)
    (host,) = run(make_job(write_script(tmp_path, TALK), updates, transition))
    expected = []
    for index, (time_ms, opened, _, _, closed, _) in enumerate(bars):
        expected += [[time_ms, "each", "all", ""], [time_ms, f"once {opened:g}", "once_per_bar", ""]]
        expected += [[time_ms, "each", "all", ""]] * 3
        expected += [[time_ms, "at close", "once_per_bar_close", ""]]
        if index % 2 == 0:
            text = f"AAPL {closed:g} {index} {index} {{{{no}}}}"
            expected += [[time_ms, text, "once_per_bar_close", "even"]]
    assert host["alerts"] == [alert for alert in expected if alert[0] >= bars[2][0]]
    index_of = {bar[0]: index for index, bar in enumerate(bars)}
    assert host["logs"] == [[bar[0], "warning", f"bar {index_of[bar[0]]} of this"] for bar in updates]


FLIP = """
@script.strategy("flip", initial_capital=1_000_000, default_qty_type=strategy.fixed, default_qty_value=1)
def main():
    if bar_index % 4 == 0:
        strategy.entry("long", strategy.long)
    if bar_index % 4 == 2:
        strategy.close("long")
"""


def test_orders_are_withheld_during_an_outage(run: Run, tmp_path: Path) -> None:
    """`none`: the position stays as it is; `exits`: it is closed and not opened again; then all is as before."""
    script = tmp_path / "flip.py"
    script.write_text(HEAD.replace("script\n", "script, strategy\n") + FLIP)
    allowed = {str(n): "none" for n in range(49, 60)} | {str(n): "exits" for n in range(70, 80)}
    (host,) = run(make_job(str(script), daily_bars(100), 20, allowed=allowed))
    assert host["fault"] is None
    held = [int(signal[2] > 0) for signal in host["signals"]]  # from bar 20 on; an order is filled on the bar after it
    assert held[:8] == [0, 1, 1, 0, 0, 1, 1, 0]
    assert held[29:40] == [1] * 11  # 48 has bought, 50, 54 and 58 may not close
    assert held[49:60] == [1, 1] + [0] * 9  # 68 has bought, 70 has closed, nothing since
    assert held[60:68] == [0, 1, 1, 0, 0, 1, 1, 0]


def test_which_scripts_want_forming_bars(run: Run, tmp_path: Path) -> None:
    """An indicator runs on each update; a strategy on closes, unless it or the topology asks for more."""
    cases = [
        ('indicator("x")', "auto", True),
        ('indicator("x")', "closed", False),
        ('strategy("x")', "auto", False),
        ('strategy("x")', "all", True),
        ('strategy("x", calc_on_every_tick=True)', "auto", True),
    ]
    jobs = []
    for number, (declared, updates, _) in enumerate(cases):
        text = f"{HEAD}@script.{declared}\ndef main():\n    plot(close)\n"
        jobs.append(make_job(write_script(tmp_path, text, f"{number}.py"), daily_bars(3), 1, updates=updates))
    for (declared, _, wanted), host in zip(cases, run(*jobs), strict=True):
        assert host["declared"] == [declared.split("(")[0], "x", wanted]


BODY = '@script.indicator("x")\ndef main(length=input.int(5, "Length", minval=1)):\n'
GOOD = "    plot(close)\n"
WEEKLY = BODY.replace('"x"', '"x", timeframe="1W"')
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("print(1)\n", {}, "@pyne"),
    (HEAD + BODY + "    plot(close\n", {}, "cannot be loaded at line 7: SyntaxError"),
    (HEAD + "wrong = nothing\n" + BODY + GOOD, {}, "cannot be loaded at line 5: NameError"),
    (HEAD + "sys.exit(3)\n" + BODY + GOOD, {}, "at line 5: it called sys.exit()"),
    (HEAD + BODY + GOOD, {"lenght": 3}, "lenght"),
    (HEAD + BODY + GOOD, {"length": "3"}, "'length' is '3' but must be of type int"),
    (HEAD + BODY + GOOD, {"length": 0}, "'length' is 0 but must be at least 1"),
    (HEAD + WEEKLY + GOOD, {}, "the timeframe '1W'"),
    (HEAD + BODY.replace("indicator", "library") + GOOD, {}, "is a library"),
    (HEAD + BODY + "    x = [1, 2]\n    plot(x[int(bar_index)])\n", {},
     "failed at line 8 on the bar of 2000-03-03T00:00:00Z: IndexError"),
    (HEAD + BODY + "    if bar_index == 3:\n        sys.exit()\n    plot(close)\n", {},
     "failed at line 8 on the bar of 2000-03-06T00:00:00Z: it called sys.exit()"),
    (HEAD + BODY + '    plot(request.security("XX:YY", "1W", close))\n', {}, "XX:YY"),
]


def test_faults_are_one_sentence(run: Run, tmp_path: Path) -> None:
    """What is wrong with a script is said in one sentence that names its file, its line and its bar."""
    scripts = [write_script(tmp_path, text, f"{number}.py") for number, (text, _, _) in enumerate(FAULTS)]
    bars = daily_bars(6)
    jobs = [make_job(script, bars, 3, inputs=fault[1]) for script, fault in zip(scripts, FAULTS, strict=True)]
    for job, (_, _, words), host in zip(jobs, FAULTS, run(*jobs), strict=True):
        assert words in (host["fault"] or "")
        assert job["script"] in host["fault"]
        assert "\n" not in host["fault"]


def test_a_missing_or_second_script_is_refused(run: Run, tmp_path: Path) -> None:
    """A path that is none is said so; a second script would share the first one's state."""
    absent, second = run(
        make_job(str(tmp_path / "absent.py"), [], 0), make_job(str(EXAMPLES / "rsi.py"), [], 0, mode="second")
    )
    assert "there is no script" in absent["fault"]
    assert "this process runs the script" in second["fault"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_no_fault_of_thewrite_script(run: Run, tmp_path: Path) -> None:
    """What PyneCore cannot write names the folder, and may be tried again; the script is not blamed."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "plot.csv").symlink_to("/dev/full")
    (host,) = run(make_job(str(EXAMPLES / "rsi.py"), daily_bars(2_000), 1_000, output=str(full)))
    assert f"{full} cannot be written (No space left on device)" in host["fault"]
    assert "rsi.py" not in host["fault"]
