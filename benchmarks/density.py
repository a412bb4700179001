"""P10: many scripts on one machine: what a runner takes, how soon it is ready, and a hundred of them on one feed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from figures import Row, compare, part, rounds
from harness import folder, until
from pynelive.bus.children import View
from pynelive.bus.control import Request, ask
from pynelive.bus.errors import Fault
from pynelive.bus.rundir import RunDir
from pynelive.bus.topology import load

TITLE = "Density"
ABOUT = """
An indicator (RSI and its average) on 500 bars of history and then live, each in a process of its own. *Ready* is when
the last of 20 has executed its history: ours from `pynelive apply` of 20 more runners to a bus that has one, PyneCore's
from the start of 20 more `pyne run --live`, whose provider is its own `replay`: bars in a file, no network. *Memory* is
PSS, in which a page that several share counts for each by its part; the warm parent's is part of ours. *A hundred* get
a bar a second; counted is all but the producer, and the supervisor's processor time too.
"""
COUNT = 20
HUNDRED = 100
HISTORY = 500
HUNDRED_S = 20
SCRIPT = '''"""@pyne"""
import os
from pynecore.lib import bar_index, close, color, plot, script, ta

@script.indicator("Density")
def main():
    if bar_index == {last}:
        open(f"{ready}/{{os.getpid()}}", "w").close()
    rsi = ta.rsi(close, 14)
    plot(rsi, "RSI", color=color.purple)
    plot(ta.sma(rsi, 9), "average")
'''
_SOURCE = """[bus]
name = "bench"
run_dir = "run"
[[producer]]
name = "source"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { speed = 60, forming = 0 }
"""
_RUNNER = """[[runner]]
name = "r{}"
script = "script.py"
stream = "demo:BTC/USDT@1"
history = {}
"""


def script(at: Path) -> Path:
    """The script, and the folder where each that has executed its history leaves its process id."""
    (at / "ready").mkdir(exist_ok=True)
    path = at / "script.py"
    path.write_text(SCRIPT.format(last=HISTORY - 2, ready=at / "ready"))
    return path


def ready(at: Path) -> int:
    return len([*(at / "ready").iterdir()])


def pss_mb(pids: list[int]) -> float:
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


# --- ours -------------------------------------------------------------------------------------------------------------


class Bus:
    """A bus in a folder, with as many runners as it is told to have."""

    def __init__(self, at: Path) -> None:
        self.at, self.path = at, at / "topology.toml"
        script(at)

    def write(self, runners: int) -> None:
        """Have so many."""
        self.path.write_text(_SOURCE + "".join(_RUNNER.format(number, HISTORY) for number in range(runners)))

    @contextmanager
    def up(self) -> Iterator[psutil.Process]:
        """Its supervisor."""
        process = subprocess.Popen([sys.executable, "-m", "pynelive", "up", str(self.path)], stdout=subprocess.DEVNULL)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()

    def views(self) -> list[View]:
        """All runners; none if the bus is not up yet."""
        try:
            return [view for view in ask(RunDir(load(self.path)), Request("ps")).views if view.role == "runner"]
        except Fault:
            return []

    def running(self, count: int) -> list[View]:
        """So many runners that are live, or none."""
        views = [view for view in self.views() if view.phase == "running"]
        return views if len(views) == count else []

    def taken(self, supervisor: psutil.Process) -> list[int]:
        """All processes but the supervisor and the producer."""
        return [child.pid for child in supervisor.children() if "source" not in child.cmdline()]


def ours() -> tuple[float, float]:
    """Seconds until 20 more are ready, and MB of each."""
    with folder() as at:
        bus = Bus(at)
        bus.write(1)
        with bus.up() as supervisor:
            until(lambda: bus.running(1))
            bus.write(1 + COUNT)
            begun = time.monotonic()
            ask(RunDir(load(bus.path)), Request("apply", path=str(bus.path)))
            until(lambda: ready(at) == 1 + COUNT)
            took = time.monotonic() - begun
            until(lambda: bus.running(1 + COUNT))
            return took, pss_mb(bus.taken(supervisor)) / (1 + COUNT)


# --- PyneCore's own ---------------------------------------------------------------------------------------------------


def workdir(at: Path) -> Path:
    """A folder of PyneCore's: the script, and a recording to replay."""
    work = at / "work"
    for name in ("scripts", "data", "output/logs", "config/plugins"):
        (work / name).mkdir(parents=True)
    (work / ".pyne").write_text('workdir_version = "1.0"\n')
    script(at).rename(work / "scripts" / "script.py")
    now, price, chance = int(time.time()) // 60 * 60_000, 100.0, random.Random(1)
    warmup = []
    for number in range(HISTORY):
        close = price + chance.uniform(-0.5, 0.5)
        warmup.append([now - (HISTORY - number) * 60_000, price, max(price, close), min(price, close), close, 1.0])
        price = close
    (work / "bars.json").write_text(json.dumps({"warmup": warmup, "live": [[now, *warmup[-1][1:], False]]}))
    (work / "config" / "plugins" / "replay.toml").write_text(f'fixture_path = "{work / "bars.json"}"\n')
    return work


def started(work: Path, number: int) -> subprocess.Popen[bytes]:
    """`pyne run --live`, on a symbol of its own."""
    command = [str(Path(sys.executable).with_name("pyne")), "-w", str(work), "run", "script.py",
               f"replay:S{number}@1", "--live", "-f", f"-{HISTORY}",
               "--plot", str(work / "output" / f"{number}.csv")]  # fmt: skip
    quiet = {"PYNE_NO_LOGO": "1", "PYNE_NO_LIVE_SPINNER": "1", "PYNE_SAVE_SCRIPT_TOML": "0"}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | quiet
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere)


def theirs() -> tuple[float, float]:
    """Seconds until 20 more of `pyne run --live` are ready, and MB of each."""
    with folder() as at:
        work = workdir(at)
        processes = [started(work, 0)]
        try:
            until(lambda: ready(at) == 1)  # from now on there is bytecode
            begun = time.monotonic()
            processes += [started(work, 1 + number) for number in range(COUNT)]
            until(lambda: ready(at) == 1 + COUNT)
            return time.monotonic() - begun, pss_mb([process.pid for process in processes]) / len(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()


# --- a hundred --------------------------------------------------------------------------------------------------------


def hundred() -> tuple[float, float, float, float]:
    """Seconds until all are live, MB of all, processors that they use, and the bars that the last one is behind."""
    with folder() as at:
        bus = Bus(at)
        bus.write(HUNDRED)
        begun = time.monotonic()
        with bus.up() as supervisor:
            views = until(lambda: bus.running(HUNDRED))
            took, least = time.monotonic() - begun, min(_bars(view) for view in views)
            processes = [psutil.Process(pid) for pid in (supervisor.pid, *bus.taken(supervisor))]
            used, since = _seconds(processes), time.monotonic()
            until(lambda: min(map(_bars, bus.running(HUNDRED)), default=0) >= least + HUNDRED_S)
            cores = (_seconds(processes) - used) / (time.monotonic() - since)
            bars = [_bars(view) for view in bus.views()]
            return took, pss_mb(bus.taken(supervisor)), cores, max(bars) - min(bars)


def _bars(view: View) -> int:
    return view.status.bars if view.status else 0


def _seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(count: int) -> list[Row]:
    """P10."""
    cases: dict[str, Callable[[], tuple[float, ...]]] = {"ours": ours, "pyne": theirs}
    figures = rounds(count, cases)
    soon, memory = (part(figures, at) for at in (0, 1))
    took, mb, cores, behind = hundred()
    other = "`pyne run --live`"
    return [
        compare("P10-ready", f"{COUNT} more are ready ÷ {other}", soon, "ours", "pyne", "s", 0.1, at_most=True),
        compare("P10-memory", f"memory of one of {COUNT} ÷ {other}", memory, "ours", "pyne", "MB", 0.4, at_most=True),
        Row("P10-hundred", f"{HUNDRED} scripts on one feed, live after so long", f"{took:.1f} s"),
        Row("P10-hundred-memory", f"{HUNDRED} scripts on one feed, a runner", f"{mb / HUNDRED:.1f} MB"),
        Row("P10-hundred-cpu", f"{HUNDRED} scripts, a bar a second", f"{cores:.2f} cores"),
        Row("P10-hundred-lag", f"{HUNDRED} scripts, bars between the first and the last", f"{behind:g}"),
    ]
