"""One stream on its way out of a publisher."""

from __future__ import annotations

from collections.abc import Iterable

from .messages import Bar, End, Executed, Message, State
from .track import Track
from .wire import topic_of


class Out:
    """One stream on its way out: what waits to be written, and what was said last."""

    __slots__ = ("ended", "forming", "last", "pending", "state", "stream", "topic", "track", "waits")

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

    def remember(self, messages: Iterable[Message]) -> tuple[int, int]:
        """Note what the messages say of the stream; the number of new closed bars in them, and the latest bar time."""
        bars, time_ms = 0, 0
        last_ms = self.last.time_ms if self.last is not None else 0
        for message in messages:
            if type(message) is Bar:
                bar = message
            elif type(message) is Executed:
                bar = message.bar
            else:
                self._remember_other(message)
                continue
            bar_ms = bar.time_ms
            if bar_ms > time_ms:
                time_ms = bar_ms
            if bar.closed:
                bars += not bar.revision
                self.ended = False
                if bar_ms >= last_ms:
                    self.last, last_ms = bar, bar_ms
        return bars, time_ms

    def _remember_other(self, message: Message) -> None:
        if type(message) is State:
            self.state = message
        elif type(message) is End:
            self.ended = True
