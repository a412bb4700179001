"""Our two ends: the project's publisher and subscriber, each in a process of its own, and what they come to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from harness import bars, call, checksum, folder, together, verify
from pynelive.bus.cursor import Cursor
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Instrument, Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber, from_earliest
from pynelive.bus.wire import HEADER, decode, encode

STREAM = "bench:BTC/USDT@1"
TOPIC = b"b1/bench:BTC%2FUSDT@1\0"
_SLICE = 2048


def names(count: int) -> list[str]:
    """So many streams; of one, the usual."""
    return [STREAM] if count == 1 else [f"bench:S{number:05}/USDT@1" for number in range(count)]


def frame_bytes(frame: int) -> int:
    """How long a frame of ours is, with so many bars in it."""
    return len(TOPIC) + HEADER.size + len(encode(bars(frame)))


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


def publish(place: str, count: int, frame: int, streams: int = 1, transport: str = "auto") -> list[float]:
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


def receive(place: str, count: int, streams: int = 1) -> tuple[float, int, float]:
    """The project's subscriber on asyncio: sequence checked, gaps repaired; when it had all, and its processor time."""
    return asyncio.run(_receive(place, count, streams))


def reread(place: Path) -> int:
    """The checksum of the journal on disk."""
    journal = Journal(place / "journal" / "bench", read_only=True)
    total = sum(checksum(decode(record.payload)) for _, record in journal.in_order())
    journal.close(clean=False)
    return total


def timed(count: int, frame: int, streams: int = 1, transport: str = "auto") -> tuple[float, float]:
    """Seconds from the first publish to the last decoded bar, and the processor time of both ends."""
    with folder() as at:
        sending = call(publish, at, count, frame, streams, transport)
        (started, _, cpu), (ended, seen, more) = together(sending, call(receive, at, count, streams))
        on_disk = reread(at)
    verify(f"ours, {frame} a frame", seen, count)
    verify(f"the journal, {frame} a frame", on_disk, count)
    return ended - started, cpu + more


def rate(count: int, frame: int, transport: str = "auto") -> float:
    """Bars a second."""
    return count / timed(count, frame, transport=transport)[0]
