"""What the plugin asks of the bus: which streams there are, and the past of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from ..bus.archive import RemoteArchive
from ..bus.asker import Questions
from ..bus.calls import Start, StreamInfo
from ..bus.cursor import Cursor
from ..bus.discovery import Announcement, is_alive, require_up
from ..bus.errors import Fault, Hopeless
from ..bus.messages import Bar, Instrument, Message, State
from ..bus.names import parse_key, timeframe_ms
from ..bus.rundir import RunDir
from ..bus.security import connecting_keys
from ..bus.subscriber import Begin, Subscriber, from_head
from ..bus.symbols import stream_of

_COMES_S = 3.0
"""How long a publisher is waited for that is not there yet; one that lives is waited for longer."""
_ANSWERS_S = 30.0
_LOOK_S = 0.02
_MADE = ("demo", "replay")
_BARS_LATE = 3
_LATE_MS = 60_000
_WEEKEND_MS = 4 * 86_400_000

Told = Callable[[int], None]
"""Hears how far a download has come, as the time of a bar (ms)."""


class Found(NamedTuple):
    """A stream, as its publisher has said last, and who that is."""

    info: StreamInfo
    publisher: Announcement

    @property
    def instrument(self) -> Instrument:
        """What is traded; only streams of bars are found."""
        assert self.info.instrument is not None
        return self.info.instrument


def heard(subscriber: Subscriber) -> dict[str, Found]:
    """All streams of bars on the bus, by name."""
    return {
        info.name: Found(info, link.announcement)
        for link in subscriber.links.values() if link.welcome
        for info in link.welcome.streams if info.instrument
    }  # fmt: skip


@asynccontextmanager
async def following(
    run: RunDir, streams: Sequence[str], take: Callable[[Cursor, list[Message]], None], begin: Begin = from_head
) -> AsyncIterator[Subscriber]:
    """A subscriber, as long as it is needed."""
    subscriber = Subscriber(run, streams, take, begin, name="pyne")
    subscriber.open()
    try:
        yield subscriber
    finally:
        await subscriber.close()


async def streams(run: RunDir) -> dict[str, Found]:
    """All streams of bars that are on the bus now."""
    async with following(run, (), _ignore) as subscriber:
        await _greeted(run, subscriber)
        return heard(subscriber)


async def find(run: RunDir, symbol: str, timeframe: str) -> Found:
    """The stream of a symbol at a timeframe.

    :raises Fault: nobody publishes it
    """
    async with following(run, (), _ignore) as subscriber:
        deadline = time.monotonic() + _COMES_S
        while True:
            await _greeted(run, subscriber)
            found = heard(subscriber)
            name = stream_of(symbol, timeframe, {stream: each.instrument for stream, each in found.items()})
            if name:
                return found[name]
            if time.monotonic() > deadline:
                there = ", ".join(sorted(found)[:8]) or "nothing yet"
                raise Fault(f"nobody publishes {symbol}@{timeframe} on the bus '{run.bus}'; there is {there}")
            await asyncio.sleep(_LOOK_S)


async def past(run: RunDir, found: Found, from_ms: int, to_ms: int, told: Told = lambda _: None) -> list[Bar]:
    """The closed bars that open from one time until before another, as far as the source has them."""
    kept = await _kept(run, found, from_ms)
    seam_ms = kept[0].time_ms if kept else to_ms
    older = await _older(run, found, from_ms, min(seam_ms, to_ms), told)
    return older + [bar for bar in kept if from_ms <= bar.time_ms < to_ms]


async def _kept(run: RunDir, found: Found, from_ms: int) -> list[Bar]:
    """What the publisher's journal holds from a time on, each bar as it was corrected last."""
    bars: dict[int, Bar] = {}
    places = max(int(time.time() * 1000) - from_ms, 0) // timeframe_ms(parse_key(found.info.name).timeframe) + 2

    def take(_: Cursor, messages: list[Message]) -> None:
        bars.update((m.time_ms, m) for m in messages if type(m) is Bar and m.closed and m.origin != "fallback")

    async def begin(_: Cursor) -> Start:
        return Start(last=min(places, found.info.bars))

    async with following(run, (found.info.name,), take, begin) as subscriber:
        await subscriber.all_found(_ANSWERS_S)
        while not all(cursor.settled for cursor in subscriber.cursors):  # noqa: ASYNC110 - links tell by callback
            await asyncio.sleep(_LOOK_S)
    return [bars[time_ms] for time_ms in sorted(bars)]


async def _older(run: RunDir, found: Found, from_ms: int, to_ms: int, told: Told) -> list[Bar]:
    """What the source's history holds beyond the journal; nothing if the source has none."""
    who, bars = found.publisher, list[Bar]()
    questions = Questions(
        who.control, who.name, lambda: is_alive(run, who), connecting_keys(who.client_key, who.server_key)
    )
    try:
        archive, next_ms = RemoteArchive(questions), from_ms
        while next_ms and next_ms < to_ms:
            page = await archive.fetch(found.info.name, next_ms, to_ms)
            bars += [message for message in page.messages if isinstance(message, Bar)]
            next_ms = page.next_ms
            told(next_ms or to_ms)
    except Hopeless:
        pass  # what publishes this has no venue to ask
    finally:
        questions.close()
    return bars


def off_the_clock(found: Found) -> str:
    """Why a stream cannot be followed by somebody who lives by the clock on the wall; empty if it can."""
    last, state = found.info.last, found.info.state
    if not isinstance(last, Bar):
        return ""
    length_ms, now_ms = timeframe_ms(parse_key(found.info.name).timeframe), int(time.time() * 1000)
    at_ms, late_ms = last.time_ms, max(_BARS_LATE * length_ms, _LATE_MS) + length_ms
    if isinstance(state, State) and state.state == "closed":
        at_ms, late_ms = max(at_ms, state.since_ms), _WEEKEND_MS
    if at_ms <= now_ms + _LATE_MS and (last.origin not in _MADE or now_ms <= at_ms + late_ms):
        return ""
    where = time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1000))
    return (f"{found.info.name} does not follow the clock on the wall, it is {where} there: run the script with "
            "`pynelive exec` or in a [[runner]]")


async def _greeted(run: RunDir, subscriber: Subscriber) -> None:
    """Wait until everybody who is alive has said what there is.

    :raises Fault: nobody is
    """
    require_up(run)
    deadline = time.monotonic() + _ANSWERS_S
    while time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_S)
        if subscriber.all_answered():
            return


def _ignore(cursor: Cursor, messages: list[Message]) -> None:
    """Nothing is followed, only asked."""
