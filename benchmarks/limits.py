"""What a host holds: `python benchmarks/limits.py [--seconds 3]`: more and more streams, subscribers and processes.

Each step runs for some seconds; a kind ends when bars come late, or some do not come. Writes
`benchmarks/results/limits.json` and its part of `docs/limits.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import ROOT, bar, call, folder, own_mb, quantiles, together
from msgspec.structs import replace
from ours import names
from pynelive.bus.cursor import Cursor
from pynelive.bus.messages import Bar, Instrument, Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber, from_earliest
from run import machine

PAGE = ROOT.parent / "docs" / "limits.md"
BEGIN, END = "<!-- written by make bench-limits -->", "<!-- until here -->"
LATE_MS = 100.0
"""A p99 above it ends a kind; so does a publisher that cannot keep its pace."""
_TICKS = 20
_KEPT_UP = 0.95


@dataclass(frozen=True)
class Step:
    """One setting: every stream says a bar at the same pace, and every subscriber gets them all."""

    kind: str
    streams: int
    processes: int
    subscribers: int
    """In each process."""
    rate: int
    """Bars a second over all streams."""


STEPS = {
    "streams, each with a bar a second": [
        Step("streams", n, 1, 1, n) for n in (500, 1000, 2000, 5000, 10_000, 20_000)
    ],
    "subscribers to one stream, 100 bars/s": [
        Step("subscribers", 1, 1, n, 100) for n in (10, 25, 50, 100, 200, 400)
    ],
    "processes that subscribe to 10 streams, 100 bars/s in all": [
        Step("processes", 10, n, 1, 100) for n in (5, 10, 20, 40, 80)
    ],
}  # fmt: skip


def publish(place: str, streams: int, subscribers: int, rate: int, seconds: float) -> list[float]:
    """Say bars in even ticks: the seconds that it took, the processor time, MB of memory."""

    async def main() -> list[float]:
        keys = names(streams)
        publisher = Publisher(RunDir(Path(place)), "bench", {f"sink-{n}": keys for n in range(subscribers)})
        await publisher.open()
        for key in keys:
            publisher.publish(key, Instrument(key.partition(":")[2], "1"))
        await publisher.drained()
        begun, cpu = time.monotonic(), time.process_time()
        for tick in range(int(seconds * _TICKS)):
            for number in range(tick * rate // _TICKS, (tick + 1) * rate // _TICKS):
                publisher.publish(keys[number % streams], replace(bar(number), received_ns=time.monotonic_ns()))
                if number % 256 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(max(begun + (tick + 1) / _TICKS - time.monotonic(), 0))
        took, cpu = time.monotonic() - begun, time.process_time() - cpu
        await publisher.drained()
        await publisher.close()
        return [took, cpu, own_mb()]

    return asyncio.run(main())


def receive(place: str, first: int, subscribers: int, count: int) -> list[float]:
    """So many subscribers in this process: p50 and p99 in µs, processor time, MB of memory."""

    async def main() -> list[float]:
        waits: list[int] = []
        left, done = subscribers * count, asyncio.Event()

        def taker(number: int) -> Callable[[Cursor, list[Message]], None]:
            def take(cursor: Cursor, messages: list[Message]) -> None:
                nonlocal left
                now = time.monotonic_ns()
                fresh = [now - message.received_ns for message in messages if type(message) is Bar]
                waits.extend(fresh)
                left -= len(fresh)
                all_of_them[number].ack({cursor.stream: (cursor.epoch, cursor.next)})
                if not left:
                    done.set()

            return take

        all_of_them = [
            Subscriber(RunDir(Path(place)), ["bench:*"], taker(n), from_earliest, f"sink-{first + n}")
            for n in range(subscribers)
        ]
        for subscriber in all_of_them:
            subscriber.open()
        cpu = time.process_time()
        await done.wait()
        cpu = time.process_time() - cpu
        for subscriber in all_of_them:
            await subscriber.finish()
            await subscriber.close()
        return [*quantiles(waits), cpu, own_mb()]

    return asyncio.run(main())


def measured(step: Step, seconds: float) -> dict[str, Any]:
    """How it went."""
    count = int(seconds * _TICKS) * step.rate // _TICKS
    inside = step.subscribers
    with folder() as at:
        sending = call(publish, at, step.streams, step.processes * inside, step.rate, seconds)
        hearing = [call(receive, at, n * inside, inside, count) for n in range(step.processes)]
        (took, cpu, mb), *heard = together(sending, *hearing)
    p50, p99, cpus, mbs = (list(column) for column in zip(*heard, strict=True))
    return {
        **asdict(step), "pace": round(seconds / took, 3), "p50_ms": round(max(p50) / 1000, 2),
        "p99_ms": round(max(p99) / 1000, 2), "cpu_percent": round(100 * (cpu + sum(cpus)) / took),
        "publisher_mb": round(mb), "subscribers_mb": round(sum(mbs)),
    }  # fmt: skip


def holds(found: dict[str, Any]) -> bool:
    """Whether the host has kept up."""
    return bool(found["p99_ms"] <= LATE_MS and found["pace"] >= _KEPT_UP)


def climbed(steps: Sequence[Step], seconds: float) -> list[dict[str, Any]]:
    """One step after the other, up to the first that is too much, in two tries."""
    rows: list[dict[str, Any]] = []
    for step in steps:
        found = measured(step, seconds)
        rows.append(found if holds(found) else measured(step, seconds))
        print(json.dumps(rows[-1]), flush=True)
        if not holds(rows[-1]):
            break
    return rows


def section(found: dict[str, list[dict[str, Any]]]) -> str:
    """Its part of docs/limits.md."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. One publisher, with journal; every subscriber is a declared",
        "consumer, gets all bars and acknowledges them. More and more of one thing, until bars come later than",
        f"{LATE_MS:g} ms (p99 of the slowest process) or the publisher falls behind: that row is the last. Processor:",
        "percent of one core, over all processes.",
        "",
        "| so many | bars/s | p50 | p99 | processor | publisher | subscribers | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for what, rows in found.items():
        for row in rows:
            cells = (
                f"{row[row['kind']]:,} {what}", f"{row['rate']:,}", f"{row['p50_ms']:g} ms", f"{row['p99_ms']:g} ms",
                f"{row['cpu_percent']} %", f"{row['publisher_mb']} MB", f"{row['subscribers_mb']} MB",
                "" if holds(row) else "too much",
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="how long each step is measured")
    given = parser.parse_args()
    found = {what: climbed(steps, given.seconds) for what, steps in STEPS.items()}
    (ROOT / "results" / "limits.json").write_text(json.dumps(found, indent=2) + "\n")
    before, begun, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{begun}\n{section(found)}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
