"""One WebSocket to Capital.com: up to 40 instruments, their closes and their quotes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import count
from typing import Any

import aiohttp
import msgspec

from ..contract import Disconnected
from ..http import said
from .session import Session, Tokens, is_session_error

LARGEST = 40
"""Instruments that the venue allows on one socket."""

_HEARTBEAT_S = 20.0  # pings of the WebSocket itself find a half-open connection
_ANSWER_S = 10.0

Frame = dict[str, Any]


class Socket:
    """A connection and what is subscribed on it; every frame carries the tokens of the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: Tokens | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._numbers = count(1)
        self._early: list[Frame] = []
        self.refused = 0
        """Subscriptions that the venue did not take."""

    async def open(self, url: str) -> None:
        """Connect.

        :raises Disconnected: nobody answers, or not as a WebSocket
        """
        place = url.partition("?")[0]
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._socket = await self._session.http.session.ws_connect(url, heartbeat=_HEARTBEAT_S)
        except aiohttp.WSServerHandshakeError as error:
            raise Disconnected(f"{place} opens no WebSocket: status {error.status}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Disconnected(f"{place} does not answer: {said(error)}") from error

    async def subscribe(self, epics: Iterable[str], resolutions: Mapping[str, Iterable[str]]) -> None:
        """Ask for quotes of the epics and for bars, by resolution; returns when the venue has said yes to all.

        What comes between is kept for :meth:`frames`.
        """
        waiting = {await self.send("marketData.subscribe", {"epics": sorted(epics)})}
        for resolution, of in resolutions.items():
            wanted = {"epics": sorted(of), "resolutions": [resolution], "type": "classic"}
            waiting.add(await self.send("OHLCMarketData.subscribe", wanted))
        try:
            async with asyncio.timeout(_ANSWER_S):
                while waiting:
                    frame = await self._receive()
                    waiting.discard(str(frame.get("correlationId")))
                    self._early.append(frame)
        except TimeoutError:
            raise Disconnected("Capital.com does not answer a subscription", kind="silent") from None

    async def ping(self) -> None:
        """Keep the socket from being idle; the answer comes as a frame."""
        await self.send("ping", None)

    async def send(self, destination: str, payload: Frame | None) -> str:
        """Send a frame with the tokens of now; its correlation id."""
        assert self._socket is not None
        self._shown = tokens = await self._session.renewed(None)
        number = str(next(self._numbers))
        await self._session.budget.spend()  # whether frames count with the requests is not said: they may
        frame = {"destination": destination, "correlationId": number, "cst": tokens.cst,
                 "securityToken": tokens.security}  # fmt: skip
        try:
            await self._socket.send_json(frame if payload is None else {**frame, "payload": payload})
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Disconnected(f"Capital.com's socket is gone: {said(error)}") from error
        return number

    async def frames(self) -> AsyncIterator[Frame]:
        """All frames from the subscription on; ends by ``Disconnected``."""
        while True:
            yield self._early.pop(0) if self._early else await self._receive()

    async def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            await self._socket.close()

    async def _receive(self) -> Frame:
        """The next frame that is no refusal.

        ::

            {"status": "OK", "destination": "OHLCMarketData.subscribe", "correlationId": "2",
             "payload": {"subscriptions": {"AAPL:HOUR:classic": "PROCESSED"}}}
            {"status": "ERROR", "destination": "ping", "correlationId": "7", "errorCode": "error.invalid.session.token"}
        """
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Disconnected(f"Capital.com has closed the socket (code {self._socket.close_code})")
        try:
            frame = msgspec.json.decode(message.data, type=Frame)
        except msgspec.MsgspecError:
            raise Disconnected("Capital.com sent a frame that is no JSON", kind="protocol") from None
        if frame.get("status") == "ERROR":
            self._judge(frame)
        taken = frame.get("payload")
        if isinstance(taken, dict) and isinstance(taken.get("subscriptions"), dict):
            self.refused += sum(answer != "PROCESSED" for answer in taken["subscriptions"].values())
        return frame

    def _judge(self, frame: Frame) -> None:
        within = frame.get("payload")
        code = str(frame.get("errorCode") or (isinstance(within, dict) and within.get("errorCode")) or "no code")
        if is_session_error(code):
            if self._shown is not None:
                self._session.forget(self._shown)
            raise Disconnected(f"Capital.com has ended the session ({code}): is the account in use elsewhere?",
                               kind="auth")  # fmt: skip
        if "too-many" in code or "limit" in code:
            raise Disconnected(f"Capital.com refuses a frame ({code})", kind="rate")
        self.refused += 1
