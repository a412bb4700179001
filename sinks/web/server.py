"""The HTTP server: who may ask, what is answered with, and the thread that all of it runs in."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from . import api, bus_api, metrics, runs_api
from .state import Refusal, Web

PARTS: tuple[ModuleType, ...] = (api, runs_api, bus_api, metrics)
"""Modules that answer requests: each has ``routes(site)``, and may have ``work(site)``, which goes on beside that."""

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HERE = Path(__file__).parent
_PAGES = {"/": "index.html", "/bus": "bus.html", "/strategy": "strategy.html"}
_OPEN = ("/page/style.css", "/page/theme.js", "/page/icon.svg")
"""What the page that asks for a token is made of."""
_LOGO_STYLE = "sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY="
"""The one style element that lightweight-charts 5.2.1 adds, for its logo."""
_HEADERS = {
    "Content-Security-Policy": f"default-src 'self'; style-src 'self' '{_LOGO_STYLE}'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Server": "pynelive",
}


class Server:
    """Serves in a thread of its own until it is stopped.

    :param listening: the socket that was bound
    :param token: what a request must show; empty if none must
    """

    def __init__(self, site: Web, listening: socket.socket, token: str) -> None:
        self.site = site
        self._listening = listening
        self._token = token
        self._cookie = f"pynelive-{listening.getsockname()[1]}"
        """Cookies are of a host, whichever the port: another dashboard's must not take its place."""
        self._ticket = hashlib.sha256(token.encode()).hexdigest()
        """What the cookie holds: a token may have letters that a cookie may not."""
        self._loop = asyncio.new_event_loop()
        self._working: list[asyncio.Task[None]] = []
        self._broken: BaseException | None = None
        """What has ended a part of the server that nobody waits for."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="web", daemon=True)

    def start(self) -> None:
        """Serve; returns when it does."""
        self._thread.start()
        self._wait(self._open())

    def call(self, work: Callable[..., T], *given: Any) -> T:
        """Call in the server's thread, where all stores live; returns what it returns.

        What has broken in that thread meanwhile is raised too.
        """
        if self._broken:
            raise self._broken

        async def do() -> T:
            return work(*given)

        return self._wait(do())

    def stop(self) -> None:
        """Let go of all browsers; returns when the thread has ended."""
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listening).start()
        works = [part.work(self.site) for part in PARTS if hasattr(part, "work")]
        self._working = [asyncio.create_task(work) for work in (self.site.live.quote(self.site.desk), *works)]
        for task in self._working:
            task.add_done_callback(self._worked)

    async def _close(self) -> None:
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        await self.site.live.close()
        await self._runner.cleanup()

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._broken = task.exception()

    # --- what is served -------------------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_in_words, self._guarded])
        app.router.add_get("/ws", self._follow)
        for path in _PAGES:
            app.router.add_get(path, self._page)
        for folder in ("page", "bundle"):
            if (_HERE / folder).is_dir():
                app.router.add_static(f"/{folder}", _HERE / folder)
        for part in PARTS:
            app.router.add_routes(part.routes(self.site))
        app.on_response_prepare.append(_add_headers)
        return app

    async def _page(self, request: web.Request) -> web.FileResponse:
        name = _PAGES[request.path]
        if name != "bus.html" and not (_HERE / "bundle" / "lightweight-charts.js").exists():
            name = "no-chart.html"      # built where npm's registry was out of reach
        return web.FileResponse(_HERE / "page" / name)

    async def _follow(self, request: web.Request) -> web.WebSocketResponse:
        return await self.site.live.serve(request, self.site.desk)

    # --- who may ask ----------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who names this server, comes from its own pages, and shows the token if there is one."""
        name = _place_of(f"//{request.host}").hostname or ""
        if not self._token and not is_loopback(name):
            raise Refusal(421, f"this server answers as 127.0.0.1 or localhost and not as '{name}': "
                               "give it a token to reach it by another name")
        origin = request.headers.get("Origin")
        if origin is not None and _place_of(origin).netloc != request.host:
            raise Refusal(403, f"requests from pages of {origin} are refused")
        if self._token and request.path not in _OPEN:
            if _same(request.query.get("token", ""), self._token):
                return self._with_cookie(request)
            if not self._is_shown(request):
                return _locked(request)
        return await handler(request)

    def _is_shown(self, request: web.Request) -> bool:
        """The token in a header, or the cookie of who has shown it before."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _same(token, self._token)
        return _same(request.cookies.get(self._cookie, ""), self._ticket)

    def _with_cookie(self, request: web.Request) -> web.StreamResponse:
        """The token goes out of the address, where it would be seen and kept, into a cookie."""
        there = str(request.rel_url.without_query_params("token"))
        answer = web.Response(status=303, headers={"Location": there})
        answer.set_cookie(self._cookie, self._ticket, httponly=True, samesite="Strict")
        return answer


def _locked(request: web.Request) -> web.Response:
    """A browser is given a field for the token, a program is told where it belongs.

    :raises Refusal: it is a program, or no page that is asked for
    """
    shown = request.query.get("token") or request.headers.get("Authorization")
    words = "the token is wrong" if shown else "a token is needed"
    if request.path not in _PAGES or "text/html" not in request.headers.get("Accept", ""):
        raise Refusal(401, f"{words}: open the page with ?token=... once, "
                           "or send the header 'Authorization: Bearer ...'")
    page = (_HERE / "page" / "token.html").read_text(encoding="utf-8")
    return web.Response(status=401, text=page.replace("WORDS", words.capitalize()), content_type="text/html")


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode(errors="surrogateescape"), token.encode())


def _place_of(url: str) -> SplitResult:
    """Empty if it is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def is_loopback(name: str) -> bool:
    """Whether a host of this name, or with this address, is this machine and nothing else."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


@web.middleware
async def _in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A refusal is one sentence, as JSON."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _error(refusal.status, str(refusal))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _error(error.status, f"{request.method} {request.path}: {error.reason}")


def _error(status: int, sentence: str) -> web.Response:
    """Letters as they are; bytes of a request that were none are shown as question marks."""
    body = json.dumps({"error": sentence}, ensure_ascii=False).encode(errors="replace")
    return web.Response(status=status, body=body, content_type="application/json")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
