"""`subscribe` and `listen`, as a program of one's own uses them."""

from __future__ import annotations

import asyncio
import re
from itertools import islice
from pathlib import Path

import pynelive
import pytest
from pynelive import Fault, listen, subscribe
from pynelive.bus.calls import Start
from pynelive.bus.messages import Bar, End, Plot, Run, State
from pynelive.bus.publisher import Publisher
from support import STREAM, make_bar, publishing, run_dir

NOBODY = "demo:ETH/USDT@1"


async def say(publisher: Publisher, first: int, behind: int) -> None:
    """Closed bars, one a turn of the loop, each with a forming one before it."""
    for number in range(first, behind):
        publisher.forming(STREAM, make_bar(number, closed=False, update=1))
        await asyncio.sleep(0)
        publisher.publish(STREAM, make_bar(number))
        await asyncio.sleep(0)


def numbers(bars: list[Bar]) -> list[int]:
    return [bar.time_ms // 60_000 for bar in bars]


async def test_history_and_live_are_one_and_end_with_the_stream(tmp_path: Path) -> None:
    """History first, then what is said while somebody reads: each bar once, and the iteration ends at End."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        await say(publisher, 0, 200)
        saying = asyncio.create_task(say(publisher, 200, 400))
        async with subscribe(STREAM, history=150, bus=run) as bars:
            got = [await anext(iterator := aiter(bars))]
            await saying
            publisher.publish(STREAM, End("played"))
            got += [bar async for bar in iterator]
    assert numbers(got) == list(range(numbers(got)[0], 400))
    assert 50 <= numbers(got)[0] <= 250  # 150 before the head at the join, which was somewhere in 200 … 400
    assert all(bar.closed for bar in got)


async def test_the_same_without_asyncio(tmp_path: Path) -> None:
    """In a thread that has no loop: `with` and `for`."""
    run = run_dir(tmp_path)
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> list[Bar]:
        with subscribe(STREAM, history=50, bus=run) as bars:
            loop.call_soon_threadsafe(entered.set)
            return list(bars)

    async with publishing(run) as publisher:
        await say(publisher, 0, 100)
        reading = asyncio.create_task(asyncio.to_thread(read))
        await entered.wait()
        await say(publisher, 100, 300)
        publisher.publish(STREAM, End("played"))
        assert numbers(await reading) == list(range(50, 300))


async def test_a_reader_may_leave_in_the_middle(tmp_path: Path) -> None:
    """`break` leaves the bus at once, and the next subscription begins anew."""
    run = run_dir(tmp_path)

    def read(count: int) -> list[Bar]:
        with subscribe(STREAM, history=100, bus=run) as bars:
            return list(islice(bars, count))

    async with publishing(run) as publisher:
        await say(publisher, 0, 100)
        assert numbers(await asyncio.to_thread(read, 1)) == [0]
        assert numbers(await asyncio.to_thread(read, 2)) == [0, 1]


async def test_forming_bars_come_if_they_are_asked_for(tmp_path: Path) -> None:
    """A forming bar is not closed, and never of an older time than a closed one before it."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, subscribe(STREAM, forming=True, bus=run) as bars:
        await say(publisher, 0, 50)
        publisher.publish(STREAM, End("played"))
        got = [bar async for bar in bars]
    assert numbers([bar for bar in got if bar.closed]) == list(range(50))
    assert [bar.closed for bar in got].count(False) > 0
    assert numbers(got) == sorted(numbers(got))


async def test_listening_brings_everything_with_its_stream(tmp_path: Path) -> None:
    """Patterns match, and all kinds of messages come with the name of their stream."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, make_bar(0), State("down", 1, "no network"), End("played"))
        async with listen("demo:*", start=Start(), bus=run) as heard:
            got = [(item.stream, type(item.message).__name__) async for item in heard]
    assert got == [(STREAM, kind) for kind in ("Instrument", "Bar", "State", "End")]


@pytest.mark.parametrize("start", [None, Start(last=1)])
async def test_a_run_that_begins_anew_is_heard_from_its_beginning(start: Start | None, tmp_path: Path) -> None:
    """Whoever listens to a script hears also what the next run says before it was greeted."""
    run, stream = run_dir(tmp_path), "run:ema"
    first = Publisher(run, "ema")
    await first.open()
    first.publish(stream, *(Plot(number, {}) for number in range(3)))
    async with listen(stream, start=start, bus=run) as heard:
        first.publish(stream, Plot(3, {}))
        said = aiter(heard)
        while (await anext(said)).message != Plot(3, {}):
            pass
        await first.close()
        again = Publisher(run, "ema")
        await again.open(lambda journal: False)
        again.publish(stream, Run("ema.py", STREAM, "", "EMA", "indicator"), Plot(4, {}), End())
        again.flush()
        got = [item.message async for item in said]
        await again.close()
    assert got == [Run("ema.py", STREAM, "", "EMA", "indicator"), Plot(4, {}), End()]


async def test_a_stream_that_nobody_publishes_is_said(tmp_path: Path) -> None:
    """One sentence: what is missing, and what there is."""
    run = run_dir(tmp_path)
    sentence = rf"nobody publishes {NOBODY} .*there is {STREAM}"

    def read(timeout_s: float) -> None:
        with subscribe(NOBODY, bus=run, timeout_s=timeout_s):
            pytest.fail("it cannot be found")

    async def refused(timeout_s: float = 0.3) -> list[str]:
        with pytest.raises(Fault) as one:
            await asyncio.to_thread(read, timeout_s)
        with pytest.raises(Fault) as other:
            async with subscribe(NOBODY, bus=run, timeout_s=timeout_s):
                pytest.fail("it cannot be found")
        said = [str(one.value), str(other.value)]
        if timeout_s < 10 and "nothing yet" in "".join(said):  # a busy machine: the publisher has not answered
            return await refused(3 * timeout_s)
        return said

    async with publishing(run):
        assert all(re.match(sentence, said) for said in await refused())


def test_a_bus_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call itself says so, and what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Fault, match=r"no bus is up as 'nix'.*pynelive up"):
        subscribe(STREAM, bus="nix")
    with pytest.raises(Fault, match=r"which bus.*pynelive up"):
        subscribe(STREAM)


def test_a_wrong_name_is_an_attribute_error() -> None:
    """The package's names are imported when they are asked for; others are refused as usual."""
    with pytest.raises(AttributeError, match="subscrbe"):
        pynelive.subscrbe  # noqa: B018
