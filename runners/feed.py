"""The loop around any runner: warm up, go live, publish what the scripts say; and go on after a restart.

One process, its publisher and its subscriber, with one script on one stream (``runners/seat.py``), or several
where the kind of runner allows it. When a script, its inputs or its stream have changed, or the journal is gone,
a new run begins under a new epoch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ..bus import failpoints
from ..bus.calls import Start
from ..bus.cursor import Cursor
from ..bus.errors import Again, Fault, Hopeless
from ..bus.hosts import door_of
from ..bus.journal import Journal
from ..bus.messages import Message
from ..bus.plugins import find
from ..bus.publisher import Publisher
from ..bus.rundir import RunDir
from ..bus.specs import RunnerSpec, seats_of
from ..bus.status import ActorState, Rate, Status, StreamStatus
from ..bus.subscriber import Subscriber
from ..bus.topology import Topology
from .contract import Runner
from .execution import in_turn
from .seat import Seat, start
from .table import GROUP, RUNNERS
from .watch import changed

log = logging.getLogger("pynelive")
_SLICE_S = 0.02
_FULL = 50_000
_EMPTY = 10_000
_AT_ONCE = 4
_PATIENCE_S = 5.0
"""How long declared consumers are given to get the end of a run that another one follows."""


class RunnerFeed:
    """A runner: its scripts, the subscriber of their streams, and the publisher of what they say.

    :param attached: not declared in the topology: begin at the head, after ``history`` bars of warm-up, and
        leave nothing behind
    :param say: called with everything that is published
    """

    def __init__(
        self, topology: Topology, spec: RunnerSpec, attached: bool = False,
        say: Callable[[Message], None] | None = None,
    ) -> None:  # fmt: skip
        self._topology = topology
        self._spec = spec
        self._attached = attached
        self._tell = say
        self._seats: dict[str, list[Seat]] = {}
        """By the streams that they read."""
        self._all: list[Seat] = []
        self._state: ActorState = "starting"
        self._ended = self._broken = False
        self._waiting: deque[tuple[Cursor, Message | None, int, bool]] = deque()
        self._wake = asyncio.Event()
        self._fault: Fault | None = None
        self._cursors: tuple[Cursor, ...] = ()
        self._rate = Rate()

    def prepare(self) -> None:
        """Import the runner, and PyneCore with it."""
        script = self._topology.base / self._spec.script
        if not script.is_file():
            raise Hopeless(f"runner '{self._spec.name}': there is no script {script}")
        run, base = RunDir(self._topology), self._topology.base
        kind = find(self._spec.type, RUNNERS, GROUP, base, Runner)  # type: ignore[type-abstract]
        specs = seats_of(self._spec)
        if len(specs) > 1 and not kind.many:
            raise Hopeless(f"runner '{self._spec.name}': a process runs one script of type '{self._spec.type}': "
                           "give each of its instances a [[runner]] of its own")
        kind.warm()
        mine = [f"run:{spec.name}" for spec in specs]
        consumers: dict[str, list[str]] = {}
        for stream in () if self._attached else mine:
            for name in self._topology.consumers(stream):
                consumers.setdefault(name, []).append(stream)
        self._publisher = Publisher(
            run, self._spec.name, consumers, self._spec.journal, transport=self._topology.bus.transport,
            door=door_of(self._topology, self._spec),
        )  # fmt: skip
        for spec in specs:
            seat = Seat(self._topology, spec, kind, self._publisher, self._attached, self._tell, self._wake.set)
            self._all.append(seat)
            for stream in dict.fromkeys((spec.stream, *(() if kind.by_time else spec.data))):
                self._seats.setdefault(stream, []).append(seat)
        self._subscriber = Subscriber(
            run, list(self._seats), self._take, self._begin, "" if self._attached else self._spec.name,
            self._take_older, name=self._spec.name,
            sources=None if self._attached else self._topology.sources(self._spec),
        )  # fmt: skip

    # --- the story of a runner ------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Execute until the streams have ended or ``stop`` is set."""
        await self._publisher.open(self._same_run)
        for seat in (seat for seat in self._all if seat.spec.data):
            seat.recall(self._publisher.journal)
        self._subscriber.open()
        stopped = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(_both(self._publisher.failed(), self._subscriber.failed()))
        renewed = asyncio.create_task(self._renewed())
        ends = (stopped, failed, renewed)
        for task in ends:
            task.add_done_callback(lambda _: self._wake.set())
        try:
            while not (self._ended or any(task.done() for task in ends)):
                await self._wake.wait()
                self._wake.clear()
                await self._work(stopped)
            if failed.done():
                failed.result()
            if self._ended:
                await self._finish(stopped)
            elif renewed.done():
                await self._begin_anew(stopped)
        finally:
            for task in ends:
                task.cancel()
            await self._close()

    async def _close(self) -> None:
        self._cursors = tuple(self._subscriber.cursors)
        await self._subscriber.close()
        for seat in self._all:
            await seat.close(complete=not self._fault)
        await self._publisher.close(forget=self._attached)

    async def _finish(self, stopped: asyncio.Task[bool]) -> None:
        self._state = "draining"
        ending = asyncio.create_task(_both(self._subscriber.finish(), self._publisher.drained()))
        await asyncio.wait([ending, stopped], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()

    async def _renewed(self) -> None:
        await (changed(self._topology.base / self._spec.script, self._spec.name) if self._spec.watch else _for_ever())

    async def _begin_anew(self, stopped: asyncio.Task[bool]) -> None:
        """Say that the run is over, let the declared consumers have it, and be started as what the file is now.

        :raises Again: always
        """
        said = f"{self._spec.script} has changed: a new run begins"
        for seat in self._all:
            seat.say_down(said)
        drained = asyncio.create_task(self._publisher.drained())
        await asyncio.wait([drained, stopped], timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        raise Again(said)

    # --- where to begin -------------------------------------------------------------------------------------

    def _same_run(self, journal: Journal) -> bool:
        """Whether the journal holds these very runs from their first updates on."""
        known = [{seat.knows(journal) for seat in seats} for seats in self._seats.values()]
        if any(len(all_of_stream) > 1 or "other" in all_of_stream for all_of_stream in known):
            log.warning("%s: its script, inputs or stream have changed; a new run begins", self._spec.name)
            return False
        if journal.damaged or any(track.first for track in journal.tracks.values()):
            log.warning("%s: the journal of the run is no longer whole; a new run begins", self._spec.name)
            return False
        return True

    async def _begin(self, cursor: Cursor) -> Start:
        """Make the scripts, bring them to where they were, and say where their stream goes on."""
        seats = self._seats[cursor.stream]
        self._state = "warming"
        fed = [seat for seat in seats if seat.spec.stream == cursor.stream]
        for seat in fed:
            await seat.begin(cursor)
        for seat in fed:
            seat.say_run()
            for other, next_seq in seat.catch_up():
                self._ack(other, next_seq)
        return start(seats, cursor)

    # --- executing ------------------------------------------------------------------------------------------

    def _take(self, cursor: Cursor, messages: list[Message]) -> None:
        """Execute at once what comes alone; a long list waits, so that the loop stays free."""
        turns = list(in_turn(messages))
        next_seq = cursor.next - sum(count for _, count in turns)
        at_once = not self._waiting and len(messages) <= _AT_ONCE
        for message, count in turns:
            next_seq += count
            if at_once := at_once and self._may(cursor, message):
                self._execute(cursor, message, next_seq, False)
            else:
                self._waiting.append((cursor, message, next_seq, False))
        if not messages:  # they were executed under an earlier epoch
            self._waiting.append((cursor, None, cursor.next, False))
        if len(self._waiting) > _FULL:
            self._subscriber.pause(True)
        if self._waiting:
            self._wake.set()
        else:
            self._flush()

    def _flush(self) -> None:
        """What was said on a live bar does not wait for the end of the loop's turn."""
        try:
            self._publisher.flush()
        except Fault as fault:
            self._fault = fault
            self._wake.set()

    def _take_older(self, cursor: Cursor, messages: list[Message]) -> None:
        self._waiting.extend((cursor, message, 0, True) for message in messages)
        self._wake.set()

    async def _work(self, stopped: asyncio.Task[bool]) -> None:
        """Execute what waits, in slices."""
        loop = asyncio.get_running_loop()
        for seat in self._all:
            seat.take_early()
        while self._waiting and not (self._ended or stopped.done()) and self._may(*self._waiting[0][:2]):
            until = loop.time() + _SLICE_S
            while self._waiting and loop.time() < until and self._may(*self._waiting[0][:2]):
                self._execute(*self._waiting.popleft())
            if len(self._waiting) < _EMPTY:
                self._subscriber.pause(False)
            await asyncio.sleep(0)
        if self._fault:
            raise self._fault

    def _may(self, cursor: Cursor, message: Message | None) -> bool:
        """Whether a message can be executed now, or other streams have to come to its time first."""
        return all(seat.may(message) for seat in self._seats[cursor.stream])

    def _execute(self, cursor: Cursor, message: Message | None, next_seq: int, older: bool) -> None:
        if self._fault or self._ended or self._broken:
            return
        self._broken = True  # stays so if something unexpected is raised: nothing may be executed behind a hole
        try:
            if message is not None:
                for seat in self._seats[cursor.stream]:
                    seat.execute(cursor, message, next_seq, older)
        except Fault as fault:  # in a callback; the story of the runner raises it
            self._fault = fault
            self._wake.set()
            return
        self._broken = False
        if all(seat.ended for seat in self._all):
            self._ended = True
            self._wake.set()
        if failpoints.ACTIVE:
            failpoints.hit("runner.between-journal-and-ack")
        self._ack(cursor, next_seq)

    def _ack(self, cursor: Cursor, next_seq: int) -> None:
        """What is still kept for a script that is to be made is in no journal."""
        if next_seq and all(seat.begun for seat in self._seats[cursor.stream]):
            self._subscriber.ack({cursor.stream: (cursor.epoch, next_seq)})

    # --- what the supervisor asks ---------------------------------------------------------------------------

    def quiet(self) -> None:
        """Only a producer says something of its own accord."""

    def forget(self, consumer: str) -> None:
        """Wait for this declared consumer no longer."""
        self._publisher.consumers.forget(consumer)

    def expect(self, consumer: str, streams: Sequence[str]) -> None:
        """Wait for this consumer from now on."""
        self._publisher.consumers.expect(consumer, streams)

    def reload(self) -> None:
        """Only a producer has credentials."""

    def status(self) -> Status:
        """The heartbeat."""
        waiting = len(self._waiting)
        streams = [
            StreamStatus(
                c.stream, c.next, self._seats[c.stream][0].bars, c.lag + waiting, c.time_ms, c.last_price, c.shown,
            )
            for c in self._cursors or self._subscriber.cursors
        ] + self._subscriber.unheard(self._topology)  # fmt: skip
        bars = sum(seat.bars for seat in self._all)
        return Status(
            self._spec.name, "runner", self._now, streams=streams, bars=bars, rate=self._rate.of(bars, self._now),
            said=next((seat.said for seat in reversed(self._all) if seat.said), ""),
            warning=self._publisher.disk.warning,
            counters={**self._subscriber.counters(), **self._publisher.counts()},
        )  # fmt: skip

    @property
    def _now(self) -> ActorState:
        return "running" if self._state == "warming" and any(seat.live for seat in self._all) else self._state


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    await asyncio.gather(one, other)
