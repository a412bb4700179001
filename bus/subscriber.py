"""A subscriber: follows streams of any number of publishers, each message once and in order.

It looks for publishers in the run directory, keeps a link to each that has something wanted, and tells the publishers
what its owner has made durable. Everything runs on the event loop that opened it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from .calls import Start
from .cursor import Cursor
from .discovery import Announcement, is_alive, publishers, require_up
from .errors import Fault
from .link import Link
from .messages import Instrument, Message
from .names import matches
from .reports import program
from .rundir import RunDir
from .status import StreamStatus
from .topology import Topology

log = logging.getLogger("pynelive")

Begin = Callable[[Cursor], Awaitable[Start]]
"""Says where to start in a stream that is seen for the first time (its name, instrument and epoch are known)."""
Deliver = Callable[[Cursor, list[Message]], None]
"""Takes messages: in order, each once; a forming bar comes alone."""

Place = tuple[int, int]
"""An epoch and a seq of it."""

_TICK_S = 0.05
_REST_S = 0.25
"""So long nothing is looked at while nothing is open: a hundred runners are to cost little when they have no bar."""
_REMIND_S = 1.0
_REMIND_ALL = 10
_ACK_S = 0.002
_STREAMS_AN_ACK = 1024
"""More go in several: a publisher takes no request of more than 256 KiB, and lets go of who sends one."""
_FILE_TIME_NS = 1_000_000_000
"""Within this time of a change the folder may change again without another file time."""


async def from_head(cursor: Cursor) -> Start:
    """Begin with what is said next."""
    return Start(last=0)


async def from_earliest(cursor: Cursor) -> Start:
    """Begin with the earliest message that is kept."""
    return Start()


class Subscriber:
    """Follows streams.

    :param run: the folder of the bus
    :param patterns: streams or patterns of streams (``demo:*``)
    :param deliver: called on the loop for all that arrives; must not block
    :param begin: where to start; the head by default
    :param older: takes bars that are older than the journal, if ``begin`` asked for them; ``deliver`` by default
    :param consumer: the name under which the topology declares this consumer; then ``ack`` means something
    :param name: what the publishers call it who is not declared; the name of the program by default
    :param sources: whom to follow; by default everybody is asked for what it publishes
    """

    def __init__(
        self,
        run: RunDir,
        patterns: Sequence[str],
        deliver: Deliver,
        begin: Begin = from_head,
        consumer: str = "",
        older: Deliver | None = None,
        name: str = "",
        sources: Collection[str] | None = None,
    ) -> None:
        self.links: dict[str, Link] = {}
        self.deliver = deliver
        self.older = older or deliver
        self.begin = begin
        self._run = run
        self._sources = sources
        self._exact = frozenset(pattern for pattern in patterns if "*" not in pattern and "?" not in pattern)
        self._patterns = tuple(pattern for pattern in patterns if pattern not in self._exact)
        self.prefixes = tuple(p[:-1] for p in self._patterns if p.find("*") == len(p) - 1 and "?" not in p)
        self._consumer = consumer
        self._name = consumer or name or program()
        self._durable: dict[str, Place] = {}
        self._news: dict[str, Place] = {}
        self._recent: dict[str, Place] = {}
        self._acked = 0.0
        """When it was said last what is durable, by the loop's clock."""
        self._paused = False
        self._looked = 0
        self._actors = run.actors
        self._failed: asyncio.Future[None]
        self._timer: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to follow; needs a running loop."""
        self._failed = asyncio.get_running_loop().create_future()
        self._timer = asyncio.create_task(self._tick())
        self._timer.add_done_callback(self._timer_ended)

    async def close(self) -> None:
        """Leave without a trace."""
        if self._timer:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        for link in self.links.values():
            link.close()
        self.links.clear()
        if self._failed.done():
            self._failed.exception()  # whoever wanted to know has asked

    def _timer_ended(self, timer: asyncio.Task[None]) -> None:
        if not timer.cancelled() and (error := timer.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Something that makes following impossible; ``failed`` raises it."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def failed(self) -> None:
        """Return never, or raise what ``begin`` raised."""
        await asyncio.shield(self._failed)

    def wanted(self, stream: str) -> bool:
        """Whether this stream is followed."""
        return stream in self._exact or any(matches(stream, pattern) for pattern in self._patterns)

    # --- what the owner asks --------------------------------------------------------------------------------------

    @property
    def cursors(self) -> Iterable[Cursor]:
        """All streams that were found."""
        return (cursor for link in self.links.values() for cursor in link.cursors.values())

    def ready(self) -> bool:
        """Whether all publishers are greeted and all found streams are live."""
        return bool(self.links) and all(link.ready for link in self.links.values())

    def pause(self, paused: bool) -> None:
        """Stop or go on reading; nothing is lost by it."""
        if paused != self._paused:
            self._paused = paused
            for link in self.links.values():
                link.pause(paused)

    def counters(self) -> dict[str, int]:
        """What happened on all links, added up."""
        total: dict[str, int] = {}
        for link in self.links.values():
            for name, count in link.counts().items():
                total[name] = total.get(name, 0) + count
        return total

    def ack(self, durable: dict[str, Place]) -> None:
        """Note below which seq, of which epoch, streams are durable; the publishers hear of it within a tick."""
        if not self._news:  # one that comes alone goes at once, while the process is awake
            asyncio.get_running_loop().call_at(self._acked + _ACK_S, self._send_news)
        self._news.update(durable)

    def _send_news(self) -> None:
        self._acked = asyncio.get_running_loop().time()
        news, self._news = self._news, {}
        self._durable |= news
        self._recent |= news
        for link in self.links.values():
            self._send_acks(link, news)

    def _send_acks(self, link: Link, durable: dict[str, Place], final: bool = False) -> None:
        if not self._consumer:
            return
        places = ((stream, durable[stream]) for stream in link.cursors.keys() & durable.keys())
        mine = [(stream, seq) for stream, (epoch, seq) in places if epoch == link.epoch]
        for at in range(0, len(mine), _STREAMS_AN_ACK):
            link.ack(self._consumer, dict(mine[at : at + _STREAMS_AN_ACK]))
        if final:
            link.ack(self._consumer, {}, final)

    def greeted(self, publisher: str) -> None:
        """A publisher is new, or back: it does not know what is durable here."""
        self._send_acks(self.links[publisher], self._durable)

    async def finish(self) -> None:
        """Say what is durable until every followed publisher has heard it; for the end, when nothing comes after.

        A publisher that has left in order had heard it. One that was killed is waited for, until the supervisor
        has it back or stops this actor too; one of another host that stays silent has left.
        """
        self._send_news()
        while deaf := [link for link in self.links.values() if link.cursors and not link.acked.is_set()]:
            here = publishers(self._run)
            for link in deaf:
                if link.name in here and not link.left:
                    self._send_acks(link, self._durable, final=True)
                else:
                    link.acked.set()
            await asyncio.sleep(_TICK_S)

    # --- publishers -----------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        reminded, host = 0, self._run.host or socket.gethostname()
        due = time.monotonic() + _REMIND_S
        while True:
            self._look()
            if remind := time.monotonic() >= due:
                due += _REMIND_S
                reminded += 1
            for link in self.links.values():
                link.tick()
                if remind:  # an ack that got lost would hold up a replay
                    self._send_acks(link, self._recent if reminded % _REMIND_ALL else self._durable)
                    link.report(self._name, host)
            if remind:
                self._recent.clear()
            await asyncio.sleep(_REST_S if self._at_rest else _TICK_S)

    @property
    def _at_rest(self) -> bool:
        """Whether every stream that is wanted was found, and no publisher is asked anything."""
        found = sum(len(link.cursors) for link in self.links.values())
        return found >= max(len(self._exact), 1) and all(link.at_rest for link in self.links.values())

    def _look(self) -> None:
        """Find who is new, back or elsewhere; the folder's time says whether there is anything to read."""
        try:
            changed = self._actors.stat().st_mtime_ns
        except FileNotFoundError:
            return  # nobody is there, for now
        if changed == self._looked and abs(time.time_ns() - changed) > _FILE_TIME_NS:
            return
        self._looked = changed
        for name, announcement in publishers(self._run, self._sources).items():
            try:
                self._follow(name, announcement)
            except Fault as fault:
                log.error("%s: its announcement is of no use: %s", name, fault)

    def _follow(self, name: str, announcement: Announcement) -> None:
        link = self.links.get(name)
        if link is None:
            self.links[name] = Link(announcement, self)
            self.links[name].pause(self._paused)
        elif link.announcement != announcement:
            link.moved(announcement)

    async def all_found(self, timeout_s: float = 5.0) -> None:
        """Wait until every exact stream and at least one of every pattern was found, and it is settled where each
        stream begins: what is said from now on will come.

        :raises Fault: the time is over; names what nobody publishes, or who is of another version or bus
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while (missing := self._not_found()) or not all(cursor.placed for cursor in self.cursors):
            if asyncio.get_running_loop().time() > deadline:
                if not missing:
                    return  # it has been found, and its publisher has just died or is busy
                require_up(self._run)
                if refused := [why for link in self.links.values() if (why := link.refused or link.foreign)]:
                    raise Fault(refused[0])
                raise Fault(self._nobody(missing))
            await asyncio.sleep(_TICK_S)

    def _nobody(self, missing: list[str]) -> str:
        """What is not published, as far as one can know, and what is."""
        wanted, there = ", ".join(missing), ", ".join(sorted(self.heard())[:8]) or "nothing yet"
        deaf = ", ".join(link.place for link in self.links.values() if not link.welcome)
        if deaf:
            return f"nobody who answers publishes {wanted} on the bus '{self._run.bus}', and {deaf} does not answer; " \
                   f"there is {there}"
        return f"nobody publishes {wanted} on the bus '{self._run.bus}'; there is {there}"

    def unheard(self, topology: Topology) -> list[StreamStatus]:
        """The actor's streams whose publishers have never answered, as the topology declares them."""
        asked = {name for name, link in self.links.items() if link.unanswered}
        declared = [stream for each in topology.actors if each.name in asked for stream in topology.published(each)]
        return [StreamStatus(stream, state="never answered") for stream in declared if self.wanted(stream)]

    def _not_found(self) -> list[str]:
        found = [cursor.stream for cursor in self.cursors]
        missing = [name for name in self._exact if name not in found]
        return missing + [p for p in self._patterns if not any(matches(stream, p) for stream in found)]

    def all_answered(self) -> bool:
        """Whether every publisher that lives has said what it has."""
        silent = [link for link in self.links.values() if not (link.welcome or link.refused)]
        return bool(self.links) and not any(is_alive(self._run, link.announcement) for link in silent)

    def instruments(self) -> dict[str, Instrument]:
        """What is traded in each stream of bars that exists on the bus, wanted or not."""
        told = [stream for link in self.links.values() if link.welcome for stream in link.welcome.streams]
        return {stream.name: stream.instrument for stream in told if stream.instrument}

    def heard(self) -> set[str]:
        """All streams that exist on the bus, wanted or not."""
        streams = {stream.name for link in self.links.values() if link.welcome for stream in link.welcome.streams}
        return {stream for stream in streams if not stream.startswith("exec:")}
