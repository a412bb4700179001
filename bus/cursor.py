"""Where a subscriber stands in one stream."""

from __future__ import annotations

import time

from .calls import Start
from .messages import Bar, End, Executed, Instrument, Message, State
from .wire import topic_of

_HISTORY_TRIES = 12


class Cursor:
    """The next seq that is wanted of a stream, and what must happen before frames are taken as they come.

    ``live`` is the fast lane: only then a frame with ``seq == next`` is delivered at once.
    """

    __slots__ = (
        "asked", "begun", "chosen", "ended_at", "epoch", "head", "held", "instrument", "joined", "known_ms", "last",
        "live", "missing", "next", "patience_until", "silent", "start", "state", "stream", "time_ms", "topic", "tries",
    )  # fmt: skip

    def __init__(self, stream: str, instrument: Instrument | None) -> None:
        self.stream = stream
        self.topic = topic_of(stream)
        self.instrument = instrument
        self.epoch = 0
        self.next = -1
        self.head = 0
        self.asked = -1
        """The head that was known when the journal was asked last."""
        self.start: Start | None = None
        """Where to begin, until the first replay has told the seq."""
        self.chosen = Start()
        """Where the consumer wanted to begin."""
        self.begun = False
        self.live = False
        self.joined = False
        """Whether it was live once: what is replayed after that is a repair."""
        self.missing = 0
        """Bars that are older than the journal and are still to be asked of the source's history."""
        self.held: list[Message] | None = None
        """What waits behind that history."""
        self.time_ms = 0
        """The latest closed bar that was delivered."""
        self.tries = 0
        self.patience_until = 0.0
        self.known_ms = 0
        """After another epoch: bars up to here were delivered before."""
        self.last: Bar | None = None
        self.state = ""
        """As the publisher has said it."""
        self.silent = False
        """Whether the publisher says nothing at all."""
        self.ended_at = -2

    @property
    def placed(self) -> bool:
        """Whether the seq is known from which on messages come."""
        return self.begun and self.start is None

    @property
    def behind(self) -> bool:
        """Whether something must be asked for: a replay, or the source's history."""
        return self.begun and (self.held is not None or self.start is not None or self.next < self.head)

    @property
    def shown(self) -> str:
        """How the stream is, in a word."""
        return "ended" if self.ended else "silent" if self.silent else self.state

    @property
    def settled(self) -> bool:
        """Whether there is nothing to ask for now."""
        return self.begun and not self.behind

    @property
    def lag(self) -> int:
        """Messages that exist and are not here."""
        return max(self.head - max(self.next, 0), 0)

    @property
    def before_ms(self) -> int:
        """The first bar that is here, when older ones are to be asked for; 0 if the stream has ended without one."""
        return next((message.time_ms for message in self.held or () if type(message) is Bar), 0)

    def begin(self, start: Start) -> None:
        """Start at a place that the consumer has chosen."""
        self.start = self.chosen = start
        self.begun = True
        self.time_ms = start.from_ms or 0

    def unseen(self, messages: list[Message]) -> list[Message]:
        """Without the bars that were delivered under an earlier epoch."""
        if not self.known_ms:
            return messages
        known = self.known_ms
        fresh = [m for m in messages if type(m) is not Bar or m.time_ms > known or m.revision]
        if any(type(m) is Bar and m.time_ms > known for m in fresh):
            self.known_ms = 0
        return fresh

    def wait_for_history(self) -> bool:
        """The history was asked for in vain: whether to ask again, ever later, for some five minutes in all."""
        self.tries += 1
        self.patience_until = time.monotonic() + min(0.25 * 2**self.tries, 60.0)
        return self.tries <= _HISTORY_TRIES

    def where(self) -> Start:
        """What to ask for."""
        return self.start if self.start is not None else Start(seq=self.next)

    def learn_head(self, head: int) -> bool:
        """Take the journal's word on where the stream ends; False if it refutes what was heard before it was asked."""
        heard, self.head = self.head, head if self.head <= self.asked else max(self.head, head)
        return self.head >= heard

    def note(self, messages: list[Message]) -> None:
        """Remember what was delivered last."""
        last, time_ms = self.last, self.time_ms
        for message in messages:
            if type(message) is Bar:
                last = message
                if message.closed and message.time_ms > time_ms:  # else a revision, or it is late
                    time_ms = message.time_ms
            else:
                self.last, self.time_ms = last, time_ms
                self._note_other(message)
                last, time_ms = self.last, self.time_ms
        self.last, self.time_ms = last, time_ms

    def note_many(self, messages: list[Message], latest_ms: int, bars: int) -> None:
        """:meth:`note` of what came with a header, which says the latest bar so far and the new closed bars in it."""
        if 0 < bars == len(messages) and type(newest := messages[-1]) is Bar and newest.time_ms == latest_ms:
            self.last, self.time_ms = newest, max(latest_ms, self.time_ms)
        else:
            self.note(messages)

    def _note_other(self, message: Message) -> None:
        if type(message) is Executed:
            self.last = message.bar
            if message.bar.closed:
                self.time_ms = max(message.bar.time_ms, self.time_ms)
        elif type(message) is State:
            self.state = message.state
        elif type(message) is End:
            self.ended_at = self.next
        elif type(message) is Instrument:
            self.instrument = message

    @property
    def ended(self) -> bool:
        """Whether the stream's last message was its end."""
        return self.ended_at == self.next

    @property
    def last_price(self) -> float:
        """The close of the last bar, forming or closed."""
        return self.last.close if self.last else 0.0

    @property
    def _anew(self) -> Start:
        """Where to begin in what is said anew: whoever wanted the latest was there before it began."""
        return Start(picture=self.chosen.picture) if self.stream.startswith("run:") else self.chosen

    def rewind(self, epoch: int) -> None:
        """The numbers of another epoch mean nothing: begin by time; a script's new run is heard from its beginning."""
        if self.begun and self.epoch and epoch != self.epoch:
            by_time = self.last is not None and not self.stream.startswith("run:")
            self.start = Start(from_ms=self.time_ms) if by_time else self._anew
            self.known_ms = self.time_ms if by_time else 0
            self.missing = 0
            self.next = self.asked = -1
            self.head = 0
            self.live = False
            self.held = None
            self.ended_at = -2
        self.epoch = epoch
