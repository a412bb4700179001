"""Run one script with ``request.security`` over the demo's bars: ours, a bar at a time, or PyneCore's own on files.

``python -P security_host.py ours|oracle JOB RESULT`` writes the plots of all closed bars. The oracle shares no code
with ``pynelive.runners``: it is PyneCore's runner on history, each context in an ``.ohlcv`` file.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pynelive.bus.messages import Bar
from pynelive.bus.names import parse_key
from pynelive.bus.ohlcv import to_syminfo
from pynelive.producers.demo import Market
from pynelive.producers.playback import forming_bar
from pynelive.runners.contexts import Closes, Contexts
from pynelive.runners.script import Outputs, Script

Rows = list[list[Any]]


def market(stream: str) -> Market:
    """The market of ``demo:SYMBOL@TIMEFRAME``."""
    return Market(7, parse_key(stream.removeprefix("demo:")))


def bars_of(stream: str, first: int, last: int, holes: float) -> list[Bar]:
    """The stream's bars, some of which were never traded."""
    luck, made = random.Random(stream), market(stream)
    return [made.bar(index) for index in range(first, last) if luck.random() >= holes]


def ours(job: dict[str, Any], folder: Path) -> Rows:
    """A history, then live with forming updates; each context's bars are pushed when they are over."""
    chart, instrument = job["chart"], market(job["chart"]).instrument()
    waiting = {stream: bars_of(stream, *job["contexts"][stream]) for stream in job["contexts"]}
    contexts = Contexts(folder, (chart, instrument), {stream: market(stream).instrument() for stream in waiting})
    over = {stream: Closes(market(stream).instrument()) for stream in (chart, *waiting)}
    script, rows = Script(Path(job["script"]), instrument), Rows()
    script.contexts = contexts
    for number, bar in enumerate(bars_of(chart, *job["bars"])):
        if number == job["transition"]:
            _keep(rows, script.go_live())
        if number >= job["transition"]:
            for update in range(1, 4):
                script.push(forming_bar(bar, update, 3, 100))
        close_ms = over[chart].at(bar.time_ms)
        for stream, others in waiting.items():
            while others and over[stream].at(others[0].time_ms) <= close_ms:
                contexts.push(stream, others.pop(0))
        _keep(rows, script.push(bar))
    _keep(rows, script.close())
    contexts.close()
    return rows


def _keep(rows: Rows, said: Outputs) -> None:
    if said.plot and said.plot.closed:
        rows.append([said.plot.time_ms, said.plot.values])


def oracle(job: dict[str, Any], folder: Path) -> Rows:
    """All of it as history."""
    from pynecore.core.ohlcv import OHLCVWriter
    from pynecore.core.script_runner import ScriptRunner
    from pynecore.types.ohlcv import OHLCV

    files = {}
    for asked, stream in job["asked"].items():
        path, syminfo = folder / f"{len(files)}.ohlcv", to_syminfo(market(stream).instrument())
        syminfo.save_toml(path.with_suffix(".toml"))
        with OHLCVWriter(path, syminfo.period, minmove=syminfo.minmove, pricescale=syminfo.pricescale) as writer:
            for bar in bars_of(stream, *job["contexts"][stream]):
                writer.write(OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume))
        files[asked] = path

    def feed() -> Iterator[Any]:
        for bar in bars_of(job["chart"], *job["bars"]):
            yield OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)

    runner = ScriptRunner(
        Path(job["script"]), list(feed()), to_syminfo(market(job["chart"]).instrument()), security_data=files,
        lossless_prices=True, lossless_volume=True,
    )
    return [
        [candle.timestamp, {title: _plain(value) for title, value in plots.items()}]
        for candle, plots, *_ in runner.run_iter()
    ]


def _plain(value: Any) -> Any:
    return None if value != value or value is None else float(value)


if __name__ == "__main__":
    mode, job_path, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    work = result.with_suffix("")
    work.mkdir()
    job = json.loads(job_path.read_text())
    result.write_text(json.dumps((ours if mode == "ours" else oracle)(job, work)))
