"""One script on one stream: where it begins; and how it goes on after a restart.

A restarted seat pushes the updates that are in its journal again, says nothing of it, and goes on behind them: the
script's state is replayed, never patched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from ..bus.calls import Start
from ..bus.cursor import Cursor
from ..bus.errors import Again, Hopeless
from ..bus.journal import Journal
from ..bus.messages import Bar, Executed, Instrument, Message, Run, Told
from ..bus.publisher import Publisher
from ..bus.specs import RunnerSpec
from ..bus.topology import Topology
from ..bus.wire import decode
from .contract import Runner
from .execution import Execution
from .player import Player, identity

_SLICE_S = 0.02


class Seat(Execution):
    """A script's place in its runner, from before the script is there.

    :param kind: the class that runs the script
    :param wake: called when what had to wait (``may``) may go on
    """

    def __init__(
        self, topology: Topology, spec: RunnerSpec, kind: type[Runner], publisher: Publisher, attached: bool,
        say: Callable[[Message], None] | None, wake: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(topology, spec, publisher, attached, say)
        self._topology = topology
        self._kind = kind
        self._wake = wake
        self._contexts: dict[str, Instrument] = {}
        self._identity = identity(spec, self._script)

    def knows(self, journal: Journal) -> str:
        """What the journal holds of this very run: ``nothing``, its ``run``, ``bars`` too, or an ``other`` run."""
        track = journal.tracks.get(self.stream)
        if track is None:
            return "nothing"
        if track.bars and not self.spec.remember:
            return "other"
        opening = decode(track.opening)[0] if track.opening else None
        if not isinstance(opening, Run) or opening.fingerprint != self._identity:
            return "other"
        return "bars" if track.bars else "run"

    async def begin(self, cursor: Cursor) -> None:
        """Make the script, and bring it to where it was."""
        instrument = cursor.instrument
        if instrument is None:
            if not (self._kind.reads_scripts and cursor.stream.startswith("run:")):
                raise Hopeless(f"runner '{self.spec.name}': {cursor.stream} carries no bars")
            instrument = Instrument(cursor.stream, "")
        runner = await asyncio.to_thread(self._kind, self.spec, self._script, instrument, self._output())
        if self.spec.fallback and runner.describes[1] == "strategy":
            raise Hopeless(f"runner '{self.spec.name}': a strategy may not trade on the bars of a stand-in: "
                           "remove fallback = true")
        if identity(self.spec, self._script) != self._identity:
            raise Again(f"{self.spec.script} has changed before it began: a new run begins")
        player = Player(self.spec, runner)
        await self._find_contexts(runner, cursor)
        await self._replay_own_journal(player)
        if self._security:
            await self._security.follow()
        self._player, self._instrument = player, instrument
        self._live_from = cursor.head

    async def _find_contexts(self, runner: Runner, cursor: Cursor) -> None:
        if asked := runner.asks():
            from .security import Security  # which knows PyneCore, as not every runner does

            self._security = Security(self._topology, self.spec, cursor, self._wake, self.from_head)
            self._contexts = await self._security.find(asked)
            runner.provide(cursor.stream, self._contexts, self._topology.run_dir / "contexts" / self.spec.name)

    def recall(self, journal: Journal) -> None:
        """Learn how far each stream was executed, before the script is there."""
        for _, record in journal.in_order((self.stream,)):
            for message in decode(record.payload):
                if type(message) is Executed or type(message) is Told:
                    self._note_place(message)

    def _output(self) -> Path | None:
        if not self.spec.output:
            return None
        output = self._topology.resolve(self.spec.output) / self.spec.name
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            raise Hopeless(f"{output} cannot be made ({why.strerror}): correct 'output'") from None
        return output

    async def _replay_own_journal(self, player: Player) -> None:
        """Push every update of this run again; what the script says to them was published before."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _SLICE_S
        for _, record in self._publisher.journal.in_order((self.stream, self._updates)):
            for message in decode(record.payload):
                self._repeat(player, message)
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + _SLICE_S

    def _repeat(self, player: Player, message: Message) -> None:
        player.repeat(message)
        if type(message) is Executed:
            self._count(message)
        if isinstance(message, Executed | Told):
            self._note_place(message)
        if self._security and isinstance(message, Told) and isinstance(message.message, Bar):
            self._security.know(message.stream, message.message)
        self._sealed.add(message)

    def say_run(self) -> None:
        """Say what runs, once a run."""
        assert self._player is not None
        if self._publisher.heads().get(self.stream, 0) == 0:
            title, kind = self._player.runner.describes
            run = Run(
                self.spec.script, self.spec.stream, self._identity, title, kind, self.spec.inputs,
                warmup=self.spec.history, instrument=self._instrument, contexts=self._contexts,
                overlay=self._player.runner.overlay,
            )  # fmt: skip
            self._publisher.publish(self.stream, run)


def start(seats: Sequence[Seat], cursor: Cursor) -> Start:
    """Where a stream of these seats goes on: at the earliest that one of them wants; the others pass over the rest."""
    fed = [seat for seat in seats if seat.spec.stream == cursor.stream]
    warm = [seat for seat in seats if seat not in fed or seat.live or seat.last_ms]  # others were told states at most
    places = [seat.places[cursor.stream] for seat in warm if cursor.stream in seat.places]
    older = seats[0].spec.history if fed and cursor.instrument else 0
    if len(places) < len(seats):
        head = Start(last=seats[0].spec.history if fed else 0)
        return head if seats[0].from_head else Start(older=older)
    last_ms = min([seat.last_ms for seat in fed] or [time_ms for *_, time_ms in places])
    if any(seq == 0 for _, seq, _ in places):  # it died among the bars that are older than the source's journal
        return Start(from_ms=last_ms, older=older)
    if any(epoch != cursor.epoch for epoch, *_ in places):
        return Start(from_ms=last_ms)
    return Start(seq=min(seq for _, seq, _ in places))
