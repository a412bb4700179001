"""Binance spot, as far as public market data goes.

REST ``/api/v3/klines`` answers rows ``[openTime, "o", "h", "l", "c", "v", closeTime, "quoteVolume", trades,
"takerBase", "takerQuote", "0"]``, oldest first, the last one still forming. On the WebSocket a client says
``{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}``, gets ``{"result":null,"id":1}``, and then frames
``{"e":"kline","E":ms,"s":"BTCUSDT","k":{"t","T","s","i","f","L","o","c","h","l","v","n","x":closed,"q","V","Q","B"}}``;
``<symbol>@trade`` gives ``{"e":"trade","E","s","t":id,"p","q","T","m":buyer is maker}``.

Limits: weight 6,000 a minute (429, then 418 for who goes on), 5 messages a second and 1,024 streams a connection,
300 connections in 5 minutes. Source: https://developers.binance.com/docs/binance-spot-api-docs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from .limits import Window
from .line import Channel, Connection
from .market import Market, Row, Trade
from .server import Venue
from .spec import Spec

TIMEFRAMES = {
    "1s": "1S", "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240",
    "6h": "360", "8h": "480", "12h": "720", "1d": "1D", "3d": "3D", "1w": "1W",
}  # fmt: skip
_WEIGHTS = {"/api/v3/klines": 2, "/api/v3/exchangeInfo": 20}
_STREAM = re.compile(r"([a-z0-9]+)@(?:kline_(\w+)|trade)")


class Binance(Venue):
    """Binance spot."""

    close_field = "c"
    connections_allowed = 300.0
    messages_allowed = 5.0
    patience = 10

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._weight = Window(self.limit("weight", 6000), 60)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/api/v3/ping", self._ping), web.get("/api/v3/time", self._time),
            web.get("/api/v3/exchangeInfo", self._exchange_info), web.get("/api/v3/klines", self._klines),
            web.get("/stream/ws/{number}", self.socket), web.get("/ws/{number}", self.socket),
        ]  # fmt: skip

    # REST -------------------------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        if self._weight.take(_WEIGHTS.get(request.path, 1)):
            return None
        return self.hold("rate", self._weight.left_s)

    def failure(self, kind: str, wait_s: float) -> web.Response:
        if kind == "maintenance":
            return web.json_response({"code": 1, "msg": "System is under maintenance."}, status=503)
        text = "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."
        if kind == "ban":
            text = f"Way too much request weight used; IP banned until {self.now_ms() + round(wait_s * 1000)}."
        headers = {"Retry-After": str(math.ceil(wait_s))}
        status = 418 if kind == "ban" else 429
        return web.json_response({"code": -1003, "msg": text}, status=status, headers=headers)

    def _answer(self, message: Any) -> web.Response:
        used = str(round(self._weight.used))
        return web.json_response(message, headers={"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used})

    async def _ping(self, _: web.Request) -> web.Response:
        return self._answer({})

    async def _time(self, _: web.Request) -> web.Response:
        return self._answer({"serverTime": self.now_ms()})

    async def _exchange_info(self, _: web.Request) -> web.Response:
        symbols = [_listing(name, market, self.is_delisted(market)) for name, market in self.markets.items()]
        return self._answer({"timezone": "UTC", "serverTime": self.now_ms(), "rateLimits": [], "symbols": symbols})

    async def _klines(self, request: web.Request) -> web.Response:
        """``symbol``, ``interval``, ``limit`` (500, at most 1000), ``startTime``, ``endTime``."""
        market = self.market(request.query.get("symbol", ""))
        timeframe = TIMEFRAMES.get(request.query.get("interval", ""))
        if market is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        if timeframe is None:
            return web.json_response({"code": -1120, "msg": "Invalid interval."}, status=400)
        start, end = (int(text) if (text := request.query.get(name)) else None for name in ("startTime", "endTime"))
        limit = min(int(request.query.get("limit", 500)), 1000)
        rows = self.history(request, market, timeframe, start, end, limit)
        return self._answer([self._kline(market, timeframe, row) for row in rows])

    def _kline(self, market: Market, timeframe: str, row: Row) -> list[Any]:
        """See the file's head."""
        close_ms = market.closes_ms(timeframe, row.time_ms) - 1
        return [
            row.time_ms, _8(row.open), _8(row.high), _8(row.low), _8(row.close), _8(row.volume), close_ms,
            _8(row.quote), row.trades, _8(row.taker_base), _8(row.taker_quote), "0",
        ]  # fmt: skip

    # WebSocket --------------------------------------------------------------------------------------------------

    async def heard(self, connection: Connection, message: Any) -> None:
        if not isinstance(message, dict) or message.get("method") not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            connection.send_json(_error(2, "Invalid request: unknown method", message))
            return
        names = message.get("params") or []
        if message["method"] == "UNSUBSCRIBE":
            for name in names:
                self.unsubscribe(connection, name)
        else:
            if await self.hindered(connection, message):
                return
            if problem := self._problem(connection, names):
                connection.send_json(_error(2, f"Invalid request: {problem}", message))
                return
            for name in names:
                self._subscribe(connection, name)
        connection.send_json({"result": None, "id": message.get("id")})

    def _problem(self, connection: Connection, names: list[str]) -> str:
        if len(connection.channels | set(names)) > self.limit("streams", 1024):
            self.counters["refused:streams"] += 1
            return "too many streams"
        bad = [name for name in names if not _STREAM.fullmatch(name)]
        return f"unknown stream {bad[0]}" if bad else ""

    def _subscribe(self, connection: Connection, name: str) -> None:
        """A stream of a symbol that does not exist is accepted, and says nothing: so does the real one."""
        match = _STREAM.fullmatch(name)
        assert match is not None
        symbol, interval = match[1].upper(), match[2]
        if self.market(symbol) is None or (interval and interval not in TIMEFRAMES):
            connection.channels.add(name)
        elif interval:
            self.subscribe(connection, name, symbol, TIMEFRAMES[interval])
        else:
            self.subscribe(connection, name, symbol, kind="trades")

    def rejection(self, message: Any) -> Any:
        return _error(2, "Invalid request: rejected", message)

    def shutdown_frame(self) -> str:
        return json.dumps({"e": "serverShutdown", "E": self.now_ms()})

    def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
        """See the file's head."""
        interval = str(channel.name).rpartition("_")[2]
        last_ms = row.time_ms + channel.length_ms - 1
        return [
            f'{{"e":"kline","E":{self.now_ms()},"s":"{channel.symbol}","k":{{"t":{row.time_ms},"T":{last_ms},'
            f'"s":"{channel.symbol}","i":"{interval}","f":-1,"L":-1,"o":"{row.open:.8f}","c":"{row.close:.8f}",'
            f'"h":"{row.high:.8f}","l":"{row.low:.8f}","v":"{row.volume:.8f}","n":{row.trades},'
            f'"x":{"true" if closed else "false"},"q":"{row.quote:.8f}","V":"{row.taker_base:.8f}",'
            f'"Q":"{row.taker_quote:.8f}","B":"0"}}}}'
        ]

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        """See the file's head."""
        return [
            f'{{"e":"trade","E":{self.now_ms()},"s":"{channel.symbol}","t":{trade.id},"p":"{trade.price:.8f}",'
            f'"q":"{trade.quantity:.8f}","T":{trade.time_ms},"m":{"false" if trade.bought else "true"},"M":true}}'
            for trade in trades
        ]


def _listing(name: str, market: Market, delisted: bool) -> dict[str, Any]:
    base, _, quote = market.symbol.partition("/")
    tick, lot = 10.0**-market.price_digits, 10.0**-market.volume_digits
    return {
        "symbol": name, "status": "BREAK" if delisted else "TRADING", "baseAsset": base, "baseAssetPrecision": 8,
        "quoteAsset": quote, "quotePrecision": 8, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False, "permissions": [], "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": _8(tick), "maxPrice": "1000000.00000000", "tickSize": _8(tick)},
            {"filterType": "LOT_SIZE", "minQty": _8(lot), "maxQty": "9000.00000000", "stepSize": _8(lot)},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"},
        ],
    }  # fmt: skip


def _error(code: int, text: str, message: Any) -> dict[str, Any]:
    return {"error": {"code": code, "msg": text}, "id": message.get("id") if isinstance(message, dict) else None}


def _8(value: float) -> str:
    return f"{value:.8f}"
