"""P4: how long a bar is under way, one at a time, beside a message in C."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

from figures import Row, compare, part, rounds
from harness import bars, call, folder, precise_sleep, quantiles, reference, together
from msgspec.structs import replace
from ours import STREAM, frame_bytes
from pynelive.bus.cursor import Cursor
from pynelive.bus.messages import Bar, Instrument, Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber, from_earliest

TITLE = "Latency"
ABOUT = """
One-way, over `ipc`, from before a bar is encoded to when an asyncio consumer has it decoded; each bar alone in its
frame, sent at an even pace. The first tenth of each round is left out.

| side | does |
|---|---|
| ours | encodes, journals, numbers, sends; an event loop wakes up, checks the number, decodes, calls the consumer |
| C | sends as many bytes; a thread that waits in `zmq_recv` takes them. Nothing is encoded, kept or checked |
"""
SECONDS = 2.0


async def paced(publisher: Publisher, count: int, rate: int) -> None:
    """Say bars at an even pace, each with the time at which it was handed over."""
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    made = bars(count)
    await publisher.drained()
    precise_sleep()
    begun = time.monotonic()
    for number, bar in enumerate(made):
        await asyncio.sleep(0)
        if (wait := begun + number / rate - time.monotonic()) > 0:
            time.sleep(wait)  # noqa: ASYNC251 - the loop's own timers are of whole milliseconds
        publisher.publish(STREAM, replace(bar, received_ns=time.monotonic_ns()))
        publisher.flush()
    await publisher.drained()
    await publisher.close()


def publish(place: str, count: int, rate: int, transport: str = "auto") -> int:
    """The project's publisher."""
    publisher = Publisher(RunDir(Path(place)), "bench", {"sink": [STREAM]}, transport=transport)
    asyncio.run(paced(publisher, count, rate))
    return count


def receive(place: str, count: int) -> list[float]:
    """The project's subscriber on asyncio: p50 and p99 of all bars, in µs."""

    async def main() -> list[float]:
        waits: list[int] = []
        done = asyncio.Event()

        def take(cursor: Cursor, messages: list[Message]) -> None:
            now = time.monotonic_ns()
            waits.extend(now - message.received_ns for message in messages if type(message) is Bar)
            subscriber.ack({cursor.stream: (cursor.epoch, cursor.next)})
            if len(waits) == count:
                done.set()

        subscriber = Subscriber(RunDir(Path(place)), [STREAM], take, from_earliest, "sink")
        subscriber.open()
        await done.wait()
        await subscriber.finish()
        await subscriber.close()
        return quantiles(waits)

    return asyncio.run(main())


def ours(rate: int, transport: str = "auto") -> list[float]:
    """p50 and p99, in µs."""
    count = int(rate * SECONDS)
    with folder() as at:
        found: list[float] = together(call(publish, at, count, rate, transport), call(receive, at, count))[1]
    return found


def limit(rate: int) -> list[float]:
    """The same in C."""
    count, program = str(int(rate * SECONDS)), str(reference())
    with folder() as at:
        place = f"ipc://{at}/c"
        sending = [program, "pub", place, count, str(frame_bytes(1)), str(rate), "1"]
        _, (_, *found) = together(sending, [program, "sub", place, count, "1", ""])
    return found


def measure(count: int) -> list[Row]:
    """P4."""
    if not reference():
        return [Row("P4", "p50 and p99 ÷ C", "skipped: no C compiler, or no libzmq in pyzmq's wheel", goal=2.0)]
    cases: dict[str, Any] = {}
    for rate in (1000, 10_000):
        cases |= {f"ours {rate}": partial(ours, rate), f"C {rate}": partial(limit, rate)}
    found = rounds(count, cases)
    rows = []
    for rate in (1000, 10_000):
        for at, name, goal in ((0, "p50", 2.0), (1, "p99", None)):
            what = f"{name} at {rate:,} bars/s, an asyncio consumer ÷ C, a blocking one"
            figures, sides = part(found, at), (f"ours {rate}", f"C {rate}")
            rows.append(compare(f"P4-{name}-{rate // 1000}k", what, figures, *sides, "µs", goal, at_most=True))
    return rows
