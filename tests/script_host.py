"""Run one script over given updates and keep what it says: the process that the tests of scripts start.

``python -P script_host.py JOBS`` reads a list of jobs (JSON) and writes each job's result beside its files.
PyneCore holds one script a process, so every job is forked from this one, which has imported everything once.
The oracle is PyneCore's own runner fed by a plain generator; it shares no code with ``pynelive.runners``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
from pynelive.bus.errors import Fault
from pynelive.bus.messages import Bar, Instrument, Span
from pynelive.bus.ohlcv import to_syminfo
from pynelive.runners.pyne import messages
from pynelive.runners.script import Outputs, Script

Job = dict[str, Any]
Result = dict[str, Any]

def main(jobs: list[Job]) -> None:
    """Run all jobs, one process each, in order."""
    for job in jobs:
        process = get_context("fork").Process(target=_run, args=(job,))
        process.start()
        process.join()
        assert process.exitcode == 0, f"{job['mode']} of {job['script']} ended with {process.exitcode}"


def _run(job: Job) -> None:
    output = Path(job["output"])
    output.mkdir(parents=True, exist_ok=True)
    modes = {"host": run_host, "second": run_second, "command": run_command}
    result = modes.get(job["mode"], run_oracle)(job, output)
    (output / "result.json").write_bytes(msgspec.json.encode(result))


def run_host(job: Job, output: Path) -> Result:
    """The script through ``Script``, as a runner drives it."""
    kinds = ("plots", "forming", "trades", "alerts", "logs", "signals", "said")
    result: Result = {**{kind: [] for kind in kinds}, "fault": None}
    try:
        _push_all(_load(job, output), job, result)
    except Fault as fault:
        result["fault"] = str(fault)
    return result


def _load(job: Job, output: Path) -> Script:
    instrument = _instrument(job)
    return Script(
        Path(job["script"]), instrument, inputs=job.get("inputs", {}), updates=job.get("updates", "auto"),
        trade_history=job.get("trade_history", False), warmup=job.get("warmup"), output=output,
    )


def _push_all(script: Script, job: Job, result: Result) -> None:
    result["declared"] = [script.kind, script.title, script.wants_forming]
    for number, bar in enumerate(_bars(job)):
        if number == job["transition"]:
            _keep(result, script.go_live())
        script.allow(job.get("allowed", {}).get(str(number), "all"))
        _keep(result, script.push(bar))
    _keep(result, script.close())
    _keep(result, script.close())


def _keep(result: Result, said: Outputs) -> None:
    result["said"].append(msgspec.to_builtins(messages(said)))
    if said.plot:
        result["plots" if said.plot.closed else "forming"].append([said.plot.time_ms, said.plot.values])
    result["trades"] += [
        [fill.entry_ms, fill.exit_ms, fill.entry_id, fill.exit_id, fill.size, fill.entry_price,
         fill.exit_price, fill.profit] for fill in said.fills
    ]
    result["alerts"] += [[alert.time_ms, alert.message, alert.freq, alert.title] for alert in said.alerts]
    result["logs"] += [[log.time_ms, log.level, log.text] for log in said.logs]
    if signal := said.signal:
        result["signals"].append([signal.time_ms, signal.action, signal.position, signal.equity])


def run_second(job: Job, output: Path) -> Result:
    """A script that starts beside another one."""
    _load(job, output)
    return run_host(job, output)


def run_command(job: Job, output: Path) -> Result:
    """The script through the ``pyne`` command, on a recording of the bars."""
    from pynecore.core.ohlcv import OHLCVWriter

    syminfo = to_syminfo(_instrument(job))
    work = output / "work"
    for folder in ("data", "scripts", "output", "config"):
        (work / folder).mkdir(parents=True)
    (work / ".pyne").write_text('workdir_version = "1.0"\n')
    data = work / "data" / "bars.ohlcv"
    syminfo.save_toml(data.with_suffix(".toml"))
    with OHLCVWriter(data, syminfo.period, minmove=syminfo.minmove, pricescale=syminfo.pricescale) as writer:
        for bar in _feed(job, None):
            writer.write(bar)
    options = {"--plot": "plot.csv", "--strat": "strategy.csv", "--trade": "trades.csv"}
    files = [part for option, name in options.items() for part in (option, output / name)]
    command = [Path(sys.executable).with_name("pyne"), "-w", work, "run", job["script"], data, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {}


def run_oracle(job: Job, output: Path) -> Result:
    """The script through PyneCore's own loop; ``backtest`` is ``pyne run`` on a file."""
    from pynecore.core.script_runner import LIVE_TRANSITION, ScriptRunner

    live = job["mode"] == "oracle"
    forming: list[Any] = []
    runner = ScriptRunner(
        Path(job["script"]), _feed(job, LIVE_TRANSITION if live else None, forming),
        to_syminfo(_instrument(job)), live=live, inputs=job.get("inputs", {}),
        plot_path=output / "plot.csv", strat_path=output / "strategy.csv", trade_path=output / "trades.csv",
        lossless_prices=True, lossless_volume=True, viz_path=output / "viz.ndjson", viz_journal=True,
    )
    result: Result = {"plots": [], "trades": [], "books": []}
    for candle, plots, *trades in runner.run_iter():
        result["plots"].append([candle.timestamp, {title: _plain(value) for title, value in plots.items()}])
        if trades:
            result["books"].append([candle.timestamp, *_book(runner)])
        result["trades"] += [
            [trade.entry_time, trade.exit_time, trade.entry_id, trade.exit_id, trade.size, trade.entry_price,
             trade.exit_price, trade.profit] for closed in trades for trade in closed
        ]
    return result | {"forming": forming}


def _feed(job: Job, transition: Any, forming: list[Any] | None = None) -> Iterator[Any]:
    from pynecore import lib
    from pynecore.core import viz
    from pynecore.types.ohlcv import OHLCV

    if job.get("trade_history"):
        lib._strategy_suppressed = False
    for number, bar in enumerate(_bars(job)):
        if number == job["transition"] and transition is not None:
            yield transition
        yield OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, None, bar.closed)
        if not bar.closed and forming is not None:
            drawn = {f"{kind} {number}": fields for (kind, number), fields in viz._all_drawings().items()}
            forming.append([bar.time_ms, {title: _plain(value) for title, value in lib._plot_data.items()}, drawn])
            for state in (lib._plot_data, lib._viz_dyn, lib._viz_seq):
                state.clear()  # else PyneCore takes the plots of the next update for others of the same titles


def _book(runner: Any) -> list[Any]:
    """What PyneCore holds: size, average price, equity, profits, open trades and the statistics of its own file."""
    from pynecore.core.strategy_stats import calculate_strategy_statistics

    held = runner.script.position
    trades = [[trade.entry_id, trade.size, trade.entry_time, trade.entry_price] for trade in held.open_trades]
    figures = calculate_strategy_statistics(
        held, runner.script.initial_capital, runner.equity_curve or None, runner.first_price, runner.last_price
    ).to_dict()
    return [held.size, _plain(held.avg_price), held.equity, held.openprofit, held.netprofit, trades, figures]


def _instrument(job: Job) -> Instrument:
    spans = ("opening_hours", "session_starts", "session_ends")
    fields = {name: tuple(Span(*span) for span in value) if name in spans else value
              for name, value in job["instrument"].items()}  # fmt: skip
    return Instrument(**fields)


def _bars(job: Job) -> list[Bar]:
    return [Bar(*values) for values in job["bars"]]


def _plain(value: Any) -> Any:
    return None if value != value else value


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
