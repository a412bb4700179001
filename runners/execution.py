"""One script on one stream: what it executes, and what it says to that.

Every update that the script has executed is in its runner's journal, a closed bar in one record with all
that the script said on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from ..bus import failpoints
from ..bus.cursor import Cursor
from ..bus.errors import Hopeless
from ..bus.messages import Alert, Bar, End, Executed, Fill, Message, Plot, Said, Signal, State, Told, is_forming
from ..bus.publisher import Publisher
from ..bus.specs import RunnerSpec
from ..bus.topology import Topology
from .player import Player
from .seal import Fingerprint

if TYPE_CHECKING:
    from .security import Security

log = logging.getLogger("pynelive")
_MOST_SAID = 10_000
Item = tuple[Cursor, Message, int, bool]
"""What a stream says, the seq behind it, and whether it is older than the source's journal."""


class Execution:
    """One script on one stream; what comes before the script is there is kept until it is.

    :param spec: the runner's, for this stream (``topology.seats``); what the script says is ``run:<name>``
    :param attached: begin at the head and write no journal that is to be gone on with
    :param say: called with everything that is published
    """

    def __init__(
        self, topology: Topology, spec: RunnerSpec, publisher: Publisher, attached: bool,
        say: Callable[[Message], None] | None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.stream = f"run:{spec.name}"
        self.ended = False
        self.bars = self.last_ms = 0
        self.places: dict[str, tuple[int, int, int]] = {}
        """By stream the epoch and the seq up to which it was executed, and the latest time there."""
        self.said = ""
        self.from_head = attached or spec.start == "head"
        self._script = topology.base / spec.script
        self._publisher = publisher
        self._tell = say
        self._updates = f"exec:{spec.name}"
        self._player: Player | None = None
        self._security: Security | None = None
        self._warm = self._live_from = 0
        self._published = ""
        self._early: list[Item] = []
        self._sealed = Fingerprint()

    @property
    def begun(self) -> bool:
        """Whether the script is there, and executes what comes."""
        return self._player is not None

    @property
    def live(self) -> bool:
        """Whether the warm-up is over."""
        return self._player is not None and self._player.live

    def catch_up(self) -> Iterator[tuple[Cursor, int]]:
        """Execute what other streams have said before the script was there; the seq behind each."""
        early, self._early = self._early, []
        for item in early:
            self.execute(*item)
            yield item[0], item[2]

    def may(self, message: Message | None) -> bool:
        """Whether all is here that the script has to know on this update; if not, ``wake`` is called later."""
        if self._security is None or type(message) is not Bar or not message.closed:
            return True
        return message.time_ms <= self.last_ms or self._security.passed(message)

    def execute(self, cursor: Cursor, message: Message, next_seq: int, older: bool) -> None:
        """Execute what a stream says, and publish what the script says to it."""
        if self._player is None:
            self._early.append((cursor, message, next_seq, older))
        elif self.ended or self._was_executed(cursor, message, next_seq):
            pass
        elif cursor.stream != self.spec.stream:
            for word in message.told if isinstance(message, Executed) else (message,):
                self._execute_word(self._player, cursor, word, next_seq)
        elif isinstance(message, Bar | Executed):
            self._execute_bar(self._player, cursor, message, next_seq, older)
        elif type(message) is End:
            self._end(self._player, message.reason)
        else:
            self._execute_word(self._player, cursor, message, next_seq)
        self._stop_if_out(cursor, next_seq)

    def _stop_if_out(self, cursor: Cursor, next_seq: int) -> None:
        """An outage that is over when the script hears of it stops nothing."""
        if self.spec.on_outage != "stop" or self.ended or not (player := self._player):
            return
        if player.out and cursor.stream == self.spec.stream and next_seq >= cursor.head:
            log.warning("%s: %s is out, and on_outage is stop: the run ends", self.spec.name, cursor.stream)
            self._end(player, f"{cursor.stream} is out")

    def _note_place(self, message: Executed | Told) -> None:
        if isinstance(message, Told):
            stream, time_ms = message.stream, getattr(message.message, "time_ms", 0)
        else:
            stream, time_ms = self.spec.stream, message.bar.time_ms
        _, _, before_ms = self.places.get(stream, (0, 0, 0))
        self.places[stream] = message.epoch, message.next_seq, max(before_ms, time_ms)

    def _was_executed(self, cursor: Cursor, message: Message, next_seq: int) -> bool:
        """Whether another seat of the process wanted this again, or another stream of this one."""
        epoch, seq, time_ms = self.places.get(cursor.stream, (0, 0, 0))
        if epoch != cursor.epoch and cursor.stream != self.spec.stream:  # its publisher's numbers have begun anew
            return type(message) is Bar and message.time_ms <= time_ms
        return epoch == cursor.epoch and 0 < next_seq <= seq and not is_forming(message)

    def _execute_bar(
        self, player: Player, cursor: Cursor, message: Bar | Executed, next_seq: int, older: bool
    ) -> None:
        bar, told = (message, ()) if isinstance(message, Bar) else (message.bar, message.told)
        if not self._is_new(cursor, bar):
            return
        history = not player.live and (older or self._still_warming(message, next_seq))
        if not bar.closed and (history or not player.runner.wants_forming):
            for word in told:
                self._execute_word(player, cursor, word, next_seq)
            return
        if not (history or player.live):
            self._publish(self.stream, State("live", bar.time_ms, "the script is live"), *player.go_live())
        executed = Executed(bar, cursor.epoch, next_seq, history, told)
        self._take_contexts(player, bar)
        self._count(executed)
        said = player.push(executed)
        if failpoints.ACTIVE:
            failpoints.hit("runner.between-execution-and-journal")
        if bar.closed:
            self._say(executed, said)
        else:
            self._say_forming(executed, said)

    def _say_forming(self, executed: Executed, said: list[Message]) -> None:
        """How a forming bar looks is latest-wins; what it has caused stands in one record with its update."""
        looks = [message for message in said if isinstance(message, Plot) and not message.closed]
        if caused := [message for message in said if message not in looks]:
            self._say(executed, caused)
        elif self.spec.remember:
            self._publish(self._updates, executed)
        for look in looks:
            self._publisher.forming(self.stream, look)

    def _is_new(self, cursor: Cursor, bar: Bar) -> bool:
        if bar.origin == "fallback" and not self.spec.fallback:
            return False  # the venue's own bar follows a stand-in's as a revision, and is executed then
        if bar.time_ms <= self.last_ms and bar.revision:
            log.warning("%s: the bar of %d was corrected after it was executed", cursor.stream, bar.time_ms)
        return bar.time_ms > self.last_ms

    def _say(self, executed: Executed | Told, said: list[Message]) -> None:
        """Publish what was executed, in one record with what the script has said to it."""
        if len(said) > _MOST_SAID:
            raise Hopeless(f"the script {self._script} said {len(said):,} things on one bar; {_MOST_SAID:,} are enough")
        self._publish(self.stream, executed, *said)
        self._note(said)

    def _execute_word(self, player: Player, cursor: Cursor, message: Message, next_seq: int) -> None:
        """Tell the script what is no bar of its stream, if that is anything to it."""
        if not (next_seq and player.hears and isinstance(message, Bar | State | Said)):
            return
        if is_forming(message) and not player.runner.wants_forming:
            return  # latest-wins: it would be kept in the journal for ever
        told = Told(cursor.stream, message, cursor.epoch, next_seq)
        self._say(told, player.tell(told))

    def _take_contexts(self, player: Player, bar: Bar) -> None:
        """Let the script know what has closed in its other streams; the journal keeps that before the bar itself."""
        if self._security:
            self._hand_over(player, self._security.take(bar))

    def take_early(self) -> None:
        """The same of what can be known before the bar is here, where much of it waits."""
        if self._security and self._player and not self.ended:
            self._hand_over(self._player, self._security.take_early(self.last_ms))

    def _hand_over(self, player: Player, closed: list[Told]) -> None:
        assert self._security
        for told in closed:
            if self.spec.remember:
                self._publish(self._updates, told)
            player.tell(told)
        self._security.ack()

    def _publish(self, stream: str, *messages: Message) -> None:
        """Publish; the journal keeps the order of execution over both streams: a restart reads it so."""
        if stream != self._published:
            self._publisher.flush()
            self._published = stream
        self._publisher.publish(stream, *(self._sealed.sealed(messages) if stream == self.stream else messages))

    def _still_warming(self, message: Bar | Executed, next_seq: int) -> bool:
        """A replay's first bars are the warm-up, and what was another script's; that of an attached script ends at the
        head that it found.
        """
        if self.from_head:
            return next_seq <= self._live_from
        if isinstance(message, Executed):
            return message.history
        return message.origin == "replay" and self._warm < self.spec.history

    def _count(self, executed: Executed) -> None:
        if executed.bar.closed:
            self._warm += executed.history
            self.bars += 1
            self.last_ms = executed.bar.time_ms

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

    def say_down(self, why: str) -> None:
        """The run goes no further."""
        if self._player:
            self._publish(self.stream, State("down", self.last_ms, why))

    # --- the end --------------------------------------------------------------------------------------------

    def _end(self, player: Player, reason: str) -> None:
        said = player.runner.close()
        out = self._publisher.outs.get(self.stream)
        if out is None or not out.ended:
            self._publish(self.stream, *said, End(reason))
        self.ended = True

    async def close(self, complete: bool) -> None:
        """Follow nothing any more; the script's files are made ``complete``, unless it has failed."""
        if self._security:
            await self._security.close()
        if self._player and complete:
            self._player.runner.close()


def in_turn(messages: Iterable[Message]) -> Iterator[tuple[Message, int]]:
    """What a stream says, as it is executed: with a script's bar all that it said on it; and how many seqs that is."""
    bar: Executed | None = None
    told: list[Said] = []
    for message in messages:
        if bar is not None and isinstance(message, Said):
            told.append(message)
            continue
        if bar is not None:
            yield msgspec.structs.replace(bar, told=tuple(told)), 1 + len(told)
            bar, told = None, []
        if type(message) is Executed:
            bar = message
        else:
            yield message, int(not is_forming(message))
    if bar is not None:
        yield msgspec.structs.replace(bar, told=tuple(told)), 1 + len(told)
