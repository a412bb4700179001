"""How Massive speaks: its aggregates as they are written, and its live connection."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from math import isfinite
from time import time_ns

import aiohttp
import msgspec

from ...bus.messages import Bar
from ..contract import ConfigError, Disconnected
from .markets import Market

_ANSWER_S = 15
_MANY_CONNECTIONS_S = 30
_DONE = {"connected", "auth_success", "success"}


class Said(msgspec.Struct):
    """What every row of a frame has, and the words of a status.

    ``[{"ev":"status","status":"success","message":"subscribed to: AM.AAPL"}]``
    """

    ev: str
    status: str = ""
    message: str = ""


class Aggregate(msgspec.Struct):
    """A minute (AM, XA, CA) or a second (A, XAS, CAS), when it is over; times are Unix milliseconds.

    ``{"ev":"AM","sym":"GTE","v":4110,"av":9470157,"op":0.4372,"vw":0.4488,"o":0.4488,"c":0.4486,"h":0.4489,
    "l":0.4486,"a":0.4352,"z":685,"s":1610144640000,"e":1610144700000}``; of pairs
    ``{"ev":"XA","pair":"BTC-USD","v":951.6,"vw":26503.7,"z":0,"o":…,"c":…,"h":…,"l":…,"s":…,"e":…}``
    """

    ev: str
    o: float
    h: float
    l: float  # noqa: E741 - the venue's name
    c: float
    s: int
    e: int
    v: float = 0.0
    vw: float | None = None
    z: float | None = None
    sym: str = ""
    pair: str = ""

    def ticker(self, market: Market) -> str:
        """The ticker as history has it: ``X:BTCUSD`` of ``BTC-USD``."""
        return self.sym or f"{market.minutes[0]}:{re.sub('[-/]', '', self.pair)}"

    def bar(self, received_ns: int) -> Bar:
        """The closed bar.

        :raises ValueError: a price is no number
        """
        return _sane(Bar(self.s, self.o, self.h, self.l, self.c, self.v, received_ns=received_ns,
                         extra=_known(vwap=self.vw, average_size=self.z)))


class Row(msgspec.Struct):
    """A bar of history, by the time that it opens.

    ``{"v":70790813,"vw":131.6292,"o":130.465,"c":130.15,"h":133.41,"l":129.89,"t":1673240400000,"n":645365}``
    """

    o: float
    h: float
    l: float  # noqa: E741 - the venue's name
    c: float
    t: int
    v: float = 0.0
    vw: float | None = None
    n: int | None = None

    def bar(self, closed: bool) -> Bar:
        """The bar, closed or forming.

        :raises ValueError: a price is no number
        """
        return _sane(Bar(self.t, self.o, self.h, self.l, self.c, self.v, closed=closed, origin="backfill",
                         received_ns=time_ns(), extra=_known(vwap=self.vw, trades=self.n)))


def _known(**values: float | None) -> dict[str, float | str] | None:
    return {name: value for name, value in values.items() if value} or None


def _sane(bar: Bar) -> Bar:
    if not isfinite(bar.open + bar.high + bar.low + bar.close + bar.volume):
        raise ValueError(f"a price of the bar at {bar.time_ms} is no number")
    return bar


class Line:
    """The live connection of one class of assets: a dialogue of arrays of rows."""

    def __init__(self, market: Market, socket: aiohttp.ClientWebSocketResponse, channels: Sequence[str]) -> None:
        self.market = market
        self.socket = socket
        self._channels = channels
        self._unconfirmed: set[str] = set()
        self._deadline = 0.0

    async def log_in(self, api_key: str) -> None:
        """``{"action":"auth","params":KEY}`` after the greeting.

        :raises ConfigError: the key is not accepted, or its plan has nothing live
        """
        await self._hear("connected")
        await self._say({"action": "auth", "params": str(api_key)})  # a Secret is none for msgspec
        await self._hear("auth_success")

    async def subscribe(self) -> None:
        """``{"action":"subscribe","params":"AM.AAPL,A.AAPL"}``; every channel is confirmed by a status."""
        self._unconfirmed = set(self._channels)
        self._deadline = asyncio.get_running_loop().time() + _ANSWER_S
        await self._say({"action": "subscribe", "params": ",".join(self._channels)})

    async def receive(self) -> str:
        """The next frame.

        :raises Disconnected: the connection has ended, or a channel is not confirmed in time
        """
        try:
            async with asyncio.timeout_at(self._deadline if self._unconfirmed else None):
                message = await self.socket.receive()
        except TimeoutError:
            waited_for = ", ".join(sorted(self._unconfirmed)) or "a connection"
            raise Disconnected(f"Massive ({self.market.path}) does not confirm {waited_for}", kind="silent") from None
        if message.type is aiohttp.WSMsgType.TEXT:
            text: str = message.data
            return text
        ended = self.socket.exception()
        raise Disconnected(f"Massive ({self.market.path}) has ended the connection: {ended or self.socket.close_code}",
                           kind="silent" if isinstance(ended, aiohttp.ServerTimeoutError) else "network")

    def rows(self, frame: str) -> list[msgspec.Raw]:
        """The rows of a frame, undecoded, so that a bad one does not cost the others.

        :raises Disconnected: not an array in JSON
        """
        try:
            return msgspec.json.decode(frame, type=list[msgspec.Raw])
        except msgspec.DecodeError as error:
            raise Disconnected(f"Massive ({self.market.path}) sends a frame that cannot be read: {error}",
                               kind="protocol") from error

    def judge(self, said: Said, counters: Counter[str]) -> None:
        """What a status means.

        :raises ConfigError: the key is wrong, or a stream is not in the plan
        :raises Disconnected: the connection is lost or about to be
        """
        place = f"Massive ({self.market.path}) says {said.status}: {said.message}"
        if said.status in _DONE:
            self._unconfirmed -= _words(said.message)
        elif said.status == "auth_failed":
            raise ConfigError([f"option 'api_key' is not accepted. {place}"])
        elif said.status == "error" and self._unconfirmed:
            self._refuse(said.message, counters)
        elif said.status == "max_connections":
            raise Disconnected(f"{place}; end the other program that uses the account", _MANY_CONNECTIONS_S, "rate")
        else:
            raise Disconnected(place, kind="rate" if said.status == "slow_consumer" else "network")

    def _refuse(self, message: str, counters: Counter[str]) -> None:
        """Without its seconds a stream goes on by its minutes; without what it is made of it cannot."""
        refused = self._unconfirmed & _words(message) or set(self._unconfirmed)
        self._unconfirmed -= refused
        counters["refused channels"] += len(refused)
        needed = sorted(channel for channel in refused if channel.startswith(f"{self.market.minutes}."))
        if needed:
            raise ConfigError([f"channel {channel} is not in the plan (Massive: {message}): remove its streams, or "
                               "change the plan" for channel in needed])

    async def _hear(self, status: str) -> None:
        self._unconfirmed, self._deadline = {status}, asyncio.get_running_loop().time() + _ANSWER_S
        while self._unconfirmed:
            for row in self.rows(await self.receive()):
                said = msgspec.json.decode(row, type=Said)
                self.judge(said, Counter())
                self._unconfirmed.discard(said.status)

    async def _say(self, words: dict[str, str]) -> None:
        try:
            await self.socket.send_str(msgspec.json.encode(words).decode())
        except ConnectionError:
            pass  # what the venue said before it went is still to be received


def _words(message: str) -> set[str]:
    return set(re.split(r"[\s,]+", message))
