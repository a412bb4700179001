"""What browsers are told as it happens: each has a queue of its own, and one that is too slow starts again.

A message is encoded once, however many follow it. A queue that is too long is emptied, and its browser is told to ask
for what has changed since; nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from aiohttp import WSMsgType, web

from ... import __version__
from .bars import Short
from .desk import Desk

LARGEST_REQUEST = 1 << 18
_MOST_MESSAGES = 5_000
_MOST_BYTES = 1 << 20
_PAUSE_S = 0.02
"""Between two frames to the same browser: what comes meanwhile goes with the next one."""
_QUOTES_S = 0.5
_GOODBYE_S = 1.0
_CLOSED_AT = {"b": 9, "p": 4}
"""Where a message says whether it is of a closed bar; of one that forms, only the latest is sent."""
_encode = msgspec.json.Encoder().encode


class Wants(msgspec.Struct, frozen=True):
    """What a browser follows; the streams are so few that the resets of all of them can wait for it."""

    streams: Annotated[frozenset[str], msgspec.Meta(max_length=1_000)] = frozenset()
    quotes: bool = False
    bus: bool = False
    alerts: bool = False
    log: bool = False
    runs: bool = False
    """Of all scripts what a card shows: trades, signals, alerts, accounts, states."""

    def beside(self, stream: str, letter: str) -> bool:
        """Whether such a message is wanted of a stream that is not followed."""
        return (self.alerts and letter == "a") or (self.runs and letter in "aofgrs" and stream.startswith("run:"))


_requests = msgspec.json.Decoder(tuple[Literal["follow"], Wants])


class Client:
    """One browser: what it follows, and what waits for it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.socket = socket
        self.transport = transport
        self.wants = Wants()
        self._waiting: list[str] = []
        self._forming: dict[str, int] = {}
        """Where the latest of a forming bar waits."""
        self._bytes = 0
        self._wake = asyncio.Event()

    def say(self, text: str) -> None:
        """Queue a message."""
        self._waiting.append(text)
        self._bytes += len(text)
        self._wake.set()
        if len(self._waiting) > _MOST_MESSAGES or self._bytes > _MOST_BYTES:
            self._start_again()

    def say_of(self, stream: str, text: str, forming: bool) -> None:
        """Queue a message of a stream; one of a forming bar takes the place of the last one that waits."""
        if forming and (at := self._forming.get(stream)) is not None:
            self._waiting[at] = text
            return
        self._forming.pop(stream, None)
        if forming:
            self._forming[stream] = len(self._waiting)
        self.say(text)

    def _start_again(self) -> None:
        self._drop()
        for stream in ("", *self.wants.streams):
            self.say(_encode(["reset", stream]).decode())

    def _drop(self) -> list[str]:
        waited, self._waiting = self._waiting, []
        self._forming.clear()
        self._bytes = 0
        return waited

    async def write(self) -> None:
        """Send what waits, all in one frame, until it has left; a browser that does not read holds up only this."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.socket.send_str(f"[{','.join(self._drop())}]")
            except ConnectionError:
                return  # it has left; who reads from it ends too
            await asyncio.sleep(_PAUSE_S)


class Live:
    """All browsers that are connected."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self._moved: set[str] = set()
        """The streams that have said something since prices were told last."""

    def wanted(self, what: Literal["quotes", "bus", "alerts", "log"]) -> bool:
        """Whether anybody looks at it."""
        return any(getattr(client.wants, what) for client in self.clients)

    def tell(self, stream: str, said: Iterable[Short]) -> None:
        """Tell those who follow the stream; everybody, if it is none."""
        self._moved.add(stream)
        followers = [client for client in self.clients if not stream or stream in client.wants.streams]
        others = self.clients.difference(followers)
        for message in said:
            heard = followers + [client for client in others if client.wants.beside(stream, message[0])]
            if not heard:
                continue
            text, place = _encode(message).decode(), _CLOSED_AT.get(message[0])
            for client in heard:
                client.say_of(stream, text, forming=place is not None and not message[place])

    def tell_lookers(self, what: Literal["quotes", "bus", "log"], message: Short) -> None:
        """Tell those who look at it."""
        text = _encode(message).decode()
        for client in self.clients:
            if getattr(client.wants, what):
                client.say(text)

    async def quote(self, desk: Desk) -> None:
        """Tell prices now and then, of the streams that have moved; for ever."""
        while True:
            await asyncio.sleep(_QUOTES_S)
            moved, self._moved = self._moved, set()
            if self.wanted("quotes") and (quotes := [s.quote() for s in desk.bars if s.stream in moved]):
                self.tell_lookers("quotes", ["q", quotes])

    async def serve(self, request: web.Request, desk: Desk) -> web.WebSocketResponse:
        """One browser, from its connection to its end."""
        socket = web.WebSocketResponse(heartbeat=20, compress=False, max_msg_size=LARGEST_REQUEST)
        await socket.prepare(request)
        if request.transport is None:
            return socket  # it has gone again
        client = Client(socket, request.transport)
        client.say(_encode(["hello", desk.boot, __version__]).decode())
        writing = asyncio.create_task(client.write())
        self.clients.add(client)
        try:
            await self._read(client, desk)
        finally:
            self.clients.discard(client)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return socket

    async def close(self) -> None:
        """Say goodbye to all who hear it; who does not read is not waited for."""
        closing = {asyncio.create_task(client.socket.close(code=1001)): client for client in self.clients}
        if closing:
            _, deaf = await asyncio.wait(closing, timeout=_GOODBYE_S)
            for task in deaf:
                closing[task].transport.abort()
            await asyncio.gather(*closing, return_exceptions=True)

    async def _read(self, client: Client, desk: Desk) -> None:
        async for message in client.socket:
            if message.type is WSMsgType.ERROR:
                break  # it was too large, or nothing that a browser sends
            try:
                if message.type is not WSMsgType.TEXT:
                    raise msgspec.DecodeError("it is no text")
                _, client.wants = _requests.decode(message.data)
                for stream in client.wants.streams & desk.stores.keys():
                    client.say(_encode(["n", stream, desk.stores[stream].n]).decode())
            except msgspec.DecodeError as error:
                sentence = f"that is not understood ({error}): send [\"follow\", {{\"streams\": [\"…\"]}}]"
                with suppress(ConnectionError):  # it may be gone by now
                    await client.socket.send_str(_encode([["error", sentence]]).decode())
                await client.socket.close(code=1008, message=b"not understood")
