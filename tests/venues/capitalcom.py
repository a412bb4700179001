"""Capital.com, as far as its market data goes.

``GET session/encryptionKey`` (with ``X-CAP-API-KEY``) answers ``{"encryptionKey": base64 of DER, "timeStamp": ms}``,
``POST session`` takes ``{"identifier", "password", "encryptedPassword"}`` and answers with the headers ``CST`` and
``X-SECURITY-TOKEN``, which every other request has to carry. There is one session: a second login ends the first, and
its streams fall silent. Rows of ``prices/{epic}`` are ``{"snapshotTimeUTC": naive ISO, "openPrice": {"bid", "ask"}, …,
"lastTradedVolume"}``, the forming one last. On the WebSocket every frame carries the tokens; a bar is sent when it is
over, once by the bid and once by the ask, and without its volume; quotes are sent as they come.

Limits: 10 requests a second, one login a second, 40 instruments a socket, 1,000 rows and bars from edge to edge,
10 idle minutes, an hour at most. Source: https://open-api.capital.com.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pynelive.bus.names import timeframe_ms
from pynelive.producers import clock

from .limits import Bucket
from .line import Channel, Connection
from .market import Market, Row, Trade
from .server import Venue
from .spec import Spec

TIMEFRAMES = {
    "MINUTE": "1", "MINUTE_5": "5", "MINUTE_15": "15", "MINUTE_30": "30", "HOUR": "60", "HOUR_4": "240",
    "DAY": "1D", "WEEK": "1W",
}  # fmt: skip
IDENTIFIER, PASSWORD, API_KEY = "someone@example.com", "the password of the key", "the key"
"""Who may log in, unless the options ``identifier``, ``password`` and ``api_key`` say another."""

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_numbers = count(1)


class CapitalCom(Venue):
    """Capital.com; the option ``rotate`` gives a new token with every so many answers."""

    close_field = "c"

    def __init__(self, spec: Spec) -> None:
        for name, allowed in (("messages_burst", 10), ("messages_per_s", 10)):
            spec.limits.setdefault(name, allowed)
        super().__init__(spec)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._requests = Bucket(self.limit("requests", 10), self.limit("requests", 10))
        self._logins = Bucket(1, 1)
        self._cst = ""
        self._security: set[str] = set()
        self._began_s = self._used_s = 0.0
        self._answers = 0

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/api/v1/time", self._time), web.get("/api/v1/session/encryptionKey", self._encryption_key),
            web.post("/api/v1/session", self._log_in), web.get("/api/v1/ping", self._ping),
            web.get("/api/v1/markets", self._markets), web.get("/api/v1/markets/{epic}", self._market),
            web.get("/api/v1/prices/{epic}", self._prices), web.get("/connect", self.socket),
        ]  # fmt: skip

    # The session --------------------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        """Requests beyond the limit, and those that do not show who asks."""
        if not self._requests.take():
            return _error(429, "error.too-many.requests")
        if request.path == "/api/v1/time":
            return None
        if request.headers.get("X-CAP-API-KEY") != self.spec.options.get("api_key", API_KEY):
            return _error(401, "error.null.api.key")
        if request.path.startswith("/api/v1/session"):
            return None
        code = self._stranger(request.headers.get("CST"), request.headers.get("X-SECURITY-TOKEN"))
        return _error(401, code) if code else None

    def failure(self, kind: str, wait_s: float) -> web.Response:
        return _error(429, "error.too-many.requests") if kind == "rate" else super().failure(kind, wait_s)

    def _stranger(self, cst: object, security: object) -> str:
        """Why the tokens are not those of the session; empty if they are."""
        now_s = clock.monotonic()
        if not cst or not security:
            return "error.null.client.token"
        idle, old = now_s - self._used_s, now_s - self._began_s
        if idle > self.limit("idle_s", 600) or old > self.limit("session_s", 3600):
            return "error.security.session-expired"
        if cst != self._cst or security not in self._security:
            return "error.invalid.session.token"
        self._used_s = now_s
        return ""

    def _tokens(self) -> dict[str, str]:
        """A new security token of the session, beside those that are on their way."""
        token = f"security-{next(_numbers)}"
        self._security.add(token)
        return {"CST": self._cst, "X-SECURITY-TOKEN": token}

    async def _encryption_key(self, _: web.Request) -> web.Response:
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return web.json_response({"encryptionKey": b64encode(der).decode(), "timeStamp": self.now_ms()})

    async def _log_in(self, request: web.Request) -> web.Response:
        if not self._logins.take():
            self.counters["refused:logins"] += 1
            return _error(429, "error.too-many.requests")
        told = await request.json()
        password = told.get("password", "")
        if told.get("encryptedPassword"):
            plain = b64decode(self._key.decrypt(b64decode(password), PKCS1v15())).decode()
            password = plain.rpartition("|")[0]
        wanted = self.spec.options.get("identifier", IDENTIFIER), self.spec.options.get("password", PASSWORD)
        if (told.get("identifier"), password) != wanted:
            return _error(401, "error.invalid.details")
        self._end_session()
        self._cst, self._began_s = f"cst-{next(_numbers)}", clock.monotonic()
        self._used_s = self._began_s
        self.counters["logins"] += 1
        body = {"currentAccountId": "1", "accounts": [], "streamingHost": "", "accountType": "CFD"}
        return web.json_response(body, headers=self._tokens())

    def _end_session(self) -> None:
        """Forget the tokens; what was subscribed with them falls silent, and nobody is told."""
        self._security.clear()
        for connection in self.connections:
            for name in list(connection.channels):
                self.unsubscribe(connection, name)

    def _answer(self, body: Any) -> web.Response:
        """An answer within the session, with a new token now and then."""
        self._answers += 1
        every = self.spec.options.get("rotate", 0)
        return web.json_response(body, headers=self._tokens() if every and self._answers % every == 0 else None)

    # REST ---------------------------------------------------------------------------------------------------------

    async def _time(self, _: web.Request) -> web.Response:
        return web.json_response({"serverTime": self.now_ms()})

    async def _ping(self, _: web.Request) -> web.Response:
        return self._answer({"status": "OK"})

    async def _markets(self, request: web.Request) -> web.Response:
        wanted = [epic for epic in request.query.get("epics", "").split(",") if epic]
        term = request.query.get("searchTerm", "").lower()
        if len(wanted) > 50:
            return _error(400, "error.invalid.max.epics")
        found = [epic for epic in self.markets if (not wanted or epic in wanted) and term in epic.lower()]
        return self._answer({"markets": [
            {"epic": epic, "instrumentName": epic, "marketStatus": self._status(self.markets[epic])} for epic in found
        ]})  # fmt: skip

    async def _market(self, request: web.Request) -> web.Response:
        epic = request.match_info["epic"]
        market = self.market(epic)
        if market is None:
            return _error(404, "error.not-found.epic")
        stock = "/" not in market.symbol
        hours = ["09:30 - 16:00"] if stock else ["00:00 - 00:00"]
        week = {day: [] if stock and day in _WEEK[5:] else hours for day in _WEEK}
        zone = "America/New_York" if stock else "UTC"
        told = {**week, "zone": zone, **self.spec.options.get("hours", {}).get(epic, {})}
        step = round(0.1**market.price_digits, market.price_digits)
        return self._answer({
            "instrument": {"epic": epic, "symbol": market.symbol, "name": f"{market.symbol} (laboratory)", "lotSize": 1,
                           "type": "SHARES" if stock else "CURRENCIES", "currency": "USD", "openingHours": told},
            "dealingRules": {"minStepDistance": {"unit": "POINTS", "value": step},
                             "minDealSize": {"unit": "POINTS", "value": 0.1}},
            "snapshot": {"marketStatus": self._status(market), "bid": market.price(self.now_ms())},
        })  # fmt: skip

    def _status(self, market: Market) -> str:
        holiday = self.spec.options.get("closed", [])
        is_open = market.forming(market.timeframe, self.now_ms()) is not None and market.symbol not in holiday
        return "TRADEABLE" if is_open else "CLOSED"

    async def _prices(self, request: web.Request) -> web.Response:
        market, query = self.market(request.match_info["epic"]), request.query
        timeframe, most = TIMEFRAMES.get(query.get("resolution", "MINUTE")), int(query.get("max", 10))
        if market is None or timeframe is None:
            return _error(404, "error.not-found.epic") if market is None else _error(400, "error.invalid.resolution")
        if most > 1000:
            return _error(400, "error.invalid.max")
        start_ms, end_ms = (_ms(query[name]) if name in query else None for name in ("from", "to"))
        if code := self._bad_range(start_ms, end_ms, most * timeframe_ms(timeframe)):
            return _error(400, code)
        rows = self.history(request, market, timeframe, start_ms, end_ms, most)
        if not rows:
            return _error(404, "error.prices.not-found")
        return self._answer({"prices": [self._price_row(market, row) for row in rows], "instrumentType": "SHARES"})

    def _bad_range(self, start_ms: int | None, end_ms: int | None, widest_ms: int) -> str:
        if max(start_ms or 0, end_ms or 0) > self.now_ms():
            return "error.invalid.daterange"
        if start_ms is None or end_ms is None:
            return ""
        if end_ms - start_ms >= widest_ms:
            return "error.invalid.max.daterange"
        return "error.invalid.daterange" if end_ms < start_ms else ""

    def _price_row(self, market: Market, row: Row) -> dict[str, Any]:
        def both(bid: float) -> dict[str, float]:
            return {"bid": bid, "ask": ask_of(market, bid)}

        at = datetime.fromtimestamp(row.time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return {"snapshotTime": at, "snapshotTimeUTC": at, "openPrice": both(row.open), "closePrice": both(row.close),
                "highPrice": both(row.high), "lowPrice": both(row.low), "lastTradedVolume": row.volume}  # fmt: skip

    # WebSocket ----------------------------------------------------------------------------------------------------

    async def heard(self, connection: Connection, message: Any) -> None:
        if not isinstance(message, dict):
            return
        destination = str(message.get("destination"))
        answer = {"status": "OK", "destination": destination, "correlationId": message.get("correlationId")}
        if code := self._stranger(message.get("cst"), message.get("securityToken")):
            connection.send_json({**answer, "status": "ERROR", "payload": {"errorCode": code}})
        elif destination == "ping":
            if not connection.swallows_ping():
                connection.send_json({**answer, "payload": {}})
        else:
            self._subscribe(connection, answer, message.get("payload") or {})

    def _subscribe(self, connection: Connection, answer: dict[str, Any], wanted: dict[str, Any]) -> None:
        fault = self.plan.hit("wssub")
        if fault is not None and fault.kind == "noack":
            return
        epics = set(wanted.get("epics", ()))
        held = {name[1] for name in connection.channels if isinstance(name, tuple)}
        if len(held | epics) > self.limit("epics", 40) or (fault is not None and fault.kind == "reject"):
            self.counters["refused:epics"] += 1
            connection.send_json({**answer, "status": "ERROR", "payload": {"errorCode": "error.invalid.epics"}})
            return
        said = {}
        for epic in sorted(epics):
            for resolution in wanted.get("resolutions", [""]):
                name = f"{epic}:{resolution}:{wanted.get('type', 'classic')}" if resolution else epic
                said[name] = "PROCESSED" if self._put(connection, epic, resolution) else "ERROR"
        connection.send_json({**answer, "payload": {"subscriptions": said}})

    def _put(self, connection: Connection, epic: str, resolution: str) -> bool:
        if self.market(epic) is None or (resolution and resolution not in TIMEFRAMES):
            return False
        if resolution:
            self.subscribe(connection, (resolution, epic), epic, TIMEFRAMES[resolution])
        else:
            self.subscribe(connection, ("quote", epic), epic, kind="trades")
        return True

    def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
        """A bar is sent when it is over, or with the option ``early`` (s) so long before; without its volume."""
        early_ms = self.spec.options.get("early", 0) * 1000
        left_ms = channel.market.closes_ms(channel.timeframe, row.time_ms) - self.now_ms()
        if not closed and (not early_ms or left_ms > early_ms):
            return []
        assert isinstance(channel.name, tuple)
        common = {"epic": channel.symbol, "resolution": channel.name[0], "type": "classic", "t": row.time_ms}
        bid = dict(zip("ohlc", row[1:5], strict=True))
        ask = {name: ask_of(channel.market, price) for name, price in bid.items()}
        return [_event("ohlc.event", {**common, "priceType": side, **prices})
                for side, prices in (("ask", ask), ("bid", bid))]  # fmt: skip

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        return [
            _event("quote", {"epic": channel.symbol, "product": "CFD", "bid": trade.price, "bidQty": 1.0,
                             "ofr": ask_of(channel.market, trade.price), "ofrQty": 1.0,
                             "timestamp": trade.time_ms + self.skew_ms})
            for trade in trades
        ]  # fmt: skip


def ask_of(market: Market, bid: float) -> float:
    """Two steps above the bid."""
    return round(bid + 2 * 0.1**market.price_digits, market.price_digits)


def _event(destination: str, payload: dict[str, Any]) -> str:
    return json.dumps({"status": "OK", "destination": destination, "payload": payload}, separators=(",", ":"))


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"errorCode": code}, status=status)


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
