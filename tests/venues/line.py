"""A venue's WebSocket side: its connections, and what is subscribed on them."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web
from pynelive.bus.names import timeframe_ms
from pynelive.producers import clock

from .limits import Bucket
from .market import Market, Row
from .tamper import half_a_frame, reset

if TYPE_CHECKING:
    from .server import Venue

_numbers = itertools.count(1)
_PING_S = 20.0


class Channel:
    """What any number of connections can be subscribed to: a market's bars at a timeframe, or its trades."""

    def __init__(self, name: Hashable, symbol: str, market: Market, timeframe: str, now_ms: int, kind: str) -> None:
        """
        :param symbol: in the venue's notation
        :param kind: ``bars`` or ``trades``
        """
        self.name, self.symbol, self.market, self.timeframe, self.kind = name, symbol, market, timeframe, kind
        self.length_ms = timeframe_ms(timeframe)
        self.connections: list[Connection] = []
        self.open_ms = market.opens_ms(timeframe, now_ms)
        """The bar that was said last."""
        self.said_ms = now_ms
        """Until when trades were said."""
        self.due_ms = 0
        self.said: Row | None = None
        """What an adapter wants to remember that it has said."""
        self.late: list[tuple[int, list[str]]] = []
        """Frames that are held back, each with how many frames go first."""
        self.muted_until_s = 0.0

    def deliver(self, frames: list[str]) -> None:
        """Send to everybody, and then what was held back until now."""
        self._send(frames)
        if self.late:
            for left, held in self.late:
                if left <= 0:
                    self._send(held)
            self.late = [(left - 1, held) for left, held in self.late if left > 0]

    def _send(self, frames: list[str]) -> None:
        if clock.monotonic() >= self.muted_until_s:
            for connection in self.connections:
                for frame in frames:
                    connection.send(frame)


class Connection:
    """One client on a WebSocket."""

    def __init__(self, venue: Venue, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.venue, self.request, self.socket = venue, request, socket
        self.id = f"lab-{next(_numbers)}"
        self.state: dict[str, Any] = {}
        """What the venue's adapter remembers of the client, such as who has logged in."""
        self.channels: set[Hashable] = set()
        per_s = venue.limit("messages_per_s", venue.messages_allowed)
        self.messages = Bucket(per_s, per_s)
        self.deaf = False
        self.silent_until_s = 0.0
        self.opened_s = clock.monotonic()
        self._queue: asyncio.Queue[str | bytes] = asyncio.Queue()

    def send(self, text: str | bytes) -> None:
        """Queue a frame (text, or binary if bytes), unless the line is silent."""
        if clock.monotonic() >= self.silent_until_s:
            self._queue.put_nowait(text)

    def send_json(self, message: Any) -> None:
        """Queue a message."""
        self.send(json.dumps(message, separators=(",", ":")))

    def hush(self, seconds: float) -> None:
        """Say nothing for so long, but answer pings."""
        self.silent_until_s = clock.monotonic() + seconds

    def half_open(self) -> None:
        """Neither say nor hear anything any more, and keep the line."""
        self.deaf, self.silent_until_s = True, math.inf

    def reset(self) -> None:
        """End with a TCP reset."""
        reset(self.request)

    async def cut(self, text: str) -> None:
        """End with a TCP reset in the middle of a frame."""
        if (transport := self.request.transport) is not None:
            transport.write(half_a_frame(text))
            await asyncio.sleep(0.02)
        self.reset()

    async def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        """End with a close frame, after what is queued."""
        try:
            while not self._queue.empty():
                await self._put(self._queue.get_nowait())
        except ConnectionError:
            pass  # the client has gone already
        await self.socket.close(code=code, message=reason.encode())

    async def serve(self) -> None:
        """Until the client goes or is sent away."""
        tasks = [asyncio.create_task(work) for work in (self._write(), self._ping(), self._beat())]
        try:
            async for message in self.socket:
                await self._heard(message.type, message.data)
        except ConnectionError:
            pass  # the client has gone
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _heard(self, kind: WSMsgType, data: Any) -> None:
        if kind is WSMsgType.PING:
            await self._pinged(data)
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY) and not self.deaf:
            self.venue.counters["messages"] += 1
            if self.messages.take():
                await self.venue.heard(self, _decoded(data))
            else:
                self.venue.counters["refused:messages"] += 1
                await self.close(WSCloseCode.POLICY_VIOLATION, "Too many requests")

    async def _pinged(self, data: bytes) -> None:
        if not self.swallows_ping():
            await self.socket.pong(data)

    def swallows_ping(self) -> bool:
        """Count a ping, the protocol's or the venue's own; whether it stays without an answer."""
        fault = self.venue.plan.hit("wsping")
        if fault is not None and fault.kind == "halfopen":
            self.half_open()
        if fault is not None and fault.kind == "abort":
            self.reset()
        return self.deaf or fault is not None

    async def _write(self) -> None:
        try:
            while True:
                await self._put(await self._queue.get())
        except ConnectionError:
            pass  # the reader sees it too

    async def _put(self, frame: str | bytes) -> None:
        self.venue.counters["frames"] += 1
        await (self.socket.send_bytes(frame) if isinstance(frame, bytes) else self.socket.send_str(frame))

    async def _beat(self) -> None:
        while self.venue.beat_s:
            await asyncio.sleep(self.venue.beat_s)
            self.send(self.venue.beat())

    async def _ping(self) -> None:
        """Ping as venues do (in real time), and end the connection when its life is over (by the venue's clock)."""
        life_s = self.venue.limit("life_s", 86_400)
        while clock.monotonic() - self.opened_s < life_s:
            await asyncio.sleep(min(_PING_S, life_s / clock.SPEED))
            if not self.deaf and not self.socket.closed:
                await self.socket.ping()
        await self.close(WSCloseCode.OK, "connection life is over")


def _decoded(data: str | bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
