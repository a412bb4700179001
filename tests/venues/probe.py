"""Plain clients of the laboratory, for tests: ccxt's own, and listeners that only note what comes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from .client import Lab


@asynccontextmanager
async def exchange(venue: Lab, suffix: str = "", **options: Any) -> AsyncIterator[Any]:
    """ccxt.pro's own client of the venue."""
    import ccxt.pro

    client = getattr(ccxt.pro, venue.spec.venue)({"timeout": 60_000, "options": options})
    client.timeout_on_exit = 0
    client.urls["api"] = pointed(client.urls["api"], venue.http, venue.ws + suffix)
    try:
        yield client
    finally:
        await client.close()


def pointed(urls: Any, http: str, ws: str) -> Any:
    """All addresses of a ccxt exchange, moved to the venue."""
    if isinstance(urls, dict):
        return {name: pointed(url, http, ws) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    return re.sub(r"^wss?://[^/]+", ws, urls) if urls.startswith("ws") else re.sub(r"^https?://[^/]+", http, urls)


@asynccontextmanager
async def listening(venue: Lab, stream: str = "btcusdt@kline_1m") -> AsyncIterator[list[Any]]:
    """The frames of one Binance stream, in a list that grows."""
    frames: list[Any] = []

    async def read(socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            frames.append(message.json())

    async with aiohttp.ClientSession() as session, session.ws_connect(venue.ws + "/ws/0") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": [stream], "id": 1})
        assert await socket.receive_json() == {"result": None, "id": 1}
        reader = asyncio.create_task(read(socket))
        try:
            yield frames
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def asked(session: aiohttp.ClientSession, url: str, timeout_s: float = 20) -> Any:
    """What an HTTP client gets: the status and the decoded body, or the name of what went wrong."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(timeout_s)) as answer:
            text = await answer.text()
            return answer.status, json.loads(text)
    except (aiohttp.ClientError, ValueError, TimeoutError) as error:
        return type(error).__name__


class Heard:
    """What came of a connection: how it ended, and each frame."""

    def __init__(self) -> None:
        self.end = ""
        self.frames: list[Any] = []
        self.acks: list[Any] = []

    async def listen(
        self, venue: Lab, session: aiohttp.ClientSession, until: Callable[[Heard], bool], patience_s: float = 20
    ) -> None:
        """Subscribe and note what comes, until it is so, the connection ends, or nothing comes for too long."""
        try:
            async with session.ws_connect(venue.ws + "/ws/0", timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket:
                await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 1})
                while not until(self) and not self.end and len(self.frames) < 200:
                    self._take(await socket.receive(patience_s), socket)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.end = self.end or type(error).__name__

    def _take(self, message: aiohttp.WSMessage, socket: aiohttp.ClientWebSocketResponse) -> None:
        if message.type is not aiohttp.WSMsgType.TEXT:
            self.end = str(message.data or socket.close_code)
            return
        try:
            frame = message.json()
        except ValueError:
            self.frames.append("bad")
            return
        (self.acks if "id" in frame else self.frames).append(frame)

    def klines(self) -> list[Any]:
        """The klines that came."""
        return [frame["k"] for frame in self.frames if frame != "bad" and frame["e"] == "kline"]

    def times(self) -> list[int]:
        """The closed bars that came."""
        return [k["t"] for k in self.klines() if k["x"]]
