"""Measure a venue's thousand streams: `python benchmarks/venues.py [--streams 1000] [--seconds 30]`.

A venue of the laboratory says the same to each contender in turn: the producer, ccxt's own loop, and the provider that
PyneCore bundles (an instance a stream, so as many as are feasible). Then how long a close is under way, at real speed.
Writes `benchmarks/results/venues.json` and `docs/benchmarks-venues.md`.
"""

# ruff: noqa: E402 - the laboratory is among the tests, and called as this file is

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT.parent / "tests"))  # before this folder

from pynelive import listen
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Bar
from pynelive.bus.names import parse_key
from pynelive.bus.rundir import RunDir
from pynelive.bus.wire import decode
from pynelive.producers.table import find_provider
from run import machine
from topologies import Bench, running, wait_for
from venue_listeners import names
from venues.client import Lab, lab
from venues.spec import MarketSpec

SPEED = 15.0
TICKS = 4
BUNDLED = 50
"""Instances of PyneCore's provider: each has a connection, and a table of the markets, of its own."""
LATENCY_STREAMS = 100

Closes = dict[str, list[list[float]]]
"""By symbol, what was taken for a closed bar: its time, then open, high, low, close and volume."""


# --- the load ---------------------------------------------------------------------------------------------------------


def topology(folder: Path, at: Lab, streams: list[str]) -> Bench:
    """A producer of these streams, and nothing else."""
    keys = ", ".join(f'"{stream}"' for stream in streams)
    table = f'[[producer]]\nname = "venue"\nprovider = "ccxt"\nstreams = [{keys}]\n'
    return Bench(folder, table + f'options = {{ url = "{at.http}", ws_url = "{at.ws}" }}\n')


def status(bench: Bench) -> dict[str, Any]:
    """What the producer says of itself; nothing before it is up."""
    return bench.ps().get("venue", {}).get("status") or {}


def bars_of(bench: Bench) -> int:
    """How many closed bars the stream has that has the fewest."""
    return min((stream["bars"] for stream in status(bench).get("streams", [])), default=0)


def by_producer(at: Lab, count: int, seconds: float) -> dict[str, Any]:
    """The producer of a topology: its process, from when every stream has said something."""
    with tempfile.TemporaryDirectory() as name:
        bench = topology(Path(name), at, [f"BINANCE:{symbol}@1" for symbol in names(count)])
        with running(bench, **at.env) as up:
            wait_for(lambda: bars_of(bench), 180)
            process = psutil.Process(status(bench)["pid"])
            begun, before = time.monotonic(), process.cpu_times()
            time.sleep(seconds)
            after, took = process.cpu_times(), time.monotonic() - begun
            memory_mb = process.memory_info().rss / 2**20
            counters = status(bench)["counters"]
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=60)
        closes, flagged = _published(bench)
    cpu = (after.user + after.system - before.user - before.system) / took
    return {"cpu": cpu, "memory_mb": memory_mb, "seen": len(closes), "closes": closes, "flagged": flagged,
            "publish_p99_us": counters["publish_p99_us"]}  # fmt: skip


def _published(bench: Bench) -> tuple[Closes, float]:
    """All closes as they were said first, and the share of them that the venue's flag has closed."""
    journal, closes, origins = Journal(bench.run_dir / "journal" / "venue", read_only=True), {}, Counter[str]()
    for stream, record in journal.in_order():
        for bar in decode(record.payload):
            if isinstance(bar, Bar) and bar.closed and not bar.revision:
                values = [bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume]
                symbol = stream.removeprefix("ccxt:BINANCE:").removesuffix("@1")
                closes.setdefault(symbol, []).append(values)
                origins[bar.origin] += 1
    journal.close(clean=False)
    return closes, origins["venue"] / max(origins.total(), 1)


def by_process(case: str, at: Lab, count: int, seconds: float) -> dict[str, Any]:
    """One of the others, in a process of its own."""
    program = Path(__file__).with_name("venue_listeners.py")
    command = [sys.executable, str(program), case, at.http, at.ws, str(count), str(seconds), str(SPEED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **at.env})
    if done.returncode:
        raise SystemExit(f"{case} has failed: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def judged(what: str, at: Lab, count: int, found: dict[str, Any]) -> dict[str, Any]:
    """A row of the table: how much of the truth it has got, of the bars between its first and its last close."""
    closes: Closes = found.pop("closes")
    given = wrong = missed = 0
    begun, ended = (pick((row[0] for rows in closes.values() for row in rows), default=0) for pick in (min, max))
    for symbol in names(count):
        truth = {row.time_ms: list(row[1:]) for row in at.truth(symbol)}
        said = {row[0]: row for row in closes.get(symbol, [])}
        given += len(said)
        wrong += sum(row != truth.get(time_ms) for time_ms, row in said.items())
        first_ms = min(said, default=begun)
        missed += sum(first_ms <= time_ms < ended and time_ms not in said for time_ms in truth)
    row = {"what": what, "streams": count, "seen": found["seen"], "closes": given, "wrong": wrong, "missed": missed}
    return {**row, "cpu_percent": round(100 * found["cpu"], 1), "memory_mb": round(found["memory_mb"]),
            "flagged_percent": round(100 * found.get("flagged", 0.0), 1)}  # fmt: skip


def load(count: int, seconds: float) -> list[dict[str, Any]]:
    """The contenders, one after the other, each on a fresh venue."""
    rows = []
    for what, streams, take in (
        ("pynelive: one producer, closes by the venue's flag, journalled and published", count, by_producer),
        ("ccxt's watch_ohlcv_for_symbols loop", count, lambda *given: by_process("ccxt", *given)),
        ("PyneCore's bundled CCXT provider, an instance a stream", BUNDLED,
         lambda *given: by_process("bundled", *given)),
    ):  # fmt: skip
        with lab("binance", *names(count), speed=SPEED, ticks=TICKS) as at:
            rows.append(judged(what, at, streams, take(at, streams, seconds)))
        print(json.dumps(rows[-1]), flush=True)
    return rows


# --- how long a close is under way ------------------------------------------------------------------------------------


async def to_provider(at: Lab, streams: list[str], seconds: float) -> list[float]:
    """Milliseconds from the venue's own time of each close to the provider's update, in this process."""
    kind = find_provider("ccxt", Path())
    provider = kind([parse_key(stream) for stream in streams], kind.Config(url=at.http, ws_url=at.ws), Path())
    found: list[float] = []
    try:
        await provider.connect()
        until = time.monotonic() + seconds
        async for update in provider.watch():
            if isinstance(update.message, Bar) and update.message.closed and update.event_ms:
                found.append(time.time() * 1000 - update.event_ms)
            if time.monotonic() > until:
                break
        await provider.disconnect()
    finally:
        await provider.close()
    return found


async def to_consumer(bench: Bench, seconds: float) -> list[float]:
    """Milliseconds from the receipt of each close in the producer to a subscriber's hands."""
    found: list[float] = []
    async with listen("ccxt:*", bus=RunDir(bench.run_dir), timeout_s=60) as heard:
        try:
            async with asyncio.timeout(seconds):
                async for item in heard:
                    bar = item.message
                    if isinstance(bar, Bar) and bar.closed and bar.origin == "venue":
                        found.append((time.time_ns() - bar.received_ns) / 1e6)
        except TimeoutError:
            pass  # it has listened for long enough
    return found


def latency(seconds: float) -> list[dict[str, Any]]:
    """At real speed, with bars of a second that all close at once."""
    markets = [MarketSpec(name, timeframe="1S", history=50) for name in names(LATENCY_STREAMS)]
    streams = [f"BINANCE:{name}@1S" for name in names(LATENCY_STREAMS)]
    with lab("binance", *markets, epoch_ms=0, speed=1, ticks=2) as at, tempfile.TemporaryDirectory() as name:
        first = asyncio.run(to_provider(at, streams, seconds))
        bench = topology(Path(name), at, streams)
        with running(bench) as up:
            wait_for(lambda: bars_of(bench) > 2, 60)
            second = asyncio.run(to_consumer(bench, seconds))
            publish_us = status(bench)["counters"]["publish_p99_us"]
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=60)
    rows = [
        _spread("the venue's time of the close to the provider's update (the venue's clock has whole ms)", first),
        _spread("receipt in the producer to a subscriber, through rules, journal and bus", second),
        {"what": "receipt in the producer to its publish, as `pynelive ps` says", "closes": len(second),
         "p50_ms": None, "p99_ms": publish_us / 1000},
    ]  # fmt: skip
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def _spread(what: str, values_ms: list[float]) -> dict[str, Any]:
    ordered = sorted(values_ms) or [float("nan")]
    p50, p99 = (round(ordered[int(q * (len(ordered) - 1))], 2) for q in (0.5, 0.99))
    return {"what": what, "closes": len(values_ms), "p50_ms": p50, "p99_ms": p99}


# --- the page ---------------------------------------------------------------------------------------------------------


def page(result: dict[str, Any]) -> str:
    """The results as docs/benchmarks-venues.md."""
    frames = round((TICKS + 1) * SPEED / 60 * result["streams"])
    lines = [
        "# Benchmarks: venues",
        "",
        "Written by `make bench-venues`; run it to get your own. A venue of the laboratory, in a process of",
        f"its own on the same machine, says about {frames:,} frames a second of {result['streams']:,} streams of",
        f"minutes at {SPEED:g} times real time; all streams speak at the same moments, as they do when bars close.",
        f"Each contender listens alone, for {result['seconds']:g} s. *Wrong* closes differ from the venue's final",
        "bar; *missed* ones lie between a stream's first close and the end and were not noticed. Processor (percent",
        "of one core) and memory are those of the listening process.",
        "",
        f"{result['date']}, {result['machine']}",
        "",
        "| who | streams | seen | closes | wrong | missed | by the flag | CPU | memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["load"]:
        flagged = f"{row['flagged_percent']:g} %" if row["flagged_percent"] else "none"
        lines.append(
            f"| {row['what']} | {row['streams']:,} | {row['seen']:,} | {row['closes']:,} | {row['wrong']:,} | "
            f"{row['missed']:,} | {flagged} | {row['cpu_percent']} % | {row['memory_mb']} MB |"
        )
    lines += [
        "",
        f"How long a close is under way, at real speed, with {LATENCY_STREAMS} streams of one-second bars that close",
        "at the same moment:",
        "",
        "| from, to | closes | p50 | p99 |",
        "|---|--:|--:|--:|",
    ]
    for row in result["latency"]:
        p50 = "" if row["p50_ms"] is None else f"{row['p50_ms']:g} ms"
        lines.append(f"| {row['what']} | {row['closes']:,} | {p50} | {row['p99_ms']:g} ms |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30, help="how long each one is measured")
    given = parser.parse_args()
    result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": f"{machine()}, ccxt {version('ccxt')}",
        "streams": given.streams, "seconds": given.seconds,
        "load": load(given.streams, given.seconds), "latency": latency(given.seconds / 2),
    }  # fmt: skip
    results = ROOT / "results"
    results.mkdir(exist_ok=True)
    (results / "venues.json").write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    (ROOT.parent / "docs" / "benchmarks-venues.md").write_text(page(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
