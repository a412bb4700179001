"""What the bus page and /metrics see: the bus itself and its logs, asked of them only while somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, Generic, TypeVar

from msgspec import structs

from ...bus.census import Census, Registrar
from ...bus.children import View
from ...bus.graph import Outline
from ...bus.logs import LogReader
from ...bus.rundir import RunDir
from ...bus.secrets import without_secrets

EVERY_S = 1.0
"""How often it is asked: who asks in between is given the last answer."""
MOST_LINES = 2_000
_LOG_BYTES = 64 << 10
_IDLE_S = 30.0
_LONGEST_LINE = 2_000

T = TypeVar("T")
LogLine = tuple[int, str, str, str, str]
"""The number of the line in this server's life, time, actor, level, text."""


class Shared(Generic[T]):
    """A question that several ask: it is put once a second at most, and all get the same answer."""

    def __init__(self, put: Callable[[], Awaitable[T]]) -> None:
        self._put = put
        self._open: asyncio.Future[T] | None = None
        self._put_at = 0.0

    async def ask(self) -> T:
        """The answer to the question that is open, or was put less than a second ago; else it is put anew."""
        late = time.monotonic() - self._put_at >= EVERY_S
        if self._open is None or (self._open.done() and late):
            self._put_at = time.monotonic()
            self._open = asyncio.ensure_future(self._put())
        return await asyncio.shield(self._open)

    def close(self) -> None:
        """Wait no longer for what is open."""
        if self._open:
            self._open.cancel()


class BusView:
    """The bus of a server; lives in the server's thread."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._registrar = Registrar(run)
        self._census = Shared(self._registrar.take)
        self._logs = Shared(self._read)
        self._reader: LogReader | None = None
        self._read_at = 0.0
        self._lines: deque[LogLine] = deque(maxlen=MOST_LINES)
        self._count = 0
        self._drawn: Outline | None = None
        self._drawings = 0

    async def census(self) -> Census:
        """What stands on the bus."""
        return await self._census.ask()

    async def look(self, graph: bool = False) -> dict[str, Any]:
        """The same for the page; ``drawn`` is another number when the graph is another one."""
        census = await self.census()
        outline = await self._registrar.draw(census.actors)
        if outline != self._drawn:
            self._drawn, self._drawings = outline, self._drawings + 1
        seen: dict[str, Any] = {
            "now_ms": census.time_ms, "bus": census.bus, "fault": census.fault, "drawn": self._drawings,
            "actors": [_actor(view) for view in census.actors],
            "streams": [row for row in census.streams if not row.stream.startswith("exec:")],
            "subscribers": census.subscribers,
        }  # fmt: skip
        return {**seen, "graph": outline} if graph else seen

    async def lines(self, after: int = 0) -> list[LogLine]:
        """The lines of the logs that are kept, from a number on."""
        await self._logs.ask()
        kept = self._lines
        return list(islice(kept, max(len(kept) - (self._count - after), 0), None))

    def close(self) -> None:
        """Leave without a trace."""
        self._census.close()
        self._logs.close()
        self._registrar.close()
        if self._reader:
            self._reader.close()

    async def _read(self) -> None:
        """Read on; after nobody has looked for a while, begin again with the end of each log."""
        now = time.monotonic()
        if self._reader and now - self._read_at > _IDLE_S:
            self._reader.close()
            self._reader = None
            self._lines.clear()
        self._read_at = now
        if self._reader is None:
            self._reader = LogReader(self._run.logs, last_bytes=_LOG_BYTES)
        for line in await asyncio.to_thread(self._reader.fresh):
            text = without_secrets(line.text)[:_LONGEST_LINE]
            self._lines.append((self._count, line.time, line.name, line.level, text))
            self._count += 1


def _actor(view: View) -> dict[str, Any]:
    """An actor in one line; what it says of its streams is in theirs."""
    fields = structs.asdict(view)
    status = fields.pop("status")
    row = {**fields, "why": without_secrets(view.why)}
    if status is None:
        return row
    said = without_secrets(status.warning or status.said).partition("\n")[0][:_LONGEST_LINE]
    lag = max((stream.lag for stream in status.streams), default=0)
    return {**row, "said": said, "warning": bool(status.warning), "memory_mb": status.memory_mb, "bars": status.bars,
            "rate": status.rate, "lag": lag}  # fmt: skip
