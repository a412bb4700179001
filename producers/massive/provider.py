"""Massive (Polygon renamed): US stocks, currencies and crypto, live over WebSocket, history over REST.

A stream of one minute (or one second) is the venue's own aggregate: what it sends is closed, and what it sends again
for the same minute replaces it. Streams above that form here from the finer aggregates, and are closed by the venue's
own bar, which the feed asks for. Where nobody traded there is no bar.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from time import time_ns
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from ...bus.messages import Bar, Instrument
from ...bus.names import Key, timeframe_ms
from .. import clock
from ..budget import Budget, Rate
from ..contract import Capabilities, ConfigError, Disconnected, Kind, Provider, Refused, Update
from ..http import Answered, Http, retry_after, said
from .bars import MINUTE_MS, SECOND_MS, Growing, exact, slot_after, slot_of, unit_ms, venue_range
from .markets import MARKETS, Market, decimals, in_regular_session, instrument, market_of
from .wire import Aggregate, Line, Row, Said

_DELAY_MS = 15 * MINUTE_MS
"""How far a delayed plan is behind, live and in its history."""
_PAGE = 50_000
_HEARTBEAT_S = 30
_WINDOW_S = 62
"""A minute, and what a request may be late on its way: the venue counts when it arrives."""
_CLOSES: dict[int, Kind] = {429: "rate", 503: "maintenance"}


class Massive(Provider):
    """Tickers as Massive writes them: ``AAPL``, ``X:BTCUSD``, ``C:EURUSD``."""

    name: ClassVar[str] = "massive"
    credentials = ("api_key",)
    capabilities = Capabilities(history=True, forming=True, symbols=True, heals=True)

    @dataclass
    class Config:
        """The options of Massive."""

        api_key: str = ""
        """The key of the account, from its dashboard."""
        feed: Literal["realtime", "delayed"] = "realtime"
        """What the plan includes; delayed is 15 minutes behind."""
        forming: bool = True
        """Form bars from the aggregates of every second; else a minute is only seen when it closes."""
        session: Literal["extended", "regular"] = "extended"
        """The hours of stocks: 04:00 to 20:00 in New York, or 09:30 to 16:00."""
        adjusted: bool = True
        """Whether history is adjusted for splits."""
        requests_per_min: int = 5
        """What the plan allows over REST (the free one 5); 0 is unlimited."""
        rest_url: str = "https://api.massive.com"
        """Where history is."""
        ws_url: str = ""
        """Where live aggregates are; the default follows ``feed``."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        if problems := _faults(self.keys, config):
            raise ConfigError(problems)
        if self.keys and not any(map(exact, self.keys)):
            self.capabilities = replace(self.capabilities, flagged=False)
        self.budget = Budget(*([Rate(config.requests_per_min, _WINDOW_S)] if config.requests_per_min else []))
        self._http = Http(config.rest_url, self.budget)
        self._lines: list[Line] = []
        self._forming = {key: Growing(key) for key in self.keys}
        self._details: dict[str, dict[str, Any]] = {}

    @property
    def account(self) -> str:
        """The account's key, hashed."""
        return f"massive:{blake2b(self.config.api_key.encode(), digest_size=6).hexdigest()}"

    def now_ms(self) -> int:
        """The time up to which the plan's data go."""
        return clock.now_ms() - (_DELAY_MS if self.config.feed == "delayed" else 0)

    async def get_symbol_info(self, key: Key) -> Instrument:
        """The instrument, from the venue's reference; the tick of crypto from the prices of yesterday."""
        if key.symbol not in self._details:
            answer = await self._ask(f"/v3/reference/tickers/{quote(key.symbol, safe=':')}", f"ticker {key.symbol}")
            details: dict[str, Any] = answer.get("results") or {}
            if not details.get("active", True):
                raise Refused(f"ticker {key.symbol} is delisted at Massive: remove the stream")
            if market_of(key).kind == "crypto":
                before = await self._ask(f"/v2/aggs/ticker/{quote(key.symbol, safe=':')}/prev", f"ticker {key.symbol}")
                details["digits"] = decimals(row[name] for row in before.get("results") or () for name in "ohlc")
            self._details[key.symbol] = details
        source = f"massive:{'adjusted' if self.config.adjusted else 'raw'}:{self.config.session}"
        return instrument(key, self._details[key.symbol], self.config.session, source)

    async def connect(self) -> None:
        """One connection for each class of assets, authenticated; the account may have no second one of a class."""
        groups: dict[Market, list[Key]] = {}
        for key in self.keys:
            groups.setdefault(market_of(key), []).append(key)
        try:
            for market, keys in groups.items():
                self._lines.append(await self._open(market, keys))
        except BaseException:
            await self.disconnect()
            raise

    async def _open(self, market: Market, keys: list[Key]) -> Line:
        host = "delayed" if self.config.feed == "delayed" else "socket"
        url = f"{(self.config.ws_url or f'wss://{host}.massive.com').rstrip('/')}/{market.path}"
        try:
            socket = await self._http.session.ws_connect(url, heartbeat=_HEARTBEAT_S)
        except aiohttp.WSServerHandshakeError as error:
            raise Disconnected(f"{url} answers with status {error.status}", retry_after(error.headers or {}),
                               _CLOSES.get(error.status, "network")) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Disconnected(f"{url} does not answer: {said(error)}") from error
        line = Line(market, socket, sorted({channel for key in keys for channel in self._channels(market, key)}))
        try:
            await line.log_in(self.config.api_key)
        except BaseException:
            await socket.close()
            raise
        return line

    def _channels(self, market: Market, key: Key) -> Iterator[str]:
        ticker = self._wire_name(key.symbol)
        if unit_ms(key) == MINUTE_MS:
            yield f"{market.minutes}.{ticker}"
        if unit_ms(key) == SECOND_MS or self.config.forming:
            yield f"{market.seconds}.{ticker}"

    def _wire_name(self, symbol: str) -> str:
        """``BTC-USD`` of ``X:BTCUSD``: live pairs are written with a dash."""
        pair, details = symbol.rpartition(":")[2], self._details.get(symbol, {})
        if pair == symbol:
            return symbol
        base = details.get("base_currency_symbol") or pair[:-3]
        return f"{base}-{pair.removeprefix(base)}"

    async def disconnect(self) -> None:
        """Close all connections."""
        lines, self._lines = self._lines, []
        for line in lines:
            await line.socket.close()

    @property
    def is_connected(self) -> bool:
        """Whether all classes of assets are connected."""
        return bool(self._lines) and not any(line.socket.closed for line in self._lines)

    async def close(self) -> None:
        """Close the pool."""
        await self.disconnect()
        await self._http.close()

    async def watch(self) -> AsyncIterator[Update]:
        """Closed bars of one minute or second, forming bars of everything; a corrected bar comes closed once more."""
        for line in self._lines:
            await line.subscribe()
        reads = {asyncio.create_task(line.receive()): line for line in self._lines}
        try:
            while True:
                done, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                for read in done:
                    line, frame = reads[read], read.result()
                    del reads[read]
                    for update in self._understood(line, frame):
                        yield update
                    reads[asyncio.create_task(line.receive())] = line
        finally:
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)

    def _understood(self, line: Line, frame: str) -> Iterator[Update]:
        self.counters["frames"] += 1
        received_ns = time_ns()
        for row in line.rows(frame):
            try:
                event = msgspec.json.decode(row, type=Said)
                if event.ev == "status":
                    line.judge(event, self.counters)
                elif event.ev in (line.market.minutes, line.market.seconds):
                    yield from self._updates(line.market, msgspec.json.decode(row, type=Aggregate), received_ns)
            except (msgspec.DecodeError, ValueError):
                self.counters["malformed"] += 1

    def _updates(self, market: Market, event: Aggregate, received_ns: int) -> Iterator[Update]:
        bar, symbol = event.bar(received_ns), event.ticker(market)
        length_ms = MINUTE_MS if event.ev == market.minutes else SECOND_MS
        for key, forming in self._forming.items():
            if key.symbol != symbol or not self._in_session(key, bar.time_ms):
                continue
            if timeframe_ms(key.timeframe) == length_ms:
                forming.close(bar.time_ms)
                yield Update(key, bar, event.e)
            elif timeframe_ms(key.timeframe) > length_ms and (grown := forming.add(bar, length_ms)):
                yield Update(key, grown, event.e)

    def _in_session(self, key: Key, time_ms: int) -> bool:
        return self.config.session == "extended" or key.timeframe == "1D" or in_regular_session(key, time_ms)

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """The first page that has closed bars after ``since_ms``."""
        return [bar for bar in await self._some(key, since_ms) if bar.closed]

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        """As the backfill, with the forming bar, which goes on growing from here."""
        now_ms = self.now_ms()
        bars = await self._some(key, since_ms)
        if bars and not bars[-1].closed:
            self._forming[key].start_from(bars[-1], now_ms)
        return bars

    async def _some(self, key: Key, since_ms: int) -> list[Bar]:
        async for bars in self._history(key, since_ms + 1, self.now_ms()):
            if bars:
                return bars
        return []

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """All pages of a time span."""
        return [bar async for bars in self._history(key, from_ms, to_ms) for bar in bars if bar.closed]

    async def _history(self, key: Key, from_ms: int, to_ms: int) -> AsyncIterator[list[Bar]]:
        """The bars that open in a time span, page by page; asked by whole bars, as the venue would cut them."""
        if to_ms <= from_ms:
            return
        first_ms, last_ms = slot_of(key, from_ms), slot_after(key, slot_of(key, to_ms - 1)) - 1
        path = f"/v2/aggs/ticker/{quote(key.symbol, safe=':')}/range/{venue_range(key.timeframe)}/{first_ms}/{last_ms}"
        params = {"adjusted": str(self.config.adjusted).lower(), "sort": "asc", "limit": str(_PAGE)}
        now_ms = self.now_ms()
        async for rows in self._pages(path, params, f"stream {key}"):
            bars = (self._row(key, row, now_ms) for row in rows)
            yield [bar for bar in bars if bar and from_ms <= bar.time_ms < to_ms]

    def _row(self, key: Key, row: Any, now_ms: int) -> Bar | None:
        try:
            decoded = msgspec.convert(row, Row)
            bar = decoded.bar(slot_after(key, decoded.t) <= now_ms)
        except (msgspec.ValidationError, ValueError):
            self.counters["malformed"] += 1
            return None
        return bar if self._in_session(key, bar.time_ms) else None

    async def get_list_of_symbols(self) -> list[str]:
        """All active tickers of the streams' classes, or of all three; a page of 1000 is one request."""
        markets = {market_of(key).path for key in self.keys} or {market.path for market in MARKETS.values()}
        found = []
        for market in sorted(markets):
            params = {"market": market.replace("forex", "fx"), "active": "true", "limit": "1000"}
            async for rows in self._pages("/v3/reference/tickers", params, f"the list of {market}"):
                found += [row["ticker"] for row in rows]
        return found

    async def _pages(self, path: str, params: dict[str, str], what: str) -> AsyncIterator[list[Any]]:
        """The results of a question, page by page; ``next_url`` counts by its path: the key goes to no other host."""
        asked: dict[str, str] | None = params
        while path:
            answer = await self._ask(path, what, asked)
            yield answer.get("results") or []
            rest = urlsplit(answer.get("next_url") or "")
            path, asked = f"{rest.path}?{rest.query}" if rest.path else "", None

    async def _ask(self, path: str, what: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """One request.

        A refusal is ``{"status":"NOT_AUTHORIZED","request_id":…,"message":"You are not entitled to this data…"}``,
        ``{"status":"NOT_FOUND","message":"Ticker not found."}`` or ``{"status":"ERROR","error":"Unknown API Key"}``.
        """
        try:
            answer = await self._http.get(path, params, headers={"Authorization": f"Bearer {self.config.api_key}"})
        except Answered as answered:
            raise _refusal(answered, what) from answered
        except Disconnected as error:
            if error.kind == "rate":  # the window is a minute, and the venue does not say how much of it is over
                self.budget.hold(60)
            raise
        if not isinstance(answer, dict) or answer.get("status") == "ERROR":
            raise Disconnected(f"Massive answers about {what}: {str(answer)[:200]}", kind="protocol")
        return answer


class Polygon(Massive):
    """Massive under its old name."""

    name: ClassVar[str] = "polygon"


def _refusal(answered: Answered, what: str) -> Exception:
    body = answered.body if isinstance(answered.body, dict) else {}
    reason = body.get("message") or body.get("error") or f"status {answered.status}"
    if answered.status == 401:
        return ConfigError([f"option 'api_key' is not accepted by Massive: {reason}"])
    if answered.status == 403:
        return Refused(f"the plan does not include {what} (Massive: {reason}): change the plan, or remove the stream")
    if answered.status == 404:
        return Refused(f"Massive does not know {what}: {reason}")
    return Disconnected(f"Massive refuses {what}: {reason}", kind="protocol")


def _faults(keys: Sequence[Key], config: Massive.Config) -> list[str]:
    problems = [] if config.api_key else ["option 'api_key' is missing: take it from the account's dashboard"]
    if config.requests_per_min < 0:
        problems.append(f"option 'requests_per_min' is {config.requests_per_min}: it cannot be negative")
    return problems + [f"stream '{key}': {fault}" for key in keys if (fault := _fault(key, config.session))]


def _fault(key: Key, session: str) -> str:
    if key.symbol.rpartition(":")[0] not in MARKETS:
        return "write a stock as AAPL, crypto as X:BTCUSD, a currency as C:EURUSD"
    if not _cuttable(key.timeframe):
        return "use minutes that divide an hour (1, 5, 60), seconds that divide a minute, or 1D"
    if session == "regular" and market_of(key).kind == "stock" and key.timeframe == "60":
        return "the venue's hours begin at full hours, the regular session at 09:30: use 30, or session = \"extended\""
    return ""


def _cuttable(timeframe: str) -> bool:
    length_ms = timeframe_ms(timeframe)
    if length_ms < MINUTE_MS:
        return MINUTE_MS % length_ms == 0
    return timeframe == "1D" or (timeframe.isdigit() and 60 * MINUTE_MS % length_ms == 0)
