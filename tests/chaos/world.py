"""The world: a bus of three producers, two recorders and two scripts, and two programs of somebody's own, all real.

It is finite and always the same: a seed decides every bar. A sink that the topology declares holds all streams open
until ``finish``, so that no fault comes too late. The bars come at a pace; ``finish`` lets the rest come at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
from msgspec.structs import replace
from pynelive.bus.names import parse_key
from pynelive.bus.ohlcv import last_time_ms
from pynelive.producers.demo import expected_bars
from topologies import COMMAND, Bench

from . import oracle
from .disks import Disk, refused
from .oracle import Item, Outcome, Result

TESTS = Path(__file__).parent.parent
PYTHONPATH = os.pathsep.join([str(TESTS / "chaos" / "hook"), str(TESTS), os.environ.get("PYTHONPATH", "")])
HOLD, KEPT = Path(__file__).with_name("hold.py"), f"{Path(__file__).with_name('kept.py')}:Kept"
PRODUCERS, SINKS, RUNNERS = ("demo", "alts", "tape"), ("recorder", "archive"), ("rsi", "ema-cross")
FOLLOWERS = {
    "reader": ("demo:BTC/USDT@1", "demo:XRP/USDT@1", "replay:TAPE/USD@1"),
    "listener": ("demo:AAPL@1", "run:rsi", "run:ema-cross"),
}
STREAMS = (
    "demo:BTC/USDT@1", "demo:ETH/USDT@1", "demo:AAPL@1", "demo:XRP/USDT@1", "demo:DOGE/USDT@1", "replay:TAPE/USD@1",
)  # fmt: skip
RUNS = ("run:rsi", "run:ema-cross")
RECORDED = ("disk/data/*.ohlcv", "disk/archive/*.ohlcv", "disk/data/*.csv", "disk/archive/*.csv", "disk/output/*/*.csv")
_RECORDINGS = 7  # files, of both recorders
_BEFORE = 1000  # bars of history that the demo has
_AT_ONCE = 1e9  # and not 0: a source that waits for its consumers would wait for the sink that holds all open
_DISK_MB = 96
TABLES = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "ETH/USDT@1", "AAPL@1"]
options = {{ seed = {seed}, speed = {speed}, bars = {bars}, forming = {forming} }}
{journal}

[[producer]]
name = "alts"
provider = "{kept}"
streams = ["XRP/USDT@1", "DOGE/USDT@1"]
options = {{ seed = {seed}, speed = {speed}, bars = {bars}, forming = {forming} }}
{journal}

[[producer]]
name = "tape"
provider = "replay"
streams = ["TAPE/USD@1"]
options = {{ files = {{ "TAPE/USD@1" = "tape.csv" }}, speed = {speed}, forming = 1 }}
{journal}

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = {{ dir = "disk/data" }}

[[sink]]
name = "archive"
type = "ohlcv"
streams = ["replay:*", "demo:BTC/USDT@1"]
options = {{ dir = "disk/archive" }}

[[sink]]
name = "hold"
type = "{hold}"
streams = ["demo:*", "replay:*", "run:*"]

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:BTC/USDT@1"
output = "disk/output"

[[runner]]
name = "ema-cross"
script = "EXAMPLES/ema_cross.py"
stream = "demo:ETH/USDT@1"
output = "disk/output"
"""


@dataclass(frozen=True)
class Size:
    """How much there is of a world.

    :param bars: of each stream
    :param rate: so many of them a second while harm is done
    :param journal: the producers' ``journal`` option
    :param forming: updates of each forming bar
    """

    bars: int = 6000
    rate: float = 40.0
    journal: str = ""
    forming: int = 2


def wait_for(happened: Callable[[], Any], what: str, timeout_s: float = 240) -> Any:
    """What it returns, as soon as that is true.

    :raises TimeoutError: it has not happened
    """
    deadline = time.monotonic() + timeout_s
    while not (found := happened()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} has not come true within {timeout_s:.0f} s")
        pause(0.02)
    return found


def pause(seconds: float) -> None:
    """Let some time pass."""
    signal.sigtimedwait([], seconds)


class World(Bench):
    """One run of the world in a folder of its own."""

    def __init__(self, folder: Path, seed: int, size: Size) -> None:
        self.seed, self.size = seed, size
        self.orders, self.disk, self.heard = folder / "orders", folder / "disk", folder / "heard"
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.cache = folder / "cache"
        self.environment = {
            **os.environ, "CHAOS_DIR": str(self.orders), "PYTHONPATH": PYTHONPATH, "PYNELIVE_CACHE": str(self.cache)
        }  # fmt: skip
        self.seen = Outcome()
        """What was found wrong while harm was done."""
        self.disks: dict[str, Disk] = {}
        self.frail = PRODUCERS
        """Whose journals may be damaged: not the scripts' too, which without one begin anew with their source's."""
        self._readers = FOLLOWERS
        self._visits: list[subprocess.Popen[bytes]] = []
        self._followers: dict[str, subprocess.Popen[bytes]] = {}
        super().__init__(folder, self._tables(60 * size.rate))
        if not refused():
            for name, where in (("run", self.run_dir), ("disk", self.disk), ("cache", self.cache)):
                self.disks[name] = Disk(folder / f"{name}.img", where, max(_DISK_MB, self.size.bars // 100))
        for made in (self.orders / "failpoints", self.disk, self.run_dir):
            made.mkdir(parents=True, exist_ok=True)
        for order, text in (("boot", "1"), ("loss", "0"), ("clock", "0")):
            self.order(order, text)
        self._write_tape()

    def _tables(self, speed: float) -> str:
        return TABLES.format(
            seed=self.seed, speed=speed, bars=self.size.bars, hold=HOLD, kept=KEPT,
            journal=self.size.journal, forming=self.size.forming,
        )  # fmt: skip

    def _write_tape(self) -> None:
        bars = expected_bars(self.seed, parse_key("TAPE/USD@1"), 0, self.size.bars)
        rows = (f"{bar.time_ms},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume}" for bar in bars)
        (self.folder / "tape.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows, ""]))

    def order(self, name: str, text: str) -> None:
        """Tell the processes something (hook/sitecustomize.py), whole or not at all."""
        fresh = self.orders / f"{name}.new"
        fresh.write_text(text)
        fresh.replace(self.orders / name)

    # --- life -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Bring everything up, and wait until everybody has the first bars of everything."""
        self.up_again()
        self.tend()
        wait_for(self._under_way, "everybody has begun")

    def up_again(self) -> None:
        """``pynelive up``, its output in a file."""
        with (self.folder / "up.log").open("ab") as log:
            self.supervisor = subprocess.Popen(
                [*COMMAND, "up", str(self.path)], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def settled(self) -> None:
        """Wait until every actor that is declared has a process."""
        wait_for(lambda: set(self.actors()) >= {*PRODUCERS, *SINKS, *RUNNERS, "hold"}, "every actor is there")

    def tend(self) -> None:
        """Start the readers again that were killed."""
        for name, streams in self._readers.items():
            if name not in self._followers or self._followers[name].poll() not in (None, 0):
                self._followers[name] = self.reader(self.heard / name, *streams)

    def reader(self, folder: Path, *arguments: str, module: str = "chaos.follower") -> subprocess.Popen[bytes]:
        """A program of somebody's own."""
        command = [sys.executable, "-m", module, str(self.path), str(folder), *arguments]
        folder.parent.mkdir(exist_ok=True)
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def visit(
        self, count: int, most_s: float, seed: str, pattern: str = "", least_s: float = 0, older: int = 0
    ) -> Path:
        """Let some readers come and go beside all else, each staying for a time between those two; their folder."""
        return self.attend("chaos.visitors", *map(str, (count, least_s, most_s, seed, pattern, older)))

    def attend(self, module: str, *told: str) -> Path:
        """Let a program come that leaves by itself; the folder in which it writes what it was given."""
        folder = self.folder / "visits" / str(len(self._visits))
        self._visits.append(self.reader(folder, *told, module=module))
        return folder

    def left(self) -> None:
        """Wait until the one that has come last has left."""
        wait_for(lambda: self._visits[-1].poll() is not None, "the last visitors have left")

    def visited(self, at_most: int = 0) -> None:
        """Wait until no more than so many groups of visitors are there."""
        wait_for(lambda: [v.poll() for v in self._visits].count(None) <= at_most, "the visitors have left", 300)
        failed = [n for n, visit in enumerate(self._visits) if visit.poll()]
        assert not failed, "\n".join((self.folder / "visits" / f"{n}.log").read_text() for n in failed)

    def mend(self) -> None:
        """What a person does who finds that an actor was given up; until all of them go on."""
        wait_for(self._mended, "every actor goes on")

    def _mended(self) -> bool:
        views = self.ps()
        for name in (failed := [name for name, view in views.items() if view["phase"] == "failed"]):
            self.command("restart", name, "--bus", str(self.path))
        going = all(view["phase"] not in ("starting", "restarting") for view in views.values())
        return bool(views) and going and not failed

    def actors(self) -> dict[str, int]:
        """The processes of the actors that live, by name."""
        found = {}
        for pid in self.processes():
            with suppress(psutil.Error):  # it has just ended
                argv = psutil.Process(pid).cmdline()
                if "--supervised" in argv:
                    found[argv[argv.index("run") + 1]] = pid
        return found

    def followers(self) -> dict[str, int]:
        """The processes of the readers that live, by name."""
        return {name: process.pid for name, process in self._followers.items() if process.poll() is None}

    def command(self, *words: str) -> str:
        """A command of pynelive that has to do with this bus; what it prints."""
        done = subprocess.run([*COMMAND, *words], env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def pace(self, speed: float) -> None:
        """Go on at another pace."""
        Bench.__init__(self, self.folder, self._tables(speed))
        self.command("apply", str(self.path))

    def _under_way(self) -> bool:
        streams = [(self.heard / name, stream) for name, said in self._readers.items() for stream in said]
        heard = [oracle.heard_path(folder, stream) for folder, stream in streams]
        recorded = [*self.disk.glob("*/*.ohlcv")]
        return (
            len(recorded) == _RECORDINGS
            and all(path.exists() and path.stat().st_size for path in heard)
            and all(last_time_ms(path) for path in recorded)
        )

    def finish(self) -> int:
        """Let the rest come as fast as it can, and everything end; the exit code of ``up``."""
        assert self.supervisor
        self.order("loss", "0")
        (self.orders / "hwm").unlink(missing_ok=True)
        self.pace(_AT_ONCE)
        wait_for(self._readers_done, f"every reader in {self.folder} has everything", 300)
        self.visited()
        (self.folder / "go").touch()
        wait_for(lambda: self.supervisor.poll() is not None, "`up` has ended")  # type: ignore[union-attr]
        return int(self.supervisor.returncode)

    def judge(self, calm: Result) -> Outcome:
        """Finish; how what is left behind differs from the undisturbed run."""
        code = self.finish()
        wrong = Outcome(files=1, notes=[f"`up` returned {code}", self.log("supervisor")]) if code else Outcome()
        return self.result().differs(calm) + wrong + self.seen

    def _readers_done(self) -> bool:
        self.tend()
        return all(process.poll() == 0 for process in self._followers.values())

    def end(self) -> None:  # type: ignore[override]
        """Kill whatever is left."""
        for process in [self.supervisor, *self._followers.values(), *self._visits]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(lambda: not self.processes(), "everything is gone")

    def close(self) -> None:
        """Unmount the disks; what was on them is gone."""
        while self.disks:
            self.disks.popitem()[1].close()

    # --- what it leaves behind --------------------------------------------------------------------------------------

    def result(self) -> Result:
        """All that can be compared."""
        said = {stream: oracle.items(self.published(stream.partition(":")[2], stream)) for stream in RUNS}
        heard = {
            name: {stream: oracle.heard(oracle.heard_path(self.heard / name, stream)) for stream in streams}
            for name, streams in self._readers.items()
        }
        visits = self.visits()
        played = {stream: self._played(stream) for stream in dict(visits)}
        return Result(oracle.digests(self.folder, RECORDED), said, heard, visits, played)

    def visits(self) -> list[tuple[str, list[Item]]]:
        """What each visitor was given, by stream."""
        return [(unquote(path.stem), oracle.heard(path)) for path in sorted(self.folder.glob("visits/*/*/*.jsonl"))]

    def _played(self, stream: str) -> list[Item]:
        """All bars of a stream that there are, those before its beginning too."""
        provider, _, key = stream.partition(":")
        before = _BEFORE if provider == "demo" else 0
        bars = expected_bars(self.seed, parse_key(key), -before, before + self.size.bars)
        return oracle.items(replace(bar, origin=provider) for bar in bars)


@contextmanager
def world(folder: Path, seed: int, size: Size) -> Iterator[World]:
    """A world that has begun; nothing of it is left running."""
    made = World(folder, seed, size)
    try:
        made.begin()
        yield made
    finally:
        made.end()
        made.close()


def undisturbed(folder: Path, seed: int, size: Size) -> Result:
    """What the world leaves behind when nobody harms it."""
    with world(folder, seed, size) as calm:
        assert calm.finish() == 0, calm.log("supervisor")
        result = calm.result()
    bars = {stream: size.bars for stream in STREAMS}
    found = {stream: len(said) for said in result.heard.values() for stream, said in said.items() if stream in bars}
    assert all(count == size.bars for count in found.values()), found
    return result
