"""Bybit v5, linear perpetuals, as far as public market data goes.

REST ``GET /v5/market/kline?category=linear&symbol&interval&limit[&start&end]`` answers ``{"retCode":0,"retMsg":"OK",
"result":{"category","symbol","list":[["start","o","h","l","c","volume","turnover"], …]},"retExtInfo":{},"time":ms}``,
NEWEST FIRST. On the WebSocket ``{"op":"subscribe","req_id":"1","args":["kline.1.BTCUSDT"]}`` gives ``{"success":true,
"ret_msg":"","conn_id","req_id","op":"subscribe"}`` and frames ``{"topic":"kline.1.BTCUSDT","type":"snapshot","ts",
"data":[{"start","end","interval","open","close","high","low","volume","turnover","confirm":closed,"timestamp"}]}``;
``publicTrade.BTCUSDT`` gives ``data[] {"T","s","S":"Buy","v","p","L","i":id,"BT"}``. ``{"op":"ping"}`` is answered.
One unknown topic refuses the whole subscription.

Limits: 600 requests in 5 seconds (403, then 10 minutes of it), 500 connections in 5 minutes, 21,000 characters of
topics a connection. Source: https://bybit-exchange.github.io/docs/v5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from .limits import Window
from .line import Channel, Connection
from .market import Market, Row, Trade
from .server import Venue
from .spec import Spec

TIMEFRAMES = {name: name for name in ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720")}
TIMEFRAMES |= {"D": "1D", "W": "1W"}


class Bybit(Venue):
    """Bybit's linear perpetuals."""

    connections_allowed = 500.0

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._requests = Window(self.limit("requests", 600), 5)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/v5/market/time", self._time), web.get("/v5/market/instruments-info", self._instruments),
            web.get("/v5/market/kline", self._kline), web.get("/v5/public/linear", self.socket),
        ]  # fmt: skip

    def symbol_of(self, symbol: str) -> str:
        return symbol.partition(":")[0].replace("/", "")

    # REST -------------------------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        return None if self._requests.take() else self.hold("ban", 600)

    def failure(self, kind: str, wait_s: float) -> web.Response:
        if kind == "maintenance":
            return web.json_response(self._said(10016, "Server error: maintenance"), status=503)
        if kind == "ban":
            return web.json_response(self._said(10018, "access too frequent"), status=403)
        reset_ms = self.now_ms() + round(wait_s * 1000)
        headers = {"Retry-After": str(round(wait_s)), "X-Bapi-Limit-Reset-Timestamp": str(reset_ms)}
        return web.json_response(self._said(10006, "Too many visits!"), status=429, headers=headers)

    def _said(self, code: int, text: str, result: Any = None) -> dict[str, Any]:
        return {"retCode": code, "retMsg": text, "result": result or {}, "retExtInfo": {}, "time": self.now_ms()}

    async def _time(self, _: web.Request) -> web.Response:
        now_ms = self.now_ms()
        result = {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}
        return web.json_response(self._said(0, "OK", result))

    async def _instruments(self, request: web.Request) -> web.Response:
        """``category``; of another one than linear, and of the status PreLaunch, there are none."""
        category = request.query.get("category", "linear")
        live = category == "linear" and request.query.get("status", "Trading") == "Trading"
        listed = [_listing(name, m) for name, m in self.markets.items() if live and not self.is_delisted(m)]
        result = {"category": category, "list": listed, "nextPageCursor": ""}
        return web.json_response(self._said(0, "OK", result))

    async def _kline(self, request: web.Request) -> web.Response:
        """``symbol``, ``interval``, ``limit`` (200, at most 1000), ``start``, ``end``."""
        symbol = request.query.get("symbol", "")
        market, timeframe = self.market(symbol), TIMEFRAMES.get(request.query.get("interval", ""))
        if timeframe is None:
            return web.json_response(self._said(10001, "params error: Invalid period!"))
        if market is None:
            return web.json_response(self._said(10001, "Not supported symbols"))
        start, end = (int(text) if (text := request.query.get(name)) else None for name in ("start", "end"))
        limit = min(int(request.query.get("limit", 200)), 1000)
        rows = [
            [str(row.time_ms), *(repr(value) for value in row[1:6]), repr(row.quote)]
            for row in self.history(request, market, timeframe, start, end, limit)
        ]
        result = {"category": "linear", "symbol": symbol, "list": rows[::-1]}
        return web.json_response(self._said(0, "OK", result))

    # WebSocket --------------------------------------------------------------------------------------------------

    async def heard(self, connection: Connection, message: Any) -> None:
        asked = message if isinstance(message, dict) else {}
        names = [str(name) for name in asked.get("args") or []]
        said: str | None = ""
        match asked.get("op"):
            case "ping":
                said = None if connection.swallows_ping() else "pong"
            case "subscribe":
                said = None if await self.hindered(connection, asked) else self._subscribed(connection, names)
            case "unsubscribe":
                for name in names:
                    self.unsubscribe(connection, name)
            case _:
                said = "error:request,op not found"
        if said is not None:
            connection.send_json(_ack(connection, asked, not said.startswith("error"), said))

    def _subscribed(self, connection: Connection, names: list[str]) -> str:
        """Subscribe to all topics, or to none; what is wrong with them."""
        if not (problem := self._problem(connection, names)):
            for name in names:
                self._subscribe(connection, name)
        return problem

    def _problem(self, connection: Connection, names: list[str]) -> str:
        if sum(map(len, map(str, connection.channels | set(names)))) > self.limit("characters", 21_000):
            self.counters["refused:characters"] += 1
            return "error:args size over 21000"
        bad = [name for name in names if self._meant(name) is None]
        return f"error:handler not found,topic:{bad[0]}" if bad else ""

    def _meant(self, name: str) -> tuple[str, str] | None:
        """The symbol and the timeframe (empty for trades) of a topic that exists."""
        topic, *middle, symbol = name.split(".")
        known = (topic == "kline" and TIMEFRAMES.get(middle[0] if middle else "")) or topic == "publicTrade"
        if not known or self.market(symbol) is None:
            return None
        return symbol, TIMEFRAMES[middle[0]] if topic == "kline" else ""

    def _subscribe(self, connection: Connection, name: str) -> None:
        meant = self._meant(name)
        assert meant is not None
        symbol, timeframe = meant
        self.subscribe(connection, name, symbol, timeframe, "bars" if timeframe else "trades")

    def rejection(self, message: Any) -> Any:
        return {"success": False, "ret_msg": "error:rejected", "conn_id": "lab", "req_id": message.get("req_id"),
                "op": message.get("op")}  # fmt: skip

    def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
        """See the file's head."""
        name, now_ms = str(channel.name), self.now_ms()
        return [
            f'{{"topic":"{name}","type":"snapshot","ts":{now_ms},"data":[{{"start":{row.time_ms},'
            f'"end":{row.time_ms + channel.length_ms - 1},"interval":"{name.split(".")[1]}","open":"{row.open!r}",'
            f'"close":"{row.close!r}","high":"{row.high!r}","low":"{row.low!r}","volume":"{row.volume!r}",'
            f'"turnover":"{row.quote!r}","confirm":{"true" if closed else "false"},"timestamp":{now_ms}}}]}}'
        ]

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        """See the file's head."""
        data = ",".join(
            f'{{"T":{trade.time_ms},"s":"{channel.symbol}","S":"{"Buy" if trade.bought else "Sell"}",'
            f'"v":"{trade.quantity!r}","p":"{trade.price!r}","L":"PlusTick","i":"lab-{trade.id}","BT":false}}'
            for trade in trades
        )
        return [f'{{"topic":"{channel.name}","type":"snapshot","ts":{self.now_ms()},"data":[{data}]}}']


def _ack(connection: Connection, asked: dict[str, Any], success: bool, text: str) -> dict[str, Any]:
    ids = {"conn_id": connection.id, "req_id": asked.get("req_id", ""), "op": asked.get("op", "")}
    return {"success": success, "ret_msg": text, **ids}


def _listing(name: str, market: Market) -> dict[str, Any]:
    base, _, quote = market.symbol.partition(":")[0].partition("/")
    tick, lot = f"{10.0**-market.price_digits:.8f}", f"{10.0**-market.volume_digits:.8f}"
    return {
        "symbol": name, "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": base, "quoteCoin": quote,
        "settleCoin": quote, "launchTime": "1585526400000", "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": str(market.price_digits),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999.80", "tickSize": tick},
        "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": lot, "qtyStep": lot, "minNotionalValue": "5"},
        "unifiedMarginTrade": True, "fundingInterval": 480,
    }  # fmt: skip
