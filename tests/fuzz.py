"""Hostile bytes wherever bytes come in: ``make fuzz`` runs it, `test_fuzz.py` a short one (docs/durability.md).

Real frames, requests, replies and journals are mutated by a seeded dice and handed to a real subscriber and a real
publisher, straight into their handlers for the volume and through their sockets. What must hold: nothing raises,
nothing hangs, memory stays, what cannot be read is counted, and every delivered bar is the true one at its place.

A frame carries no checksum: one whose header is right and whose payload can be read is a *forgery* that no reader can
tell from a true one. The transport keeps it away; here it goes to a subscriber of which nothing is asked but that it
lives.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import zmq
from fuzz_world import OTHER, STREAM, World, reads, world
from pynelive.bus import calls, wire
from pynelive.bus.errors import Fault
from pynelive.bus.journal import Journal
from support import make_bar, wait_until

CROWD = 100
"""So many mutations of each true frame."""
SHARES = {"frames": 0.45, "forgeries": 0.1, "requests": 0.2, "replies": 0.1, "records": 0.1, "sockets": 0.045,
          "journals": 0.005}  # fmt: skip

# --- what is attacked -----------------------------------------------------------------------------------------------


async def frames(world: World, count: int) -> None:
    """Mutated frames into the handler of the subscriber, between the true ones."""
    link, before = world.link, world.link.counters["malformed"]
    cursor, wrong = link.cursors[STREAM], 0
    for turn in range(-(-count // CROWD)):
        true = world.say()
        for _ in range(CROWD):
            data = world.mutate(world.dice.choice(true))
            world.counts["frames"] += 1
            if world.forged(data):
                world.counts["of them forged"] += 1
                world.sacrificed.subscriber.links["demo"]._on_frame(data)
                continue
            wrong += world.unreadable(data)
            link._on_frame(data)
            if not cursor.live and turn % 10:  # every tenth time the journal has to put it right
                cursor.head = cursor.next
                link._repair.judge(cursor)
        counted = link.counters["malformed"] - before
        assert counted >= wrong, f"{wrong - counted} were refused and not counted"
        for data in true:
            link._on_frame(data)
        await asyncio.sleep(0)
        if turn % 10 == 0:
            await world.settle()
    world.counts["malformed frames"] += wrong
    await world.settle()


async def forgeries(world: World, count: int) -> None:
    """Frames of any kind, forged ones too, to a subscriber that has to live, and no more."""
    link = world.sacrificed.subscriber.links["demo"]
    for number in range(count):
        if number % CROWD == 0:
            true = world.say()
            await asyncio.sleep(0)
        world.counts["forgeries"] += 1
        link._on_frame(world.mutate(world.dice.choice(true)))
    await world.settle()


async def requests(world: World, count: int) -> None:
    """Mutated requests into the handler of the publisher, whose journal and consumers must not move by them."""
    publisher, real, wrong = world.publisher, world.calls(), 0
    before, heads = publisher.malformed, publisher.heads()
    for number in range(count):
        data = world.mutate(world.dice.choice(real))
        wrong += not reads(lambda data=data: calls.decode_request(data))
        publisher._on_request(world.dice.randbytes(5), data)
        if number % CROWD == 0:
            await asyncio.sleep(0)
    world.counts["requests"] += count
    world.counts["malformed requests"] += wrong
    assert publisher.malformed - before >= wrong, "a request was refused and not counted"
    assert publisher.heads() == heads
    assert all(0 <= seq <= heads[stream] for stream, seq in publisher.consumers.durable().items())


async def replies(world: World, count: int) -> None:
    """Mutated replies to a subscriber that has to live; the one that is watched gets the unreadable ones."""
    asker, real = world.link._asker, world.calls()
    sacrificed = world.sacrificed.subscriber.links["demo"]
    wrong, before = 0, asker.malformed
    for number in range(count):
        data = world.mutate(world.dice.choice(real))
        if not reads(lambda data=data: calls.decode_reply(data)):
            asker._on_reply(data)
            wrong += 1
        sacrificed._asker._number = world.dice.randint(1, 5)
        sacrificed._asker.asked = world.dice.choice((calls.Info(), calls.Replay(1, {}), calls.History(3, STREAM, 5, 0)))
        sacrificed._asker._on_reply(data)
        sacrificed.refused = ""
        if number % CROWD == 0:
            await asyncio.sleep(0)
    world.counts["replies"] += count
    world.counts["malformed replies"] += wrong
    assert asker.malformed - before == wrong
    world.say()
    world.link.greet()
    await world.settle()


async def records(world: World, count: int) -> None:
    """Mutated records of a journal: what is read is a true one, byte for byte."""
    journal = world.publisher.journal
    parts = [part for track in journal.tracks.values() for part in journal.raw_from(track, 0, 1 << 16)[0]]
    true = [bytes(part) for part in parts]
    whole = set(true)
    for _ in range(count):
        data = world.mutate(world.dice.choice(true))
        record = wire.read_record(memoryview(data), 0)
        assert record is None or data[: record.size] in whole, "a damaged record was read"
        world.counts["damaged records"] += record is None
    world.counts["records"] += count


async def sockets(world: World, count: int) -> None:
    """The same through real sockets: rogue frames on PUB, hostile requests at the ROUTER, torn connections."""
    publisher, context = world.publisher, zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(publisher._router.getsockopt_string(zmq.LAST_ENDPOINT))
    real = world.calls()
    for turn in range(-(-count // CROWD)):
        true = world.say()
        for _ in range(CROWD // 2):
            data = world.mutate(world.dice.choice(true))
            while world.forged(data):
                data = world.mutate(data)
            world._send(data)
            world.counts["through sockets"] += 1
            dealer.send(world.mutate(world.dice.choice(real)))
            world.counts["through sockets"] += 1
        for data in true:
            world._send(data)
        await asyncio.sleep(0)
        if turn % 5 == 0:
            await world.settle()
        while dealer.poll(0):
            dealer.recv()
    await world.settle()
    before = publisher.malformed
    dealer.send(b"the end")
    await wait_until(lambda: publisher.malformed > before, 60)
    context.destroy()


async def journals(world: World, count: int) -> None:
    """Damaged files of a journal: a sentence, or a journal that holds nothing but what was written, and goes on."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        original, damaged = Path(name) / "original", Path(name) / "damaged"
        truth, heads, epoch = _write_journal(original)
        for _ in range(count):
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(original, damaged)
            path = world.dice.choice(sorted(damaged.glob("*.seg")))
            flips = world.dice.random() < 0.5
            path.write_bytes((world.mutate.flip if flips else world.mutate)(path.read_bytes()))
            try:
                journal = Journal(damaged)
            except Fault:
                world.counts["refused journals"] += 1
                continue
            for stream, record in journal.in_order():
                assert truth[stream, record.seq] == bytes(record.payload), "a damaged record was read"
            for stream, head in heads.items():
                track = journal.tracks.get(stream)
                if flips and journal.epoch == epoch:
                    assert track is not None, stream
                    assert track.head == head, "numbers would be given again"
            world.counts["damaged journals"] += bool(journal.damaged)
            journal.append(journal.track(STREAM), wire.encode([make_bar(9)]), 1, 1, 9)
            journal.close(clean=False)
            await asyncio.sleep(0)
    world.counts["journals"] += count


def _write_journal(folder: Path) -> tuple[dict[tuple[str, int], bytes], dict[str, int], int]:
    """Two segments of two streams: the payloads by stream and seq, the heads and the epoch."""
    truth: dict[tuple[str, int], bytes] = {}
    for _ in range(2):
        journal = Journal(folder)
        for number in range(8):
            stream = (STREAM, OTHER)[number % 2]
            track, payload = journal.track(stream), wire.encode([make_bar(number), make_bar(number + 1)])
            truth[stream, track.head] = payload
            journal.append(track, payload, 2, 2, number)
        heads, epoch = {name: track.head for name, track in journal.tracks.items()}, journal.epoch
        journal.segments[-1].seal()
        journal.close(clean=False)
    return truth, heads, epoch


ATTACKS: dict[str, Callable[[World, int], Awaitable[None]]] = {
    "frames": frames, "forgeries": forgeries, "requests": requests, "replies": replies, "records": records,
    "sockets": sockets, "journals": journals,
}  # fmt: skip


async def attack(folder: Path, count: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Counter[str]:
    """So many mutations, spread over everything that is attacked; how many of each kind there were.

    :raises AssertionError: a promise is broken
    """
    total: Counter[str] = Counter()
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    for number, (name, work) in enumerate(ATTACKS.items()):
        async with world(folder / name, seed * 100 + number) as there:
            began, memory = time.monotonic(), _memory_mb()
            await work(there, max(round(count * SHARES[name]), 1))
            await asyncio.sleep(0)
            assert not failures, failures[0]
            total += there.counts
            say(f"{name:<10} {time.monotonic() - began:7.1f} s  {_memory_mb() - memory:+6.1f} MB")
    return total


def _memory_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * 4096 / (1 << 20)


def main() -> int:
    """Run it and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many mutations")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable()  # of each damaged file there would be a line
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        counts = asyncio.run(attack(Path(folder), given.frames, given.seed, print))
    for name, number in sorted(counts.items()):
        print(f"{number:>11,} {name}")
    print(f"seed {given.seed}: nothing raised, no wrong bar was delivered, everything refused was counted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
