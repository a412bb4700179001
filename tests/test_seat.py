"""What a runner is told before its script is there, or before its warm-up has come, is neither lost nor passed over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs
from pynelive.bus.errors import Again
from pynelive.bus.messages import Alert, Bar, End, Executed, Instrument, Plot, Run, State, Told
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.topology import RunnerSpec
from pynelive.bus.wire import topic_of
from pynelive.runners.feed import RunnerFeed
from support import STREAM, Taken, make_bar, wait_until
from test_outage import bus, running

OTHER = "other:X@1"
ECHO = """
from pynelive import Strategy
class Echo(Strategy):
    def on_message(self, stream, message):
        if type(message).__name__ == "Alert":
            self.alert(message.message)
    def on_data(self, bar): pass
"""


def said(heard: Taken, kind: type) -> list[object]:
    """What the runner has said of a kind."""
    return [m for m in heard.messages.get("run:flip", []) if isinstance(m, kind)]


async def test_a_warm_up_that_had_not_come_is_asked_again(tmp_path: Path) -> None:
    """The runner is stopped when it knows a state of its stream, and none of the bars that it was to begin with."""
    topology, came = bus(tmp_path, history=5), asyncio.Event()
    run = RunDir(topology)

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        await came.wait()
        return [make_bar(number, origin="backfill") for number in range(95, 100)]

    publisher = Publisher(run, "demo", history=history)
    await publisher.open()
    heard = Taken(run, ["run:flip"])
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), State("live", 0))
    publisher.flush()  # a record without bars: it does not wait for the history
    publisher.publish(STREAM, make_bar(100))
    async with running(topology):
        await wait_until(lambda: bool(said(heard, Told)))
    came.set()
    async with running(topology):
        await wait_until(lambda: any(m.bar.time_ms == 6_000_000 for m in said(heard, Executed)))
    assert [m.bar.time_ms // 60_000 for m in said(heard, Executed)] == [*range(95, 101)]
    assert len(said(heard, Told)) == 1
    await heard.subscriber.close()
    await publisher.close()


async def test_what_waits_for_the_script_is_not_acknowledged(tmp_path: Path) -> None:
    """The other stream has ended before the chart's producer is there: it is had until the script has been told."""
    topology = bus(tmp_path, data=(OTHER,))
    run = RunDir(topology)
    other = Publisher(run, "other", {"flip": [OTHER]})
    await other.open()
    other.publish(OTHER, Instrument("X", "1"), *map(make_bar, range(1, 4)), End("played"))
    heard, seen = Taken(run, ["run:flip"]), Taken(run, [OTHER])
    async with running(topology):
        await wait_until(lambda: len(seen.closed(OTHER)) == 3 and other.readers.get(topic_of(OTHER)) == 2)
    assert other.outstanding() == 5
    chart = Publisher(run, "demo")
    await chart.open()
    chart.publish(STREAM, Instrument("BTC/USDT", "1"), make_bar(1))
    async with running(topology):
        await asyncio.wait_for(other.drained(), 60)
        await wait_until(lambda: len(said(heard, Told)) == 3)
    for each in (heard.subscriber, seen.subscriber, chart, other):
        await each.close()


@pytest.mark.parametrize("updates", ["auto", "all"])
async def test_an_alert_inside_a_bar_reaches_who_reads_closes_only(updates: str, tmp_path: Path) -> None:
    """A script that follows another is told all that it said, whichever bars it wants; how a bar looks, if it does."""
    (tmp_path / "echo.py").write_text(ECHO)
    topology = bus(tmp_path)
    runner = structs.replace(topology.runners[0], script="echo.py", stream="run:a", updates=updates)
    topology = structs.replace(topology, runners=(runner, RunnerSpec("a", "echo.py", STREAM, type="python")))
    run = RunDir(topology)
    publisher = Publisher(run, "a")
    await publisher.open()
    heard = Taken(run, ["run:flip"])
    publisher.publish("run:a", Run("a.py", STREAM, "x"), Executed(make_bar(1), 1, 2), Alert(60_000, "first"))
    publisher.flush()
    async with running(topology):
        publisher.publish("run:a", Executed(make_bar(2, closed=False), 1, 2), Alert(120_000, "inside"))
        publisher.flush()
        publisher.forming("run:a", Plot(120_000, {"x": 1.0}, closed=False))
        publisher.flush()
        publisher.publish("run:a", Executed(make_bar(2), 1, 3), Alert(120_000, "last"))
        await wait_until(lambda: len(said(heard, Alert)) == 3)
    assert all(told.message.closed for told in said(heard, Told) if isinstance(told.message, Plot)) or updates == "all"
    assert [alert.message for alert in said(heard, Alert)] == ["first", "inside", "last"]
    await heard.subscriber.close()
    await publisher.close()


async def test_a_script_that_changes_before_it_begins(tmp_path: Path) -> None:
    """It does not run under the name of what it was."""
    topology = bus(tmp_path)
    feed = RunnerFeed(topology, topology.runners[0])
    feed.prepare()
    playing = asyncio.create_task(feed.run(asyncio.Event()))
    (tmp_path / "flip.py").write_text(ECHO)
    publisher = Publisher(RunDir(topology), "demo")
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), make_bar(1))
    with pytest.raises(Again, match=r"flip\.py has changed"):
        await asyncio.wait_for(playing, 60)
    await publisher.close()


async def test_an_outage_that_lasts_when_the_script_comes_stops_it(tmp_path: Path) -> None:
    """Though bars of a stand-in have followed the state."""
    topology = bus(tmp_path, on_outage="stop")
    publisher = Publisher(RunDir(topology), "demo")
    await publisher.open()
    stand_in = make_bar(2, origin="fallback")
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), make_bar(1), State("down", 120_000), stand_in)
    async with running(topology) as playing:
        await asyncio.wait_for(playing, 60)
    await publisher.close()
