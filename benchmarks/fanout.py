"""P6: what a further subscriber costs the publisher, beside a publisher in C."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from figures import Row, compare, rounds
from harness import bars, call, folder, reference, together, until
from ours import STREAM, frame_bytes
from pynelive.bus.messages import Instrument
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir

TITLE = "Many subscribers"
ABOUT = """
Processor time of the publishing process, all its threads, divided by the frames that have arrived; one bar a frame,
over `ipc`. The subscribers are the same on both sides: sockets in C that only receive, and count.

| side | does |
|---|---|
| ours | encodes, journals, numbers, sends |
| C | sends as many bytes |
"""
COUNT = 9_000
"""Less than a subscriber's queue in the publisher holds: nothing is dropped, however late the receivers are."""
SUBSCRIBERS = (1, 10, 50)
PREFIX = "b1/bench"


def publish(place: str, subscribers: int) -> float:
    """Processor time of the project's publisher, from the first bar until all subscribers have gone."""

    async def main() -> float:
        publisher = Publisher(RunDir(Path(place)), "bench")
        await publisher.open()
        publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
        publisher.flush()
        made = bars(COUNT)
        (Path(place) / "endpoint").write_text(publisher.pub_endpoint)
        while publisher.readers.get(PREFIX.encode(), 0) < subscribers:  # noqa: ASYNC110 - they are another process
            await asyncio.sleep(0.001)
        cpu = time.process_time()
        for bar in made:
            publisher.publish(STREAM, bar)
            publisher.flush()
        while publisher.readers.get(PREFIX.encode()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        cpu = time.process_time() - cpu
        await publisher.close()
        return cpu

    return asyncio.run(main())


def receive(place: str, subscribers: int) -> list[float]:
    """The sockets in C, as soon as there is somebody to connect to."""
    endpoint = until(lambda: (Path(place) / "endpoint").exists() and (Path(place) / "endpoint").read_text())
    return list(together([str(reference()), "sub", endpoint, str(COUNT), str(subscribers), PREFIX])[0])


def ours(subscribers: int) -> float:
    """Nanoseconds a delivery."""
    with folder() as at:
        cpu = together(call(publish, at, subscribers), call(receive, at, subscribers))[0]
    return float(cpu / (COUNT * subscribers) * 1e9)


def limit(subscribers: int) -> float:
    """The same in C."""
    with folder() as at:
        program, place = str(reference()), f"ipc://{at}/c"
        sending = [program, "pub", place, str(COUNT), str(frame_bytes(1)), "0", str(subscribers)]
        (_, cpu), _ = together(sending, [program, "sub", place, str(COUNT), str(subscribers), ""])
    return float(cpu / (COUNT * subscribers) * 1e9)


def measure(count: int) -> list[Row]:
    """P6."""
    if not reference():
        return [Row("P6", "processor time a delivery ÷ C", "skipped: no C compiler, or no libzmq in pyzmq's wheel")]
    cases = {f"{side.__name__} {n}": partial(side, n) for n in SUBSCRIBERS for side in (ours, limit)}
    found = rounds(count, cases)
    return [
        compare(f"P6-{n}", f"processor time a delivery to {n} subscriber{'s' if n > 1 else ''} ÷ C", found, f"ours {n}",
                f"limit {n}", "ns", 1.2 if n == SUBSCRIBERS[-1] else None, True)
        for n in SUBSCRIBERS
    ]  # fmt: skip
