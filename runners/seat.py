"""One script on one stream: where it begins, what it executes, what it says; and how it goes on after a restart.

Every update that the script has executed is in its runner's journal, a closed bar in one record with all
that the script said on it. A restarted seat pushes the same updates again, says nothing of it, and goes on
behind them: the script's state is replayed, never patched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec

from ..bus import failpoints
from ..bus.cursor import Cursor
from ..bus.errors import Hopeless
from ..bus.journal import Journal
from ..bus.messages import Alert, Bar, End, Executed, Fill, Message, Plot, Run, Signal, State
from ..bus.publisher import Publisher
from ..bus.topology import RunnerSpec, Topology
from ..bus.wire import Start, decode
from .contract import Runner

log = logging.getLogger("pynelive")
_SLICE_S = 0.02
_MOST_SAID = 10_000


class Seat:
    """One script on one stream.

    :param spec: the runner's, for this stream (``topology.seats``); what the script says is ``run:<name>``
    :param kind: the class that runs the script
    :param attached: begin at the head and write no journal that is to be gone on with
    :param say: called with everything that is published
    """

    def __init__(
        self, topology: Topology, spec: RunnerSpec, kind: type[Runner], publisher: Publisher, attached: bool,
        say: Callable[[Message], None] | None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.stream = f"run:{spec.name}"
        self.live = self.ended = False
        self.bars = self.last_ms = 0
        self.resume: Executed | None = None
        self.said = ""
        self._topology = topology
        self._kind = kind
        self._publisher = publisher
        self.from_head = attached or spec.start == "head"
        self._tell = say
        self._script = topology.base / spec.script
        self._updates = f"exec:{spec.name}"
        self._runner: Runner | None = None
        self._warm = self._live_from = 0
        self._published = ""
        self._fingerprint = self._identity()

    def _identity(self) -> str:
        """What a run depends on; another one is another run."""
        digest = sha256(self._script.read_bytes())
        spec = msgspec.structs.replace(self.spec, output="", host="")
        digest.update(msgspec.json.encode([spec, version("pynesys-pynecore")]))
        return digest.hexdigest()[:16]

    # --- where to begin -------------------------------------------------------------------------------------

    def knows(self, journal: Journal) -> str:
        """What the journal holds of this very run: ``nothing``, its ``run``, ``bars`` too, or an ``other`` run."""
        track = journal.tracks.get(self.stream)
        if track is None:
            return "nothing"
        opening = decode(track.opening)[0] if track.opening else None
        if not isinstance(opening, Run) or opening.fingerprint != self._fingerprint:
            return "other"
        return "bars" if track.bars else "run"

    async def begin(self, cursor: Cursor) -> None:
        """Make the script, and bring it to where it was."""
        if cursor.instrument is None:
            raise Hopeless(f"runner '{self.spec.name}': {cursor.stream} carries no bars")
        instrument, output = cursor.instrument, self._output()
        self._runner = await asyncio.to_thread(self._kind, self.spec, self._script, instrument, output)
        if self.spec.fallback and self._runner.describes[1] == "strategy":
            raise Hopeless(f"runner '{self.spec.name}': a strategy may not trade on the bars of a stand-in: "
                           "remove fallback = true")
        await self._replay_own_journal()
        self._live_from = cursor.head

    def _output(self) -> Path | None:
        if not self.spec.output:
            return None
        output = self._topology.resolve(self.spec.output) / self.spec.name
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise Hopeless(f"{output} cannot be made ({why.strerror}): correct 'output'") from None
        return output

    async def _replay_own_journal(self) -> None:
        """Push every update of this run again; what the script says to them was published before."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _SLICE_S
        for _, record in self._publisher.journal.in_order((self.stream, self._updates)):
            for message in decode(record.payload):
                if type(message) is Executed:
                    self._push(message.bar, message.history)
                    self.resume = message
                elif type(message) is State:
                    self._go_live()
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + _SLICE_S

    def say_run(self) -> None:
        """Say what runs, once a run."""
        assert self._runner is not None
        if self._publisher.heads().get(self.stream, 0) == 0:
            title, kind = self._runner.describes
            run = Run(
                self.spec.script, self.spec.stream, self._fingerprint, title, kind, self.spec.inputs,
                warmup=self.spec.history,
            )  # fmt: skip
            self._publisher.publish(self.stream, run)

    # --- executing ------------------------------------------------------------------------------------------

    def execute(self, cursor: Cursor, message: Message, next_seq: int, older: bool) -> None:
        """Execute what the stream says, and publish what the script says to it."""
        if self.ended:
            return
        if type(message) is Bar:
            # The venue's own bar follows a stand-in's as a revision, and is executed then.
            if message.origin != "fallback" or self.spec.fallback:
                self._execute_bar(cursor, message, next_seq, older)
        elif type(message) is End:
            self._end(message)

    def _execute_bar(self, cursor: Cursor, bar: Bar, next_seq: int, older: bool) -> None:
        if bar.time_ms <= self.last_ms:
            if bar.revision:
                log.warning(
                    "%s: the bar of %d was corrected after it was executed", cursor.stream, bar.time_ms
                )
            return
        history = not self.live and (older or self._still_warming(bar, next_seq))
        if not bar.closed and (history or self._runner is None or not self._runner.wants_forming):
            return
        if not (history or self.live):
            self._publish(self.stream, State("live", bar.time_ms, "the script is live"), *self._go_live())
        said = self._push(bar, history)
        if len(said) > _MOST_SAID:
            raise Hopeless(f"the script {self._script} said {len(said):,} things on one bar; {_MOST_SAID:,} are enough")
        if failpoints.ACTIVE:
            failpoints.hit("runner.between-execution-and-journal")
        executed = Executed(bar, cursor.epoch, next_seq, history)
        if bar.closed:
            self._publish(self.stream, executed, *said)
            self._note(said)
        else:
            self._say_forming(executed, said)

    def _say_forming(self, executed: Executed, said: list[Message]) -> None:
        """How a forming bar looks is latest-wins; what it has caused stands in one record with its update."""
        caused = [message for message in said if type(message) is not Plot]
        self._publish(self.stream if caused else self._updates, executed, *caused)
        self._note(caused)
        for message in said:
            if type(message) is Plot:
                self._publisher.forming(self.stream, message)

    def _publish(self, stream: str, *messages: Message) -> None:
        """Publish; the journal keeps the order of execution over both streams: a restart reads it so."""
        if stream != self._published:
            self._publisher.flush()
            self._published = stream
        self._publisher.publish(stream, *messages)

    def _still_warming(self, bar: Bar, next_seq: int) -> bool:
        """A replay's first bars are the warm-up; that of an attached script ends at the head that it found."""
        if self.from_head:
            return bar.closed and next_seq <= self._live_from
        return bar.origin == "replay" and self._warm < self.spec.history

    def _push(self, bar: Bar, history: bool) -> list[Message]:
        assert self._runner is not None
        if bar.closed:
            self._warm += history
            self.bars += 1
            self.last_ms = bar.time_ms
        return self._runner.push(bar)

    def _go_live(self) -> list[Message]:
        assert self._runner is not None
        self.live = True
        return self._runner.go_live()

    def _note(self, said: list[Message]) -> None:
        """Keep the last thing that a person wants to see."""
        for message in said:
            if self._tell and self.live:
                self._tell(message)
            if type(message) is Alert:
                self.said = f"alert: {message.message}"
            elif type(message) is Fill:
                self.said = f"closed {message.entry_id} {message.profit:+.2f}"
            elif type(message) is Signal and message.action != "hold":
                self.said = f"{message.action}, now {message.position:g}"

    # --- the end --------------------------------------------------------------------------------------------

    def _end(self, end: End) -> None:
        assert self._runner is not None
        said = self._runner.close()
        out = self._publisher.outs.get(self.stream)
        if out is None or not out.ended:
            self._publish(self.stream, *said, End(end.reason))
        self.ended = True

    def close(self) -> None:
        """Complete the script's files."""
        if self._runner:
            self._runner.close()


def start(seats: Sequence[Seat], cursor: Cursor) -> Start:
    """Where the stream of these seats goes on: at the earliest that one of them wants; the others pass over the rest.
    """
    spec = seats[0].spec
    places = [seat.resume for seat in seats if seat.resume]
    if len(places) < len(seats):
        from_head = seats[0].from_head
        return Start(last=spec.history) if from_head else Start(older=spec.history)
    last_ms = min(seat.last_ms for seat in seats)
    if any(place.next_seq == 0 for place in places):  # it died among the bars that are older than the source's journal
        return Start(from_ms=last_ms, older=spec.history)
    if any(place.epoch != cursor.epoch for place in places):
        return Start(from_ms=last_ms)
    return Start(seq=min(place.next_seq for place in places))
