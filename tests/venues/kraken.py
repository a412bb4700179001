"""Kraken spot: REST, and version 2 of its WebSocket, as far as public market data goes.

REST ``GET /0/public/OHLC?pair=XXBTZUSD&interval=1&since=s`` answers ``{"error":[],"result":{"XXBTZUSD":[[s, "o", "h",
"l", "c", "vwap", "volume", count], …],"last":s}}``: never more than the last 720, oldest first, the last one forming.
Errors come with status 200: ``{"error":["EGeneral:Too many requests"]}``.

On the WebSocket the venue says its status first, and a heartbeat every second. ``{"method":"subscribe","params":
{"channel":"ohlc","symbol":["BTC/USD"],"interval":1},"req_id":1}`` gives one answer a symbol, a snapshot, and with every
trade ``{"channel":"ohlc","type":"update","timestamp","data":[{"symbol","open","high","low","close","trades","volume",
"vwap","interval_begin","interval","timestamp"}]}``. NOTHING says that a bar has closed, and a bar without a trade is
never mentioned. ``trade`` gives ``data[] {"symbol","side","price","qty","ord_type","trade_id","timestamp"}``.

Limits: about one request a second, with a small burst. Source: https://docs.kraken.com/api.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from aiohttp import web

from .limits import Bucket
from .line import Channel, Connection
from .market import Market, Row, Trade
from .server import Venue
from .spec import Spec

TIMEFRAMES = {1: "1", 5: "5", 15: "15", 30: "30", 60: "60", 240: "240", 1440: "1D", 10080: "1W"}
_ASSETS = {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD", "EUR": "ZEUR"}


class Kraken(Venue):
    """Kraken spot; its notation of a symbol is ccxt's on the WebSocket, and ids such as ``XXBTZUSD`` by REST."""

    connections_allowed = 75.0  # 150 in 10 minutes
    beat_s = 1.0

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._requests = Bucket(self.limit("burst", 15), self.limit("requests_per_s", 1))
        self._names = {_id(name): name for name in self.markets}

    def symbol_of(self, symbol: str) -> str:
        return symbol

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/0/public/Time", self._time), web.get("/0/public/SystemStatus", self._status),
            web.get("/0/public/Assets", self._assets), web.get("/0/public/AssetPairs", self._pairs),
            web.get("/0/public/OHLC", self._ohlc), web.get("/v2", self.socket),
        ]  # fmt: skip

    # REST -------------------------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        if self._requests.take():
            return None
        self.counters["refused:rate"] += 1
        return web.json_response({"error": ["EGeneral:Too many requests"]})

    def failure(self, kind: str, wait_s: float) -> web.Response:
        if kind == "rate":
            return web.json_response({"error": ["EGeneral:Too many requests"]}, headers={"Retry-After": str(wait_s)})
        if kind == "ban":
            return web.Response(text="<html>error 1015: you are being rate limited</html>", status=429,
                                content_type="text/html", headers={"Retry-After": str(wait_s)})  # fmt: skip
        return web.json_response({"error": ["EService:Unavailable"]}, status=503)

    async def _time(self, _: web.Request) -> web.Response:
        now_s = self.now_ms() // 1000
        return _result({"unixtime": now_s, "rfc1123": formatdate(now_s, usegmt=True)})

    async def _status(self, _: web.Request) -> web.Response:
        return _result({"status": "online", "timestamp": _iso(self.now_ms())})

    async def _assets(self, _: web.Request) -> web.Response:
        names = sorted({name for symbol in self.markets for name in symbol.split("/")})
        assets = {_ASSETS.get(name, name): _asset("XBT" if name == "BTC" else name) for name in names}
        return _result(assets)

    async def _pairs(self, _: web.Request) -> web.Response:
        return _result({pair: _listing(self.markets[name]) for pair, name in self._names.items()})

    async def _ohlc(self, request: web.Request) -> web.Response:
        """``pair``, ``interval`` (minutes), ``since`` (s): only what opens after it."""
        pair = request.query.get("pair", "")
        market = self.market(self._names.get(pair, ""))
        timeframe = TIMEFRAMES.get(int(request.query.get("interval", 1)))
        if market is None:
            return web.json_response({"error": ["EQuery:Unknown asset pair"]})
        if timeframe is None:
            return web.json_response({"error": ["EGeneral:Invalid arguments"]})
        since_ms = float(request.query.get("since", 0)) * 1000
        rows = [row for row in self.history(request, market, timeframe, limit=720) if row.time_ms > since_ms]
        d = market.price_digits
        listed = [
            [row.time_ms // 1000, *(f"{value:.{d}f}" for value in row[1:5]), f"{row.vwap:.{d}f}", f"{row.volume:.8f}",
             row.trades] for row in rows
        ]  # fmt: skip
        return _result({pair: listed, "last": rows[-2].time_ms // 1000 if len(rows) > 1 else 0})

    # WebSocket --------------------------------------------------------------------------------------------------

    async def opened(self, connection: Connection) -> None:
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        connection.send_json({"channel": "status", "type": "update", "data": [status]})

    def beat(self) -> str:
        return '{"channel":"heartbeat"}'

    def shutdown_frame(self) -> str:
        status = {"version": "2.0.10", "system": "maintenance", "api_version": "v2", "connection_id": 1}
        return json.dumps({"channel": "status", "type": "update", "data": [status]})

    async def heard(self, connection: Connection, message: Any) -> None:
        asked = message if isinstance(message, dict) else {}
        method, wanted = asked.get("method"), asked.get("params") or {}
        if method == "ping":
            if not connection.swallows_ping():
                connection.send_json({"method": "pong", "req_id": asked.get("req_id"), **self._times()})
        elif method in ("subscribe", "unsubscribe") and wanted.get("channel") in ("ohlc", "trade"):
            if method == "subscribe" and await self.hindered(connection, asked):
                return
            for symbol in wanted.get("symbol") or []:
                self._change(connection, asked, wanted, symbol)
        else:
            connection.send_json({"error": "Unsupported event", "success": False, "req_id": asked.get("req_id")})

    def _change(self, connection: Connection, asked: dict[str, Any], wanted: dict[str, Any], symbol: str) -> None:
        interval = wanted.get("interval", 1) if wanted["channel"] == "ohlc" else 0
        head = {"method": asked["method"], "req_id": asked.get("req_id"), **self._times()}
        if self.market(symbol) is None or (interval and interval not in TIMEFRAMES):
            text = f"Currency pair not supported {symbol}"
            connection.send_json({**head, "error": text, "success": False, "symbol": symbol})
            return
        name = (wanted["channel"], interval, symbol)
        result = {"channel": wanted["channel"], "symbol": symbol, "snapshot": True}
        connection.send_json({**head, "result": result | ({"interval": interval} if interval else {}), "success": True})
        if asked["method"] == "unsubscribe":
            self.unsubscribe(connection, name)
            return
        kind = "bars" if interval else "trades"
        channel = self.subscribe(connection, name, symbol, TIMEFRAMES.get(interval, ""), kind)
        if interval and wanted.get("snapshot", True):
            rows = channel.market.history(channel.timeframe, self.now_ms(), limit=100)
            for frame in self._said(channel, [row for row in rows if row.volume], "snapshot"):
                connection.send(frame)

    def rejection(self, message: Any) -> Any:
        return {"error": "Subscription rejected", "method": "subscribe", "success": False,
                "req_id": message.get("req_id"), **self._times()}  # fmt: skip

    def _times(self) -> dict[str, str]:
        now = _iso(self.now_ms())
        return {"time_in": now, "time_out": now}

    def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
        """What the last trade of a bar, or the last one until now, has said of it."""
        if not row.volume or (row == channel.said and not closed):
            return []
        channel.said = row
        return self._said(channel, [row], "update")

    def _said(self, channel: Channel, rows: list[Row], kind: str) -> list[str]:
        minutes = channel.length_ms // 60_000
        data = ",".join(
            f'{{"symbol":"{channel.symbol}","open":{row.open!r},"high":{row.high!r},"low":{row.low!r},'
            f'"close":{row.close!r},"trades":{row.trades},"volume":{row.volume!r},'
            f'"vwap":{round(row.vwap, channel.market.price_digits)!r},"interval_begin":"{_iso(row.time_ms)}",'
            f'"interval":{minutes},"timestamp":"{_iso(row.time_ms + channel.length_ms)}"}}'
            for row in rows
        )
        return [f'{{"channel":"ohlc","type":"{kind}","timestamp":"{_iso(self.now_ms())}","data":[{data}]}}']

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        """See the file's head."""
        data = ",".join(
            f'{{"symbol":"{channel.symbol}","side":"{"buy" if trade.bought else "sell"}","price":{trade.price!r},'
            f'"qty":{trade.quantity!r},"ord_type":"market","trade_id":{trade.id},"timestamp":"{_iso(trade.time_ms)}"}}'
            for trade in trades
        )
        return [f'{{"channel":"trade","type":"update","data":[{data}]}}']


def _result(result: Any) -> web.Response:
    return web.json_response({"error": [], "result": result})


def _id(symbol: str) -> str:
    return "".join(_ASSETS.get(name, name) for name in symbol.split("/"))


def _asset(altname: str) -> dict[str, Any]:
    return {"aclass": "currency", "altname": altname, "decimals": 10, "display_decimals": 5, "status": "enabled"}


def _listing(market: Market) -> dict[str, Any]:
    base, _, quote = market.symbol.replace("BTC", "XBT").partition("/")
    ids = {name: _ASSETS.get(name.replace("XBT", "BTC"), name) for name in (base, quote)}
    return {
        "altname": base + quote, "wsname": f"{base}/{quote}", "aclass_base": "currency", "base": ids[base],
        "aclass_quote": "currency", "quote": ids[quote], "lot": "unit", "cost_decimals": 5,
        "pair_decimals": market.price_digits, "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [],
        "leverage_sell": [], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD",
        "margin_call": 80, "margin_stop": 40, "ordermin": "0.00005", "costmin": "0.5",
        "tick_size": f"{10.0**-market.price_digits:.8f}",
        "status": "online" if market.delisted_ms is None else "cancel_only",
    }  # fmt: skip


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
