"""Older bars of a stream, a page at a time: of its publisher's journal, and before that of its source's history."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from .answers import answer_replay
from .archive import RemoteArchive
from .asker import Questions
from .calls import Info, Replay, Replayed, Start, Welcome
from .discovery import Announcement, is_alive, publishers
from .errors import Fault, Hopeless
from .journal import Journal
from .journals import publishers_kept, reading
from .messages import Bar
from .names import parse_key, timeframe_ms
from .rundir import RunDir
from .security import connecting_keys
from .wire import decode, read_record

_LATER = 500
"""Bars that are read beyond a page, for corrections that came so late."""
_FURTHER = 4
"""So many times as far back it is looked when a market's hours leave too few bars."""
_AT_ONCE = 4
"""Pages that are asked for at the same time; others wait for their turn."""
_GREETING_S = 2.0
"""A publisher that has not answered by then is passed over."""


Ask = Callable[[Start], Awaitable[Replayed]]
"""Asks for a stream's records from a place on."""


class Past:
    """The past of the streams of a bus; whoever publishes a stream is looked for once."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._homes: dict[str, str] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def before(self, stream: str, before_ms: int, count: int) -> list[Bar]:
        """The last so many closed bars that open before a time, each as it was corrected last; fewer if that is all.

        :raises Fault: nobody has published the stream, or its venue cannot be asked now
        """
        async with self._turns:
            up = publishers(self._run)
            for who in self._by_likelihood(stream, up):
                bars = await self._published(up[who], stream, before_ms, count)
                if bars is not None:
                    return bars
            for who in self._by_likelihood(stream, publishers_kept(self._run)):
                bars = await self._left_behind(who, stream, before_ms, count)
                if bars is not None:
                    return bars
        raise Fault(f"nobody publishes {stream} on the bus '{self._run.bus}': its older bars cannot be had")

    def _by_likelihood(self, stream: str, names: Iterable[str]) -> list[str]:
        """Who published it the last time, then all others."""
        home = self._homes.get(stream, "")
        return sorted(names, key=lambda name: name != home)

    async def _published(self, who: Announcement, stream: str, before_ms: int, count: int) -> list[Bar] | None:
        """Of a publisher; None if it is not up, or not this one's stream."""
        if not is_alive(self._run, who):
            return None
        questions = Questions(
            who.control, who.name, lambda: is_alive(self._run, who), connecting_keys(who.client_key, who.server_key)
        )
        try:
            if stream not in await _streams(questions):
                return None
            self._homes[stream] = who.name
            kept = await _kept(_asking(questions, stream), stream, before_ms, count)
            if len(kept) < count:
                seam_ms = kept[0].time_ms if kept else before_ms
                kept = await _older(questions, stream, count - len(kept), seam_ms) + kept
            return kept
        finally:
            questions.close()

    async def _left_behind(self, who: str, stream: str, before_ms: int, count: int) -> list[Bar] | None:
        """Of the journal of a publisher of this host that is not up."""
        with reading(self._run, who) as journal:
            if stream not in journal.tracks:
                return None
            self._homes[stream] = who
            return await _kept(_reading(journal, stream), stream, before_ms, count)


async def _streams(questions: Questions) -> set[str]:
    try:
        welcome = await asyncio.wait_for(questions.ask(lambda _: Info()), _GREETING_S)
    except (Hopeless, TimeoutError):
        return set()  # it has just ended, is of another version, or far away
    assert isinstance(welcome, Welcome)
    return {info.name for info in welcome.streams}


async def _older(questions: Questions, stream: str, count: int, before_ms: int) -> list[Bar]:
    """What the venue has."""
    try:
        return await RemoteArchive(questions).older(stream, count, 0, before_ms)
    except Hopeless:
        return []  # what publishes this has none to ask


def _asking(questions: Questions, stream: str) -> Ask:
    async def ask(start: Start) -> Replayed:
        reply = await questions.ask(lambda number: Replay(number, {stream: start}))
        assert isinstance(reply, Replayed)
        return reply

    return ask


def _reading(journal: Journal, stream: str) -> Ask:
    async def ask(start: Start) -> Replayed:
        return answer_replay(journal, Replay(0, {stream: start}), {})

    return ask


async def _kept(ask: Ask, stream: str, before_ms: int, count: int) -> list[Bar]:
    """The last bars that a journal has: found by time, so it is tried further back until there are enough."""
    length_ms = timeframe_ms(parse_key(stream).timeframe)
    span_ms = (count + 1) * length_ms
    while True:
        from_ms = max(before_ms - span_ms, 0)
        reply = await ask(Start(from_ms=from_ms))
        bars = await _read(ask, reply, from_ms, before_ms, before_ms + _LATER * length_ms)
        if len(bars) >= count or from_ms == 0 or reply.spans[stream].missing:
            return bars[-count:]
        span_ms *= _FURTHER


async def _read(ask: Ask, reply: Replayed, from_ms: int, before_ms: int, until_ms: int) -> list[Bar]:
    """The bars of a span; records beyond it are read for corrections."""
    bars: dict[int, Bar] = {}
    latest_ms = 0
    while reply.records and latest_ms < until_ms:
        for data in reply.records:
            record = read_record(data, 0)
            assert record, "what a journal answers with is whole"
            said = (message for message in decode(record.payload) if isinstance(message, Bar) and message.closed)
            bars.update((bar.time_ms, bar) for bar in said if from_ms <= bar.time_ms < before_ms)
            latest_ms, start = record.time_ms, Start(seq=record.seq + record.messages)
        reply = await ask(start)
    return [bars[time_ms] for time_ms in sorted(bars)]
