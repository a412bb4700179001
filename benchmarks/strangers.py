"""P15: what thousands of strangers at the door do to a publisher and to its good peers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from statistics import median

import latency
import secured
from figures import Row, compare, part, rounds, shown
from harness import ROOT, call, folder, own_mb, together

TITLE = "Strangers"
ABOUT = """
A publisher on one host, a good peer on another, and strangers who connect over tcp, begin CURVE's handshake with a
HELLO that no key has made, and go away: all on this machine's loopback, whose cores they share. The peer has to get
every bar, or the run fails.

| side | does |
|---|---|
| besieged | two processes of strangers, as fast as they can |
| in peace | the same publisher and peer, alone |
"""
RATE = 1_000
SECONDS = 8.0
STRANGERS = 2


def publish(place: str) -> float:
    """As in P4; how many MB this process has grown by since a quarter of its time."""
    sizes: list[float] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(SECONDS / 4, lambda: sizes.append(own_mb()))
        await latency.paced(secured.publisher(place), int(RATE * SECONDS), RATE)
        sizes.append(own_mb())

    asyncio.run(main())
    return sizes[-1] - sizes[0]


def besiege(place: str) -> float:
    """The handshakes a second of one process of strangers."""
    sys.path.append(str(ROOT.parent / "tests"))
    from hostile import besiege

    port = int((Path(place) / "port").read_text()) + 1
    return besiege(f"tcp://127.0.0.1:{port}", SECONDS)


def waits(strangers: int) -> tuple[float, float, float, float]:
    """p50 and p99 in µs, MB that the publisher has grown by, handshakes a second."""
    with folder() as at:
        secured.prepare(at)
        peers = (call(publish, at), call(secured.receive_paced, at, int(RATE * SECONDS)))
        grown, (p50, p99), *rates = together(*peers, *[call(besiege, at)] * strangers)
    return p50, p99, grown, sum(rates)


def measure(count: int) -> list[Row]:
    """P15."""
    found = rounds(count, {"besieged": lambda: waits(STRANGERS), "in peace": lambda: waits(0)})
    p50, p99, grown, rates = (part(found, at) for at in range(4))
    sides, said = ("besieged", "in peace"), f"{median(rates['besieged']):,.0f} handshakes/s"
    return [
        compare("P15-p50", f"p50 at {RATE:,} bars/s, {said} ÷ none", p50, *sides, "µs", at_most=True),
        compare("P15-p99", f"p99 at {RATE:,} bars/s, {said} ÷ none", p99, *sides, "µs", at_most=True),
        Row("P15-memory", f"growth of the publisher in {SECONDS * 3 / 4:g} s, {said}, beside none",
            *(f"{shown(median(grown[side]))} MB" for side in sides)),
    ]
