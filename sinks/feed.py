"""The loop around any sink: subscribe, hand over what waits, say what is durable.

The sink works in a thread of its own, one call at a time; while it writes, messages gather, and the next call
gets them all. What it has written is acknowledged, and what it cannot take yet is left with the publishers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from ..bus import failpoints
from ..bus.calls import Start
from ..bus.cursor import Cursor
from ..bus.messages import Bar, Message, is_forming
from ..bus.rundir import RunDir
from ..bus.specs import SinkSpec
from ..bus.status import ActorState, Rate, Status, StreamStatus
from ..bus.subscriber import Subscriber
from ..bus.topology import Topology
from .contract import Delivery, Sink
from .table import configured, find_sink

EARLIEST = Start()
_FULL = 50_000
_EMPTY = 10_000


class SinkFeed:
    """A sink: one subscriber and what keeps or shows its messages."""

    def __init__(self, topology: Topology, spec: SinkSpec, start: Start = EARLIEST) -> None:
        """:param start: where a stream begins that the sink has nothing of"""
        self._topology = topology
        self._spec = spec
        self._start = start
        self._state: ActorState = "starting"
        self._bars: dict[str, int] = {}
        self._cursors: tuple[Cursor, ...] = ()
        self._rate = Rate()
        self._waiting: list[Delivery] = []
        self._reached: dict[str, tuple[int, int]] = {}
        self._wake = asyncio.Event()
        self._writes = 0

    def prepare(self) -> None:
        """Import the sink and check its options."""
        kind = find_sink(self._spec.type, self._topology.base)
        self._sink: Sink = kind(configured(kind, self._spec.options), self._topology.base)
        self._run_dir = RunDir(self._topology)
        self._expected = set(self._topology.consumed(self._spec))
        self._subscriber = Subscriber(
            self._run_dir, self._spec.streams, self._take, self._begin, consumer=self._spec.name
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Keep what comes until all declared streams have ended or ``stop`` is set; then all is durable."""
        with ThreadPoolExecutor(1, "sink") as self._thread:
            await self._in_thread(self._sink.attach, self._run_dir, self._topology, self._spec.name)
            self._subscriber.open()
            stopped = asyncio.create_task(stop.wait())
            failed = asyncio.create_task(self._subscriber.failed())
            for task in (stopped, failed):
                task.add_done_callback(lambda _: self._wake.set())
            self._state = "running"
            try:
                while not (stopped.done() or self._over()):
                    await self._wake.wait()
                    self._wake.clear()
                    if failed.done():
                        failed.result()
                    await self._write()
                await self._write()
                if self._over():
                    self._state = "draining"
                    finishing = asyncio.create_task(self._subscriber.finish())
                    await asyncio.wait([finishing, stopped], return_when=asyncio.FIRST_COMPLETED)
                    finishing.cancel()
                    if failpoints.ACTIVE:
                        failpoints.hit("sink.after-end")
            finally:
                stopped.cancel()
                failed.cancel()
                self._cursors = tuple(self._subscriber.cursors)
                await self._subscriber.close()
                await self._in_thread(self._sink.close)

    async def _in_thread(self, work: object, *given: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)  # type: ignore[arg-type]

    async def _begin(self, cursor: Cursor) -> Start:
        opened = await self._in_thread(self._sink.open, cursor.stream, cursor.instrument)
        if isinstance(opened, Start):
            return opened
        return Start(from_ms=opened) if isinstance(opened, int) else self._start

    def _take(self, cursor: Cursor, messages: list[Message]) -> None:
        """Queue what the sink wants; a full queue stops the reading, and the journals keep the rest."""
        if not self._sink.forming:
            messages = [each for each in messages if (type(each) is Bar and each.closed) or not is_forming(each)]
        closed = sum([type(message) is Bar and message.closed for message in messages])
        self._bars[cursor.stream] = self._bars.get(cursor.stream, 0) + closed
        self._waiting += map(Delivery, repeat(cursor.stream), messages)
        self._reached[cursor.stream] = (cursor.epoch, cursor.next)
        self._wake.set()
        if len(self._waiting) > _FULL:
            self._subscriber.pause(True)

    async def _write(self) -> None:
        """Hand over all that waits; it is durable afterwards."""
        batch, self._waiting = self._waiting, []
        reached, self._reached = self._reached, {}
        if batch:
            await self._in_thread(self._sink.write, batch)
            self._writes += 1
            failpoints.hit("sink.between-write-and-ack")
        self._subscriber.ack(reached)
        if len(self._waiting) < _EMPTY:
            self._subscriber.pause(False)

    def _over(self) -> bool:
        """Whether every declared stream has ended and is durable, and there is nothing more to do."""
        if self._sink.stays:
            return False
        ended = {cursor.stream for cursor in self._subscriber.cursors if cursor.ended}
        expected = self._expected or {cursor.stream for cursor in self._subscriber.cursors}
        return not self._waiting and bool(ended) and expected <= ended

    # --- what the supervisor asks ---------------------------------------------------------------------------

    def quiet(self) -> None:
        """Only a producer says something of its own accord."""

    def forget(self, consumer: str) -> None:
        """A sink has no consumers."""

    def expect(self, consumer: str, streams: Sequence[str]) -> None:
        """A sink has no consumers."""

    def reload(self) -> None:
        """Only a producer has credentials."""

    def status(self) -> Status:
        """The heartbeat."""
        streams = [
            StreamStatus(
                c.stream, c.next, self._bars.get(c.stream, 0), c.lag, c.time_ms, c.last_price,
                c.shown,
            )
            for c in self._cursors or self._subscriber.cursors
        ] + self._subscriber.unheard(self._topology)  # fmt: skip
        bars = sum(self._bars.values())
        return Status(
            self._spec.name, "sink", self._state, streams=streams, bars=bars, rate=self._rate.of(bars, self._state),
            counters={**self._subscriber.counters(), "writes": self._writes}, summary=self._sink.summary(),
            address=self._sink.address,
        )  # fmt: skip
