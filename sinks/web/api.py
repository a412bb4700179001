"""What programs and the page ask over HTTP: JSON, and bars in columns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import msgspec
from aiohttp import web

from .bars import COLUMNS, ORIGINS, BarStore, Page, as_row
from .state import Refusal, Web

MOST_ROWS = 20_000


def routes(site: Web) -> list[web.RouteDef]:
    """What is answered here."""

    async def streams(_: web.Request) -> web.Response:
        rows = [store.about() for store in site.desk.stores.values()]
        return as_json({"boot": site.desk.boot, "streams": rows})

    async def bars(request: web.Request) -> web.Response:
        query = request.query
        store = bar_store(site, query.get("stream", ""))
        page = store.page(
            before_ms=number(query, "before_ms", inf), from_ms=number(query, "from_ms", -inf),
            since_n=whole(query, "since_n"), limit=limit(query),
        )  # fmt: skip
        return _answer(site, store, page, query.get("format", ""))

    return [web.get("/api/streams", streams), web.get("/api/bars", bars)]


def _answer(site: Web, store: BarStore, page: Page, form: str) -> web.Response:
    head = {
        "boot": site.desk.boot, "n": store.n, "stream": store.stream, "older": page.older, "state": store.shown,
        "forming": store.forming and as_row(store.forming), "origins": ORIGINS,
    }  # fmt: skip
    if form == "json":
        rows = [as_row(row) for row in zip(*page.columns, strict=True)]
        return as_json({**head, "columns": COLUMNS, "bars": rows})
    return as_columns(head, COLUMNS, page.columns)


def bar_store(site: Web, stream: str) -> BarStore:
    """:raises Refusal: there is no such stream of bars"""
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


def number(query: Mapping[str, str], name: str, default: float) -> float:
    """:raises Refusal: it is no number"""
    try:
        return float(query.get(name, default))
    except ValueError:
        raise Refusal(400, f"{name}={query[name]} is no number") from None


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
