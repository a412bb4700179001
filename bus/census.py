"""What stands on a bus: its actors, as their supervisor says; its streams and who follows them, as the publishers say.

Who goes on looking keeps a :class:`Registrar`: it knows the streams of a publisher that is silent for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

from msgspec import Struct, field, structs

from .asker import Asker
from .calls import Info, Reply, StreamInfo, Welcome
from .children import View
from .control import Request, ask
from .discovery import Announcement, is_alive, publishers
from .errors import Fault
from .graph import Outline
from .messages import Bar, State
from .reports import Peer
from .rundir import RunDir
from .security import connecting_keys

log = logging.getLogger("pynelive")
PATIENCE_S = 2.0
"""A publisher that has not answered by then is silent."""
_LOOK_S = 0.02


class StreamRow(Struct):
    """A stream, or (without a name) a publisher of which none is known.

    ``state`` is the stream's own, ``ended``, or ``silent`` if the publisher does not answer; such one speaks maybe
    ``other version``. ``lag`` is how many messages the last of the publisher's declared consumers has not got.
    ``age_s`` is how long ago the last closed bar came (None: not known), ``last_ms`` when that bar opened. ``counters``
    are what its producer counts of it (docs/quality.md), if that is an actor of this host.
    """

    publisher: str
    stream: str = ""
    state: str = "silent"
    bars: int = 0
    rate: float = 0.0
    lag: int = 0
    last_ms: int = 0
    last_price: float | None = None
    origin: str = ""
    subscribers: int = 0
    head: int = 0
    kept_from: int = 0
    epoch: int = 0
    age_s: float | None = None
    counters: dict[str, int] = field(default_factory=dict)
    place: str = ""


class PeerRow(Struct):
    """Who follows a publisher. The empty ``stream`` keeps programs from taking it for one."""

    publisher: str
    subscriber: str
    host: str
    pid: int
    streams: int
    lag: int
    gaps: int
    repairs: int
    duplicates: int
    malformed: int
    truncated: int
    timeouts: int
    stream: str = ""
    state: str = ""


class Census(Struct):
    """A bus at one moment. ``fault`` says why there are no actors."""

    time_ms: int
    bus: str
    actors: list[View]
    streams: list[StreamRow]
    subscribers: list[PeerRow]
    fault: str = ""


async def census(run: RunDir) -> Census:
    """What stands on the bus now."""
    registrar = Registrar(run)
    try:
        return await registrar.take()
    finally:
        registrar.close()


class Registrar:
    """Asks what stands on a bus, as often as one likes; on one event loop, which it does not block."""

    def __init__(self, run: RunDir) -> None:
        self.outline: Outline | None = None
        """The topology as its supervisor has it, once ``draw`` was called."""
        self._run = run
        self._entries: dict[str, _Entry] = {}
        self._useless: dict[str, Announcement] = {}
        self._drawn: list[tuple[str, int]] = []

    async def take(self) -> Census:
        """Ask everybody; a publisher that is dead or does not answer is silent."""
        self._find()
        for entry in self._entries.values():
            entry.ask()
        (actors, fault), _ = await asyncio.gather(self._actors(), self._answered())
        counters = {row.stream: row.counters for view in actors if view.status for row in view.status.streams
                    if row.counters}  # fmt: skip
        entries = list(self._entries.values())
        return Census(
            time.time_ns() // 1_000_000, self._run.bus, actors,
            [row for entry in entries for row in entry.streams(counters)],
            [row for entry in entries for row in entry.peers()], fault,
        )  # fmt: skip

    async def draw(self, actors: list[View]) -> Outline | None:
        """The graph, which is asked for when the actors or their processes are others than before."""
        processes = [(view.name, view.pid) for view in actors]
        if processes != self._drawn and actors:
            try:
                reply = await asyncio.to_thread(ask, self._run, Request("graph"), PATIENCE_S)
            except Fault:
                return self.outline  # it has just gone: the next census says so
            self.outline, self._drawn = reply.outline, processes
        return self.outline

    def close(self) -> None:
        """Leave without a trace."""
        for entry in self._entries.values():
            entry.close()
        self._entries.clear()

    def _find(self) -> None:
        """Note who has come, moved or left."""
        here = publishers(self._run)
        for name, entry in list(self._entries.items()):
            if here.get(name) != entry.announcement:
                entry.close()
                del self._entries[name]
        for name, announcement in here.items():
            if name not in self._entries and self._useless.get(name) != announcement:
                try:
                    self._entries[name] = _Entry(announcement, partial(is_alive, self._run, announcement))
                except Fault as fault:
                    self._useless[name] = announcement
                    log.error("%s: its announcement is of no use: %s", name, fault)

    async def _actors(self) -> tuple[list[View], str]:
        try:
            return (await asyncio.to_thread(ask, self._run, Request("ps"), PATIENCE_S)).views, ""
        except Fault as fault:
            return [], str(fault)

    async def _answered(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if not any(entry.awaited() for entry in self._entries.values()):
                return
            await asyncio.sleep(_LOOK_S)


class _Entry:
    """One publisher: what it has said last, and whether that was just now."""

    def __init__(self, announcement: Announcement, alive: Callable[[], bool]) -> None:
        self.announcement = announcement
        self._alive = alive
        self._refused = self._answered = False
        self._welcome: Welcome | None = None
        curve = connecting_keys(announcement.client_key, announcement.server_key)
        self._asker = Asker(announcement.control, announcement.name, self._on_reply, curve, announcement.bus)

    def ask(self) -> None:
        """Ask what there is and who follows; a question that is open already is left to be answered."""
        self._answered = False
        if not (self._asker.busy or self._refused):
            self._asker.ask(Info(peers=True))

    def awaited(self) -> bool:
        """Whether it may still answer; asks again if that takes long."""
        self._asker.tick()
        return not (self._answered or self._refused) and self._alive()

    def close(self) -> None:
        """Close the connection."""
        self._asker.close()

    def _on_reply(self, reply: Reply) -> None:
        if isinstance(reply, Welcome):
            self._welcome, self._answered = reply, True
        else:
            self._refused = True

    def streams(self, counters: dict[str, dict[str, int]]) -> Iterator[StreamRow]:
        """Its streams; those of one that is silent are as they were."""
        welcome = self._welcome
        if welcome is None or self._refused:
            state = "other version" if self._refused else "silent"
            yield StreamRow(self.announcement.name, state=state, place=self.announcement.place)
            return
        for info in welcome.streams:
            row = _row(welcome, info, counters.get(info.name, {}))
            yield row if self._answered else structs.replace(row, state="silent", rate=0.0, age_s=None)

    def peers(self) -> Iterator[PeerRow]:
        """Who follows it."""
        for peer in self._welcome.peers if self._welcome and self._answered else ():
            yield _peer_row(self.announcement.name, peer)


def _row(welcome: Welcome, info: StreamInfo, counters: dict[str, int]) -> StreamRow:
    last = info.last if isinstance(info.last, Bar) else None
    return StreamRow(
        welcome.publisher, info.name,
        "ended" if info.ended else info.state.state if isinstance(info.state, State) else "live",
        info.bars, round(info.rate, 3), max(welcome.lags.values(), default=0), last.time_ms if last else 0,
        last.close if last else None, last.origin if last else "", info.subscribers, info.head, info.first,
        welcome.epoch, _age_s(info, last), counters,
    )  # fmt: skip


def _age_s(info: StreamInfo, last: Bar | None) -> float | None:
    """By the publisher's clock; if it was started since, by when the bar was received."""
    if info.age_s >= 0:
        return round(info.age_s, 3)
    return round(max(time.time() - last.received_ns / 1e9, 0.0), 3) if last and last.received_ns else None


def _peer_row(publisher: str, peer: Peer) -> PeerRow:
    fields = structs.asdict(peer)
    return PeerRow(publisher, fields.pop("name"), **fields)
