"""P7: a year of one-minute bars out of a publisher's journal, beside a copy of as many bytes in memory."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from figures import Row, compare, part, rounds
from harness import bar, call, checksum, folder, together, verify
from ours import STREAM, names, say
from pynelive.bus.calls import Start
from pynelive.bus.cursor import Cursor
from pynelive.bus.messages import Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber

TITLE = "Replay"
ABOUT = """
A fresh subscriber asks a publisher for the 525,600 bars that are in its journal, 64 a record; the time is from the
first question for them to the last bar in the consumer's hands.

| side | does |
|---|---|
| ours | the publisher reads its journal; the subscriber checks every record's number and checksum and hands over **decoded bars**, each an object of Python |
| memcpy | copies 33.6 MB (64 B a bar) from one place in memory to another, within one process |

Some 85 % of ours is the decoding: 170 ns a bar, and as much again for the memory of so many objects, since the consumer
keeps them all. Nothing that checks or sends comes near memcpy: the checksum alone of what is replayed takes 3.7 times
as long, its way over `ipc` ten times, and columns instead of objects, made in Python, about fifty times.
"""  # noqa: E501 - a table
YEAR = 525_600
BAR_BYTES = 64


def fill(place: str) -> int:
    """Write the year into the journal of a publisher that nobody hears."""

    async def main() -> None:
        publisher = Publisher(RunDir(Path(place)), "bench")
        await say(publisher, names(1), YEAR, 64)
        await publisher.close()

    asyncio.run(main())
    return YEAR


@contextmanager
def filled() -> Iterator[Path]:
    """A folder with that journal, to be copied."""
    with folder() as at:
        together(call(fill, at / "run"))
        yield at / "run"


def serve(place: str, transport: str, live_rate: int) -> int:
    """Answer from the journal until the other end has what it wants; say live bars meanwhile, so many a second."""

    async def main() -> int:
        publisher = Publisher(RunDir(Path(place)), "bench", transport=transport)
        await publisher.open()
        over, said = Path(place) / "over", 0
        begun = time.monotonic()
        while not over.exists():
            while said < (time.monotonic() - begun) * live_rate:
                publisher.publish(STREAM, bar(YEAR + said))
                said += 1
                publisher.flush()
            await asyncio.sleep(0.001 if live_rate else 0.01)
        await publisher.close()
        return said

    return asyncio.run(main())


def receive(place: str, merged: bool) -> list[float]:
    """Seconds that a fresh subscriber takes, from its first question for bars, and from its start; and the checksum.

    :param merged: until it follows live, else until it has the year
    """

    async def main() -> list[float]:
        got: list[list[Message]] = []
        left, asked = YEAR + 1, 0.0
        done = asyncio.Event()

        async def begin(cursor: Cursor) -> Start:
            nonlocal asked
            asked = time.monotonic()
            return Start()

        def take(cursor: Cursor, messages: list[Message]) -> None:
            nonlocal left
            if left > 0:
                got.append(messages)
            left -= len(messages)
            if left <= 0 and (cursor.live or not merged):
                done.set()

        started = time.monotonic()
        subscriber = Subscriber(RunDir(Path(place)), [STREAM], take, begin)
        subscriber.open()
        await done.wait()
        ended = time.monotonic()
        await subscriber.close()
        (Path(place) / "over").touch()
        flat = [message for messages in got for message in messages][: YEAR + 1]
        return [ended - asked, ended - started, checksum(flat)]

    return asyncio.run(main())


def replayed(journal: Path, transport: str = "auto", live_rate: int = 0, merged: bool = False) -> list[float]:
    """Seconds from the question, and from the start."""
    with folder() as at:
        place = shutil.copytree(journal, at / "run", symlinks=True)
        receiving = call(receive, place, merged)
        _, (asked, started, seen) = together(call(serve, place, transport, live_rate), receiving)
    verify(f"replay over {transport}", seen, YEAR)
    return [asked, started]


def copied() -> list[float]:
    """Seconds for a copy in memory, both ends touched before; the median of some."""
    source, target = bytearray(b"x" * (YEAR * BAR_BYTES)), bytearray(b"y" * (YEAR * BAR_BYTES))
    seconds = []
    for _ in range(9):
        started = time.monotonic()
        target[:] = source
        seconds.append(time.monotonic() - started)
    return [median(seconds)]


def measure(count: int) -> list[Row]:
    """P7."""
    with filled() as journal:
        cases: dict[str, Any] = {"memcpy": copied}
        cases |= {over: partial(replayed, journal, over) for over in ("ipc", "tcp")}
        found = rounds(count, cases)
    times = {name: [1000 * seconds for seconds in of] for name, of in part(found, 0).items()}
    what = "a year of 1m bars, decoded, over {} ÷ memcpy"
    return [
        compare("P7-ipc", what.format("ipc"), times, "ipc", "memcpy", "ms", 4, at_most=True),
        compare("P7-tcp", what.format("tcp"), times, "tcp", "memcpy", "ms", 6, at_most=True),
    ]
