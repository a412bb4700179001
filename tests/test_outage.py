"""What a runner does with states of its stream and with other streams, and that a restart does the same again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pynelive.bus.messages import Bar, End, Executed, Instrument, Message, Signal, State, Told
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import BusSpec, ProducerSpec, RunnerSpec
from pynelive.bus.topology import Topology
from pynelive.runners.feed import RunnerFeed
from support import STREAM, Taken, make_bar, wait_until

SCRIPT = """
from pynelive import Strategy
class Flip(Strategy):
    def on_data(self, bar): pass
    def generate_signals(self): return [self.close()] if self.position else self.target(1)
"""


def bus(folder: Path, **keys: object) -> Topology:
    """Two producers, and a strategy that buys and closes in turn."""
    (folder / "flip.py").write_text(SCRIPT)
    runner = RunnerSpec("flip", "flip.py", STREAM, type="python", **keys)  # type: ignore[arg-type]
    producers = (ProducerSpec("demo", "demo", ("BTC/USDT@1",)), ProducerSpec("other", "other", ("X@1",)))
    return Topology(folder / "topology.toml", BusSpec(run_dir="run"), producers, runners=(runner,))


@asynccontextmanager
async def running(topology: Topology) -> AsyncIterator[asyncio.Task[None]]:
    """The runner, stopped in the end if it has not ended."""
    feed, stop = RunnerFeed(topology, topology.runners[0]), asyncio.Event()
    feed.prepare()
    task = asyncio.create_task(feed.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def say(publisher: Publisher, heard: Taken, *messages: Message) -> list[Signal]:
    """Publish, and wait until a signal has come of each bar; all signals so far."""
    publisher.publish(STREAM, *messages)
    last = max((m.time_ms for m in messages if not isinstance(m, State)), default=0)
    await wait_until(lambda: not last or any(s.time_ms == last for s in signals(heard)))
    return signals(heard)


def signals(heard: Taken) -> list[Signal]:
    return [m for m in heard.messages.get("run:flip", []) if isinstance(m, Signal)]


async def test_hold_and_a_restart(tmp_path: Path) -> None:
    """Nothing is ordered from `down` to `live`, backfilled bars included; a restart remembers that it is so."""
    topology = bus(tmp_path, on_outage="hold")
    run = RunDir(topology)
    publisher = Publisher(run, "demo", {"flip": [STREAM]})
    await publisher.open()
    heard = Taken(run, ["run:flip"])
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), State("live", 0))
    async with running(topology):
        await say(publisher, heard, make_bar(1), make_bar(2), State("down", 3 * 60_000, "no word"))
        await say(publisher, heard, make_bar(3))
    async with running(topology):
        await say(publisher, heard, State("healing", 4 * 60_000), make_bar(4))
        found = await say(publisher, heard, State("live", 5 * 60_000), make_bar(5))
    assert [signal.action for signal in found] == ["buy", "close", "hold", "hold", "buy"]
    assert "withheld" in found[2].reason
    said = heard.messages["run:flip"]
    states = [m.message.state for m in said if isinstance(m, Told) and isinstance(m.message, State)]
    assert states == ["live", "down", "healing", "live"]
    assert [m.bar.time_ms // 60_000 for m in said if isinstance(m, Executed)] == [1, 2, 3, 4, 5]
    await heard.subscriber.close()
    await publisher.close()


@pytest.mark.parametrize("state", ["stale", "down"])
async def test_stop(tmp_path: Path, state: str) -> None:
    """The run ends by itself, and says why."""
    topology = bus(tmp_path, on_outage="stop")
    run = RunDir(topology)
    publisher = Publisher(run, "demo")
    await publisher.open()
    heard = Taken(run, ["run:flip"])
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    async with running(topology) as task:
        await say(publisher, heard, make_bar(1))
        publisher.publish(STREAM, State(state, 120_000))  # type: ignore[arg-type]
        await asyncio.wait_for(task, 60)
    await wait_until(lambda: isinstance(heard.messages["run:flip"][-1], End))
    assert heard.messages["run:flip"][-1] == End(f"{STREAM} is out")
    await heard.subscriber.close()
    await publisher.close()


async def test_other_streams_are_told_once(tmp_path: Path) -> None:
    """Bars of another stream come once each, though its publisher has lost its journal while the runner was down."""
    topology = bus(tmp_path, data=("other:X@1",))
    run = RunDir(topology)
    publisher = Publisher(run, "demo")
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), make_bar(1))
    heard = Taken(run, ["run:flip"])

    def told() -> list[int]:
        said = [m.message for m in heard.messages.get("run:flip", []) if isinstance(m, Told)]
        return [bar.time_ms // 60_000 for bar in said if isinstance(bar, Bar)]

    for known in (3, 5):
        other = Publisher(run, "other")
        await other.open()
        other.publish("other:X@1", Instrument("X", "1"), *map(make_bar, range(1, known + 1)))
        async with running(topology):
            await wait_until(lambda known=known: told() == [*range(1, known + 1)])
        await other.close(forget=True)
    await heard.subscriber.close()
    await publisher.close()
