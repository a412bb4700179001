"""Coinbase Advanced Trade, as far as public market data goes: trades on the WebSocket, candles by REST only.

REST ``GET /api/v3/brokerage/market/products/{id}/candles?start=s&end=s&granularity=ONE_MINUTE`` answers ``{"candles":
[{"start":"s","low","high","open","close","volume"}, …]}``, NEWEST FIRST, at most 350. On the WebSocket
``{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}`` gives ``{"channel":"subscriptions",…}`` and
``{"channel":"market_trades","client_id":"","timestamp","sequence_num","events":[{"type":"update","trades":[{"trade_id",
"product_id","price","size","side","time"}, …]}]}``, the newest trade first.

Limits: 10 public requests and 8 unauthenticated messages a second.
Source: https://docs.cdp.coinbase.com/advanced-trade.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from .limits import Window
from .line import Channel, Connection
from .market import Market, Row, Trade
from .server import Venue
from .spec import Spec

TIMEFRAMES = {
    "ONE_MINUTE": "1", "FIVE_MINUTE": "5", "FIFTEEN_MINUTE": "15", "THIRTY_MINUTE": "30", "ONE_HOUR": "60",
    "TWO_HOUR": "120", "SIX_HOUR": "360", "ONE_DAY": "1D",
}  # fmt: skip
_PRODUCTS = "/api/v3/brokerage/market/products"


class Coinbase(Venue):
    """Coinbase Advanced Trade."""

    close_field = "price"
    messages_allowed = 8.0

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._requests = Window(self.limit("requests", 10), 1)
        self._number = 0

    def symbol_of(self, symbol: str) -> str:
        return symbol.replace("/", "-")

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get(_PRODUCTS, self._products), web.get(_PRODUCTS + "/{id}/candles", self._candles),
            web.get("/api/v3/brokerage/time", self._time), web.get("/v2/currencies", self._none),
            web.get("/v2/currencies/crypto", self._none), web.get("/v2/exchange-rates", self._none),
            web.get("/", self.socket),
        ]  # fmt: skip

    # REST -------------------------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        return None if self._requests.take() else self.hold("rate", self._requests.left_s)

    async def _time(self, _: web.Request) -> web.Response:
        now_ms = self.now_ms()
        times = {"iso": _iso(now_ms), "epochSeconds": str(now_ms // 1000), "epochMillis": str(now_ms)}
        return web.json_response(times)

    async def _none(self, _: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def _products(self, request: web.Request) -> web.Response:
        spot = request.query.get("product_type", "SPOT") == "SPOT"
        listed = [_listing(name, market) for name, market in self.markets.items() if spot]
        return web.json_response({"products": listed, "num_products": len(listed)})

    async def _candles(self, request: web.Request) -> web.Response:
        market = self.market(request.match_info["id"])
        timeframe = TIMEFRAMES.get(request.query.get("granularity", ""))
        if market is None or timeframe is None:
            error = {"error": "NOT_FOUND" if market is None else "INVALID_ARGUMENT"}
            return web.json_response(error, status=404 if market is None else 400)
        start_ms, end_ms = (int(request.query[name]) * 1000 for name in ("start", "end"))
        rows = self.history(request, market, timeframe, start_ms, end_ms, 350)
        return web.json_response({"candles": [_candle(row) for row in reversed(rows) if row.volume]})

    # WebSocket --------------------------------------------------------------------------------------------------

    async def heard(self, connection: Connection, message: Any) -> None:
        asked = message if isinstance(message, dict) else {}
        if asked.get("type") not in ("subscribe", "unsubscribe") or asked.get("channel") not in _CHANNELS:
            connection.send_json({"type": "error", "message": "malformed request"})
            return
        if asked["type"] == "subscribe" and await self.hindered(connection, asked):
            return
        for symbol in asked.get("product_ids") or []:
            if asked["type"] == "unsubscribe":
                self.unsubscribe(connection, symbol)
            elif self.market(symbol) is not None and asked["channel"] == "market_trades":
                self.subscribe(connection, symbol, symbol, kind="trades")
        names = sorted(map(str, connection.channels))
        connection.send(self._event("subscriptions", {"subscriptions": {"market_trades": names}}))

    def rejection(self, message: Any) -> Any:
        return {"type": "error", "message": "rejected"}

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        """See the file's head."""
        listed = [
            {
                "trade_id": str(trade.id), "product_id": channel.symbol, "price": repr(trade.price),
                "size": repr(trade.quantity), "side": "BUY" if trade.bought else "SELL", "time": _iso(trade.time_ms),
            }
            for trade in reversed(trades)
        ]  # fmt: skip
        return [self._event("market_trades", {"type": "update", "trades": listed})]

    def _event(self, channel: str, event: dict[str, Any]) -> str:
        self._number += 1
        head = {"channel": channel, "client_id": "", "timestamp": _iso(self.now_ms()), "sequence_num": self._number}
        return json.dumps({**head, "events": [event]}, separators=(",", ":"))


_CHANNELS = ("market_trades", "heartbeats")


def _candle(row: Row) -> dict[str, str]:
    names = ("open", "high", "low", "close", "volume")
    return {"start": str(row.time_ms // 1000), **{name: repr(getattr(row, name)) for name in names}}


def _listing(name: str, market: Market) -> dict[str, Any]:
    base, _, quote = market.symbol.partition("/")
    tick, lot = f"{10.0**-market.price_digits:.8f}", f"{10.0**-market.volume_digits:.8f}"
    return {
        "product_id": name, "price": "", "base_increment": lot, "quote_increment": tick, "price_increment": tick,
        "quote_min_size": "1", "quote_max_size": "150000000", "base_min_size": lot, "base_max_size": "3400",
        "base_name": base, "quote_name": quote, "is_disabled": False, "status": "online", "trading_disabled": False,
        "product_type": "SPOT", "quote_currency_id": quote, "base_currency_id": base, "alias": "", "alias_to": [],
        "base_display_symbol": base, "quote_display_symbol": quote, "view_only": market.delisted_ms is not None,
        "display_name": name, "product_venue": "CBE",
    }  # fmt: skip


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
