"""The laboratory's own routes, beside the venue's: what is true, what went wrong, what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from .faults import Fault
from .market import Market, Row

if TYPE_CHECKING:
    from .server import Venue


def control_routes(venue: Venue) -> Sequence[web.AbstractRouteDef]:
    """The routes under ``/lab/``."""

    async def truth(request: web.Request) -> web.Response:
        """``symbol`` (the venue's notation or ccxt's), ``timeframe``, ``since_ms``: closed bars and their revisions."""
        market = _market(venue, request.query["symbol"])
        timeframe = request.query.get("timeframe", market.timeframe)
        since_ms = int(request.query.get("since_ms", market.start_ms))
        rows = market.truth(timeframe, since_ms, venue.now_ms())
        return web.json_response([[revision, *row[:6]] for revision, row in rows])

    async def faults(request: web.Request) -> web.Response:
        """What has fired and what still may; POST a fault to arm it from now on."""
        if request.method == "POST":
            venue.plan.arm(msgspec.json.decode(await request.read(), type=Fault))
        pending = [msgspec.to_builtins(fault) for fault in venue.plan.pending()]
        return web.json_response({"fired": venue.plan.log, "pending": pending})

    async def counters(_: web.Request) -> web.Response:
        """What was counted, the open connections and their channels, and the venue's time."""
        subscriptions = sum(len(connection.channels) for connection in venue.connections)
        now = {"open": len(venue.connections), "subscriptions": subscriptions, "now_ms": venue.now_ms()}
        return web.json_response({**venue.counters, **now})

    return [
        web.get("/lab/truth", truth), web.get("/lab/faults", faults), web.post("/lab/faults", faults),
        web.get("/lab/counters", counters),
    ]  # fmt: skip


def truth_lines(venue: Venue) -> Iterator[dict[str, Any]]:
    """Every closed bar with each of its revisions, and every fault that fired."""
    for symbol, market in venue.markets.items():
        for revision, row in market.truth(market.timeframe, market.start_ms, venue.now_ms()):
            yield {"kind": "bar", "symbol": symbol, "timeframe": market.timeframe, "revision": revision, **_values(row)}
    for fired in venue.plan.log:
        yield {**fired._asdict(), "fault": fired.kind, "kind": "fault"}


def _values(row: Row) -> dict[str, float]:
    return dict(zip(Row._fields[:6], row[:6], strict=True))


def _market(venue: Venue, symbol: str) -> Market:
    for name, market in venue.markets.items():
        if symbol in (name, market.symbol):
            return market
    raise web.HTTPNotFound(text=f"no market '{symbol}'")
