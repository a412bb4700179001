"""Long proofs of one promise each: many joins, a recorder that sleeps under load, a journal that is too small for it,
a herd that joins at once, machines whose network is bad.

Every one runs in a world of its own that is compared with an undisturbed one in the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

from networks import missing
from pynelive.bus.asker import Questions
from pynelive.bus.calls import Info
from pynelive.bus.discovery import publishers
from pynelive.bus.ohlcv import last_time_ms
from pynelive.bus.rundir import RunDir
from soak import anonymous_mb

from .faults import PUBLISHERS
from .hosts import forecast, suffer
from .oracle import Outcome, Result
from .world import RUNNERS, SINKS, STREAMS, Size, World, pause, wait_for, world

Calm = Callable[[Size], Result]
"""The undisturbed world of a size."""
_PROBE_S = 0.05
_GROWTH = 1.1
"""What the memory of a producer may grow by while somebody sleeps."""
_BATCH = 40
_HERD = 50
"""Readers that share a process."""
_KILLS = 5
_DEAF_S = 0.5  # by then everybody has seen the order


class Proof(NamedTuple):
    """What came of it: how the world differs, what was measured, and what of that is not as promised."""

    outcome: Outcome
    said: str
    broken: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return not (self.outcome or self.broken)


class Health(NamedTuple):
    """A producer over some time: how fast it answers (ms), and the most memory that it had for itself (MB)."""

    p50_ms: float
    p99_ms: float
    memory_mb: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.1f} ms, {self.memory_mb:.1f} MB"


def health(here: World, name: str, seconds: float) -> Health:
    """Ask a producer over and over, at least once; a loop that is held up answers late."""
    pid, took, memory = here.actors()[name], [], []

    async def ask() -> None:
        questions = Questions(publishers(RunDir(here.run_dir))[name].control, name, lambda: True)
        until = time.monotonic() + seconds
        while not took or time.monotonic() < until:
            began = time.perf_counter()
            await questions.ask(lambda number: Info())
            took.append((time.perf_counter() - began) * 1000)
            memory.append(anonymous_mb(pid))
            await asyncio.sleep(_PROBE_S)
        questions.close()

    asyncio.run(ask())
    return Health(median(took), sorted(took)[len(took) * 99 // 100], max(memory))


@contextmanager
def asleep(here: World, *names: str) -> Iterator[None]:
    """Some processes are suspended meanwhile."""
    everybody = {**here.actors(), **here.followers()}
    for name in names:
        os.kill(everybody[name], signal.SIGSTOP)
    try:
        yield
    finally:
        for name in names:
            os.kill(everybody[name], signal.SIGCONT)


def joins(folder: Path, seed: int, calm: Calm, count: int = 1000) -> Proof:
    """Readers come at random instants under load, with some history or none; each gets one unbroken piece."""
    size = Size(bars=20_000, rate=40)
    wanted = calm(size)
    with world(folder, seed, size) as here:
        for begin in range(0, count, _BATCH):
            here.visit(min(_BATCH, count - begin), 3, f"{seed} {begin}")
            here.visited(at_most=2)
        here.visited()
        outcome = here.judge(wanted)
        given = [len(bars) for _, bars in here.visits() if bars]
    nothing = [f"{count - len(given)} readers met no bar"] if len(given) < count else []
    return Proof(outcome, f"{count:,} joins, {sum(given):,} bars given", nothing)


def stall(folder: Path, seed: int, calm: Calm, seconds: float = 600, rate: float = 40) -> Proof:
    """A recorder and a reader sleep under load, and ZeroMQ drops what it cannot keep: the producer does not feel it."""
    size = Size(int(rate * (1.5 * seconds + 60)), rate, forming=8)
    wanted, beside = calm(size), min(seconds / 4, 60)
    with world(folder, seed, size) as here:
        pause(beside)
        before = health(here, "demo", beside)
        with asleep(here, "recorder", "reader"):
            full = health(here, "demo", 2 * beside)
        _heal(here)
        with asleep(here, "recorder", "reader"):
            meanwhile = health(here, "demo", seconds)
        missed, healed_s = _heal(here)
        after = health(here, "demo", beside)
        outcome = here.judge(wanted)
    grown = [
        f"the producer's memory has grown from {full.memory_mb:.1f} to {then.memory_mb:.1f} MB {when}"
        for when, then in (("while the recorder slept", meanwhile), ("after it", after))
        if then.memory_mb > full.memory_mb * _GROWTH
    ]
    said = f"{seconds:.0f} s asleep, {missed:,} bars of each stream missed, had them {healed_s:.1f} s after waking"
    queues = f"{full.memory_mb:.1f} MB with ZeroMQ's queues filled once"
    return Proof(outcome, f"{said}; producer before: {before}; {queues}; meanwhile: {meanwhile}; after: {after}", grown)


def _heal(here: World) -> tuple[int, float]:
    """How many bars of a stream the recorder lacks, and after how many seconds it has them."""
    woke, head = time.monotonic(), _last_bar(here, "archive")
    missed = head - _last_bar(here, "data")
    wait_for(lambda: _last_bar(here, "data") >= head, "the recorder has what it slept through")
    return missed, time.monotonic() - woke


def _last_bar(here: World, kept: str) -> int:
    """The number of the last bar that is in a recording of the stream which both recorders keep."""
    [path] = here.disk.glob(f"{kept}/*BTC*.ohlcv")
    return (last_time_ms(path) or 0) // 60_000


def retention(folder: Path, seed: int, calm: Calm, bars: int = 8000, max_mb: float = 0.25) -> Proof:
    """Nobody hears anything until the journal has forgotten all that it had: everybody is told; history completes."""
    size = Size(bars, rate=2, journal=f"journal = {{ max_mb = {max_mb} }}")  # most of it is still to come then
    wanted = calm(size)
    with world(folder, seed, size) as here:
        here.order("loss", "1")
        pause(_DEAF_S)
        begun = _segments(here)
        here.pace(60 * 300)
        wait_for(lambda: not begun & _segments(here), "the journal has forgotten all that it had", 300)
        outcome = here.judge(wanted)
        told = [name for name in (*SINKS, *RUNNERS) if "are no longer kept" in here.log(name)]
    deaf = [f"{name} was not told that something is gone" for name in (*SINKS, *RUNNERS) if name not in told]
    return Proof(outcome, f"{', '.join(told)} were told, and completed by the history", deaf)


def _segments(here: World) -> set[str]:
    return {path.name for path in (here.run_dir / "journal" / "demo").glob("*.seg")}


def herd(folder: Path, seed: int, calm: Calm, readers: int = 200) -> Proof:
    """All five publishers are killed again and again, and so many readers join each of them again at the same time."""
    size = Size(bars=2000, rate=2)
    wanted, took = calm(size), []
    with world(folder, seed, size) as here:
        everybody = {name: count + readers for name, count in _followed(here).items()}
        for begin in range(0, readers, _HERD):
            here.visit(min(_HERD, readers - begin), 3600, f"{seed} {begin}", "demo:*", 3600)
        wait_for(lambda: _there(here, everybody), "all readers have come", 300)
        for _ in range(_KILLS):
            began = time.monotonic()
            for name in PUBLISHERS:
                os.kill(here.actors()[name], signal.SIGKILL)
            here.settled()
            wait_for(lambda: _there(here, everybody), "all readers are there again", 300)
            took.append(time.monotonic() - began)
        (here.folder / "leave").touch()
        here.visited()
        outcome = here.judge(wanted)
        given = [len(bars) for _, bars in here.visits() if bars]
    silent = readers * sum(stream.startswith("demo:") for stream in STREAMS) - len(given)
    again = f"{readers * len(PUBLISHERS):,} joins at once, all made {median(took):.1f} s after the kill"
    said = f"{_KILLS} times {again} (at the latest {max(took):.1f} s), {sum(given):,} bars given"
    return Proof(outcome, said, [f"{silent} streams of readers had no bar"] if silent else [])


def _followed(here: World) -> dict[str, int]:
    """How many follow each publisher that lives, by what it says itself."""
    alive = here.actors()
    views = here.ps()
    says = {name: views.get(name, {}).get("status") or {} for name in PUBLISHERS}
    return {
        name: status["counters"]["subscribers"]
        for name, status in says.items()
        if status.get("pid") == alive.get(name) and status.get("counters")
    }


def _there(here: World, everybody: dict[str, int]) -> bool:
    followed = _followed(here)
    return all(followed.get(name, 0) >= count for name, count in everybody.items())


def hosts(folder: Path, seed: int, calm: Calm, faults: int = 20) -> Proof:
    """Three machines whose cables are pulled, lose 1 to 30 % of all packets, or are up to 200 ms late."""
    weathers = forecast(seed, faults)
    outcome, lost = suffer(folder, seed, weathers)
    met = [some for some, packets in zip(weathers, lost, strict=True) if packets or some.delay_ms]
    cuts, seconds = sum(bool(some.cut) for some in met), sum(some.seconds for some in met)
    said = f"{len(met)} faults in {seconds:.0f} s, {cuts} of them cuts; {sum(lost):,} packets lost"
    return Proof(outcome, said if len(met) == faults else f"{said}; {faults - len(met)} more faults met nothing")


def scripts(folder: Path, seed: int, calm: Calm, kills: int = 100) -> Proof:
    """Scripts are killed -9 at random instants; their listener has everything once, and a replay says the same."""
    size, luck, busy = Size(bars=max(1000, 60 * kills), rate=40), Random(seed), 0
    wanted = calm(size)
    with world(folder, seed, size) as here:
        for _ in range(kills):
            name = luck.choice(RUNNERS)
            pid = wait_for(lambda name=name: here.actors().get(name), f"{name} is there again")
            if live := luck.random() < 0.5:
                wait_for(lambda name=name: here.ps().get(name, {}).get("phase") == "running", f"{name} is live")
            pause(luck.uniform(0, 0.5))
            busy += live
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda name=name, pid=pid: here.actors().get(name) != pid, f"{name} is dead")
        outcome = here.judge(wanted)
        proofs = {name: here.command("verify", f"run:{name}", "--bus", str(here.path)) for name in RUNNERS}
    unlike = [f"verify run:{name}: {said}" for name, said in proofs.items() if "replayed: the same" not in said]
    return Proof(outcome, f"{kills} kills, {busy} of them of a script that was live; both runs were proved", unlike)


PROOFS = {"joins": joins, "stall": stall, "retention": retention, "herd": herd, "hosts": hosts,
          "scripts": scripts}  # fmt: skip
"""All proofs by name; what stands behind ``calm`` says how long or how large one is."""


def refused(name: str) -> str:
    """Why a proof cannot be made here; nothing if it can."""
    return missing(lossy=True) if name == "hosts" else ""
