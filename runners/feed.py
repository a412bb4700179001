"""The loop around any runner: warm up, go live, publish what the script says; and go on after a restart.

Every update that the script has executed is in this actor's own journal, a closed bar in one record with all
that the script said on it. A restarted runner pushes the same updates again, says nothing of it, and goes on
behind them: the script's state is replayed, never patched. When the script, its inputs or its stream have
changed, or the journal is gone, a new run begins under a new epoch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec

from ..bus import failpoints
from ..bus.cursor import Cursor
from ..bus.errors import Fault, Hopeless
from ..bus.hosts import door_of
from ..bus.journal import Journal
from ..bus.messages import Alert, Bar, End, Executed, Fill, Message, Run, Signal, State
from ..bus.plugins import find
from ..bus.publisher import Publisher
from ..bus.rundir import RunDir
from ..bus.status import ActorState, Rate, Status, StreamStatus
from ..bus.subscriber import Subscriber
from ..bus.topology import RunnerSpec, Topology
from ..bus.wire import Start, decode
from .contract import Runner
from .table import GROUP, RUNNERS

log = logging.getLogger("pynelive")
_SLICE_S = 0.02
_FULL = 50_000
_EMPTY = 10_000
_AT_ONCE = 4
_MOST_SAID = 10_000


class RunnerFeed:
    """A runner: one script, the subscriber of its stream, and the publisher of what it says.

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
        self._from_head = attached or spec.start == "head"
        self._tell = say
        self._script = topology.base / spec.script
        self._stream = f"run:{spec.name}"
        self._updates = f"exec:{spec.name}"
        self._runner: Runner | None = None
        self._state: ActorState = "starting"
        self._live = self._ended = self._broken = False
        self._warm = self._bars = self._last_ms = self._live_from = 0
        self._resume: Executed | None = None
        self._published = ""
        self._waiting: deque[tuple[Cursor, Message | None, int, bool]] = deque()
        self._wake = asyncio.Event()
        self._fault: Fault | None = None
        self._cursors: tuple[Cursor, ...] = ()
        self._rate = Rate()
        self._said = ""

    def prepare(self) -> None:
        """Import the runner, and PyneCore with it."""
        if not self._script.is_file():
            raise Hopeless(f"runner '{self._spec.name}': there is no script {self._script}")
        run, base = RunDir(self._topology), self._topology.base
        self._kind = find(self._spec.type, RUNNERS, GROUP, base, Runner)  # type: ignore[type-abstract]
        self._kind.warm()
        readers = [] if self._attached else self._topology.consumers(self._stream)
        consumers = {name: [self._stream] for name in readers}
        self._publisher = Publisher(
            run, self._spec.name, consumers, self._spec.journal, transport=self._topology.bus.transport,
            door=door_of(self._topology, self._spec),
        )  # fmt: skip
        self._subscriber = Subscriber(
            run, [self._spec.stream], self._take, self._begin, "" if self._attached else self._spec.name,
            self._take_older,
        )  # fmt: skip
        self._fingerprint = self._identity()

    def _identity(self) -> str:
        """What a run depends on; another one is another run."""
        digest = sha256(self._script.read_bytes())
        spec = msgspec.structs.replace(self._spec, output="", host="")
        digest.update(msgspec.json.encode([spec, version("pynesys-pynecore")]))
        return digest.hexdigest()[:16]

    # --- the story of a runner ------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Execute until the stream has ended or ``stop`` is set."""
        await self._publisher.open(self._same_run)
        self._subscriber.open()
        stopped = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(_both(self._publisher.failed(), self._subscriber.failed()))
        for task in (stopped, failed):
            task.add_done_callback(lambda _: self._wake.set())
        try:
            while not (stopped.done() or failed.done() or self._ended):
                await self._wake.wait()
                self._wake.clear()
                await self._work(stopped)
            if failed.done():
                failed.result()
            if self._ended:
                await self._finish(stopped)
        finally:
            stopped.cancel()
            failed.cancel()
            self._cursors = tuple(self._subscriber.cursors)
            await self._subscriber.close()
            if self._runner and not self._fault:
                self._runner.close()
            await self._publisher.close(forget=self._attached)

    async def _finish(self, stopped: asyncio.Task[bool]) -> None:
        self._state = "draining"
        ending = asyncio.create_task(_both(self._subscriber.finish(), self._publisher.drained()))
        await asyncio.wait([ending, stopped], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()

    # --- where to begin -------------------------------------------------------------------------------------

    def _same_run(self, journal: Journal) -> bool:
        """Whether the journal holds this very run from its first update on."""
        track = journal.tracks.get(self._stream)
        opening = decode(track.opening)[0] if track and track.opening else None
        if not isinstance(opening, Run) or opening.fingerprint != self._fingerprint:
            log.warning("%s: its script, inputs or stream have changed; a new run begins", self._spec.name)
            return False
        if journal.damaged or any(track.first for track in journal.tracks.values()):
            log.warning("%s: the journal of the run is no longer whole; a new run begins", self._spec.name)
            return False
        return True

    async def _begin(self, cursor: Cursor) -> Start:
        """Make the script, bring it to where it was, and say where its stream goes on."""
        if cursor.instrument is None:
            raise Hopeless(f"runner '{self._spec.name}': {cursor.stream} carries no bars")
        instrument, output = cursor.instrument, self._output()
        self._runner = await asyncio.to_thread(self._kind, self._spec, self._script, instrument, output)
        if self._spec.fallback and self._runner.describes[1] == "strategy":
            raise Hopeless(f"runner '{self._spec.name}': a strategy may not trade on the bars of a stand-in: "
                           "remove fallback = true")
        self._state = "warming"
        await self._replay_own_journal()
        self._live_from = cursor.head
        return self._start(cursor)

    def _output(self) -> Path | None:
        if not self._spec.output:
            return None
        output = self._topology.resolve(self._spec.output) / self._spec.name
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise Hopeless(f"{output} cannot be made ({why.strerror}): correct 'output'") from None
        return output

    def _start(self, cursor: Cursor) -> Start:
        if self._resume is None:
            self._say_run()
            return Start(last=self._spec.history) if self._from_head else Start(older=self._spec.history)
        if self._resume.next_seq == 0:  # it died among the bars that are older than the source's journal
            return Start(from_ms=self._last_ms, older=self._spec.history)
        same = self._resume.epoch == cursor.epoch
        return Start(seq=self._resume.next_seq) if same else Start(from_ms=self._last_ms)

    def _say_run(self) -> None:
        assert self._runner is not None
        if self._publisher.heads().get(self._stream, 0) == 0:
            title, kind = self._runner.describes
            run = Run(
                self._spec.script, self._spec.stream, self._fingerprint, title, kind, self._spec.inputs,
                warmup=self._spec.history,
            )  # fmt: skip
            self._publisher.publish(self._stream, run)

    async def _replay_own_journal(self) -> None:
        """Push every update of this run again; what the script says to them was published before."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _SLICE_S
        for _, record in self._publisher.journal.in_order():
            for message in decode(record.payload):
                if type(message) is Executed:
                    self._push(message.bar, message.history)
                    self._resume = message
                elif type(message) is State:
                    self._go_live()
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + _SLICE_S

    # --- executing ------------------------------------------------------------------------------------------

    def _take(self, cursor: Cursor, messages: list[Message]) -> None:
        """Execute at once what comes alone; a long list waits, so that the loop stays free."""
        numbered = [type(message) is not Bar or message.closed for message in messages]
        next_seq = cursor.next - sum(numbered)
        at_once = not self._waiting and len(messages) <= _AT_ONCE
        for message, has_number in zip(messages, numbered, strict=True):
            next_seq += has_number
            if at_once:
                self._execute(cursor, message, next_seq, False)
            else:
                self._waiting.append((cursor, message, next_seq, False))
        if not messages:  # they were executed under an earlier epoch
            self._waiting.append((cursor, None, cursor.next, False))
        self._wake.set()
        if len(self._waiting) > _FULL:
            self._subscriber.pause(True)

    def _take_older(self, cursor: Cursor, messages: list[Message]) -> None:
        self._waiting.extend((cursor, message, 0, True) for message in messages)
        self._wake.set()

    async def _work(self, stopped: asyncio.Task[bool]) -> None:
        """Execute what waits, in slices."""
        loop = asyncio.get_running_loop()
        while self._waiting and not (self._ended or stopped.done()):
            until = loop.time() + _SLICE_S
            while self._waiting and loop.time() < until:
                self._execute(*self._waiting.popleft())
            if len(self._waiting) < _EMPTY:
                self._subscriber.pause(False)
            await asyncio.sleep(0)
        if self._fault:
            raise self._fault

    def _execute(self, cursor: Cursor, message: Message | None, next_seq: int, older: bool) -> None:
        if self._fault or self._ended or self._broken:
            return
        self._broken = True  # stays so if something unexpected is raised: nothing may be executed behind a hole
        try:
            if type(message) is Bar:
                # The venue's own bar follows a stand-in's as a revision, and is executed then.
                if message.origin != "fallback" or self._spec.fallback:
                    self._execute_bar(cursor, message, next_seq, older)
            elif type(message) is End:
                self._end(message)
        except Fault as fault:  # in a callback; the story of the runner raises it
            self._fault = fault
            self._wake.set()
            return
        self._broken = False
        if failpoints.ACTIVE:
            failpoints.hit("runner.between-journal-and-ack")
        if next_seq:
            self._subscriber.ack({cursor.stream: (cursor.epoch, next_seq)})

    def _execute_bar(self, cursor: Cursor, bar: Bar, next_seq: int, older: bool) -> None:
        if bar.time_ms <= self._last_ms:
            if bar.revision:
                log.warning(
                    "%s: the bar of %d was corrected after it was executed", cursor.stream, bar.time_ms
                )
            return
        history = not self._live and (older or self._still_warming(bar, next_seq))
        if not bar.closed and (history or self._runner is None or not self._runner.wants_forming):
            return
        if not (history or self._live):
            self._publish(self._stream, State("live", bar.time_ms, "the script is live"), *self._go_live())
        said = self._push(bar, history)
        if len(said) > _MOST_SAID:
            raise Hopeless(f"the script {self._script} said {len(said):,} things on one bar; {_MOST_SAID:,} are enough")
        if failpoints.ACTIVE:
            failpoints.hit("runner.between-execution-and-journal")
        executed = Executed(bar, cursor.epoch, next_seq, history)
        if bar.closed:
            self._publish(self._stream, executed, *said)
            self._note(said)
        else:
            self._publish(self._updates, executed)

    def _publish(self, stream: str, *messages: Message) -> None:
        """Publish; the journal keeps the order of execution over both streams: a restart reads it so."""
        if stream != self._published:
            self._publisher.flush()
            self._published = stream
        self._publisher.publish(stream, *messages)

    def _still_warming(self, bar: Bar, next_seq: int) -> bool:
        """A replay's first bars are the warm-up; that of an attached script ends at the head that it found."""
        if self._from_head:
            return bar.closed and next_seq <= self._live_from
        return bar.origin == "replay" and self._warm < self._spec.history

    def _push(self, bar: Bar, history: bool) -> list[Message]:
        assert self._runner is not None
        if bar.closed:
            self._warm += history
            self._bars += 1
            self._last_ms = bar.time_ms
        return self._runner.push(bar)

    def _go_live(self) -> list[Message]:
        assert self._runner is not None
        self._live = True
        self._state = "running"
        return self._runner.go_live()

    def _end(self, end: End) -> None:
        assert self._runner is not None
        said = self._runner.close()
        out = self._publisher.outs.get(self._stream)
        if out is None or not out.ended:
            self._publish(self._stream, *said, End(end.reason))
        self._ended = True
        self._wake.set()

    # --- what the supervisor asks ---------------------------------------------------------------------------

    def _note(self, said: list[Message]) -> None:
        """Keep the last thing that a person wants to see."""
        for message in said:
            if self._tell and self._live:
                self._tell(message)
            if type(message) is Alert:
                self._said = f"alert: {message.message}"
            elif type(message) is Fill:
                self._said = f"closed {message.entry_id} {message.profit:+.2f}"
            elif type(message) is Signal and message.action != "hold":
                self._said = f"{message.action}, now {message.position:g}"

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
        streams = [
            StreamStatus(
                c.stream, c.next, self._bars, c.lag + len(self._waiting), c.time_ms, c.last_price,
                c.shown,
            )
            for c in self._cursors or self._subscriber.cursors
        ] + self._subscriber.unheard(self._topology)  # fmt: skip
        return Status(
            self._spec.name, "runner", self._state, streams=streams, bars=self._bars,
            rate=self._rate.of(self._bars, self._state), said=self._said, warning=self._publisher.disk.warning,
            counters={**self._subscriber.counters(), **self._publisher.counts()},
        )  # fmt: skip


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    await asyncio.gather(one, other)
