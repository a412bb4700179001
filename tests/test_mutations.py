"""The tests can fail: the bus is broken on purpose, one rule at a time, and each break is seen.

A mutation is a change of the source of one function. Every scenario runs with it and without: without it, what arrives
is what was said; with it, something is lost, doubled or different.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pynelive.bus import failpoints, link, wire
from pynelive.bus import journal as journals
from pynelive.bus import publisher as publishers
from pynelive.bus.cursor import Cursor
from pynelive.bus.journal import Journal
from pynelive.bus.link import Link
from pynelive.bus.messages import Bar, Instrument, State
from pynelive.bus.ohlcv import ohlcv_path, read_bars
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.sockets import connect_sub
from pynelive.bus.topology import Topology, read
from pynelive.sinks.contract import Delivery
from pynelive.sinks.feed import SinkFeed
from pynelive.sinks.ohlcv import OhlcvSink, Recording
from support import STREAM, Taken, make_bar, run_dir, wait_until

NEVER_S = 0.7
"""How long a broken bus may take for what it never does."""


class Killed(BaseException):
    """What stands for a kill -9 inside one process."""


def mutate(patch: pytest.MonkeyPatch, owner: Any, name: str, *changes: tuple[str, str]) -> None:
    """Replace pieces of a function's source, each of which must be there exactly once."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    for was, becomes in changes:
        assert source.count(was) == 1, f"'{was}' stands {source.count(was)} times in {name}: mend the mutation"
        source = source.replace(was, becomes)
    space: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source, vars(sys.modules[function.__module__]), space)
    patch.setattr(owner, name, space[name])


def kill(publisher: Publisher) -> None:
    """Leave everything as a kill would: nothing is sent, marked or synced any more."""
    for timer in publisher._timers:
        timer.cancel()
    publisher._subscriptions.close()
    publisher._requests.close()
    publisher._disk.shutdown()
    publisher.journal.close(clean=False)
    publisher._claim.release()


async def opened(run: RunDir, heartbeat_s: float = 0.05, consumers: dict[str, list[str]] | None = None) -> Publisher:
    """A publisher with one stream."""
    publisher = Publisher(run, "demo", consumers)
    publisher.heartbeat_s = heartbeat_s
    await publisher.open()
    if STREAM not in publisher.outs:
        publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    return publisher


async def arrives(taken: Taken, number: int, broken: bool) -> None:
    """Wait for a bar; a broken bus may never bring it."""
    try:
        await wait_until(lambda: number in taken.closed(), NEVER_S if broken else 60)
    except TimeoutError:
        assert broken


# --- scenarios: what arrived, and what was said ---------------------------------------------------------------------


async def killed_between_journal_and_send(folder: Path, broken: bool) -> tuple[list[int], list[int]]:
    """The publisher dies in the middle of saying a bar; its source says again what its journal has not got."""
    publisher = await opened(run_dir(folder))
    taken = Taken(run_dir(folder), [STREAM])
    await wait_until(taken.subscriber.ready)
    publisher.publish(STREAM, make_bar(0))
    await arrives(taken, 0, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "ACTIVE", True)
        patch.setattr(failpoints, "hit", _die)
        publisher.publish(STREAM, make_bar(1))
        with pytest.raises(Killed):
            publisher.flush()
    await arrives(taken, 1, False)  # by the socket, or else by the journal
    kill(publisher)
    again = await opened(run_dir(folder))
    has = again.outs[STREAM].last
    assert has is not None
    again.publish(STREAM, State("live", 0))
    again.publish(STREAM, *(make_bar(number) for number in range(has.time_ms // 60_000 + 1, 4)))
    await arrives(taken, 3, False)
    await taken.subscriber.close()
    await again.close()
    return taken.closed(), list(range(4))


def _die(place: str) -> None:
    raise Killed(place)


async def frames_dropped(folder: Path, broken: bool) -> tuple[list[int], list[int]]:
    """Every third frame is lost on its way, and so is the last one."""
    publisher = await opened(run_dir(folder))
    taken = Taken(run_dir(folder), [STREAM])
    await wait_until(taken.subscriber.ready)
    send = publisher._send
    for number in range(31):
        if number == 30:
            await arrives(taken, 29, broken)
        publisher._send = (lambda data: None) if number % 3 == 0 else send  # type: ignore[assignment]
        publisher.publish(STREAM, make_bar(number))
        publisher.flush()
    publisher._send = send
    await arrives(taken, 30, broken)
    await taken.subscriber.close()
    await publisher.close()
    return taken.closed(), list(range(31))


async def journal_lost(folder: Path, broken: bool) -> tuple[list[int], list[int]]:
    """The journal is removed between two runs: the same numbers mean other bars."""
    publisher = await opened(run_dir(folder))
    taken = Taken(run_dir(folder), [STREAM])
    publisher.publish(STREAM, *map(make_bar, range(5)))
    await arrives(taken, 4, False)
    folders = publisher.journal.folder
    await publisher.close()
    for path in folders.glob("*.seg"):
        path.unlink()
    again = await opened(run_dir(folder))
    again.publish(STREAM, *map(make_bar, range(5, 10)))
    await arrives(taken, 9, broken)
    await taken.subscriber.close()
    await again.close()
    return taken.closed(), list(range(10))


async def late_connection(folder: Path, broken: bool) -> tuple[list[int], list[int]]:
    """The live socket connects late: what is said meanwhile must be asked for, without a heartbeat."""
    run = run_dir(folder)
    publisher = await opened(run, heartbeat_s=60)
    late = f"ipc://{run.sockets}/late"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "connect_sub", lambda endpoint, curve: connect_sub(late))
        taken = Taken(run, [STREAM])
        await wait_until(lambda: any(c.settled or not broken for c in taken.subscriber.cursors))
        publisher.publish(STREAM, make_bar(0))
        publisher.flush()
        publisher._pub.bind(late)
        await arrives(taken, 0, broken)
    await taken.subscriber.close()
    await publisher.close()
    return taken.closed(), [0]


async def bit_flipped(folder: Path, broken: bool) -> tuple[list[int], list[int]]:
    """A bit of a bar changes in the journal's file: the bar may be missing, not another one."""
    journal = Journal(folder)
    track = journal.track(STREAM)
    for number in range(3):
        journal.append(track, wire.encode([make_bar(number)]), 1, 1, number)
    place = (track.places[1] & 0xFFFFFFFF) + wire.RECORD_BYTES + 12  # in the first price
    path = journal.segments[0].path
    journal.close(clean=False)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    again = Journal(folder)
    bars = [message for _, record in again.in_order() for message in wire.decode(record.payload)]
    again.close(clean=False)
    return [bar.time_ms // 60_000 if bar in map(make_bar, range(3)) else -1 for bar in bars], [2]


async def recorder_killed(folder: Path, broken: bool) -> tuple[list[int], list[int]]:
    """The recorder dies before its bars are on the disk; the publisher leaves when it is told that they are."""
    spec = _topology(folder)
    run = RunDir(spec)
    publisher = await opened(run, consumers={"recorder": [STREAM]})
    for number in range(1, 6):
        publisher.publish(STREAM, make_bar(number))
        publisher.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recording, "commit", lambda self: _die("commit"))
        with pytest.raises(Killed):
            await _record(spec, asyncio.Event())
    try:
        async with asyncio.timeout(NEVER_S):
            await publisher.drained()  # all have it, so its source may forget it
        kill(publisher)
        for path in publisher.journal.folder.glob("*.seg"):
            path.unlink()
        publisher = await opened(run)
    except TimeoutError:
        pass
    stop = asyncio.Event()
    recording = asyncio.create_task(_record(spec, stop))
    publisher.publish(STREAM, make_bar(6))
    path = ohlcv_path(folder / "data", STREAM)
    await wait_until(lambda: path.exists() and path.stat().st_size > 0 and 6 in _recorded(path))
    stop.set()
    await recording
    await publisher.close()
    return _recorded(path), list(range(1, 7))


def _topology(folder: Path) -> Topology:
    path = folder / "topology.toml"
    path.write_text(
        '[bus]\nname = "mutant"\nrun_dir = "run"\n[[producer]]\nname = "demo"\nprovider = "demo"\n'
        'streams = ["BTC/USDT@1"]\n[[sink]]\nname = "recorder"\ntype = "ohlcv"\nstreams = ["demo:*"]\n'
    )
    return read(path)[0]


async def _record(topology: Topology, stop: asyncio.Event) -> None:
    feed = SinkFeed(topology, topology.sinks[0])
    feed.prepare()
    await feed.run(stop)


def _recorded(path: Path) -> list[int]:
    return [bar.time_ms // 60_000 for bar in read_bars(path)]


# --- mutations ------------------------------------------------------------------------------------------------------

Scenario = Callable[[Path, bool], Awaitable[tuple[list[int], list[int]]]]

SEND = "    self._send(out.topic + said)"
APPEND = "self.journal.append(out.track, payload, len(messages), bars, time_ms)"
HEADER = "(VERSION, 0, len(messages), self.epoch, out.track.head, 0, time_ms, out.track.bars, out.track.number, bars)"


def publish_before_journal(patch: pytest.MonkeyPatch) -> None:
    """What was said is forgotten by a kill."""
    patch.setattr(publishers, "pack_header", wire.pack_header, raising=False)
    first = f"pack_header{HEADER} + payload\n{SEND}"
    mutate(patch, Publisher, "_write", (SEND, "    LATER"), (APPEND, first), ("LATER", APPEND))


def skip_the_seq_check(patch: pytest.MonkeyPatch) -> None:
    """Whatever comes is taken for the next."""
    mutate(patch, Link, "_on_frame", ("seq != cursor.next or ", ""))


def drop_the_heads(patch: pytest.MonkeyPatch) -> None:
    """A heartbeat says nothing but that one lives."""
    mutate(patch, Publisher, "_beat", ("self._send_heads(topic, news)", "self._send_heads(topic, {})"))


def trust_numbers_of_another_epoch(patch: pytest.MonkeyPatch) -> None:
    """The cursor stays where it was."""
    mutate(patch, Cursor, "rewind", ("if self.begun and", "if False and"))


def join_without_proof(patch: pytest.MonkeyPatch) -> None:
    """Subscribed is taken for connected."""
    told = "self._on_joined({stream.name: stream.head for stream in welcome.streams})"
    mutate(patch, Link, "_on_welcome", ("    self._prove_subscriptions()", f"    {told}"))


def skip_the_checksum(patch: pytest.MonkeyPatch) -> None:
    """What is in the file is believed."""
    mutate(patch, wire, "read_record", ("if crc32(buffer[at + _COMMIT_BYTES : end]) != crc:", "if False:"))
    patch.setattr(journals, "read_record", wire.read_record)


def acknowledge_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """The publisher is told first."""
    ack = "    self._subscriber.ack(reached)"
    early = f"{ack}\n    await asyncio.sleep(1)\n    if batch:"
    mutate(patch, SinkFeed, "_write", (ack, "    pass"), ("    if batch:", early))


def keep_the_offset_apart(patch: pytest.MonkeyPatch) -> None:
    """Where the recorder is stands elsewhere than its bars, and is written first."""
    offsets: dict[str, int] = {}
    opens, writes = OhlcvSink.open, OhlcvSink.write

    def opened_at(self: OhlcvSink, stream: str, instrument: Instrument | None) -> int | None:
        opens(self, stream, instrument)
        return offsets.get(stream)

    def write(self: OhlcvSink, batch: Sequence[Delivery]) -> None:
        offsets.update((stream, message.time_ms) for stream, message in batch if isinstance(message, Bar))
        writes(self, batch)

    patch.setattr(OhlcvSink, "open", opened_at)
    patch.setattr(OhlcvSink, "write", write)


MUTATIONS: list[tuple[Callable[[pytest.MonkeyPatch], None], Scenario]] = [
    (publish_before_journal, killed_between_journal_and_send),
    (skip_the_seq_check, frames_dropped),
    (drop_the_heads, frames_dropped),
    (trust_numbers_of_another_epoch, journal_lost),
    (join_without_proof, late_connection),
    (skip_the_checksum, bit_flipped),
    (acknowledge_before_it_is_durable, recorder_killed),
    (keep_the_offset_apart, recorder_killed),
]


@pytest.mark.parametrize("scenario", dict.fromkeys(scenario for _, scenario in MUTATIONS), ids=lambda s: s.__name__)
async def test_the_bus_as_it_is_loses_and_doubles_nothing(tmp_path: Path, scenario: Scenario) -> None:
    """What arrives is what was said, in order, each once."""
    got, said = await scenario(tmp_path, False)

    assert got == said


@pytest.mark.parametrize(("mutation", "scenario"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
async def test_a_broken_bus_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutation: Callable[[pytest.MonkeyPatch], None], scenario: Scenario
) -> None:
    """With one rule broken, the same scenario ends with something lost, doubled or different."""
    mutation(monkeypatch)

    got, said = await scenario(tmp_path, True)

    assert got != said
