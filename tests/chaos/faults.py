"""The kinds of harm. Each is a function that is given the world and its own luck, and says what it has done."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from pynelive.bus.journal import Journal
from pynelive.producers.sessions import EPOCH_MS

from . import disks, oracle
from .oracle import Outcome
from .world import PRODUCERS, RUNNERS, SINKS, STREAMS, World, pause, wait_for

PUBLISHERS = PRODUCERS + RUNNERS
ACTORS = (*PRODUCERS, *SINKS, "hold", *RUNNERS)
UNKEPT = "downloads cannot be kept"
_HEADER = 64
_PATIENCE_S = 20.0


class Missed(Exception):
    """A fault has met nothing that it could harm; says why."""


class Kind(NamedTuple):
    """One kind of harm.

    :param do: does it; says what, or raises ``Missed``
    :param weight: how often it is chosen, beside the others
    :param refused: why it cannot be done here; nothing if it can
    """

    says: str
    do: Callable[[World, Random], str]
    weight: int = 2
    refused: Callable[[], str] = str


def _pid(world: World, name: str) -> int:
    """The process that plays an actor or a reader, as soon as there is one.

    :raises Missed: there is none any more: its streams are over
    """

    def found() -> int:
        world.tend()
        return {**world.actors(), **world.followers()}.get(name, 0)

    try:
        pid: int = wait_for(found, f"{name} is there", _PATIENCE_S)
    except TimeoutError:
        raise Missed(f"{name} is not there") from None
    return pid


def _signal(pid: int, number: signal.Signals) -> bool:
    """Whether it was still there: something else may have ended it just now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _somebody(world: World, rng: Random) -> str:
    return rng.choice([*ACTORS, *world.followers()])


# --- processes ------------------------------------------------------------------------------------------------------


def kill(world: World, rng: Random) -> str:
    """``kill -9`` of any process but the supervisor."""
    name = _somebody(world, rng)
    if not _signal(_pid(world, name), signal.SIGKILL):
        raise Missed(f"{name} has just ended")
    return name


def freeze(world: World, rng: Random) -> str:
    """SIGSTOP and SIGCONT of any process."""
    name, seconds = _somebody(world, rng), 0.2 * 25 ** rng.random()
    pid = _pid(world, name)
    if not _signal(pid, signal.SIGSTOP):
        raise Missed(f"{name} has just ended")
    pause(seconds)
    _signal(pid, signal.SIGCONT)
    return f"{name} for {seconds:.1f} s"


def supervisor(world: World, rng: Random) -> str:
    """``kill -9`` of ``pynelive up``; its actors follow it, and it is started again."""
    assert world.supervisor
    world.supervisor.kill()
    world.supervisor.wait()
    wait_for(lambda: not world.actors(), "the actors have followed their supervisor")
    world.up_again()
    return "and all actors"


def failpoint(world: World, rng: Random) -> str:
    """Death at a named place between two steps that belong together."""
    name, place, most = rng.choice(PLACES)
    count = rng.randint(1, most)
    once = world.orders / f"once-{rng.getrandbits(32):08x}"
    world.order(f"failpoints/{name}", f"{place}:{count}@{once}")
    _signal(_pid(world, name), signal.SIGKILL)
    try:
        wait_for(once.exists, "the place is reached", _PATIENCE_S)
    except TimeoutError:
        raise Missed(f"{name} has not come to {place} a time {count}") from None
    return f"{name} at {place}, time {count}"


_STEPS = (
    (PUBLISHERS, "publisher.between-journal-and-send", 40),
    (PUBLISHERS, "publisher.after-send", 40),
    (PUBLISHERS, "journal.between-new-and-seal", 1),
    (PUBLISHERS, "journal.between-seal-and-table", 1),
    (PUBLISHERS, "discovery.before-announcement", 1),
    (SINKS, "ohlcv.between-record-and-header", 20),
    (SINKS, "ohlcv.after-commit", 20),
    (SINKS, "sink.between-write-and-ack", 20),
    (RUNNERS, "runner.between-execution-and-journal", 60),
    (RUNNERS, "runner.between-journal-and-ack", 60),
)
PLACES = [(name, place, most) for names, place, most in _STEPS for name in names]
"""Who can die where, and at the latest the how-manieth time."""


# --- what comes over the wire ---------------------------------------------------------------------------------------


def loss(world: World, rng: Random) -> str:
    """A share of all PUB frames is lost, until the next fault of this kind."""
    share = rng.uniform(0.01, 0.3)
    world.order("loss", f"{share:.3f}")
    return f"{share:.1%} of all frames"


def joins(world: World, rng: Random) -> str:
    """Readers come late, with some history or none, and leave early."""
    return _join(world, rng, rng.randint(1, 8), 2.0)


def storm(world: World, rng: Random) -> str:
    """Many readers connect and are gone again at once."""
    return _join(world, rng, 40, 0.2)


def _join(world: World, rng: Random, count: int, stay_s: float) -> str:
    luck = str(rng.getrandbits(32))
    world.visit(count, stay_s, luck)
    return f"{count} readers for up to {stay_s} s"


def slow(world: World, rng: Random) -> str:
    """A reader computes for longer than its bars take to come, and then catches up."""
    stream, seconds = rng.choice(STREAMS), rng.uniform(2, 6)
    folder = world.attend("chaos.slow", stream, str(seconds))
    world.left()
    *_, behind = folder.with_name(f"{folder.name}.log").read_text().split()
    if int(behind) <= 1:
        raise Missed(f"the reader of {stream} has kept up")
    return f"for {seconds:.1f} s on {stream}, then {behind} bars behind"


def flood(world: World, rng: Random) -> str:
    """ZeroMQ may keep a few frames for each reader, and one reads nothing for a while: the rest is dropped."""
    name, kept, loss_before = "recorder", rng.randint(1, 16), (world.orders / "loss").read_text()
    world.order("loss", "0")
    world.order("hwm", str(kept))
    for each in ("demo", name):
        _signal(_pid(world, each), signal.SIGKILL)
    try:
        before = wait_for(lambda: _counters(world, name), f"{name} follows again")
        pid = _pid(world, name)
        _signal(pid, signal.SIGSTOP)
        pause(rng.uniform(3, 6))  # the kernel keeps some hundred frames too
        _signal(pid, signal.SIGCONT)
        after = wait_for(lambda: _repaired(world, name, before), "gaps that are repaired", _PATIENCE_S)
    except TimeoutError:
        raise Missed(f"ZeroMQ has kept all for {name}") from None
    finally:
        world.order("loss", loss_before)
        (world.orders / "hwm").unlink()
    gaps, repairs = (after[what] - before.get(what, 0) for what in ("gaps", "repairs"))
    return f"{name}, with {kept} frames kept: {gaps} gaps, {repairs} records repaired"


def _counters(world: World, name: str) -> dict[str, int]:
    """What an actor that runs has counted; nothing before it says anything."""
    status = world.ps().get(name, {}).get("status") or {}
    mine = status.get("pid") == world.actors().get(name) and status.get("state") == "running"
    return dict(status["counters"]) if mine else {}


def _repaired(world: World, name: str, before: dict[str, int]) -> dict[str, int]:
    """The same, if there are gaps and repairs that were not there before."""
    after = _counters(world, name)
    more = all(after.get(what, 0) > before.get(what, 0) for what in ("gaps", "repairs"))
    return after if more else {}


def clock(world: World, rng: Random) -> str:
    """The wall clock of all processes jumps, and stays there until it jumps again."""
    seconds = rng.choice((-1, 1)) * 10 ** rng.uniform(-1, 5)
    world.order("clock", f"{seconds:.3f}")
    return f"now {seconds:+,.1f} s"


# --- what is on the disk --------------------------------------------------------------------------------------------


@contextmanager
def _down(world: World, name: str) -> Iterator[Path]:
    """An actor is killed and stays down; its journal."""
    assert world.supervisor
    pid = _pid(world, name)
    os.kill(world.supervisor.pid, signal.SIGSTOP)
    try:
        _signal(pid, signal.SIGKILL)
        wait_for(lambda: name not in world.actors(), f"{name} is down")
        yield world.run_dir / "journal" / name
    finally:
        os.kill(world.supervisor.pid, signal.SIGCONT)


def torn(world: World, rng: Random) -> str:
    """A kill in the middle of an append: the last record stands there in part."""
    name = rng.choice(PUBLISHERS)
    with _down(world, name) as folder:
        journal = Journal(folder, read_only=True)
        if not journal.segments or not (tracks := [track for track in journal.tracks.values() if track.places]):
            raise Missed(f"{name} has said nothing yet")
        last, track = journal.segments[-1], rng.choice(tracks)
        [record] = journal.raw_from(track, len(track.places) - 1, 1)[0]
        part = bytes(record[: rng.randrange(1, len(record))])[: last.size - last.end]
        with last.path.open("r+b") as file:
            file.seek(last.end)
            file.write(part)
        record.release()
        journal.close(clean=False)
    return f"{name}: {len(part)} bytes of a record"


def flip(world: World, rng: Random) -> str:
    """A bit of a journal falls over while its publisher is down."""
    name = rng.choice(world.frail)
    with _down(world, name) as folder:
        journal = Journal(folder, read_only=True)
        written = [(segment.path, segment.end) for segment in journal.segments if segment.end > _HEADER]
        journal.close(clean=False)
        if not written:
            raise Missed(f"{name} has said nothing yet")
        path, end = rng.choice(written)
        at = rng.randrange(_HEADER, end)
        with path.open("r+b") as file:
            file.seek(at)
            [byte] = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return f"{name}: {path.name}, byte {at}"


def removed(world: World, rng: Random) -> str:
    """A publisher's journal is gone when it comes back."""
    name = rng.choice([*PRODUCERS, *world.frail])
    with _down(world, name) as folder:
        if not folder.exists():
            raise Missed(f"{name} has no journal yet")
        shutil.rmtree(folder)
    return name


def full(world: World, rng: Random) -> str:
    """A disk has no byte left for a while; who has given up over it is started again."""
    place = rng.choice(("disk", "run"))
    disk = world.disks[place]
    pid = _pid(world, rng.choice(PUBLISHERS))
    disk.fill()
    if place == "run":
        _signal(pid, signal.SIGKILL)  # a start needs room, going on does not yet
    pause(rng.uniform(0.5, 4))
    disk.free()
    world.mend()
    return f"of {place}"


def cache(world: World, rng: Random) -> str:
    """Downloads are gone and their disk is full: readers who want history have it from the venue, and that is said."""
    disk, stream, older = world.disks["cache"], rng.choice(("demo:XRP/USDT@1", "demo:DOGE/USDT@1")), rng.randint(1, 900)
    count, before = rng.randint(1, 4), world.log("alts").count(UNKEPT)
    with _down(world, "alts"):
        shutil.rmtree(disk.where / "history", ignore_errors=True)
        disk.fill()
    try:
        folder = world.visit(count, 0.2, str(rng.getrandbits(32)), stream, older=older)
        world.left()
    finally:
        disk.free()
    begun = [said[0][1]["time_ms"] for path in folder.glob("*/*.jsonl") if (said := oracle.heard(path))]
    if short := count - begun.count(EPOCH_MS - older * 60_000):
        world.seen += Outcome(lost=short, notes=[f"{short} readers lack some of {older} bars of {stream} in {folder}"])
    if world.log("alts").count(UNKEPT) == before:
        raise Missed("nothing was to be kept")
    return f"{count} readers want {older} bars of {stream}"


def power(world: World, rng: Random) -> str:
    """The machine loses its power: what was not synced is gone, and the next boot is another one."""
    assert world.supervisor
    pids = [world.supervisor.pid, *world.actors().values()]
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    snapshots = {name: disk.snapshot() for name, disk in world.disks.items()}
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    world.supervisor.wait()
    wait_for(lambda: not world.actors(), "everything is dead")
    for name, disk in world.disks.items():
        disk.restore(snapshots[name])
    world.order("boot", str(rng.getrandbits(64)))
    world.up_again()
    return "and everything is started again"


KINDS = {
    "kill": Kind("kill -9 of a producer, recorder, script or reader", kill, 8),
    "freeze": Kind("SIGSTOP for 0.2 to 5 s, then SIGCONT", freeze, 4),
    "supervisor": Kind("kill -9 of the supervisor, then `up` again", supervisor, 1),
    "failpoint": Kind("death at a named step of a write path", failpoint, 4),
    "loss": Kind("loss of 1 to 30 % of all PUB frames", loss, 3),
    "joins": Kind("readers that come late and leave early", joins, 4),
    "storm": Kind("40 readers that connect and are gone again", storm, 1),
    "slow": Kind("a reader who takes longer for a bar than it takes to come, then catches up", slow, 1),
    "flood": Kind("more frames than ZeroMQ keeps for a reader: it drops them", flood, 1),
    "clock": Kind("the wall clock jumps by up to a day, to and fro", clock, 3),
    "torn": Kind("a torn record at the end of a journal", torn, 2),
    "flip": Kind("a flipped bit in a journal", flip, 1),
    "removed": Kind("a journal is removed", removed, 1),
    "full": Kind("a full disk: journals and logs, or recordings", full, 1, disks.refused),
    "cache": Kind("a full disk: downloads of the history", cache, 1, disks.refused),
    "power": Kind("power loss: what was not synced is gone", power, 1, disks.refused),
}
"""All kinds of harm by name."""
