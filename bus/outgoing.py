"""One stream on its way out of a publisher."""

from __future__ import annotations

from collections.abc import Sequence

from .messages import Bar, End, Executed, Message, Plot, State
from .picture import Picture
from .status import Rate
from .track import Track
from .wire import topic_of


class Out:
    """One stream on its way out: what waits to be written, and what was said last."""

    __slots__ = (
        "ended", "forming", "history", "last", "pending", "picture", "rate", "said_s", "state", "stream", "topic",
        "track", "waits",
    )  # fmt: skip

    def __init__(self, stream: str, track: Track) -> None:
        self.stream = stream
        self.topic = topic_of(stream)
        self.track = track
        self.pending: list[Message] = []
        self.forming: Bar | Plot | None = None
        self.waits = False
        self.last: Bar | None = None
        self.state: State | None = None
        self.ended = False
        self.said_s: float | None = None
        """When this process has said the last new closed bar (monotonic)."""
        self.history = 0
        """Closed bars of a warm-up that were said, which count for no rate."""
        self.rate = Rate()
        self.picture = Picture() if stream.startswith("run:") else None
        """What a script has said so far, for those who come late."""

    def remember(self, messages: Sequence[Message]) -> tuple[int, int]:
        """Note what the messages say of the stream; the number of new closed bars in them, and the latest bar time."""
        if self.picture is not None:
            self.picture.take(messages)
        bars, last = 0, self.last
        time_ms = last.time_ms if last is not None else 0
        for message in messages:
            if type(message) is Bar and message.closed and message.time_ms >= time_ms:
                time_ms = message.time_ms
                last = message
                if not message.revision:
                    bars += 1
            else:
                self._say_last(last)
                new, latest_ms = self._remember_other(message)
                bars, time_ms, last = bars + new, max(time_ms, latest_ms), self.last
        self._say_last(last)
        return bars, time_ms

    def _say_last(self, bar: Bar | None) -> None:
        if bar is not self.last:
            self.last, self.ended = bar, False

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
