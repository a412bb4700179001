"""P14: what the encryption between hosts costs, beside plain tcp."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import latency
import ours
from figures import Row, compare, part, rounds
from harness import call, folder, together, verify
from ours import STREAM, reread, say
from pynelive.bus.discovery import announce_elsewhere
from pynelive.bus.hosts import HostSpec, door_of
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.security import make_key
from pynelive.bus.specs import BusSpec, ProducerSpec, SinkSpec
from pynelive.bus.topology import Topology

TITLE = "Between hosts"
ABOUT = """
Everything as in P1 and P4, over tcp on this machine's loopback on both sides; only the connection differs.

| side | does |
|---|---|
| ours, secured | CURVE: each end proves its key, strangers are refused, every frame is encrypted and authenticated |
| ours, plain | plain tcp, as this project allows it within a machine only |
"""
COUNT = 200_000
RATE = 1_000


def topology(place: str) -> Topology:
    """Two hosts, both this machine: a producer on one, a sink on the other; their keys are in the folder."""
    os.environ["PYNELIVE_KEYS"] = f"{place}/keys"
    port = int((Path(place) / "port").read_text())
    keys = {name: (Path(place) / name).read_text() for name in ("here", "there")}
    hosts = {"here": HostSpec(keys["here"], "127.0.0.1", port), "there": HostSpec(keys["there"])}
    producer = ProducerSpec("bench", "bench", (STREAM.partition(":")[2],), host="here")
    sink = SinkSpec("sink", "ohlcv", (STREAM,), host="there")
    return Topology(Path(place) / "topology.toml", BusSpec("bench"), (producer,), (sink,), hosts=hosts)


def prepare(place: Path) -> None:
    """Make the keys, and find two free ports."""
    os.environ["PYNELIVE_KEYS"] = f"{place}/keys"
    for name in ("here", "there"):
        (place / name).write_text(make_key(name))
    (place / "port").write_text(str(_free_ports()))


def _free_ports() -> int:
    """The first of two free ports that follow each other."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def publisher(place: str) -> Publisher:
    """A publisher with a door for the other host."""
    parsed = topology(place)
    door = door_of(parsed, parsed.producers[0])
    return Publisher(RunDir(Path(place) / "a"), "bench", {"sink": [STREAM]}, door=door)


def _other_host(place: str) -> str:
    announce_elsewhere(RunDir(Path(place) / "b"), topology(place), "there")
    return f"{place}/b"


def publish(place: str, count: int, frame: int) -> list[float]:
    """What ``say`` says."""

    async def main() -> list[float]:
        speaker = publisher(place)
        said = await say(speaker, [STREAM], count, frame)
        await speaker.close()
        return said

    return asyncio.run(main())


def receive(place: str, count: int) -> Any:
    """As in P1, from the other host."""
    return ours.receive(_other_host(place), count)


def publish_paced(place: str, count: int, rate: int) -> int:
    """As in P4."""
    asyncio.run(latency.paced(publisher(place), count, rate))
    return count


def receive_paced(place: str, count: int) -> list[float]:
    """As in P4, from the other host."""
    return latency.receive(_other_host(place), count)


def secured() -> float:
    """Bars a second."""
    with folder() as at:
        prepare(at)
        (started, *_), (ended, seen, _) = together(call(publish, at, COUNT, 64), call(receive, at, COUNT))
        on_disk = reread(at / "a")
    verify("secured", seen, COUNT)
    verify("the journal, secured", on_disk, COUNT)
    return float(COUNT / (ended - started))


def secured_waits() -> list[float]:
    """p50 and p99, in µs."""
    count = int(RATE * latency.SECONDS)
    with folder() as at:
        prepare(at)
        found: list[float] = together(call(publish_paced, at, count, RATE), call(receive_paced, at, count))[1]
    return found


def measure(count: int) -> list[Row]:
    """P14."""
    rates = rounds(count, {"secured": secured, "plain": partial(ours.rate, COUNT, 64, "tcp")})
    waits = rounds(count, {"secured": secured_waits, "plain": partial(latency.ours, RATE, "tcp")})
    sides, what = ("secured", "plain"), f"at {RATE:,} bars/s, 1 bar a frame, CURVE ÷ plain tcp"
    return [
        compare("P14", "64 bars a frame, CURVE ÷ plain tcp", rates, *sides, "bars/s", 0.75),
        compare("P14-p50", f"p50 {what}", part(waits, 0), *sides, "µs", 1.15, at_most=True),
        compare("P14-p99", f"p99 {what}", part(waits, 1), *sides, "µs", at_most=True),
    ]
