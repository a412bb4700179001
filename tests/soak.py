"""A week in minutes: does anything grow? ``make soak`` runs it (docs/durability.md).

A producer with STREAMS demo markets and forming updates, a recorder, a script and ``pynelive tail`` run until DAYS of
1-minute bars have been played. Meanwhile the memory and the descriptors of every process and the size of every journal
are measured. Memory is what a process has for itself (``RssAnon``); the journals, which are mapped, are
measured as files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
from topologies import COMMAND, Bench, candles, wait_for

LOOK_S = 1.0
TOLERANCE = 0.05
ONE_MORE = 2
"""A journal has a segment more than usual until it is trimmed."""
SLACK_MB = 1.0
"""What 5 % of a small process may be at least: the allocator takes memory a megabyte at a time."""
JOURNALS_MB = {"demo": 4, "rsi": 1}
"""Full within the warm-up: until then each new segment is one more descriptor."""
KEPT = 1.25
"""A journal is trimmed a segment at a time, an eighth of its size, and has one more that is being written."""

TOPOLOGY = """
[[producer]]
name = "demo"
provider = "demo"
streams = [{streams}]
options = {{ speed = {speed}, bars = {bars}, forming = {forming} }}
journal = {{ max_mb = {demo} }}

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = {{ dir = "data" }}

[[runner]]
name = "rsi"
type = "pyne"
script = "EXAMPLES/rsi.py"
stream = "demo:S000/USDT@1"
updates = "all"
journal = {{ max_mb = {rsi} }}
"""


@dataclass
class Course:
    """What was measured of one process, look by look."""

    memory_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def fault(self) -> str:
        """What is not flat, or nothing; the first quarter is the warm-up."""
        _, before, _, after = quarters(self.memory_mb)
        if abs(after - before) > max(before * TOLERANCE, SLACK_MB):
            return "memory"
        _, before, _, after = quarters(self.files)
        return "descriptors" if after > before + ONE_MORE else ""


def quarters(values: Sequence[float]) -> list[float]:
    """The usual value in each quarter of a run."""
    ends = [len(values) * number // 4 for number in range(5)]
    return [statistics.median(values[begin:end] or values) for begin, end in pairwise(ends)]


def anonymous_mb(pid: int) -> float:
    """The memory that the process has for itself, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def look(processes: dict[int, str], courses: dict[str, Course]) -> None:
    """Measure every process that lives."""
    for pid, name in processes.items():
        try:
            memory, files = anonymous_mb(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if memory:
            courses.setdefault(name, Course()).memory_mb.append(memory)
            courses[name].files.append(files)


def journals_mb(bench: Bench) -> dict[str, float]:
    """The size of each journal on disk."""
    sizes = {}
    for folder in (bench.run_dir / "journal").iterdir():
        try:
            sizes[folder.name] = sum(path.stat().st_size for path in folder.glob("*.seg")) / (1 << 20)
        except FileNotFoundError:
            continue  # a segment was dropped meanwhile: at the next look
    return sizes


def watch(bench: Bench, up: subprocess.Popen[str]) -> tuple[dict[str, Course], dict[str, float]]:
    """Run it to its end: the courses of all processes, and the largest size of each journal."""
    wait_for(lambda: len(bench.ps()) == 3 and all(view["pid"] for view in bench.ps().values()), 60)
    tail = subprocess.Popen([*COMMAND, "tail", "demo:*", "--json", "--bus", str(bench.path)], stdout=subprocess.DEVNULL)
    processes = {view["pid"]: name for name, view in bench.ps().items()} | {tail.pid: "tail", up.pid: "supervisor"}
    for child in psutil.Process(up.pid).children(recursive=True):
        processes.setdefault(child.pid, "script's parent" if child.children() else "helper")
    courses: dict[str, Course] = {}
    largest: dict[str, float] = {}
    while up.poll() is None:
        look(processes, courses)
        for name, size in journals_mb(bench).items():
            largest[name] = max(size, largest.get(name, 0.0))
        time.sleep(LOOK_S)
    tail.terminate()
    tail.wait()
    return courses, largest


def report(courses: dict[str, Course], largest: dict[str, float]) -> bool:
    """Print the table; True if all is flat."""
    print("\nmemory (MB) and descriptors in each quarter of the run; the first one is the warm-up")
    print(f"{'process':<16}{'':>28} {'change':>8} {'most':>7}  descriptors")
    flat = True
    for name, course in sorted(courses.items()):
        memory, files, fault = quarters(course.memory_mb), quarters(course.files), course.fault()
        flat &= not fault
        change = (memory[3] / memory[1] - 1) * 100
        print(f"{name:<16}{''.join(f'{mb:7.1f}' for mb in memory)} {change:+6.1f} % {max(course.memory_mb):7.1f}  "
              f"{' '.join(f'{count:.0f}' for count in files)}{f'  GROWS: {fault}' if fault else ''}")
    for name, size in sorted(largest.items()):
        inside = size <= JOURNALS_MB[name] * KEPT
        flat &= inside
        print(f"journal {name:<8} at most {size:.1f} MB of {JOURNALS_MB[name]} MB{'' if inside else '  TOO LARGE'}")
    return flat


def complete(bench: Bench, streams: list[str], bars: int) -> bool:
    """Whether every recording has every bar, once and in order."""
    for stream in streams:
        times = [bar[0] for bar in candles(bench.folder / "data" / f"demo_{stream.replace('/', '_')}_1.ohlcv")]
        if times != [times[0] + 60_000 * number for number in range(bars)]:
            print(f"{stream}: {len(times):,} bars were recorded, not {bars:,} in order")
            return False
    print(f"every one of {len(streams)} recordings holds its {bars:,} bars")
    return True


def main() -> int:
    """Run it; 0 if nothing grows and nothing is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7, help="of 1-minute bars")
    parser.add_argument("--minutes", type=float, default=10, help="of real time, if the machine can")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--forming", type=int, default=4, help="updates within a bar")
    given = parser.parse_args()
    streams, bars = [f"S{number:03}/USDT" for number in range(given.streams)], round(given.days * 1440)
    keys = json.dumps([f"{stream}@1" for stream in streams])[1:-1]
    speed = round(given.days * 1440 / given.minutes, 1)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        tables = TOPOLOGY.format(streams=keys, speed=speed, bars=bars, forming=given.forming, **JOURNALS_MB)
        bench = Bench(Path(folder), tables)
        print(f"{bars:,} bars of {len(streams)} streams, {given.forming} updates in each, {speed:g} times real time")
        log = (Path(folder) / "up.log").open("w")
        began = time.monotonic()
        up = subprocess.Popen([*COMMAND, "up", str(bench.path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            courses, largest = watch(bench, up)
        finally:
            if up.poll() is None:
                up.terminate()
                up.wait()
        if up.returncode:
            print(f"pynelive up has returned {up.returncode}:\n{(Path(folder) / 'up.log').read_text()[-2000:]}")
            return 1
        print(f"played in {(time.monotonic() - began) / 60:.1f} minutes")
        flat = report(courses, largest)
        return 0 if complete(bench, streams, bars) and flat else 1


if __name__ == "__main__":
    sys.exit(main())
