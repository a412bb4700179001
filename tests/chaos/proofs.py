"""Long proofs of one promise each: many joins, a recorder that sleeps under load, a journal that is too small for it.

Every one runs in a world of its own that is compared with an undisturbed one in the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import psutil
from pynelive.bus.asker import Questions
from pynelive.bus.discovery import publishers
from pynelive.bus.rundir import RunDir
from pynelive.bus.wire import Info

from .oracle import Outcome, Result
from .world import RUNNERS, SINKS, Size, World, pause, wait_for, world

Calm = Callable[[Size], Result]
"""The undisturbed world of a size."""
_PROBE_S = 0.05
_DEAF_S = 0.5  # by then everybody has seen the order


class Proof(NamedTuple):
    """What came of it: how the world differs, and what was measured."""

    outcome: Outcome
    said: str


class Health(NamedTuple):
    """A producer over some time: how fast it answers (ms), and its memory (MiB) at the end."""

    p50_ms: float
    p99_ms: float
    memory_mb: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.1f} ms, {self.memory_mb:.1f} MB"


def health(here: World, name: str, seconds: float) -> Health:
    """Ask a producer over and over; a loop that is held up answers late."""

    async def ask() -> list[float]:
        took = []
        questions = Questions(publishers(RunDir(here.run_dir))[name].control, name, lambda: True)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            await questions.ask(lambda number: Info())
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(_PROBE_S)
        questions.close()
        return took

    took = asyncio.run(ask())
    memory = psutil.Process(here.actors()[name]).memory_info().rss / (1 << 20)
    return Health(median(took), quantiles(took, n=100)[98], memory)


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
    size = Size(bars=20_000, rate=100)
    wanted = calm(size)
    with world(folder, seed, size) as here:
        for batch in range(0, count, 40):
            here.visit("chaos.visitors", "40", "3", f"{seed} {batch}")
            here.visited(at_most=2)
        outcome = here.judge(wanted)
        given = [len(bars) for _, bars in here.result().visits if bars]
    return Proof(outcome, f"{count:,} joins, {sum(given):,} bars given; {count - len(given)} met no bar")


def stall(folder: Path, seed: int, calm: Calm, seconds: float = 600) -> Proof:
    """A recorder and a reader sleep under load, and ZeroMQ drops what it cannot keep: the producer does not feel it."""
    size = Size(bars=int(150 * (seconds + 60)), rate=150, forming=8)
    wanted = calm(size)
    with world(folder, seed, size) as here:
        pause(min(seconds / 4, 30))  # the queues of everybody are in use
        before = health(here, "demo", min(seconds / 2, 60))
        with asleep(here, "recorder", "reader"):
            while_asleep = health(here, "demo", seconds)
        outcome = here.judge(wanted)
    return Proof(outcome, f"producer before: {before}; recorder asleep for {seconds:.0f} s: {while_asleep}")


def retention(folder: Path, seed: int, calm: Calm, bars: int = 8000, max_mb: float = 0.25) -> Proof:
    """Nobody hears anything until the journal has forgotten all that it had: everybody is told; history completes."""
    size = Size(bars, rate=10, journal=f"journal = {{ max_mb = {max_mb} }}")
    wanted = calm(size)
    with world(folder, seed, size) as here:
        here.pace(60 * 300)
        here.order("loss", "1")
        pause(_DEAF_S)
        begun = _segments(here)
        wait_for(lambda: not begun & _segments(here), "the journal has forgotten all that it had", 300)
        outcome = here.judge(wanted)
        told = [name for name in (*SINKS, *RUNNERS) if "are no longer kept" in here.log(name)]
    if len(told) < len(SINKS + RUNNERS):
        outcome += Outcome(lost=1, notes=[f"only {told or 'nobody'} was told that something is gone"])
    return Proof(outcome, f"{', '.join(told)} were told, and completed by the history")


def _segments(here: World) -> set[str]:
    return {path.name for path in (here.run_dir / "journal" / "demo").glob("*.seg")}


def herd(folder: Path, seed: int, calm: Calm, readers: int = 200) -> Proof:
    """The producer of five streams is killed again and again while so many readers follow all of them."""
    size = Size(bars=8000, rate=20)
    wanted = calm(size)
    with world(folder, seed, size) as here:
        for part in range(4):
            here.visit("chaos.visitors", str(readers // 4), "60", f"{seed} {part}", "demo:*")
        for _ in range(5):
            pause(8)
            os.kill(here.actors()["demo"], signal.SIGKILL)
            here.settled()
        here.visited()
        outcome = here.judge(wanted)
        visits = here.result().visits
    given = sum(len(bars) for _, bars in visits)
    return Proof(outcome, f"{len(visits):,} streams followed by {readers} readers over 5 kills, {given:,} bars given")


PROOFS = {"joins": joins, "stall": stall, "retention": retention, "herd": herd}
"""All proofs by name."""
