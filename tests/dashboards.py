"""A dashboard in this process, and a browser of it that keeps what it is told by the rules of docs/dashboard.md."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import BusSpec, SinkSpec
from pynelive.bus.topology import Topology
from pynelive.sinks.feed import SinkFeed
from support import STREAM, wait_until

Row = tuple[float, ...]


@asynccontextmanager
async def dashboard(run: RunDir, **options: object) -> AsyncIterator[str]:
    """The sink `web` on a bus; its address."""
    spec = SinkSpec("web", "web", ("*",), {"port": 0, **options})
    feed = SinkFeed(Topology(Path.cwd() / "attached", BusSpec(run.bus, str(run.root)), (), (spec,), ()), spec)
    feed.prepare()
    stop = asyncio.Event()
    playing = asyncio.create_task(feed.run(stop))
    try:
        await wait_until(lambda: playing.done() or bool(feed.status().address))
        yield feed.status().address
    finally:
        stop.set()
        await playing


def decode_columns(body: bytes) -> tuple[dict[str, Any], list[Row]]:
    """The head and the rows of an answer in columns."""
    (length,) = struct.unpack_from("<I", body)
    head = msgspec.json.decode(body[4 : 4 + length])
    assert (4 + length) % 8 == 0
    count = head["count"]
    columns = [
        struct.unpack_from(f"<{count}d", body, 4 + length + place * count * 8)
        for place in range(len(head["columns"]))
    ]  # fmt: skip
    return head, list(zip(*columns, strict=True))


class Browser:
    """Holds the bars of one stream, as the page does: keyed by time, refilled after each gap.

    It asks again by the number of the last change that it knows; where that says nothing (another server, or more has
    changed than is had at once) it loads everything, page by page.
    """

    def __init__(self, address: str, stream: str = STREAM) -> None:
        self.address = address
        self.stream = stream
        self.rows: dict[float, Row] = {}
        self.forming: Row | None = None
        self.state = ""
        self.resets = self.boots = 0
        self.n = -1
        self.awake = asyncio.Event()
        """Cleared, it reads nothing."""
        self.awake.set()
        self._boot = ""
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begin, or go on, to follow."""
        self._task = asyncio.create_task(self._follow())

    async def disconnect(self) -> None:
        """Lose the connection; what is known stays known."""
        assert self._task
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def _follow(self) -> None:
        while True:
            try:
                connector = aiohttp.TCPConnector(socket_factory=self._socket)
                async with aiohttp.ClientSession(connector=connector) as self._session:
                    await self._read(self._session)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)  # it is not up just now

    async def _read(self, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{self.address}/ws") as live:
            await live.send_str(msgspec.json.encode(["follow", {"streams": [self.stream]}]).decode())
            async for frame in live:
                await self.awake.wait()
                for kind, *said in msgspec.json.decode(frame.data):
                    await self._take(kind, said)

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = info
        made = socket.socket(family, kind, protocol)
        if not self.awake.is_set():
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that it is full soon
        return made

    async def _take(self, kind: str, said: list[Any]) -> None:
        if kind == "hello" and said[0] != self._boot:
            self._boot, self.n = said[0], -1
            self.boots += 1
        elif kind == "reset":
            self.resets += 1
            await self._refill()
        elif kind in ("n", "b", "s"):
            _, n, *values = said
            if n > self.n + (kind == "s" or (kind == "b" and values[6])):
                await self._refill()
            elif n >= self.n:
                self._note(kind, n, values)

    def _note(self, kind: str, n: int, values: list[Any]) -> None:
        if kind == "s":
            self.state = values[0]
        elif kind == "b" and values[6] and n > self.n:
            self.rows[values[0]] = (*map(float, values[:6]), float(values[7]))
        elif kind == "b" and not values[6]:
            self.forming = tuple(values[:6])
        self.n = n

    async def _refill(self) -> None:
        if self.n < 0:
            await self._reload()
            return
        head, rows = await self.bars(since_n=self.n, limit=20_000)
        if head["older"] or head["boot"] != self._boot:
            await self._reload()
        else:
            self._keep(head, rows)

    async def _reload(self) -> None:
        head, rows = first, _ = await self.bars()
        while head["older"] and rows:
            head, page = await self.bars(before_ms=rows[0][0])
            rows = page + rows
        self.rows.clear()
        self._boot = first["boot"]
        self._keep(first, rows)

    def _keep(self, head: dict[str, Any], rows: list[Row]) -> None:
        self.rows |= {row[0]: row for row in rows}
        self.n, self.state = head["n"], head["state"]
        self.forming = head["forming"] and tuple(head["forming"][:6])

    async def bars(self, **query: object) -> tuple[dict[str, Any], list[Row]]:
        """One page; asked for again where the bus is too busy to answer in time."""
        assert self._session
        params = {"stream": self.stream, **{name: str(value) for name, value in query.items()}}
        while True:
            async with self._session.get(f"{self.address}/api/bars", params=params) as answer:
                if answer.status != 503:
                    assert answer.status == 200, await answer.text()
                    return decode_columns(await answer.read())
