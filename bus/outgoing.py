"""One stream on its way out of a publisher."""

from __future__ import annotations

from collections.abc import Iterable

from .messages import Bar, End, Executed, Message, State
from .status import Rate
from .track import Track
from .wire import topic_of


class Out:
    """One stream on its way out: what waits to be written, and what was said last."""

    __slots__ = ("ended", "forming", "history", "last", "pending", "rate", "state", "stream", "topic", "track", "waits")

    def __init__(self, stream: str, track: Track) -> None:
        self.stream = stream
        self.topic = topic_of(stream)
        self.track = track
        self.pending: list[Message] = []
        self.forming: Bar | None = None
        self.waits = False
        self.last: Bar | None = None
        self.state: State | None = None
        self.ended = False
        self.history = 0
        """Closed bars of a warm-up that were said, which count for no rate."""
        self.rate = Rate()

    def remember(self, messages: Iterable[Message]) -> tuple[int, int]:
        """Note what the messages say of the stream; the number of new closed bars in them, and the latest bar time."""
        bars = 0
        time_ms = self.last.time_ms if self.last is not None else 0
        for message in messages:
            if type(message) is Bar and message.closed and message.time_ms >= time_ms:
                time_ms = message.time_ms
                self.last = message
                self.ended = False
                bars += not message.revision
            else:
                new, latest_ms = self._remember_other(message)
                bars += new
                time_ms = max(time_ms, latest_ms)
        return bars, time_ms

    def _remember_other(self, message: Message) -> tuple[int, int]:
        """Not the stream's next closed bar: the same two numbers of it."""
        if type(message) is State:
            self.state = message
        elif type(message) is End:
            self.ended = True
        elif isinstance(message, Bar | Executed):
            bar = message if isinstance(message, Bar) else message.bar
            if bar.closed:
                self.history += isinstance(message, Executed) and message.history
                self.ended = False
                if self.last is None or bar.time_ms >= self.last.time_ms:
                    self.last = bar
            return int(bar.closed and not bar.revision), bar.time_ms
        return 0, 0
