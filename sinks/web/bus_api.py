"""What is answered of the bus itself: /api/bus, /api/logs, and the messages `bus` and `log`."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ...bus.logs import LEVELS
from .api import as_json, limit
from .bus_view import EVERY_S, MOST_LINES
from .state import Refusal, Web


def routes(site: Web) -> list[web.RouteDef]:
    """What is answered here."""

    async def bus(_: web.Request) -> web.Response:
        return as_json({"boot": site.desk.boot, **await site.bus.look(graph=True)})

    async def logs(request: web.Request) -> web.Response:
        least, actor = request.query.get("level", LEVELS[0]), request.query.get("actor")
        if least not in LEVELS:
            raise Refusal(400, f"level={least} is none: write {', '.join(LEVELS)}")
        wanted = LEVELS[LEVELS.index(least) :]
        lines = [line for line in await site.bus.lines() if line[3] in wanted and actor in (None, line[2])]
        most = min(limit(request.query), MOST_LINES)
        return as_json({"boot": site.desk.boot, "lines": lines[-most:]})

    return [web.get("/api/bus", bus), web.get("/api/logs", logs)]


async def work(site: Web) -> None:
    """Tell those who look, once a second, for ever."""
    told = 0
    try:
        while True:
            if site.live.wanted("bus"):
                site.live.tell_lookers("bus", ["bus", await site.bus.look()])
            if site.live.wanted("log") and (lines := await site.bus.lines(told)):
                told = lines[-1][0] + 1
                site.live.tell_lookers("log", ["log", lines])
            await asyncio.sleep(EVERY_S)
    finally:
        site.bus.close()
