"""For programs of one's own: ``async for`` or ``for`` over the messages of a running bus.

    async with subscribe("demo:BTC/USDT@1", history=500) as bars:
        async for bar in bars: ...

    with subscribe("demo:BTC/USDT@1", history=500) as bars:
        for bar in bars: ...

First the history, then what is live, no seam between them; the iteration ends when the streams do.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from msgspec import structs

from .calls import Start
from .cursor import Cursor
from .discovery import find_bus
from .errors import Fault
from .messages import Bar, Message
from .rundir import RunDir
from .subscriber import Subscriber

_T = TypeVar("_T")
_FULL = 50_000
_EMPTY = 5_000


class Heard(NamedTuple):
    """A message and its stream."""

    stream: str
    message: Message


class Subscription(Generic[_T]):
    """Messages of a running bus, in ``async with`` and ``async for``, or in ``with`` and ``for``."""

    def __init__(
        self,
        patterns: tuple[str, ...],
        start: Start,
        pick: Callable[[str, Message], _T | None],
        bus: str | RunDir | None,
        timeout_s: float,
        name: str = "",
    ) -> None:
        self._patterns = patterns
        self._start = start
        self._pick = pick
        self._run = bus if isinstance(bus, RunDir) else find_bus(bus)
        self._timeout_s = timeout_s
        self._name = name
        self._items: deque[_T] = deque()
        self._wake = asyncio.Event()
        self._thread: _Thread[_T] | None = None

    # --- async ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Subscription[_T]:
        self._subscriber = Subscriber(self._run, self._patterns, self._take, self._begin, name=self._name)
        self._subscriber.open()
        self._failed = asyncio.ensure_future(self._subscriber.failed())
        self._failed.add_done_callback(lambda _: self._wake.set())
        try:
            await self._subscriber.all_found(self._timeout_s)
        except BaseException:
            self._failed.cancel()
            await self._subscriber.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed.cancel()
        await self._subscriber.close()

    async def _begin(self, cursor: Cursor) -> Start:
        return self._start

    def _take(self, cursor: Cursor, messages: list[Message]) -> None:
        for message in messages:
            item = self._pick(cursor.stream, message)
            if item is not None:
                self._items.append(item)
        self._wake.set()
        if len(self._items) > _FULL:
            self._subscriber.pause(True)

    async def __aiter__(self) -> AsyncIterator[_T]:
        while True:
            while self._items:
                yield self._items.popleft()
                if len(self._items) == _EMPTY:
                    self._subscriber.pause(False)
            if self._failed.done():
                self._failed.result()
            if self._over():
                return
            self._wake.clear()
            await self._wake.wait()

    def _over(self) -> bool:
        cursors = list(self._subscriber.cursors)
        return bool(cursors) and all(cursor.ended for cursor in cursors)

    @property
    def counters(self) -> dict[str, int]:
        """What was repaired, doubled, malformed and truncated so far."""
        return self._subscriber.counters()

    # --- sync -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Subscription[_T]:
        self._thread = _Thread(self)
        self._thread.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread:
            self._thread.close()

    def __iter__(self) -> Iterator[_T]:
        if self._thread is None:
            raise RuntimeError("iterate inside `with subscribe(…) as bars:`")
        return self._thread.items()


class _Thread(Generic[_T]):
    """Runs a subscription on a loop of its own for callers that have none."""

    def __init__(self, subscription: Subscription[_T]) -> None:
        self._subscription = subscription
        self._queue: queue.Queue[_T | BaseException | None] = queue.Queue(_FULL)
        self._ready: queue.Queue[BaseException | None] = queue.Queue(1)
        self._error: BaseException | None = None
        self._greeted = False
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), name="pynelive", daemon=True)

    def open(self) -> None:
        """Start, and wait until the streams are found."""
        self._thread.start()
        error = self._ready.get()
        if error is not None:
            self._thread.join()
            raise error

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        try:
            async with self._subscription as items:
                self._ready.put(None)
                self._greeted = True
                async for item in items:
                    while not self._offer(item):  # noqa: ASYNC110 - the queue is another thread's
                        await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            pass  # close() was called
        except (Fault, OSError) as error:
            self._error = error
            if not self._greeted:
                self._ready.put(error)
        while not self._offer(None) and self._task and not self._task.cancelling():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _offer(self, item: _T | None) -> bool:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            return False
        return True

    def items(self) -> Iterator[_T]:
        """What arrives, until the streams end."""
        while (item := self._queue.get()) is not None:
            yield item  # type: ignore[misc]
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Leave the bus."""
        if self._thread.is_alive() and self._task:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()


def subscribe(
    stream: str,
    *,
    history: int = 0,
    forming: bool = False,
    bus: str | RunDir | None = None,
    timeout_s: float = 3.0,
    name: str = "",
) -> Subscription[Bar]:
    """The bars of one stream.

    :param stream: its name, such as ``demo:BTC/USDT@1``
    :param history: so many closed bars before the live ones
    :param forming: the forming bar too, as often as it changes (``bar.closed`` is False)
    :param bus: the name or folder of the bus; else ``PYNELIVE_BUS``, ``./topology.toml``, or the only bus
        that is up
    :param timeout_s: how long to look for the stream
    :param name: what `pynelive streams` calls this subscriber; the program's name by default
    :raises Fault: there is no such bus, or nobody publishes the stream there
    """

    def pick(_: str, message: Message) -> Bar | None:
        return message if type(message) is Bar and (forming or message.closed) else None

    return Subscription((stream,), Start(last=history), pick, bus, timeout_s, name)


def listen(
    *patterns: str,
    start: Start | None = None,
    bus: str | RunDir | None = None,
    timeout_s: float = 3.0,
    name: str = "",
) -> Subscription[Heard]:
    """Everything that some streams say: bars, states, plots, signals … with the name of its stream.

    A script's stream begins with how it stands: its run, how its plots look, their last values, what is drawn, the
    account of a strategy. A forming bar, and a plot of one, has ``closed`` False; only the latest counts.

    :param patterns: names, or patterns such as ``demo:*`` and ``run:*``
    :param start: where to begin in each; at what is said next by default
    :param name: what `pynelive streams` calls this subscriber; the program's name by default
    :raises Fault: there is no such bus, or nobody publishes the streams there
    """
    begin = structs.replace(start or Start(last=0), picture=True)
    return Subscription(patterns, begin, Heard, bus, timeout_s, name)
