"""P8: joining a stream that goes on, with a year behind it, beside a replay of that year alone."""

from __future__ import annotations

from functools import partial

from figures import Row, compare, part, rounds
from replay import filled, replayed

TITLE = "Joining"
ABOUT = """
A fresh subscriber wants a stream from its beginning while the publisher says 1,000 bars a second more; the time is from
its start until it has the year and all that was said since, and takes frames as they come. Beside it the replay of P7
over `ipc`, from the start as well, of a publisher that says nothing new.
"""
RATE = 1_000


def measure(count: int) -> list[Row]:
    """P8."""
    with filled() as journal:
        cases = {"join": partial(replayed, journal, "ipc", RATE, True), "replay": partial(replayed, journal, "ipc")}
        found = rounds(count, cases)
    times = {name: [1000 * seconds for seconds in of] for name, of in part(found, 1).items()}
    what = f"a year of 1m bars, merged and live, {RATE:,} bars/s meanwhile ÷ pure replay"
    return [compare("P8", what, times, "join", "replay", "ms", 2, at_most=True)]
