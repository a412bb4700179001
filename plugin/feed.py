"""One stream, live, as PyneCore pulls it: an update at a time."""

from __future__ import annotations

import asyncio
from collections import deque

from ..bus.calls import Start
from ..bus.cursor import Cursor
from ..bus.messages import Bar, Message
from ..bus.rundir import RunDir
from ..bus.subscriber import Subscriber

_ILL = ("stale", "down")
_FOUND_S = 30.0


class LiveFeed:
    """The updates of a stream, each closed bar once.

    :param after_ms: the last bar that is known already; what came after it is handed over first
    """

    def __init__(self, run: RunDir, stream: str, after_ms: int) -> None:
        self.last_ms = after_ms
        self._subscriber = Subscriber(run, [stream], self._take, self._begin, name="pyne")
        self._bars: deque[Bar] = deque()
        self._wake = asyncio.Event()

    async def open(self) -> None:
        """Follow the stream.

        :raises Fault: nobody publishes it
        """
        self._subscriber.open()
        self._failed = asyncio.ensure_future(self._subscriber.failed())
        self._failed.add_done_callback(lambda _: self._wake.set())
        await self._subscriber.all_found(_FOUND_S)

    async def close(self) -> None:
        """Leave; what was not handed over comes with the next feed."""
        self._failed.cancel()
        await self._subscriber.close()

    @property
    def well(self) -> bool:
        """Whether the publisher is heard, and says that nothing is wrong."""
        cursors = list(self._subscriber.cursors)
        return bool(cursors) and not any(cursor.silent or cursor.state in _ILL for cursor in cursors)

    @property
    def open_market(self) -> bool:
        """Whether bars are to be expected."""
        return not any(cursor.ended or cursor.state == "closed" for cursor in self._subscriber.cursors)

    async def next(self) -> Bar | None:
        """The next update, None at the end of the stream.

        :raises Fault: it cannot be followed
        """
        while not self._bars:
            if self._failed.done():
                self._failed.result()
            if any(cursor.ended for cursor in self._subscriber.cursors):
                return None
            self._wake.clear()
            await self._wake.wait()
        bar = self._bars.popleft()
        if bar.closed:
            self.last_ms = bar.time_ms
        return bar

    async def _begin(self, _: Cursor) -> Start:
        return Start(from_ms=self.last_ms) if self.last_ms else Start(last=0)

    def _take(self, _: Cursor, messages: list[Message]) -> None:
        known_ms = max((bar.time_ms for bar in self._bars if bar.closed), default=self.last_ms)
        for message in messages:
            if type(message) is Bar and message.time_ms > known_ms and message.origin != "fallback":
                self._bars.append(message)
                known_ms = message.time_ms if message.closed else known_ms
        self._wake.set()
