"""P11: the recorder beside PyneCore's own writer, and a thousand recordings at once."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import zmq  # noqa: F401 - behind PyneCore nobody could import it
from figures import Row, compare, part, rounds, shown
from harness import bars, call, checksum, folder, own_mb, together, verify
from ours import names, say
from pynecore.core.ohlcv import OHLCVWriter
from pynecore.types.ohlcv import OHLCV
from pynelive.bus.messages import End, Instrument
from pynelive.bus.ohlcv import ohlcv_path, read_bars
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import BusSpec, SinkSpec
from pynelive.bus.topology import Topology
from pynelive.sinks.feed import SinkFeed

TITLE = "Recording"
ABOUT = """
A publisher hands 64 bars a frame to a recorder, the `ohlcv` sink with the loop around it, in a process of its own; the
time is from the first publish until the recorder has acknowledged the last bar as on disk. What it has written is read
again, and must be the bars.

| side | does |
|---|---|
| ours | receives, checks, decodes, judges each bar (a repeat, a revision, what no file can hold), writes what waits in one commit, acknowledges |
| OHLCVWriter | PyneCore's writer, given the same bars as PyneCore's own objects and the same tick grid, in batches (`batched()`) as large as the recorder's were in that round |
| without a tick grid | the same writer, which then checks no price against the grid, and whose reader gives prices as rounded by its format |

*Memory* is the recorder's own memory at its highest, *open files* what it has open then.
"""  # noqa: E501 - a table
COUNT = 100_000
STREAMS = 1_000


def topology(place: str) -> Topology:
    """A bus with one recorder."""
    sink = SinkSpec("sink", "ohlcv", ("bench:*",), {"dir": "data"})
    return Topology(Path(place) / "topology.toml", BusSpec("bench", "run"), sinks=(sink,))


def publish(place: str, count: int, streams: int) -> list[float]:
    """What ``say`` says."""

    async def main() -> list[float]:
        publisher = Publisher(RunDir(topology(place)), "bench", {"sink": names(streams)})
        said = await say(publisher, names(streams), count, 64, End())
        await publisher.close()
        return said

    return asyncio.run(main())


def record(place: str) -> list[float]:
    """The recorder until the streams have ended: its commits, MB of private memory, open files."""

    async def main() -> list[float]:
        playing = asyncio.create_task(feed.run(asyncio.Event()))
        process, memory, files = psutil.Process(), 0.0, 0
        while not playing.done():
            memory, files = max(memory, own_mb()), max(files, process.num_fds())
            await asyncio.wait([playing], timeout=0.2)
        playing.result()
        return [feed.status().counters["writes"], memory, files]

    parsed = topology(place)
    feed = SinkFeed(parsed, parsed.sinks[0])
    feed.prepare()
    return asyncio.run(main())


def ours(count: int, streams: int) -> list[float]:
    """Seconds, commits, MB, open files."""
    with folder() as at:
        (started, durable, _), found = together(call(publish, at, count, streams), call(record, at))
        written = [bar for stream in names(streams) for bar in read_bars(ohlcv_path(at / "data", stream))]
    _verify("the recorder", written, count)
    return [durable - started, *found]


def _verify(what: str, written: list[Any], count: int) -> None:
    """All that a file keeps of a bar; when it was received is not in it."""
    received = sum(range(count)) * 8
    verify(what, checksum(written) + received, count)


def bare(place: str, count: int, batch: int, grid: dict[str, int]) -> float:
    """Seconds that PyneCore's writer takes."""
    made = [OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars(count)]
    started = time.monotonic()
    with OHLCVWriter(Path(place) / "bare.ohlcv", "1", **grid) as writer:
        for at in range(0, count, batch):
            with writer.batched():
                for candle in made[at : at + batch]:
                    writer.write(candle)
    return time.monotonic() - started


def beside(commits: float, **grid: int) -> list[float]:
    """The same with so many commits."""
    with folder() as at:
        (seconds,) = together(call(bare, at, COUNT, max(int(COUNT / commits), 1), grid))
        _verify("OHLCVWriter", list(read_bars(at / "bare.ohlcv")), COUNT)
    return [float(seconds)]


def measure(count: int) -> list[Row]:
    """P11."""
    commits: list[float] = []

    def one() -> list[float]:
        found = ours(COUNT, 1)
        commits.append(found[1])
        return found

    many = partial(ours, COUNT, STREAMS)
    symbol = Instrument("BTC/USDT", "1")  # as the publisher says it
    grid = {"minmove": symbol.minmove, "pricescale": symbol.pricescale}
    cases: dict[str, Any] = {"one": one, "bare": lambda: beside(commits[-1], **grid)}
    cases |= {"without": lambda: beside(commits[-1]), "many": many}
    found = rounds(count, cases)
    rate = {name: [COUNT / seconds for seconds in of] for name, of in part(found, 0).items()}
    batch = COUNT / median(commits)
    memory, files = (median(part({"many": found["many"]}, at)["many"]) for at in (2, 3))
    plain = f"the recorder ÷ OHLCVWriter without a tick grid, {shown(batch)} bars a commit"
    at_once = f"{STREAMS:,} recordings at once ÷ one"
    return [
        compare("P11", f"the recorder ÷ OHLCVWriter, {shown(batch)} bars a commit", rate, "one", "bare", "bars/s", 0.8),
        compare("P11-plain", plain, rate, "one", "without", "bars/s"),
        compare(f"P11-{STREAMS}", at_once, rate, "many", "one", "bars/s"),
        Row(f"P11-{STREAMS}-memory", f"{STREAMS:,} recordings at once: memory", f"{memory:.0f} MB"),
        Row(f"P11-{STREAMS}-files", f"{STREAMS:,} recordings at once: open files", shown(files)),
    ]
