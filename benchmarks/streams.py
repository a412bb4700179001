"""P9: whether a bar of ten thousand streams costs more than a bar of one."""

from __future__ import annotations

from functools import partial

from figures import Row, compare, part, rounds
from ours import timed

TITLE = "Many streams"
ABOUT = """
One publisher, one subscriber by prefix (`bench:*`), one bar a frame, all streams in turn; published, journaled,
received, checked and decoded as in P2. *Cost* is the processor time of both processes. Joining is not counted.
"""
COUNT = 100_000
STREAMS = 10_000


def a_bar(streams: int) -> list[float]:
    """Microseconds a bar: by the clock, and of the processor."""
    return [seconds / COUNT * 1e6 for seconds in timed(COUNT, 1, streams)]


def measure(count: int) -> list[Row]:
    """P9."""
    found = rounds(count, {"many": partial(a_bar, STREAMS), "one": partial(a_bar, 1)})
    wall, cpu = part(found, 0), part(found, 1)
    what = f"a bar at {STREAMS:,} streams ÷ at 1 stream"
    return [
        compare("P9", f"cost of {what}", cpu, "many", "one", "µs", 1.2, at_most=True),
        compare("P9-time", f"time of {what}", wall, "many", "one", "µs"),
    ]
