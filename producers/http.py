"""Asking a venue over HTTP and WebSocket: one pool of connections, its budget, and what its answers mean.

Every failure comes out as one of the contract's exceptions, by a table of our own: what a library's class tree says is
worth a retry and what is worth one are not the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import aiohttp
import msgspec

from .. import __version__
from . import clock
from .budget import Budget
from .contract import Disconnected, Kind

USER_AGENT = f"pynelive/{__version__}"
_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=10)
_KINDS: dict[int, Kind] = {
    401: "auth", 403: "banned", 407: "auth", 408: "network", 418: "banned", 425: "network", 429: "rate", 451: "banned",
}  # fmt: skip
_LONGEST_WAIT_S = 86_400.0
_RATE_PAUSE_S = {"rate": 5.0, "banned": 60.0}


class Answered(Exception):
    """The venue has understood and says no (status 4xx with a body of its own): what that means, the provider knows."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(f"status {status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers


class Http:
    """A venue's HTTP side; opened with the first request, closed with :meth:`close`."""

    def __init__(self, base: str, budget: Budget, headers: Mapping[str, str] | None = None) -> None:
        """:param base: scheme, host and the path that all requests share"""
        self._base = base.rstrip("/")
        self._budget = budget
        self._headers = {"User-Agent": USER_AGENT, **(headers or {})}
        self._session: aiohttp.ClientSession | None = None
        self.latencies_s: deque[float] = deque(maxlen=512)
        """How long the last requests took."""

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool, for a WebSocket on it."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, params: Mapping[str, str | int] | None = None, **more: Any) -> Any:
        """As :meth:`ask` with GET; the decoded JSON."""
        return (await self.ask("GET", path, params=params, **more))[0]

    async def ask(
        self, method: str, path: str, *, params: Mapping[str, str | int] | None = None, json: Any = None,
        headers: Mapping[str, str] | None = None, weight: float = 1.0,
    ) -> tuple[Any, Mapping[str, str]]:  # fmt: skip
        """Send one request in its turn; the decoded JSON and the headers of the answer.

        :raises Disconnected: no answer, a status that means "later", or a body that is no JSON
        :raises Answered: any other status from 400 on
        """
        await self._budget.spend(weight)
        sent = time.monotonic()
        url = path if path.startswith("http") else f"{self._base}{path}"
        try:
            async with self.session.request(method, url, params=params, json=json, headers=headers) as answer:
                body = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Disconnected(f"{_place(url)} does not answer: {said(error)}") from error
        self.latencies_s.append(time.monotonic() - sent)
        return self._judged(_place(url), answer.status, body, answer.headers), answer.headers

    def _judged(self, place: str, status: int, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            decoded = msgspec.json.decode(body)
        except msgspec.DecodeError:
            decoded = None
        if status < 400:
            if decoded is None and body.strip() != b"null":
                raise Disconnected(f"{place} answers with something that is no JSON: {body[:60]!r}", kind="protocol")
            return decoded
        kind: Kind = _KINDS.get(status, "network")
        if status in (418, 429, 503) or status >= 500 or (decoded is None and body.strip()):
            kind = "maintenance" if status == 503 else kind
            wait_s = retry_after(headers) or _RATE_PAUSE_S.get(kind)
            if kind in _RATE_PAUSE_S and wait_s:
                self._budget.hold(wait_s)
            raise Disconnected(f"{place} answers with status {status}", wait_s, kind)
        raise Answered(status, decoded, headers)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks to wait, a day at the most; None if it does not, or not in a number."""
    text = headers.get("Retry-After", "")
    if not text:
        return None
    try:
        return bounded(float(text))
    except ValueError:
        pass
    try:
        return bounded(parsedate_to_datetime(text).timestamp() - clock.now_ms() / 1000)
    except (ValueError, OverflowError):
        return None


def bounded(seconds: float) -> float | None:
    """A wait as a venue may ask for it: 0 to a day; None if it is no time at all."""
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if isfinite(seconds) else None


def said(error: BaseException) -> str:
    """What went wrong, also of errors that say nothing."""
    return str(error) or type(error).__name__


def _place(url: str) -> str:
    return url.partition("?")[0]  # keys may stand in the query
