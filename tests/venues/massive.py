"""Massive: minutes and seconds over WebSocket, aggregates by pages over REST.

Enforced: the key, five requests a minute, one connection of an account for each class of assets, the plan.
Options: ``keys`` (key → account), ``live`` (classes with live data), ``history`` (classes with history), ``seconds``,
``farewell`` (a status, such as ``slow_consumer``, that is said once with the first minute).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from aiohttp import web
from pynelive.bus.names import timeframe_ms
from pynelive.producers import clock

from .faults import SUBSCRIBE_KINDS
from .limits import Window
from .line import Channel, Connection
from .market import Market, Row, Trade
from .server import Venue
from .spec import Spec

_NEW_YORK = ZoneInfo("America/New_York")
_FIAT = {"EUR", "USD", "GBP", "JPY"}
_CLASSES = {"stocks": ("AM", "A"), "crypto": ("XA", "XAS"), "forex": ("CA", "CAS")}
_UNITS_MS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_UPGRADE = "Please upgrade your plan at https://massive.com/pricing"


class Massive(Venue):
    """The venue; its markets are true in minutes."""

    close_field = "c"

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._accounts: dict[str, str] = spec.options.get("keys", {"key": "account"})
        self._windows = {
            account: Window(self.limit("requests_per_min", 5), 60) for account in self._accounts.values()
        }
        self._open_second: dict[Any, list[Trade]] = {}

    def symbol_of(self, symbol: str) -> str:
        base, pair, quote = symbol.partition("/")
        return symbol if not pair else f"{'C' if base in _FIAT else 'X'}:{base}{quote}"

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}", self._aggregates),
            web.get("/v2/aggs/ticker/{ticker}/prev", self._previous),
            web.get("/v3/reference/tickers", self._tickers),
            web.get("/v3/reference/tickers/{ticker}", self._ticker),
            web.get("/{market:stocks|crypto|forex}", self.socket),
        ]

    # REST -------------------------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        account = self._accounts.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if account is None:
            return _error(401, error="Unknown API Key")
        if not self._windows[account].take():
            return self.failure("rate", 0)
        ticker = request.match_info.get("ticker", "")
        if "/aggs/" in request.path and _class_of(ticker) not in self.spec.options.get("history", _CLASSES):
            return _error(403, status="NOT_AUTHORIZED", message=f"You are not entitled to this data. {_UPGRADE}")
        return None

    def failure(self, kind: str, wait_s: float) -> web.Response:
        if kind == "maintenance":
            return web.Response(status=503, text="Service Unavailable")
        return _error(429, error="You've exceeded the maximum requests per minute, please wait or upgrade your "
                                 "subscription to continue. https://massive.com/pricing")

    async def _aggregates(self, request: web.Request) -> web.Response:
        """``limit`` counts minutes, not bars; a page ends with a whole bar; ``next_url`` names the real host."""
        asked = {**request.query, **_of_cursor(request.query.get("cursor", ""))}
        ticker, multiplier, timespan = (request.match_info[name] for name in ("ticker", "multiplier", "timespan"))
        start_ms, end_ms = _ms(request.match_info["from"], False), _ms(request.match_info["to"], True)
        limit, length_ms = int(asked.get("limit", 5000)), int(multiplier) * _UNITS_MS[timespan]
        market = self.market(ticker)
        rows = self.history(request, market, market.timeframe, start_ms, end_ms, limit) if market else []
        groups = _grouped([row for row in rows if row.volume], ticker, length_ms)
        body: dict[str, Any] = {"ticker": ticker, "adjusted": asked.get("adjusted") != "false"}
        if len(rows) == limit:
            next_ms = groups.popitem()[0] if len(groups) > 1 else rows[-1].time_ms + 1
            cursor = base64.b64encode(f"limit={limit}&sort=asc".encode()).decode()
            body["next_url"] = (f"https://api.massive.com/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/"
                                f"{next_ms}/{end_ms}?cursor={cursor}")
        results = [_aggregate(open_ms, group) for open_ms, group in groups.items()]
        return _answer({**body, "queryCount": len(rows), "resultsCount": len(results), "count": len(results)}, results)

    async def _previous(self, request: web.Request) -> web.Response:
        market = self.market(request.match_info["ticker"])
        if market is None:
            return _answer({"resultsCount": 0}, [])
        return _answer({}, [_aggregate(row.time_ms, [row]) for row in market.history("1", clock.now_ms(), limit=1)])

    async def _tickers(self, request: web.Request) -> web.Response:
        """At most ``limit`` a page, by ticker."""
        asked = {**request.query, **_of_cursor(request.query.get("cursor", ""))}
        wanted = asked.get("market", "").replace("fx", "forex")
        after, limit = asked.get("after", ""), int(asked.get("limit", 100))
        found = sorted(name for name in self.markets if _class_of(name) == wanted and name > after)
        body = {}
        if len(found) > limit:
            words = f"limit={limit}&market={asked['market']}&after={found[limit - 1]}"
            cursor = base64.b64encode(words.encode()).decode()
            body["next_url"] = f"https://api.massive.com/v3/reference/tickers?cursor={cursor}"
        return _answer(body, [_reference(name, self.markets[name]) for name in found[:limit]])

    async def _ticker(self, request: web.Request) -> web.Response:
        name = request.match_info["ticker"]
        if name not in self.markets:
            return _error(404, status="NOT_FOUND", message="Ticker not found.")
        return _answer({}, _reference(name, self.markets[name]))

    # WebSocket --------------------------------------------------------------------------------------------------

    async def opened(self, connection: Connection) -> None:
        connection.send_json([_status("connected", "Connected Successfully")])

    async def heard(self, connection: Connection, message: Any) -> None:
        action, params = (message.get("action"), message.get("params")) if isinstance(message, dict) else ("", "")
        if action == "auth":
            await self._authenticate(connection, str(params))
        elif action == "subscribe" and "account" in connection.state:
            await self._subscribe(connection, str(params).split(","))
        else:
            connection.send_json([_status("error", "authenticate first")])

    async def _authenticate(self, connection: Connection, key: str) -> None:
        market, account = connection.request.match_info["market"], self._accounts.get(key)
        if account is None:
            return await _dismiss(connection, "auth_failed", "authentication failed")
        if market not in self.spec.options.get("live", _CLASSES):
            return await _dismiss(connection, "auth_failed", f"Your plan doesn't include websocket access. {_UPGRADE}")
        for other in list(self.connections):
            if other.state.get("account") == account and other.request.match_info["market"] == market:
                self.counters["max_connections"] += 1
                await _dismiss(other, "max_connections", "Maximum number of websocket connections exceeded.")
        connection.state["account"] = account
        connection.send_json([_status("auth_success", "authenticated")])
        return None

    async def _subscribe(self, connection: Connection, names: list[str]) -> None:
        fault = self.plan.hit("wssub", SUBSCRIBE_KINDS)
        if fault is not None and fault.kind == "abort":
            connection.reset()
        elif fault is not None and fault.kind == "close":
            await connection.close(1011)
        elif fault is None or fault.kind == "reject":
            connection.send_json([self._confirmed(connection, name, fault is not None) for name in names])

    def _confirmed(self, connection: Connection, name: str, refused: bool) -> dict[str, str]:
        market = connection.request.match_info["market"]
        word, _, pair = name.partition(".")
        minutes = _CLASSES[market][0]
        allowed = _CLASSES[market] if self.spec.options.get("seconds", True) else (minutes,)
        if refused or word not in allowed:
            return _status("error", f"not authorized: {name}")
        ticker = pair if market == "stocks" else f"{minutes[0]}:{pair.replace('-', '')}"
        if ticker in self.markets:
            self.subscribe(connection, name, ticker, "1", kind="bars" if word == minutes else "trades")
        return _status("success", f"subscribed to: {name}")

    def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
        """A minute, when it is over and somebody has traded; the first one with the ``farewell``, if there is one."""
        if not closed or not row.volume:
            return []
        farewell = self.spec.options.pop("farewell", "")
        last_words = [json.dumps([_status(farewell, "the server says goodbye")])] if farewell else []
        return [_event(str(channel.name), row, 60_000), *last_words]

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        """One frame with all seconds in which somebody traded; one that goes on is said again."""
        seconds: dict[int, list[Trade]] = {}
        for trade in [*self._open_second.get(channel.name, ()), *trades]:
            seconds.setdefault(trade.time_ms // 1000 * 1000, []).append(trade)
        self._open_second[channel.name] = seconds[max(seconds)]
        said = [_event(str(channel.name), _second(open_ms, group), 1_000)[1:-1] for open_ms, group in seconds.items()]
        return [f"[{','.join(said)}]"]

    def shutdown_frame(self) -> str:
        return json.dumps([_status("force_disconnect", "the server says goodbye")])


async def _dismiss(connection: Connection, status: str, message: str) -> None:
    await connection.socket.send_str(json.dumps([_status(status, message)]))
    await connection.close(1008 if status == "max_connections" else 1000)


def _status(status: str, message: str) -> dict[str, str]:
    return {"ev": "status", "status": status, "message": message}


def _event(name: str, row: Row, length_ms: int) -> str:
    word, _, pair = name.partition(".")
    who = {"sym": pair, "av": 0, "op": row.open, "a": row.vwap} if word in ("AM", "A") else {"pair": pair}
    return json.dumps([{
        "ev": word, **who, "v": row.volume, "vw": round(row.vwap, 4), "o": row.open, "c": row.close, "h": row.high,
        "l": row.low, "z": 100, "s": row.time_ms, "e": row.time_ms + length_ms,
    }])  # fmt: skip


def _second(open_ms: int, trades: list[Trade]) -> Row:
    prices = [trade.price for trade in trades]
    volume = round(sum(trade.quantity for trade in trades), 9)
    quote = sum(trade.price * trade.quantity for trade in trades)
    return Row(open_ms, prices[0], max(prices), min(prices), prices[-1], volume, quote, len(trades))


def _aggregate(open_ms: int, rows: list[Row]) -> dict[str, Any]:
    volume = round(sum(row.volume for row in rows), 9)
    return {
        "v": volume, "vw": round(sum(row.quote for row in rows) / volume, 4) if volume else 0, "o": rows[0].open,
        "c": rows[-1].close, "h": max(row.high for row in rows), "l": min(row.low for row in rows), "t": open_ms,
        "n": sum(row.trades for row in rows),
    }  # fmt: skip


def _grouped(rows: list[Row], ticker: str, length_ms: int) -> dict[int, list[Row]]:
    """By the bars of the venue: full hours and minutes, days from midnight (of New York, for stocks)."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        open_ms = row.time_ms - row.time_ms % length_ms
        if length_ms == _UNITS_MS["day"] and ":" not in ticker:
            day = datetime.fromtimestamp(row.time_ms // 1000, _NEW_YORK)
            open_ms = int(day.replace(hour=0, minute=0, second=0).timestamp() * 1000)
        groups.setdefault(open_ms, []).append(row)
    return groups


def _class_of(ticker: str) -> str:
    return {"X:": "crypto", "C:": "forex"}.get(ticker[:2], "stocks")


def _reference(name: str, market: Market) -> dict[str, Any]:
    known = {"ticker": name, "name": market.symbol, "active": market.delisted_ms is None, "locale": "global"}
    base, _, quote = market.symbol.partition("/")
    if not quote:
        return {**known, "market": "stocks", "primary_exchange": "XNAS", "type": "CS", "currency_name": "usd"}
    kind = "fx" if name.startswith("C:") else "crypto"
    return {**known, "market": kind, "currency_symbol": quote, "base_currency_symbol": base}


def _answer(body: dict[str, Any], results: Any) -> web.Response:
    return web.json_response({**body, "results": results, "status": "OK", "request_id": "lab"})


def _error(code: int, **words: str) -> web.Response:
    return web.json_response({"status": "ERROR", "request_id": "lab", **words}, status=code)


def _of_cursor(cursor: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(base64.b64decode(cursor).decode()).items()}


def _ms(text: str, to_end: bool) -> int:
    if text.isdigit():
        return int(text)
    start = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(start.timestamp() * 1000) + (timeframe_ms("1D") - 1 if to_end else 0)
