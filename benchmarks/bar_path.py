"""P1, P2: the way of a bar – encode, journal, publish, receive, check, decode – beside bare pyzmq, and beside C."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import zmq
from harness import Row, bars, call, checksum, compare, folder, reference, rounds, together, verify
from pynelive.bus.cursor import Cursor
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Bar, Instrument, Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber, from_earliest
from pynelive.bus.wire import HEADER, decode, encode

TITLE = "The way of a bar"
ABOUT = """
One publishing and one receiving process over `ipc`, from the first publish to the last decoded bar, both sides with the
same bars a frame. The receiver's checksum over every field of every bar must equal the bars', and ours that of the
journal read again from disk.

| side | does |
|---|---|
| ours | encodes, journals (survives a kill -9; on disk within 100 ms), numbers, sends; checks the numbers, repairs, decodes, acknowledges |
| bare | pyzmq and msgspec: encodes and sends, without limit to its queue; receives (blocking) and decodes. No journal, no numbers, no repair |
| C | libzmq's own limit: sends and receives as many bytes. No bars, nothing encoded or decoded |
"""  # noqa: E501 - a table
STREAM = "bench:BTC/USDT@1"
TOPIC = b"b1/bench:BTC%2FUSDT@1\0"
COUNT = 200_000
C_SIZE = 100
_SLICE = 2048


def names(count: int) -> list[str]:
    """So many streams; of one, the usual."""
    return [STREAM] if count == 1 else [f"bench:S{number:05}/USDT@1" for number in range(count)]


def frame_bytes(frame: int) -> int:
    """How long a frame of ours is, with so many bars in it."""
    return len(TOPIC) + HEADER.size + len(encode(bars(frame)))


# --- bare pyzmq + msgspec ---------------------------------------------------------------------------------------------


def bare_publish(place: str, count: int, frame: int) -> float:
    """XPUB without limit: nothing is journaled, numbered or checked."""
    encoded = msgspec.msgpack.Encoder().encode
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.bind(f"ipc://{place}/bare")
        made = bars(count)
        socket.recv()
        started = time.monotonic()
        for at in range(0, count, frame):
            socket.send(TOPIC + encoded(made[at : at + frame]))
        socket.linger = -1
    return started


def bare_receive(place: str, count: int) -> tuple[float, int]:
    """A blocking SUB; decodes every frame."""
    read = msgspec.msgpack.Decoder(list[Bar]).decode
    got: list[list[Bar]] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.subscribe(TOPIC)
        socket.connect(f"ipc://{place}/bare")
        left, skip = count, len(TOPIC)
        while left:
            messages = read(memoryview(socket.recv())[skip:])
            left -= len(messages)
            got.append(messages)
    ended = time.monotonic()
    return ended, sum(checksum(messages) for messages in got)


# --- ours -------------------------------------------------------------------------------------------------------------


async def say(publisher: Publisher, streams: Sequence[str], count: int, frame: int, *end: Message) -> list[float]:
    """Say bars of all streams in turn, paced by the declared consumer as any source without a clock.

    :return: when it began, when all was durable at the consumer, the processor time between
    """
    await publisher.open()
    for stream in streams:
        publisher.publish(stream, Instrument(stream.partition(":")[2], "1"))
    made = bars(count)
    await publisher.drained()
    started, cpu = time.monotonic(), time.process_time()
    for at, stream in zip(range(0, count, frame), cycle(streams), strict=False):
        publisher.publish(stream, *made[at : at + frame])
        publisher.flush()
        if at % _SLICE == 0:
            await asyncio.sleep(0)
            await publisher.room()
    for stream in streams:
        publisher.publish(stream, *end)
    await publisher.drained()
    return [started, time.monotonic(), time.process_time() - cpu]


def our_publish(place: str, count: int, frame: int, streams: int = 1, transport: str = "auto") -> list[float]:
    """The project's publisher; what ``say`` says."""

    async def main() -> list[float]:
        publisher = Publisher(RunDir(Path(place)), "bench", {"sink": names(streams)}, transport=transport)
        said = await say(publisher, names(streams), count, frame)
        await publisher.close()
        return said

    return asyncio.run(main())


async def _receive(place: str, count: int, streams: int) -> tuple[float, int, float]:
    got: list[list[Message]] = []
    left, done, cpu = count + streams, asyncio.Event(), 0.0

    def take(cursor: Cursor, messages: list[Message]) -> None:
        nonlocal left, cpu
        left -= len(messages)
        got.append(messages)
        if not cpu and left <= count:  # the instruments are here
            cpu = time.process_time()
        subscriber.ack({cursor.stream: (cursor.epoch, cursor.next)})
        if not left:
            done.set()

    subscriber = Subscriber(RunDir(Path(place)), ["bench:*"], take, from_earliest, "sink")
    subscriber.open()
    await done.wait()
    ended, cpu = time.monotonic(), time.process_time() - cpu
    await subscriber.finish()
    await subscriber.close()
    return ended, sum(map(checksum, got)), cpu


def our_receive(place: str, count: int, streams: int = 1) -> tuple[float, int, float]:
    """The project's subscriber on asyncio: sequence checked, gaps repaired; when it had all, and its processor time."""
    return asyncio.run(_receive(place, count, streams))


def reread(place: Path) -> int:
    """The checksum of the journal on disk."""
    journal = Journal(place / "journal" / "bench", read_only=True)
    total = sum(checksum(decode(record.payload)) for _, record in journal.in_order())
    journal.close(clean=False)
    return total


# --- the cases --------------------------------------------------------------------------------------------------------


def bare(count: int, frame: int) -> float:
    """Bars a second."""
    with folder() as at:
        started, (ended, seen) = together(call(bare_publish, at, count, frame), call(bare_receive, at, count))
    verify(f"bare, {frame} a frame", seen, count)
    return float(count / (ended - started))


def timed(count: int, frame: int, streams: int = 1, transport: str = "auto") -> tuple[float, float]:
    """Seconds from the first publish to the last decoded bar, and the processor time of both ends."""
    with folder() as at:
        sending = call(our_publish, at, count, frame, streams, transport)
        (started, _, cpu), (ended, seen, more) = together(sending, call(our_receive, at, count, streams))
        on_disk = reread(at)
    verify(f"ours, {frame} a frame", seen, count)
    verify(f"the journal, {frame} a frame", on_disk, count)
    return ended - started, cpu + more


def ours(count: int, frame: int, transport: str = "auto") -> float:
    """Bars a second."""
    return count / timed(count, frame, transport=transport)[0]


def limit(count: int, size: int) -> float:
    """Messages a second in C."""
    program = str(reference())
    with folder() as at:
        sending = [program, "pub", f"ipc://{at}/c", str(count), str(size), "0", "1"]
        (started, _), (ended, *_) = together(sending, [program, "sub", f"ipc://{at}/c", str(count), "1", ""])
    return float(count / (ended - started))


def measure(count: int) -> list[Row]:
    """P1 and P2."""
    cases: dict[str, Any] = {}
    for frame in (1, 64):
        cases[f"ours {frame}"] = lambda frame=frame: ours(COUNT, frame)
        cases[f"bare {frame}"] = lambda frame=frame: bare(COUNT, frame)
    if reference():
        cases["C 1"] = lambda: limit(COUNT * 5, C_SIZE)
        cases["C 64"] = lambda: limit(COUNT // 8, frame_bytes(64)) * 64
    found = rounds(count, cases)
    beside = "bare pyzmq + msgspec, the same frames"
    rows = [
        compare("P1", f"64 bars a frame ÷ {beside}", found, "ours 64", "bare 64", "bars/s", 0.85),
        compare("P2", f"1 bar a frame ÷ {beside}", found, "ours 1", "bare 1", "bars/s", 0.75),
    ]
    if reference():
        many, one = f"C, as many bytes a frame ({frame_bytes(64):,})", f"C, one {C_SIZE} B message a frame"
        rows += [
            compare("P1-C", f"64 bars a frame ÷ {many}", found, "ours 64", "C 64", "bars/s"),
            compare("P2-C", f"1 bar a frame ÷ {one}", found, "ours 1", "C 1", "bars/s", 0.15),
        ]
    return rows
