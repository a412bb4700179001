"""What programs and the page ask over HTTP: JSON, and bars in columns."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any

import msgspec
from aiohttp import web

from ... import __version__
from ...bus.errors import Fault
from .bars import COLUMNS, ORIGINS, BarStore, Page, as_row, row_of
from .state import Refusal, Web

MOST_ROWS = 20_000
MOST_MS = 8.64e15
"""Times further from 1970 are none, in browsers too."""
PATIENCE_S = 15.0
"""How long the bus, and a venue behind it, may take for a page."""


def routes(site: Web) -> list[web.RouteDef]:
    """What is answered here."""

    async def streams(_: web.Request) -> web.Response:
        rows = [store.about() for store in site.desk.stores.values()]
        return as_json({"boot": site.desk.boot, "streams": rows})

    async def bars(request: web.Request) -> web.Response:
        query = request.query
        in_json = wants_json(query)
        store = bar_store(site, query.get("stream", ""))
        span = moment(query, "before_ms", inf), moment(query, "from_ms", -inf)
        page = store.page(*span, whole(query, "since_n"), limit(query))
        if "before_ms" in query and span[0] <= store.first_ms and "since_n" not in query:
            page = await _older(site, store.stream, *span, limit(query))
        return _answer(site, store, page, in_json)

    async def health(_: web.Request) -> web.Response:
        states = {store.stream: store.shown for store in site.desk.bars}
        out = sorted(stream for stream, state in states.items() if state in ("stale", "down", "healing"))
        return as_json({"ok": not out, "boot": site.desk.boot, "bus": site.run.bus, "version": __version__,
                        "streams": len(site.desk.stores), "browsers": len(site.live.clients), "out": out})

    return [web.get("/api/streams", streams), web.get("/api/bars", bars), web.get("/api/health", health)]


async def _older(site: Web, stream: str, before_ms: float, from_ms: float, count: int) -> Page:
    """A page of what is not kept here, from the bus.

    :raises Refusal: it cannot be had, or not soon enough
    """
    try:
        bars = await asyncio.wait_for(site.past.before(stream, int(before_ms), count), PATIENCE_S)
    except TimeoutError:
        raise Refusal(503, f"the older bars of {stream} take longer than {PATIENCE_S:.0f} s: ask again") from None
    except Fault as fault:
        raise Refusal(503, str(fault)) from None
    rows = [row_of(bar) for bar in bars if bar.time_ms >= from_ms]
    columns = [array("d", column) for column in zip(*rows, strict=True)] or [array("d") for _ in COLUMNS]
    return Page(columns, len(rows) == len(bars) > 0)


def _answer(site: Web, store: BarStore, page: Page, in_json: bool) -> web.Response:
    head = {
        "boot": site.desk.boot, "n": store.n, "stream": store.stream, "older": page.older, "state": store.shown,
        "forming": store.forming and as_row(store.forming), "origins": ORIGINS,
        "last_ms": None if store.last_ms == -inf else int(store.last_ms),
    }  # fmt: skip
    if in_json:
        rows = [as_row(row) for row in zip(*page.columns, strict=True)]
        return as_json({**head, "columns": COLUMNS, "bars": rows})
    return as_columns(head, COLUMNS, page.columns)


def bar_store(site: Web, stream: str) -> BarStore:
    """:raises Refusal: there is no such stream of bars, or none was named"""
    if not stream:
        raise Refusal(400, "stream= is missing: name a stream, such as stream=demo:BTC/USDT@1")
    store = site.desk.stores.get(stream)
    if not isinstance(store, BarStore):
        there = ", ".join(sorted(store.stream for store in site.desk.bars)[:8]) or "nothing yet"
        raise Refusal(404, f"there is no stream of bars '{stream}': there is {there}")
    return store


def as_json(what: object) -> web.Response:
    """An answer in JSON; what is not a number in JSON is null."""
    return web.Response(body=msgspec.json.encode(what), content_type="application/json")


def as_columns(head: Mapping[str, Any], names: Sequence[str], columns: Sequence[array[float]]) -> web.Response:
    """An answer in columns: the length of the head, the head, and each column as little-endian float64."""
    count = len(columns[0]) if columns else 0
    text = msgspec.json.encode({**head, "columns": names, "count": count})
    text += b" " * (-(4 + len(text)) % 8)
    body = b"".join([len(text).to_bytes(4, "little"), text, *(column.tobytes() for column in columns)])
    return web.Response(body=body, content_type="application/octet-stream")


def wants_json(query: Mapping[str, str]) -> bool:
    """Whether rows are wanted and not columns.

    :raises Refusal: neither is
    """
    form = query.get("format", "columns")
    if form not in ("columns", "json"):
        raise Refusal(400, f"format={form} is none: write format=json, or leave it out for columns")
    return form == "json"


def moment(query: Mapping[str, str], name: str, default: float) -> float:
    """:raises Refusal: it is no time"""
    try:
        value = float(query[name]) if name in query else default
    except ValueError:
        value = nan
    if name in query and not abs(value) <= MOST_MS:
        raise Refusal(400, f"{name}={query[name]} is no time in milliseconds")
    return value


def whole(query: Mapping[str, str], name: str) -> int | None:
    """:raises Refusal: it is no whole number"""
    try:
        return int(query[name]) if name in query else None
    except ValueError:
        raise Refusal(400, f"{name}={query[name]} is no whole number") from None


def limit(query: Mapping[str, str], default: int = 5_000, most: int = MOST_ROWS) -> int:
    """How many rows are asked for.

    :raises Refusal: none, or more than are had at once
    """
    count = whole(query, "limit")
    if count is not None and not 0 < count <= most:
        raise Refusal(400, f"limit={count} is refused: at most {most:,} rows are had at once, ask again for older ones")
    return count or default
