"""Many scripts on one machine: runners are forked from a warm parent, and one that runs away harms nobody."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
from topologies import Bench, running, wait_for

SOURCE = """
[[producer]]
name = "source"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { speed = 60 }
"""
RUNNER = """
[[runner]]
name = "{name}"
script = "{script}"
stream = "demo:BTC/USDT@1"
history = 50
limits = {{ memory_mb = 200, cpu_s = 2, files = 200 }}
"""
SCRIPT = '''"""@pyne"""
import os
import subprocess
import sys
from pynecore.lib import bar_index, close, plot, script

@script.indicator("{name}")
def main():
    if bar_index == 40:
        {deed}
    plot(close, "close")
'''
RUNAWAYS = {
    "loop": ("while True: pass", "at line 10 on the bar of 20", "2 s of processor time for one update (limits.cpu_s)"),
    "deaf": ("exec('while True:\\n try:\\n  while True: len(str())\\n except Exception: pass')", "", "limits.cpu_s"),
    "hoard": ("bytearray(500_000_000)", "at line 10", "more memory than limits.memory_mb"),
    "grains": ("kept = [[number] for number in range(10**9)]", "at line 10", "more memory than limits.memory_mb"),
    "files": ("kept = [open(__file__) for _ in range(300)]", "at line 10", "Too many open files"),
    "fork": ("while True: os.fork()", "at line 10", "it started a process (os.fork)"),
    "shell": ("subprocess.run(['sleep', '1000'])", "at line 10", "it started a process (subprocess.Popen)"),
    "exit": ("sys.exit()", "at line 10", "it called sys.exit()"),
    "leave": ("os._exit(0)", "", "ended with exit code 0 and without a last word (os._exit?) for the 5th time"),
}
"""By name: what the script does, where it is said to have done it, and what is said of it."""


def bench_of(folder: Path, scripts: dict[str, str]) -> Bench:
    """A topology with a runner for each script."""
    folder.mkdir(exist_ok=True)
    tables = [SOURCE]
    for name, code in scripts.items():
        (folder / f"{name}.py").write_text(code)
        tables.append(RUNNER.format(name=name, script=f"{name}.py"))
    return Bench(folder, "".join(tables))


def warm_parent(bench: Bench) -> list[psutil.Process]:
    """The process that the runners are forked from."""
    return [psutil.Process(pid) for pid in bench.processes() if "--warm" in bench.command_of(pid)]


def script(name: str, deed: str = "pass") -> str:
    return SCRIPT.format(name=name, deed=deed)


def test_runaway_scripts_are_named_and_stopped_and_harm_nobody(tmp_path: Path) -> None:
    codes = {name: script(name, deed) for name, (deed, _, _) in RUNAWAYS.items()}
    bench = bench_of(tmp_path, {"good": script("good"), **codes})

    def over() -> dict[str, Any]:
        views = bench.ps()
        return views if views and all(views[name]["phase"] == "failed" for name in RUNAWAYS) else {}

    with running(bench):
        views = wait_for(over)
        for name, (_, place, words) in RUNAWAYS.items():
            assert words in views[name]["why"]
            assert place in views[name]["why"]
            assert f"{name} has failed for good" in bench.log("supervisor")
        assert (views["good"]["phase"], views["good"]["restarts"]) == ("running", 0)
        bars = views["good"]["status"]["bars"]
        wait_for(lambda: bench.ps()["good"]["status"]["bars"] > bars)
        alive = {name: view["pid"] for name, view in bench.ps().items() if view["pid"]}
        assert sorted(alive) == ["good", "source"]
        parents = [each.pid for each in warm_parent(bench)]
        assert {*bench.processes()} - {*alive.values(), *parents} <= {psutil.Process(alive["good"]).ppid()}


def test_runners_are_forked_anew_whatever_becomes_of_their_parent(tmp_path: Path) -> None:
    """They are the supervisor's children, run the script as it is now, and have nothing of each other's."""
    bench = bench_of(tmp_path, {"one": script("one"), "two": script("two")})

    def running_as(name: str, unlike: int = 0) -> dict[str, Any]:
        view = bench.ps().get(name, {})
        return view if view.get("phase") == "running" and view["pid"] != unlike else {}

    with running(bench) as up:
        first = {name: wait_for(lambda name=name: running_as(name))["pid"] for name in ("one", "two")}
        (parent,) = warm_parent(bench)
        assert parent.num_threads() == 1
        for name, pid in first.items():
            process = psutil.Process(pid)
            assert (process.ppid(), os.getsid(pid), process.num_fds() < 60) == (up.pid, pid, True)
            assert ["run", name] == process.cmdline()[3:5]
        parent.kill()
        (tmp_path / "two.py").write_text(script("two, edited"))
        os.kill(first["two"], signal.SIGKILL)
        wait_for(lambda: running_as("two", unlike=first["two"]))
        assert bench.published("two", "run:two")[0].title == "two, edited"
        assert running_as("one")["pid"] == first["one"]
        (new,) = warm_parent(bench)
        assert new.pid != parent.pid
        left = [psutil.Process(pid) for pid in bench.processes() if pid != up.pid]
        up.kill()
        _, alive = psutil.wait_procs(left, timeout=100)
        assert all(each.status() == psutil.STATUS_ZOMBIE for each in alive)
