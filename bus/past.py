"""Older bars of a stream, a page at a time: of its publisher's journal, and before that of its source's history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from .archive import RemoteArchive
from .asker import Questions
from .calls import Info, Replay, Replayed, Start, StreamInfo, Welcome
from .discovery import Announcement, is_alive, publishers
from .errors import Fault, Hopeless
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


class Past:
    """The past of the streams of a bus; whoever publishes a stream is looked for once."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._homes: dict[str, str] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def before(self, stream: str, before_ms: int, count: int) -> list[Bar]:
        """The last so many closed bars that open before a time, each as it was corrected last; fewer if that is all.

        :raises Fault: nobody publishes the stream now, or its venue cannot be asked now
        """
        async with self._turns, self._asking(stream) as (questions, info):
            kept = await _kept(questions, info, before_ms, count)
            if len(kept) >= count:
                return kept[-count:]
            seam_ms = kept[0].time_ms if kept else before_ms
            try:
                older = await RemoteArchive(questions).older(stream, count - len(kept), 0, seam_ms)
            except Hopeless:
                older = []  # what publishes this has no venue to ask
            return older + kept

    @asynccontextmanager
    async def _asking(self, stream: str) -> AsyncIterator[tuple[Questions, StreamInfo]]:
        """A connection to who publishes the stream, and what he says of it."""
        for announcement in self._likely(stream):
            if not is_alive(self._run, announcement):
                continue
            questions = self._questions(announcement)
            try:
                if found := await self._found(questions, stream):
                    self._homes[stream] = announcement.name
                    yield questions, found
                    return
            finally:
                questions.close()
        raise Fault(f"nobody publishes {stream} on the bus '{self._run.bus}' now: its older bars cannot be had")

    async def _found(self, questions: Questions, stream: str) -> StreamInfo | None:
        try:
            welcome = await asyncio.wait_for(questions.ask(lambda _: Info()), _GREETING_S)
        except (Hopeless, TimeoutError):
            return None  # it has just ended, is of another version, or far away
        assert isinstance(welcome, Welcome)
        return next((info for info in welcome.streams if info.name == stream), None)

    def _likely(self, stream: str) -> Iterable[Announcement]:
        """Who published it the last time, then all others."""
        home = self._homes.get(stream, "")
        return sorted(publishers(self._run).values(), key=lambda announcement: announcement.name != home)

    def _questions(self, who: Announcement) -> Questions:
        return Questions(
            who.control, who.name, lambda: is_alive(self._run, who), connecting_keys(who.client_key, who.server_key)
        )


async def _kept(questions: Questions, info: StreamInfo, before_ms: int, count: int) -> list[Bar]:
    """What the journal has: found by time, so it is tried further back until there is enough."""
    length_ms = timeframe_ms(parse_key(info.name).timeframe)
    span_ms = (count + 1) * length_ms
    while True:
        bars, earliest = await _read(questions, info, before_ms - span_ms, before_ms, _LATER * length_ms)
        if len(bars) >= count or earliest:
            return bars
        span_ms *= _FURTHER


async def _read(
    questions: Questions, info: StreamInfo, from_ms: int, before_ms: int, later_ms: int
) -> tuple[list[Bar], bool]:
    """The bars of a span, and whether the journal has none before it."""
    bars: dict[int, Bar] = {}
    start, earliest, latest_ms = Start(from_ms=max(from_ms, 0)), from_ms <= 0, 0
    while latest_ms < before_ms + later_ms:
        reply = await questions.ask(lambda number, start=start: Replay(number, {info.name: start}))  # type: ignore[misc]
        assert isinstance(reply, Replayed)
        earliest |= reply.spans[info.name].start <= info.first
        if not reply.records:
            break
        for data in reply.records:
            if (record := read_record(data, 0)) is None:
                raise Fault(f"the journal of {info.name} cannot be read")
            said = (message for message in decode(record.payload) if isinstance(message, Bar) and message.closed)
            bars.update((bar.time_ms, bar) for bar in said if from_ms <= bar.time_ms < before_ms)
            start, latest_ms = Start(seq=record.seq + record.messages), record.time_ms
    return [bars[time_ms] for time_ms in sorted(bars)], earliest
