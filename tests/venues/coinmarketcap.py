"""CoinMarketCap: prices that change once a minute, history by plan, and credits for everything.

Enforced: the key, requests a minute, credits a day and a month, the plan's history. Coins are numbered from 1 in the
order of their markets. Options: ``key``, ``history`` (``hourly``, ``daily``), ``twins`` (symbol → other coins of that
symbol, ``{"id", "rank", "name"}``), ``ok_status`` (errors come with HTTP 200), ``used`` (credits of this month).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pynelive.bus.names import timeframe_ms
from pynelive.producers import clock

from .limits import Window
from .market import Market, Row
from .server import Venue
from .spec import Spec

_MINUTE_MS, _MONTH_S = 60_000, 30 * 86_400
_STATUS = {1001: 401, 1002: 401, 1003: 402, 1006: 403, 1008: 429, 1009: 429, 1010: 429, 400: 400, 500: 500}
_PERIODS = {"hourly": "60", "daily": "1D"}


class CoinMarketCap(Venue):
    """The venue; its markets are true in minutes."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        symbols = list(dict.fromkeys(name.partition("/")[0] for name in self.markets))
        self._coins = {symbol: number for number, symbol in enumerate(symbols, 1)}
        self._requests = Window(self.limit("requests_per_min", 30), 60)
        self._daily = Window(self.limit("credits_per_day", math.inf), 86_400)
        self._monthly = Window(self.limit("credits_per_month", 15_000), _MONTH_S)
        self._monthly.take(spec.options.get("used", 0))

    def symbol_of(self, symbol: str) -> str:
        return symbol

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/v1/key/info", self._key),
            web.get("/v1/cryptocurrency/map", self._map),
            web.get("/v2/cryptocurrency/quotes/latest", self._quotes),
            web.get("/v2/cryptocurrency/ohlcv/historical", self._candles),
        ]

    def refusal(self, request: web.Request) -> web.Response | None:
        key = request.headers.get("X-CMC_PRO_API_KEY")
        if key != self.spec.options.get("key", "key"):
            return self._error(1001 if key else 1002, "This API Key is invalid.")
        if not self._requests.take():
            return self._error(1008, "You've exceeded your API Key's HTTP request rate limit.")
        return None

    def failure(self, kind: str, wait_s: float) -> web.Response:
        if kind == "rate":
            return self._error(1008, "You've exceeded your API Key's HTTP request rate limit.")
        return self._error(500, "An internal server error occurred")

    async def _key(self, _: web.Request) -> web.Response:
        limit, used, now_s = self._monthly.limit, self._monthly.used, clock.now_ms() / 1000
        reset = datetime.fromtimestamp(now_s - now_s % _MONTH_S + _MONTH_S, UTC)
        plan = {"credit_limit_monthly": limit, "rate_limit_minute": self._requests.limit,
                "credit_limit_monthly_reset_timestamp": _iso(reset.timestamp() * 1000)}
        usage = {"current_month": {"credits_used": used, "credits_left": max(limit - used, 0)}}
        return self._paid(0, {"plan": plan, "usage": usage})

    async def _map(self, request: web.Request) -> web.Response:
        wanted = request.query.get("symbol", ",".join(self._coins)).split(",")
        unknown = [symbol for symbol in wanted if symbol not in self._coins]
        if unknown:
            return self._error(400, f'Invalid value for "symbol": "{unknown[0]}"')
        coins = [self._coin(symbol) for symbol in wanted]
        for symbol in wanted:
            twins = self.spec.options.get("twins", {}).get(symbol, [])
            coins += [{"symbol": symbol, "is_active": 1, **twin} for twin in twins]
        return self._paid(1, sorted(coins, key=lambda coin: coin["id"]))

    async def _quotes(self, request: web.Request) -> web.Response:
        """Of every coin in every currency; the price is as old as the minute."""
        ids, currencies = request.query["id"].split(","), request.query["convert"].split(",")
        symbols = {str(number): symbol for symbol, number in self._coins.items()}
        unknown = [number for number in ids if number not in symbols]
        if unknown and request.query.get("skip_invalid") != "true":
            return self._error(400, f'Invalid value for "id": "{unknown[0]}"')
        said = {
            number: {**self._coin(symbols[number]), "quote": self._prices(symbols[number], currencies)}
            for number in ids if number in symbols
        }  # fmt: skip
        return self._paid(math.ceil(len(ids) / 100) * len(currencies), said)

    def _prices(self, symbol: str, currencies: list[str]) -> dict[str, dict[str, Any]]:
        seen_ms = clock.now_ms() // _MINUTE_MS * _MINUTE_MS
        found = ((currency, self.market(f"{symbol}/{currency}")) for currency in currencies)
        return {
            currency: {"price": market.price(seen_ms), "volume_24h": 7.1e9, "market_cap": 1.5e12,
                       "last_updated": _iso(seen_ms)}
            for currency, market in found if market is not None
        }  # fmt: skip

    async def _candles(self, request: web.Request) -> web.Response:
        """Closed bars that open after ``time_start``, until ``time_end``."""
        asked = request.query
        if asked["time_period"] not in self.spec.options.get("history", []):
            return self._error(1006, "Your API Key subscription plan doesn't support this endpoint.")
        symbol = next((name for name, number in self._coins.items() if str(number) == asked["id"]), "")
        market = self.market(f"{symbol}/{asked['convert']}")
        if market is None:
            return self._error(400, f'Invalid value for "id": "{asked["id"]}"')
        timeframe, now_ms = _PERIODS[asked["time_period"]], clock.now_ms()
        start_ms, end_ms = (_ms(asked[name]) for name in ("time_start", "time_end"))
        rows = self.history(request, market, timeframe, start_ms + 1, end_ms, int(asked.get("count", 10)))
        quotes = [_candle(row, market, timeframe, asked["convert"])
                  for row in rows if market.closes_ms(timeframe, row.time_ms) <= now_ms]
        return self._paid(math.ceil(len(quotes) / 100), {**self._coin(symbol), "quotes": quotes})

    def _coin(self, symbol: str) -> dict[str, Any]:
        number = self._coins[symbol]
        return {"id": number, "rank": number, "name": f"{symbol} coin", "symbol": symbol, "is_active": 1}

    def _paid(self, credits_: int, data: Any) -> web.Response:
        if not self._daily.take(credits_):
            return self._error(1009, "You've exceeded your API Key's daily rate limit.")
        if not self._monthly.take(credits_):
            return self._error(1010, "You've exceeded your API Key's monthly rate limit.")
        self.counters["credits"] += credits_
        return web.json_response({"status": _envelope(0, None, credits_), "data": data})

    def _error(self, code: int, message: str) -> web.Response:
        self.counters[f"error:{code}"] += 1
        status = 200 if self.spec.options.get("ok_status") else _STATUS[code]
        return web.json_response({"status": _envelope(code, message, 0)}, status=status)


def _envelope(code: int, message: str | None, credits_: int) -> dict[str, Any]:
    return {"timestamp": _iso(clock.now_ms()), "error_code": code, "error_message": message, "elapsed": 10,
            "credit_count": credits_}


def _candle(row: Row, market: Market, timeframe: str, currency: str) -> dict[str, Any]:
    close_ms = market.closes_ms(timeframe, row.time_ms) - 1
    values = {"open": row.open, "high": row.high, "low": row.low, "close": row.close, "volume": row.quote,
              "market_cap": 1.5e12, "timestamp": _iso(close_ms)}
    assert close_ms - row.time_ms < timeframe_ms(timeframe)
    return {"time_open": _iso(row.time_ms), "time_close": _iso(close_ms), "quote": {currency: values}}


def _iso(time_ms: float) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
