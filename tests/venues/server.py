"""What all venues of the laboratory share: their clock, their REST side with its faults, and the pump of their streams.

An adapter is a subclass that knows one venue's words: its routes, what its clients may say, and its frames.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, web
from pynelive.bus.names import timeframe_ms
from pynelive.producers import clock

from . import stream
from .bars import bars_of
from .control import control_routes, truth_lines
from .faults import OPEN_KINDS, REST_KINDS, SUBSCRIBE_KINDS, Fault, Plan
from .limits import Window
from .line import Channel, Connection
from .market import Market, Row, Trade
from .spec import Spec
from .tamper import nulled, reset, spoiled

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Venue:
    """A venue. Of a subclass: ``routes``, ``heard``, ``frames`` (or ``trade_frames``), ``failure``, ``refusal``."""

    close_field = "close"
    """The field of a frame that the faults ``hole`` and ``null`` take."""
    connections_allowed = 300.0
    """In five minutes."""
    messages_allowed = 1000.0
    """Of a client, in a second."""
    patience = math.inf
    """How many requests may come too early after a 429, until the address is banned."""
    ban_s = 120.0
    """How long a ban lasts."""
    beat_s = 0.0
    """How often (real time) :meth:`beat` is said; 0 is never."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.skew_ms = spec.skew_ms
        self.plan = Plan(spec.faults, spec.seed)
        self.counters: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.channels: dict[Hashable, Channel] = {}
        self.start_ms = spec.epoch_ms or self.now_ms()
        self._connects = Window(self.limit("connections", self.connections_allowed), 300)
        self._held_until_s, self._held_kind, self._ignored = 0.0, "rate", 0
        self.markets = {
            self.symbol_of(m.symbol): Market(
                m.symbol, m.timeframe, bars_of(m.source, spec.seed, m.symbol, m.timeframe), self.start_ms,
                m.history, m.trades, m.quiet, spec.seed,
            )
            for m in spec.markets
        }  # fmt: skip

    # What an adapter says ---------------------------------------------------------------------------------------

    def symbol_of(self, symbol: str) -> str:
        """The venue's notation of a symbol (``BTC/USDT``): of markets, frames and hooks."""
        return symbol.replace("/", "")

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The venue's paths; those of WebSockets go to :meth:`socket`."""
        raise NotImplementedError

    async def opened(self, connection: Connection) -> None:
        """A client has connected."""

    async def heard(self, connection: Connection, message: Any) -> None:
        """A client has said something (decoded JSON; None if it was none)."""

    def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
        """What is said of a bar on a channel; nothing if the venue says nothing then."""
        return []

    def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
        """What is said of some trades."""
        return []

    def refusal(self, request: web.Request) -> web.Response | None:
        """Count a request on the venue's limits; the answer if it is over one."""
        return None

    def failure(self, kind: str, wait_s: float) -> web.Response:
        """The venue's own answer: ``rate``, ``ban`` or ``maintenance``, with how long (s) to stay away."""
        status = {"rate": 429, "ban": 418}.get(kind, 503)
        return web.json_response({"error": kind}, status=status, headers={"Retry-After": str(math.ceil(wait_s))})

    def shutdown_frame(self) -> str:
        """What the venue says before it goes down; empty if nothing."""
        return ""

    def beat(self) -> str:
        """The venue's heartbeat."""
        return ""

    def rejection(self, message: Any) -> Any:
        """The answer to a subscribe message that a fault rejects."""
        return {"error": "rejected"}

    def gone(self, connection: Connection) -> None:
        """A client has gone."""

    # What an adapter uses ---------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The venue's own time: what it says it is."""
        return clock.now_ms() + self.skew_ms

    def limit(self, name: str, default: float) -> float:
        """One of the venue's limits, unless the test has set another."""
        return self.spec.limits.get(name, default)

    def market(self, symbol: str) -> Market | None:
        """A market that can be asked for, by the venue's symbol."""
        market = self.markets.get(symbol)
        return market if market is not None and not self.is_delisted(market) else None

    def is_delisted(self, market: Market) -> bool:
        """Whether the venue has taken the market out."""
        return market.delisted_ms is not None

    def history(
        self, request: web.Request, market: Market, timeframe: str, start_ms: int | None = None,
        end_ms: int | None = None, limit: int = 1000,
    ) -> list[Row]:  # fmt: skip
        """What a request gets, oldest first, the forming bar last; with the fault that happens to it."""
        now_ms = self.now_ms()
        rows = market.history(timeframe, now_ms, start_ms, end_ms, limit)
        fault: Fault | None = request.get("fault")
        if fault is None:
            return rows
        forming = bool(rows) and market.closes_ms(timeframe, rows[-1].time_ms) > now_ms
        return spoiled(rows, fault, forming)

    def subscribe(
        self, connection: Connection, name: Hashable, symbol: str, timeframe: str = "", kind: str = "bars"
    ) -> Channel:
        """Put a connection on a channel, which is made if it is the first one."""
        channel = self.channels.get(name)
        if channel is None:
            market = self.markets[symbol]
            channel = Channel(name, symbol, market, timeframe or market.timeframe, self.now_ms(), kind)
            self.channels[name] = channel
        if name not in connection.channels:
            connection.channels.add(name)
            channel.connections.append(connection)
        return channel

    def unsubscribe(self, connection: Connection, name: Hashable) -> None:
        """Take a connection from a channel."""
        connection.channels.discard(name)
        channel = self.channels.get(name)
        if channel is not None and connection in channel.connections:
            channel.connections.remove(connection)
            if not channel.connections:
                del self.channels[name]

    def hold(self, kind: str, wait_s: float) -> web.Response:
        """Answer nobody for so long, but with this failure."""
        self._held_until_s, self._held_kind = clock.monotonic() + wait_s, kind
        return self.failure(kind, wait_s)

    async def hindered(self, connection: Connection, message: Any) -> bool:
        """Count a subscribe message; whether a fault has answered it, or left it without an answer."""
        fault = self.plan.hit("wssub", SUBSCRIBE_KINDS)
        if fault is None:
            return False
        if fault.kind == "slow":
            await asyncio.sleep(fault.args.get("seconds", 1.0))
        elif fault.kind == "reject":
            connection.send_json(self.rejection(message))
        elif fault.kind == "abort":
            connection.reset()
        elif fault.kind == "close":
            await connection.close(fault.args.get("code", 1008))
        return fault.kind != "slow"

    # The life of the venue --------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        """The venue, ready to be served."""
        app = web.Application(middlewares=[self._middleware])
        app.add_routes([*self.routes(), *control_routes(self)])
        return app

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Serve a WebSocket."""
        self.counters["connections"] += 1
        if not self._connects.take():
            self.counters["refused:connections"] += 1
            return self.failure("rate", self._connects.left_s)
        fault = self.plan.hit("wsopen", OPEN_KINDS)
        if fault is not None and (answer := await self._hindered(request, fault)) is not None:
            return answer
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = Connection(self, request, socket)
        self.connections.add(connection)
        try:
            await self.opened(connection)
            await connection.serve()
        finally:
            self.connections.discard(connection)
            for name in list(connection.channels):
                self.unsubscribe(connection, name)
            self.gone(connection)
        return socket

    async def pump(self) -> None:
        """Say what happens on all channels, as it happens."""
        step_ms = min((timeframe_ms(m.timeframe) for m in self.spec.markets), default=60_000) / self.spec.ticks
        while True:
            await clock.sleep((step_ms - self.now_ms() % step_ms) / 1000 + 0.001)
            now_ms = self.now_ms()
            for number, channel in enumerate(list(self.channels.values())):
                if channel.due_ms <= now_ms:
                    await stream.emit(self, channel, now_ms)
                if number % 50 == 49:
                    await asyncio.sleep(0)  # the writers' turn

    def write_log(self) -> None:
        """Write the truth and the faults that fired, as JSON lines."""
        if self.spec.log:
            lines = (json.dumps(line, separators=(",", ":")) + "\n" for line in truth_lines(self))
            Path(self.spec.log).write_text("".join(lines), encoding="utf-8")

    # The REST side ----------------------------------------------------------------------------------------------

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else request.path
        if path.startswith("/lab/") or request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        self.counters["requests"] += 1
        self.counters[f"requests:{path}"] += 1
        if (refused := self._too_early() or self.refusal(request)) is not None:
            self.counters[f"refused:{refused.status}"] += 1
            return refused
        fault = self.plan.hit(f"rest:{path}", REST_KINDS)
        if fault is not None and (hindered := await self._hindered(request, fault)) is not None:
            return hindered
        request["fault"] = fault
        answer = await handler(request)
        if fault is not None and isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            return await self._spoiled(request, answer, fault)
        return answer

    def _too_early(self) -> web.Response | None:
        left_s = self._held_until_s - clock.monotonic()
        if left_s <= 0:
            self._ignored = 0
            return None
        self._ignored += 1
        self.counters["early"] += 1
        if self._ignored > self.patience:
            return self.hold("ban", self.ban_s)
        return self.failure(self._held_kind, left_s)

    async def _hindered(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """The answer that a fault gives instead of the venue's, if it does."""
        args = fault.args
        if fault.kind in ("hang", "slow"):
            await asyncio.sleep(args.get("seconds", 1.0))  # real time: the network's time-outs are real too
        elif fault.kind == "reset":
            reset(request)
            return web.Response()  # to nobody
        elif fault.kind in ("rate", "ban", "maintenance"):
            wait_s = args.get("retry_after", 1)
            return self.failure(fault.kind, wait_s) if fault.where == "wsopen" else self.hold(fault.kind, wait_s)
        elif fault.kind == "skew":
            self.skew_ms += args.get("ms", 30_000)
        elif fault.kind == "delist":
            self.delist(args.get("symbol", next(iter(self.markets))))
        return _PLAIN[fault.kind](args) if fault.kind in _PLAIN else None

    async def _spoiled(self, request: web.Request, answer: web.Response, fault: Fault) -> web.StreamResponse:
        """The venue's answer as a fault of its body leaves it."""
        assert isinstance(answer.body, bytes)
        if fault.kind == "nulls":
            answer.body = nulled(answer.body)
        if fault.kind != "truncate":
            return answer
        cut = web.StreamResponse(headers={"Content-Length": "100000", "Content-Type": "application/json"})
        await cut.prepare(request)
        await cut.write(answer.body[:40])
        if request.transport is not None:
            request.transport.close()
        return cut

    def revise(self, channel: Channel, factor: float, told: bool) -> None:
        """Change the last closed bar that the channel has come to, and say so there if it is told."""
        market = channel.market
        revised = market.revise(self.now_ms() if channel.kind == "trades" else channel.open_ms, factor)
        if revised is not None and told:
            open_ms = market.opens_ms(channel.timeframe, revised.time_ms)
            row, closed = market.since(channel.timeframe, open_ms, self.now_ms())[0]
            channel.deliver(self.frames(channel, row, closed))

    def delist(self, symbol: str) -> None:
        """Take a market out: no more bars, and nobody can ask for it."""
        self.markets[symbol].delisted_ms = self.now_ms()

    async def send_away(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        """Close all connections."""
        await asyncio.gather(*(connection.close(code) for connection in list(self.connections)))


def _status(args: dict[str, Any]) -> web.Response:
    return web.Response(
        status=args.get("status", 500), headers=args.get("headers"), text=args.get("body", ""),
        content_type=args.get("type", "application/json"),
    )  # fmt: skip


_PLAIN: dict[str, Callable[[dict[str, Any]], web.Response]] = {
    "status": _status,
    "html": lambda _: web.Response(text="<html><body>Attention required</body></html>", content_type="text/html"),
    "badjson": lambda _: web.Response(text='[[1735689600000,"94', content_type="application/json"),
    "null": lambda _: web.Response(text="null", content_type="application/json"),
    "empty": lambda _: web.Response(text="", content_type="application/json"),
}
"""Answers that do not depend on the venue."""
