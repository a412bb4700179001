"""A topology in a folder of its own, run by real processes: how it ended, and what it has left behind."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import psutil
from pynecore.core.ohlcv import OHLCVReader
from pynelive.bus.control import Request, ask
from pynelive.bus.errors import Fault
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Message
from pynelive.bus.rundir import RunDir
from pynelive.bus.wire import decode

EXAMPLES = Path(__file__).parent.parent / "examples"
COMMAND = (sys.executable, "-m", "pynelive")
PATIENCE_S = 200.0
"""How long anything may take on a machine that is busy with something else."""
CANDLE = ("time_ms", "open", "high", "low", "close", "volume")

Candle = tuple[int, float, float, float, float, float]


@dataclass
class Ended:
    """How a command ended: its exit code, and all that it printed."""

    code: int
    output: str


class Bench:
    """One topology in one folder.

    :param tables: the topology without ``[bus]``; ``EXAMPLES`` in it is the folder of the example scripts
    :param prefix: words before each command, such as those that run it on another machine
    """

    def __init__(self, folder: Path, tables: str, prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        self.prefix = prefix
        self.path = folder / "topology.toml"
        self.run_dir = folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        head = '[bus]\nname = "bench"\nrun_dir = "run"\n'
        self.path.write_text(head + tables.replace("EXAMPLES", str(EXAMPLES)))

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """``pynelive up`` in a process of its own."""
        return subprocess.Popen(
            [*self.prefix, *COMMAND, "up", str(self.path)], env={**os.environ, **environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> Ended:
        """Wait for the end of ``up``; what is still running after that time is stopped and the test fails."""
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            output += self.log("supervisor")
            raise AssertionError(f"not over after {timeout_s} s:\n{output}") from None
        assert not self.processes(), "something is left running"
        return Ended(process.returncode, output)

    def up(self, timeout_s: float = PATIENCE_S, **environment: str) -> Ended:
        """``pynelive up`` to its end."""
        return self.end(self.start(**environment), timeout_s)

    def processes(self) -> list[int]:
        """All processes of this topology that live."""
        return [pid for pid in psutil.pids() if str(self.path) in " ".join(self.command_of(pid))]

    @staticmethod
    def command_of(pid: int) -> list[str]:
        """The command line of a process; nothing of one that has just ended."""
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
        except OSError:
            return []

    def ps(self) -> dict[str, dict[str, Any]]:
        """What ``pynelive ps --json`` says of each actor, asked as it asks; nothing if the bus is not up."""
        try:
            views = ask(RunDir(self.run_dir), Request("ps")).views
        except Fault:
            return {}
        return {view.name: msgspec.to_builtins(view) for view in views}

    def log(self, name: str) -> str:
        """All that an actor, or the supervisor, has logged."""
        folder = self.run_dir / "logs"
        return "".join(path.read_text() for path in sorted(folder.glob(f"{name}.log*"), reverse=True))

    def digests(self) -> dict[str, str]:
        """SHA-256 of every recording, plot and list of trades."""
        files = [*self.folder.glob("data/*.ohlcv"), *self.folder.glob("output/*/*.csv")]
        return {str(p.relative_to(self.folder)): sha256(p.read_bytes()).hexdigest() for p in sorted(files)}

    def published(self, name: str, stream: str) -> list[Message]:
        """All that the actor's journal holds of a stream, in order."""
        journal = Journal(self.run_dir / "journal" / name, read_only=True)
        records = [record for of, record in journal.in_order() if of == stream]
        messages = [message for record in records for message in decode(record.payload)]
        journal.close(clean=False)
        return messages


def candles(path: Path) -> list[Candle]:
    """What PyneCore reads of a recording."""
    with OHLCVReader(path) as reader:
        return [(bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in reader]


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV's rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def aapl(folder: Path) -> str:
    """Write `bars.csv`, 13 years of daily bars, many off the tick grid; the key of their stream."""
    packed = (resources.files("bokeh_sampledata") / "_data" / "stocks.csv.gz").read_bytes()
    bars = csv.DictReader(gzip.decompress(packed).decode().splitlines())
    names = ("Date", "Open", "High", "Low", "Close", "Volume")
    lines = [",".join(bar[name] for name in names) for bar in bars if bar["Ticker"] == "AAPL"]
    (folder / "bars.csv").write_text("\n".join(["time,open,high,low,close,volume", *lines, ""]))
    return "AAPL@1D"


def wait_for(happened: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """What it returns, as soon as that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := happened()):
        assert time.monotonic() < deadline, "it has not happened"
        _pause(0.03)
    return found


def _pause(seconds: float) -> None:
    signal.sigtimedwait([], seconds)


@contextmanager
def running(bench: Bench, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """``pynelive up``; whatever is left of it in the end is killed."""
    process = bench.start(**environment)
    try:
        yield process
    finally:
        for pid in [*bench.processes()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.communicate()
