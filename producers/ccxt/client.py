"""A ccxt.pro exchange with its ears open: raw frames, every lost connection and every answer come out of it.

ccxt is used for markets, signing, addresses, REST and the frames that subscribe. Its polling is not: it drops the
venues' closed flag, loses wake-ups and reconnects in silence.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import ccxt.pro

from ..http import USER_AGENT
from .errors import Garbled
from .venues import Venue

_BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, OSError, zlib.error,
           ccxt.BaseError)  # fmt: skip
"""What a frame that is not as expected raises in ccxt's handlers."""

PING_S = 10.0
"""Between two pings; a connection is dead when two of them stay unanswered."""
_DIAL_S = 10.0
_ANSWER_S = 10.0
_GOODBYE_S = 1.0
_PONGS = ("binance", "binanceus", "binanceusdm", "binancecoinm")
"""These answer pings at any rate, though ccxt sends them every three minutes."""


class Listener(Protocol):
    """Who hears what the exchange's connections do."""

    def opened(self, url: str) -> None:
        """A connection is open."""

    def lost(self, url: str, error: Exception) -> None:
        """A connection is gone, or was never there."""

    def heard(self, url: str, frame: Any) -> None:
        """A frame has come, of whatever kind."""

    def candles(self, url: str, frame: Any, *more: Any) -> None:
        """A frame of candles has come."""

    async def spend(self, cost: float) -> None:
        """Wait for the turn of a request that costs so much by ccxt's table."""


def find_exchange(name: str) -> Any:
    """ccxt's class of an exchange: the one with WebSockets where there is one."""
    return getattr(ccxt.pro, name, None) or getattr(ccxt.async_support, name)


def open_exchange(name: str, listener: Listener, venue: Venue, settings: dict[str, Any]) -> Any:
    """The exchange, not connected to anything yet; where the venue has a tap, ccxt keeps no candles."""
    mixed = _Listening if venue.tap is None else _Tapping
    kind = type(mixed.__name__, (mixed, find_exchange(name)), {"listener": listener, "venue": venue})
    ex: Any = kind({
        "enableRateLimit": True,
        "timeout": int(_ANSWER_S * 1000),
        "newUpdates": True,
        "userAgent": USER_AGENT,
        **settings,
    })  # fmt: skip
    ex.has = {**ex.has, "fetchCurrencies": False}  # bars do not need it, and with a key it is a private request
    usual_ms = ex.streaming.get("keepAlive") or 30_000
    if usual_ms <= 30_000 or name in _PONGS:  # who asks for longer may not answer pings at all
        usual_ms = min(usual_ms, int(PING_S * 1000))
    ex.options["ws"] = {
        **(ex.options.get("ws") or {}),
        "keepAlive": usual_ms, "maxPingPongMisses": 2, "connectionTimeout": int(_DIAL_S * 1000),
    }  # fmt: skip
    return ex


_Exchange: Any = object


class _Listening(_Exchange):  # type: ignore[misc]
    """Mixed into an exchange's class, before it."""

    listener: Listener
    venue: Venue

    def client(self, url: str) -> Any:
        fresh = url not in (self.clients or {})
        client = super().client(url)
        if fresh:
            client.handle_message = _guarded(client, client.handle_message)
        return client

    def handle_message(self, client: Any, message: Any) -> None:
        self.listener.heard(client.url, message)
        super().handle_message(client, message)

    def on_connected(self, client: Any, message: Any = None) -> None:
        super().on_connected(client, message)
        if self.clients.get(client.url) is client:
            self.listener.opened(client.url)
        else:  # it was given up while it dialled
            self.spawn(client.close)

    def on_error(self, client: Any, error: Exception) -> None:
        ours = self.clients.get(client.url) is client
        super().on_error(client, error)
        if ours:
            self.listener.lost(client.url, error)

    def on_close(self, client: Any, code: Any) -> None:
        ours = self.clients.get(client.url) is client
        super().on_close(client, code)
        if ours:
            error = client.error or ccxt.NetworkError(f"the venue has closed the connection (code {code})")
            self.listener.lost(client.url, error)

    async def throttle(self, cost: float | None = None) -> None:
        await self.listener.spend(1.0 if cost is None else cost)

    def handle_errors(self, status: int, reason: str, url: str, method: str, headers: Any, body: str,
                      answer: Any, *sent: Any) -> Any:  # fmt: skip
        """Note what the answer was in the error: ccxt itself keeps no more than the last one of all."""
        try:
            if status < 400 and answer is None:  # ccxt would make candles of the letters of an HTML page
                raise Garbled(f"{url.partition('?')[0]} answers with something that is no JSON: {body[:60]!r}")
            super().handle_errors(status, reason, url, method, headers, body, answer, *sent)
            self.handle_http_status_code(status, reason, url, method, body)
        except ccxt.BaseError as error:
            error.status, error.headers = status, headers
            raise

    def parse_ohlcv(self, row: Any, market: Any = None) -> list[Any]:
        """ccxt's six numbers, and behind them what the venue says beyond."""
        parsed: list[Any] = super().parse_ohlcv(row, market)
        if self.venue.beyond is None or (market or {}).get("inverse"):
            return parsed
        return [*parsed, self.venue.beyond(row)]


class _Tapping(_Listening):
    """The same, where ccxt need not keep candles."""

    def handle_ohlcv(self, client: Any, frame: Any, *more: Any) -> None:
        self.listener.candles(client.url, frame, *more)


def _guarded(client: Any, handle: Callable[[Any], None]) -> Callable[[Any], None]:
    """One bad frame would end ccxt's receiving with the socket left open: end the connection instead."""

    def guarded(message: Any) -> None:
        try:
            handle(message)
        except ccxt.ExchangeError as error:  # the venue refuses something, and ccxt's handler did not see it
            client.reject(error)
        except _BROKEN as error:
            client.on_error(Garbled(f"a frame that cannot be read: {type(error).__name__}: {error}"))

    return guarded


def point(ex: Any, url: str, ws_url: str) -> None:
    """Let the exchange speak to other addresses: scheme and host are replaced, paths stay."""

    def moved(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: moved(value) for key, value in item.items()}
        if not isinstance(item, str):
            return item
        base = (ws_url if item.startswith("ws") else url).rstrip("/")
        if base and item.startswith("wss://stream.binance."):
            base = base.removesuffix("/stream") + "/stream"  # by that word ccxt knows Binance's spot from its futures
        return re.sub(r"^\w+://[^/]+", base, item) if base else item

    ex.urls["api"] = moved(ex.urls["api"])


async def hang_up(ex: Any) -> None:
    """Close all WebSockets of the exchange and forget what they had; REST goes on."""
    clients, ex.clients = list((ex.clients or {}).values()), {}
    ex.ws_dial_backoff = {}  # the feed backs off
    ex.ohlcvs, ex.trades = {}, {}
    await asyncio.gather(*map(_end, clients))


async def _end(client: Any) -> None:
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await client.close()
    except TimeoutError:
        pass  # the other side is not there any more, so it does not say goodbye
