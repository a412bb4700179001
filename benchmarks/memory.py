"""P13: the memory of a producer, a sink and a runner: at rest, a stream more, a thousand bars more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

import zmq  # noqa: F401 - behind PyneCore nobody could import it
from figures import Row
from harness import ROOT, actor, call, folder, own_mb, together

TITLE = "Memory"
ABOUT = """
The demo producer, the `ohlcv` recorder and a runner with `examples/ema_cross.py`, a strategy, each in a process of its
own, as fast as they go until the streams end. Counted is each process's own memory at its highest, without what it maps
of files (the journal: page cache, which the kernel takes back). *At rest* is after 100 bars of one stream, *a stream
more* the mean of 100, *1,000 bars more* the mean from 2,000 to 12,000 bars of one stream. *Flat* compares 12,000 bars
with 2,000: a producer keeps an index of its journal until retention cuts both; a strategy keeps its trades.
"""
BARS = {"rest": (1, 100), "streams": (101, 100), "few": (1, 2_000), "many": (1, 12_000)}
"""Streams, and bars of each."""
_TOPOLOGY = """
[bus]
name = "bench"
run_dir = "run"

[[producer]]
name = "producer"
provider = "demo"
streams = [{streams}]
options = {{ speed = 0, bars = {bars}, forming = 0 }}

[[sink]]
name = "sink"
type = "ohlcv"
streams = ["demo:*"]

[[runner]]
name = "runner"
script = "{script}"
stream = "demo:S0/USDT@1"
history = 0
"""


def play(place: str, name: str) -> float:
    """The loop of an actor until its streams have ended; MB of its own memory at its highest."""
    role = actor(Path(place) / "topology.toml", name)

    async def main() -> float:
        playing, most = asyncio.create_task(role.run(asyncio.Event())), 0.0
        while not playing.done():
            await asyncio.wait([playing], timeout=0.05)
            most = max(most, own_mb())
        playing.result()
        return most

    return asyncio.run(main())


def actors(streams: int, bars: int) -> dict[str, float]:
    """MB of each."""
    with folder() as at:
        keys = ", ".join(f'"S{number}/USDT@1"' for number in range(streams))
        script = ROOT.parent / "examples" / "ema_cross.py"
        (at / "topology.toml").write_text(_TOPOLOGY.format(streams=keys, bars=bars, script=script))
        names = ("producer", "sink", "runner")
        return dict(zip(names, together(*(call(play, at, name) for name in names)), strict=True))


def measure(count: int) -> list[Row]:
    """P13."""
    runs = [{size: actors(*given) for size, given in BARS.items()} for _ in range(min(count, 3))]
    rows = []
    for name in ("producer", "sink", "runner"):
        mb = {size: median(run[size][name] for run in runs) for size in BARS}
        a_stream, a_thousand = (mb["streams"] - mb["rest"]) / 100, (mb["many"] - mb["few"]) / 10
        rows.append(Row(f"P13-{name}", f"{name} at rest", f"{mb['rest']:.1f} MB"))
        if name != "runner":
            rows.append(Row(f"P13-{name}-stream", f"{name}, a stream more", f"{a_stream * 1000:.0f} kB"))
        flat = round(mb["many"] / mb["few"], 3)
        rows.append(Row(f"P13-{name}-bars", f"{name}, 1,000 bars more; flat: at 12,000 bars ÷ at 2,000",
                        f"{a_thousand * 1000:.1f} kB; {mb['many']:.1f} MB", f"{mb['few']:.1f} MB", flat))  # fmt: skip
    return rows
