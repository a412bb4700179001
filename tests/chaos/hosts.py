"""Three machines with a network of their own between them, and what happens to that network."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

from networks import Network
from several import Hosts
from topologies import Bench, running

from .oracle import Item, Outcome, compare, compare_files
from .world import pause, wait_for

_RATE = 30
_SPARE_S = 30
_ENDS_S = 300
_FILES = 4
"""Recordings, and what the script says."""
_MACHINES = ("a", "b", "c")
_TABLES = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "ETH/USDT@1", "AAPL@1"]
options = {{ seed = {seed}, speed = {speed}, bars = {bars}, forming = 2 }}
host = "a"

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = {{ dir = "data" }}
host = "b"

[[runner]]
name = "ema"
script = "EXAMPLES/ema_cross.py"
stream = "demo:BTC/USDT@1"
host = "c"

[[sink]]
name = "said"
type = "jsonl"
streams = ["run:*"]
options = {{ path = "said.jsonl" }}
host = "b"
"""


class Weather(NamedTuple):
    """What the network is like for some time: whose cables are out, what it loses of all packets, and its delay."""

    seconds: float
    cut: tuple[str, ...] = ()
    loss: float = 0.0
    delay_ms: float = 0.0

    def __str__(self) -> str:
        cut = f"{' and '.join(self.cut)} cut off, " if self.cut else ""
        return f"{cut}{self.loss:.0%} lost, {self.delay_ms:.0f} ms late, for {self.seconds:.1f} s"


def forecast(seed: int, count: int) -> list[Weather]:
    """So many faults of the network; all of them follow from the seed."""
    rng = Random(f"hosts {seed}")
    return [_bad_weather(rng) for _ in range(count)]


def _bad_weather(rng: Random) -> Weather:
    kind = rng.choice(("partition", "loss", "delay", "all"))
    loss, delay_ms = rng.uniform(0.01, 0.3), rng.uniform(1, 200)
    cut = tuple(sorted(rng.sample(_MACHINES, rng.choice((1, 1, 2)))))
    return Weather(
        0.5 * 40 ** rng.random(),
        cut if kind in ("partition", "all") else (),
        loss if kind in ("loss", "all") else 0.0,
        delay_ms if kind in ("delay", "all") else 0.0,
    )


def suffer(folder: Path, seed: int, weathers: list[Weather]) -> tuple[Outcome, list[int]]:
    """Producer, recorder and script on a machine each go through it all; how they differ from all on one machine.

    Also how many packets each fault has swallowed.
    """
    bars = int(_RATE * (sum(weather.seconds for weather in weathers) + _SPARE_S))
    alone = Bench(folder / "alone", _on_one(_TABLES.format(seed=seed, speed=0, bars=bars)))
    assert alone.up(_ENDS_S).code == 0, alone.log("supervisor")
    tables = _TABLES.format(seed=seed, speed=60 * _RATE, bars=bars)
    with Network(*_MACHINES, delay_ms=0.1, seed=seed) as net, ExitStack() as machines:
        addresses = {"a": net.address("a"), "b": "", "c": net.address("c")}
        hosts = Hosts(folder, tables, addresses, lambda host: net.command(host, []))
        ups = {
            host: machines.enter_context(running(bench, **hosts.environment(host)))
            for host, bench in hosts.benches.items()
        }
        wait_for(lambda: _has_begun(hosts), "everybody has begun")
        lost = []
        for number, weather in enumerate(weathers):
            lost.append(_let_pass(net, weather))
            print(f"  #{number:<4} {weather}: {lost[-1]} packets", flush=True)
        codes = {host: hosts.benches[host].end(up, _ENDS_S).code for host, up in ups.items()}
    outcome = compare_files(hosts.digests(), alone.digests())
    outcome += compare(_said(hosts.benches["b"]), _said(alone), "what the script has said")
    wrong = [f"`up` on {host} returned {code}" for host, code in codes.items() if code]
    return outcome + Outcome(files=len(wrong), notes=wrong), lost


def _has_begun(hosts: Hosts) -> bool:
    files = [*hosts.benches["b"].folder.glob("data/*.ohlcv"), hosts.benches["b"].folder / "said.jsonl"]
    return len(files) == _FILES and all(path.exists() and path.stat().st_size for path in files)


def _let_pass(net: Network, weather: Weather) -> int:
    """How many packets were lost over it."""
    before = net.lost
    net.weather(weather.loss, weather.delay_ms)
    for name in weather.cut:
        net.cut(name)
    pause(weather.seconds)
    for name in weather.cut:
        net.mend(name)
    net.weather(0, 0)
    return net.lost - before


def _on_one(tables: str) -> str:
    return "\n".join(line for line in tables.splitlines() if not line.startswith("host"))


def _said(bench: Bench) -> list[Item]:
    """What the sink was given of the script's results."""
    lines = (bench.folder / "said.jsonl").read_text().splitlines()
    return [(line, None) for line in lines if json.loads(line)["kind"] in ("plot", "signal", "fill")]
