"""What a publisher's source has beyond the journal: older bars, bars of other streams, its symbols.

A producer has an :class:`Archive`, its publisher answers from it at the :class:`Desk`, and a :class:`RemoteArchive`
asks there; who holds one of the two need not know which.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from .asker import Questions
from .calls import Bars, Fetch, History, Names, Reply, Symbols
from .errors import Fault, Hopeless
from .messages import Bar, Message
from .wire import decode, encode

log = logging.getLogger("pynelive")

MOST_HISTORY: Final = 500_000
"""Bars that are had at once; more of a year of minutes than anybody warms up with."""

_MOST_OPEN = 1_000

HistorySource = Callable[[str, int, int, int], Awaitable[list[Bar]]]
"""Given a stream, a count and two times (ms): the last so many closed bars after the one and before the other."""


class Page(NamedTuple):
    """A part of a history: the instrument, then closed bars; the rest begins at ``next_ms``, 0 if there is none."""

    messages: list[Message]
    next_ms: int = 0


class Archive(ABC):
    """What a source can be asked. All may raise ``Fault`` (later it may work) and ``Hopeless`` (it will not)."""

    @abstractmethod
    async def older(self, stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        """The last ``count`` closed bars that open after the one time and before the other."""

    @abstractmethod
    async def fetch(self, stream: str, from_ms: int, to_ms: int, fresh: bool = False) -> Page:
        """The first closed bars of the span, as many as are had at once.

        :param fresh: throw away first what was downloaded of the stream before
        """

    @abstractmethod
    async def symbols(self, search: str = "") -> list[str]:
        """The symbols whose names contain the text, whatever their case."""


class Desk:
    """Answers requests from an archive, each in a task: a venue takes its time.

    :param reply: sends an answer to who has asked
    """

    def __init__(
        self, name: str, source: Archive | HistorySource | None, reply: Callable[[bytes, Reply], None]
    ) -> None:
        self._name = name
        self._archive = source if isinstance(source, Archive) else None
        self._older = source.older if isinstance(source, Archive) else source
        self._reply = reply
        self._tasks: set[asyncio.Task[Reply]] = set()

    def take(self, asker: bytes, request: History | Fetch | Symbols) -> None:
        """Answer as soon as it can be answered; whoever asks when too much is open is told to ask later."""
        if len(self._tasks) >= _MOST_OPEN:
            self._refuse(asker, request, f"'{self._name}' has {_MOST_OPEN} questions open")
            return
        task = asyncio.create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(partial(self._answered, asker, request))

    async def close(self) -> None:
        """Leave the rest unanswered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, request: History | Fetch | Symbols) -> Reply:
        if isinstance(request, History):
            if self._older is None:
                return Bars(request.request, encode([]))
            count = min(max(request.count, 0), MOST_HISTORY)
            bars = await self._older(request.stream, count, request.after_ms, request.before_ms)
            return Bars(request.request, encode(bars))
        if self._archive is None:
            raise Hopeless(f"'{self._name}' has no venue to ask")
        if isinstance(request, Symbols):
            return Names(request.request, await self._archive.symbols(request.search))
        page = await self._archive.fetch(request.stream, request.from_ms, request.to_ms, request.fresh)
        return Bars(request.request, encode(page.messages), next_ms=page.next_ms)

    def _answered(self, asker: bytes, request: History | Fetch | Symbols, task: asyncio.Task[Reply]) -> None:
        """Whatever the source raised: somebody waits for an answer."""
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._reply(asker, task.result())
            return
        if not isinstance(error, Fault):
            log.error("%s: the venue cannot be asked", self._name, exc_info=error)
        self._refuse(asker, request, str(error) or type(error).__name__, isinstance(error, Hopeless))

    def _refuse(self, asker: bytes, request: History | Fetch | Symbols, reason: str, final: bool = False) -> None:
        if isinstance(request, Symbols):
            self._reply(asker, Names(request.request, [], reason, final))
        else:
            self._reply(asker, Bars(request.request, encode([]), reason, final=final))


class RemoteArchive(Archive):
    """The archive of a publisher, asked over its ROUTER."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def older(self, stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        reply = await self._questions.ask(lambda number: History(number, stream, count, before_ms, after_ms))
        return [bar for bar in self._page(reply).messages if isinstance(bar, Bar)]

    async def fetch(self, stream: str, from_ms: int, to_ms: int, fresh: bool = False) -> Page:
        return self._page(await self._questions.ask(lambda number: Fetch(number, stream, from_ms, to_ms, fresh)))

    async def symbols(self, search: str = "") -> list[str]:
        reply = await self._questions.ask(lambda number: Symbols(number, search))
        assert isinstance(reply, Names)
        _raise_for(reply)
        return reply.names

    def _page(self, reply: Reply) -> Page:
        assert isinstance(reply, Bars)
        _raise_for(reply)
        return Page(decode(reply.payload), reply.next_ms)


def _raise_for(reply: Bars | Names) -> None:
    if reply.reason:
        raise (Hopeless if reply.final else Fault)(reply.reason)
