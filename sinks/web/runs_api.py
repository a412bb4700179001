"""What programs and the page ask of scripts over HTTP: JSON, and plots in columns."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isnan
from typing import Any

from aiohttp import web

from ...bus.messages import fields_of
from .api import as_columns, as_json, limit, moment, wants_json, whole
from .runs import Fields, RunStore, drawing_of
from .state import Refusal, Web

_MOST_POINTS = 20_000
_LISTS = ("trades", "signals", "alerts")


def routes(site: Web) -> list[web.RouteDef]:
    """What is answered here."""

    async def cards(_: web.Request) -> web.Response:
        return as_json({"boot": site.desk.boot, "runs": [card(store) for store in site.desk.runs]})

    async def run(request: web.Request) -> web.Response:
        store = run_store(site, request.query)
        return as_json({"boot": site.desk.boot, **whole_run(store)})

    async def plots(request: web.Request) -> web.Response:
        return _plots(site, run_store(site, request.query), request.query)

    async def positions(request: web.Request) -> web.Response:
        held = [position(store) for store in _asked(site, request.query) if store.picture.account]
        return as_json({"boot": site.desk.boot, "positions": held})

    async def pnl(request: web.Request) -> web.Response:
        store = run_store(site, request.query)
        points = store.curve.points(min(max(whole(request.query, "points") or 2_000, 4), _MOST_POINTS))
        head = {"boot": site.desk.boot, "n": store.n, "run": store.stream, "currency": _currency(store)}
        return as_json({**head, "peak": store.curve.peak, "points": points})

    def listed(name: str) -> web.RouteDef:
        async def answer(request: web.Request) -> web.Response:
            stores, kind = _asked(site, request.query), "fills" if name == "trades" else name
            head = {"n": stores[0].n, "count": stores[0].counts[kind]} if "run" in request.query else {}
            return as_json({"boot": site.desk.boot, **head, name: rows_of(stores, kind, request.query)})

        return web.get(f"/api/{name}", answer)

    return [
        web.get("/api/runs", cards), web.get("/api/run", run), web.get("/api/plots", plots),
        web.get("/api/positions", positions), web.get("/api/pnl", pnl), *map(listed, _LISTS),
    ]  # fmt: skip


def run_store(site: Web, query: Mapping[str, str]) -> RunStore:
    """The store of the run that is asked for, ``run:`` or not.

    :raises Refusal: there is none, or none was named
    """
    if not (name := query.get("run", "")):
        raise Refusal(400, "run= is missing: name a run, such as run=ema-cross")
    store = site.desk.stores.get(name if name.startswith("run:") else f"run:{name}")
    if not isinstance(store, RunStore):
        there = ", ".join(sorted(store.stream for store in site.desk.runs)[:8]) or "none yet"
        raise Refusal(404, f"there is no run '{name}': there is {there}")
    return store


def _asked(site: Web, query: Mapping[str, str]) -> list[RunStore]:
    return [run_store(site, query)] if "run" in query else site.desk.runs


def card(store: RunStore) -> Fields:
    """A run in a few words: what it is, how it stands, and what it has said last."""
    run, account = store.picture.run, store.picture.account
    last = {f"last_{name.removesuffix('s')}": fields_of(said[-1]) if (said := store.lists[name]) else None
            for name in ("signals", "alerts", "fills")}  # fmt: skip
    held = {name: getattr(account, name, None)
            for name in ("position", "average_price", "open_profit", "net_profit", "equity")}  # fmt: skip
    return {
        "run": store.stream, "title": run.title if run else "", "kind": run.kind if run else "indicator",
        "script": run.script if run else "", "stream": run.stream if run else "", **store.condition,
        "last_ms": store.last_ms or None, "bars": store.picture.bars, "warmup": run.warmup if run else 0,
        "currency": _currency(store),
        **{name: getattr(run and run.instrument, name, None) for name in ("mintick", "mincontract")}, **held, **last,
        "counts": {name: store.counts[name] for name in store.lists},
    }  # fmt: skip


def whole_run(store: RunStore) -> Fields:
    """A run as it stands: what runs, how its plots look, what is drawn, its account, its last words."""
    picture = store.picture
    drawn = [dict(zip(("kind", "id", "fields"), drawing_of(each)[1:], strict=True)) for each in picture.drawn.values()]
    return {
        "name": store.stream, "run": store.described, **store.condition, "anchor": store.anchor,
        "instrument": fields_of(picture.run and picture.run.instrument), "metas": list(picture.metas.values()),
        "drawings": drawn, "account": account_of(store), "statistics": picture.statistics,
        "logs": fields_of(tuple(store.lists["logs"])[-200:]),
    }  # fmt: skip


def account_of(store: RunStore) -> Fields | None:
    """A strategy's book, without the statistics."""
    if store.picture.account is None:
        return None
    said: Fields = fields_of(store.picture.account)
    del said["statistics"]
    return said


def position(store: RunStore) -> Fields:
    """What a strategy holds, and the orders that stand."""
    return {"run": store.stream, "stream": store.picture.run and store.picture.run.stream,
            "currency": _currency(store), **(account_of(store) or {})}  # fmt: skip


def rows_of(stores: list[RunStore], name: str, query: Mapping[str, str]) -> list[Fields]:
    """The newest things of a kind that some runs have said before a time, oldest first."""
    before_ms, count = moment(query, "before_ms", inf), limit(query, 500)
    said = [(each.time_ms, store.stream, each) for store in stores for each in store.lists[name]
            if each.time_ms < before_ms]  # fmt: skip
    said.sort(key=lambda row: row[0])
    first = max(len(said) - count, 0)
    while first and said[first - 1][0] == said[first][0]:  # who asks for what is before it misses nothing of that bar
        first -= 1
    return [{"run": run, **fields_of(each)} for _, run, each in said[first:]]


def _plots(site: Web, store: RunStore, query: Mapping[str, str]) -> web.Response:
    rows, older = store.plots.rows(
        moment(query, "before_ms", inf), moment(query, "from_ms", -inf), whole(query, "since_n"), limit(query)
    )
    times, columns, index = store.plots.times[rows.start : rows.stop], store.plots.columns(rows), store.first_index
    head = {
        "boot": site.desk.boot, "n": store.n, "run": store.stream, "older": older, "anchor": store.anchor,
        "first_index": None if index is None else index + rows.start,
        "styles": store.plots.styles(rows), "texts": store.plots.texts(rows), "forming": forming(store),
    }  # fmt: skip
    if not wants_json(query):
        return as_columns(head, ["time_ms", *columns], [times, *columns.values()])
    named = {title: [None if isnan(value) else value for value in column] for title, column in columns.items()}
    return as_json({**head, "time_ms": list(map(int, times)), "plots": named})


def forming(store: RunStore) -> Fields | None:
    """What is plotted on the bar that forms, and how it differs from what is drawn."""
    plot = store.forming
    return None if plot is None else {
        "time_ms": plot.time_ms, "values": plot.values, "styles": plot.styles,
        "drawings": [drawing_of(drawing) for drawing in plot.drawings],
    }  # fmt: skip


def _currency(store: RunStore) -> Any:
    run = store.picture.run
    return run.instrument.currency if run and run.instrument else None
