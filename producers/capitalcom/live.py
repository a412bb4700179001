"""Capital.com live: what its sockets say from connect to disconnect, its session kept alive, its markets looked at."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Literal

from msgspec.structs import replace

from ...bus.messages import Bar, State
from ...bus.names import Key
from .. import clock
from ..budget import LOOK, urgency
from ..contract import Disconnected, Refused, Update
from .forming import Forming
from .prices import Prices
from .rows import RESOLUTIONS, number
from .session import Session
from .socket import LARGEST, Frame, Socket

_PING_S = 240.0
_LOOK_S = 60.0
_EARLY_MS = 10_000
_SETTLE_S = 0.5  # the history's row is written a moment after the close is sent
_AT_ONCE = 8  # more would only wait for the budget, and not see that the feed was faster
_AGAIN_S = (0.0, 1.0, 3.0)
_CLOSED = {"CLOSED", "OFFLINE", "SUSPENDED"}


class Live:
    """The sockets of one connection, and the tasks around them; the first of them that fails ends it."""

    def __init__(self, session: Session, prices: Prices, keys: Sequence[Key], url: str, counters: Counter[str]) -> None:
        self.forming = {key: Forming(key) for key in keys}
        self._session, self._prices, self._url, self._counters = session, prices, url, counters
        self._of_epic: dict[str, list[Key]] = defaultdict(list)
        for key in keys:
            self._of_epic[key.symbol].append(key)
        self._said = dict.fromkeys(keys, 0)
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._locks = {key: asyncio.Lock() for key in keys}
        self._sockets: list[Socket] = []
        self._readers: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._news: asyncio.Queue[Update | BaseException] = asyncio.Queue()

    async def open(self) -> None:
        """Subscribe to everything; what happens from then on is kept for :meth:`updates`."""
        self._sockets = await self._dial()

    async def updates(self, closed: set[str]) -> AsyncIterator[Update]:
        """All that happens, until something fails.

        :param closed: the epics whose markets were said to be closed; kept up to date
        """
        self._read()
        for work in (self._keep_alive(), self._look(closed), self._mind()):
            self._start(work)
        while True:
            item = await self._news.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    async def close(self) -> None:
        """End the tasks and close the sockets."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _close(self._sockets)

    # --- sockets ------------------------------------------------------------------------------------------------

    async def _dial(self) -> list[Socket]:
        """A socket for every 40 epics, all subscribed."""
        epics, sockets = sorted(self._of_epic), []
        try:
            for start in range(0, len(epics), LARGEST):
                sockets.append(Socket(self._session))
                await self._subscribe(sockets[-1], epics[start : start + LARGEST])
        except BaseException:
            await _close(sockets)
            raise
        self._counters["refused"] += sum(socket.refused for socket in sockets)
        return sockets

    async def _subscribe(self, socket: Socket, epics: list[str]) -> None:
        resolutions: dict[str, set[str]] = defaultdict(set)
        for epic in epics:
            for key in self._of_epic[epic]:
                resolutions[RESOLUTIONS[key.timeframe]].add(epic)
        await socket.open(self._url)
        await socket.subscribe(epics, resolutions)

    def _read(self) -> None:
        self._readers = [self._start(self._follow(socket)) for socket in self._sockets]

    async def _follow(self, socket: Socket) -> None:
        async for frame in socket.frames():
            self._counters["frames"] += 1
            try:
                self._take(frame)
            except (KeyError, TypeError, ValueError, AttributeError):
                self._counters["malformed"] += 1

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._news.put_nowait(error)

    # --- frames -------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        match frame.get("destination"):
            case "quote":
                self._quote(frame["payload"])
            case "ohlc.event":
                self._over(frame["payload"])

    def _quote(self, told: Frame) -> None:
        """``{"epic": "AAPL", "product": "CFD", "bid": 9.8, "bidQty": 1, "ofr": 9.9, "ofrQty": 1, "timestamp": ms}``."""
        bid, ask, time_ms = number(told["bid"]), number(told["ofr"]), int(told["timestamp"])
        for key in self._of_epic.get(told["epic"], ()):
            if bar := self.forming[key].quote(time_ms, bid, ask):
                self._news.put_nowait(Update(key, bar, time_ms))

    def _over(self, told: Frame) -> None:
        """A bar is over, once by the bid and once by the ask; without its volume.

        ::

            {"epic": "AAPL", "resolution": "MINUTE", "type": "classic", "priceType": "bid", "t": 1736173800000,
             "o": 244.1, "h": 244.3, "l": 244.0, "c": 244.2}
        """
        if str(told.get("priceType", "bid")).lower() != "bid":
            return
        open_ms, prices = int(told["t"]), tuple(number(told[name]) for name in "ohlc")
        for key in self._of_epic.get(told["epic"], ()):
            if RESOLUTIONS[key.timeframe] != told["resolution"]:
                continue
            if self._prices.ends_ms(key, open_ms) > self._session.now_ms() + _EARLY_MS:
                self._counters["early"] += 1
                continue
            self._start(self._confirm(key, open_ms, prices))

    # --- closes -------------------------------------------------------------------------------------------------

    async def _confirm(self, key: Key, open_ms: int, prices: tuple[float, ...]) -> None:
        """Publish a bar that is over as the history has it; if that does not tell in time, the feed asks later."""
        async with self._locks[key]:  # closes of one stream stay in order
            close_ms = self._prices.ends_ms(key, open_ms)
            await clock.sleep((close_ms - self._session.now_ms()) / 1000 + _SETTLE_S)
            async with self._gate:
                if open_ms <= self._said[key]:
                    return
                bar = await self._recorded(key, open_ms, prices)
            if bar is None:
                self._counters["unconfirmed"] += 1
                return
            self._said[key] = open_ms
            self.forming[key].close(bar)
            self._news.put_nowait(Update(key, replace(bar, closed=True, origin="venue"), close_ms))

    async def _recorded(self, key: Key, open_ms: int, prices: tuple[float, ...]) -> Bar | None:
        """The history's row of a bar that is over, asked for until it agrees with what was sent, three times.

        A row that the feed has asked for meanwhile is as good, and costs nothing.
        """
        urgency.set(LOOK)
        found: Bar | None = None
        for pause_s in _AGAIN_S:
            await clock.sleep(pause_s)
            known = self.forming[key].closed
            if known and known.time_ms == open_ms:
                return known
            try:
                bars = await self._prices.since(key, open_ms - 1)
            except (Disconnected, Refused):
                return None
            self.forming[key].learn([bar for bar in bars if not bar.closed and bar.time_ms > open_ms])
            found = next((bar for bar in bars if bar.time_ms == open_ms), found)
            if found and (found.open, found.high, found.low, found.close) == prices:
                return found
        if found:
            self._counters["disagreed"] += 1
        return found

    # --- session and markets --------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        """Show up before the ten idle minutes are over, and log in anew before the hour is."""
        while True:
            await clock.sleep(_PING_S)
            if self._session.is_old():
                await self._renew()
                continue
            await self._session.get("/ping")
            await self._session.sync()
            for socket in self._sockets:
                await socket.ping()

    async def _renew(self) -> None:
        """Log in anew, which ends the old session and its sockets, and dial again.

        It is done between 10 and 45 seconds past a minute, when no bar closes. A close that is missed all the same
        comes with the history: the feed asks for what is due.
        """
        past_s = self._session.now_ms() / 1000 % 60
        await clock.sleep(10 - past_s if past_s < 10 else 70 - past_s if past_s > 45 else 0)
        for task in self._readers:
            task.cancel()
        old = self._sockets
        await self._session.renewed(self._session.tokens)
        self._sockets = await self._dial()
        self._read()
        self._counters["renewals"] += 1
        await _close(old)

    async def _mind(self) -> None:
        await self._session.lost.wait()
        raise Disconnected("Capital.com has forgotten the session, so all subscriptions", kind="auth")

    async def _look(self, closed: set[str]) -> None:
        """Say when a market closes or opens; holidays too, which the weekly hours do not know."""
        first = True
        while True:
            for epic, status in await self._statuses():
                is_closed, was_closed = status in _CLOSED, epic in closed
                (closed.add if is_closed else closed.discard)(epic)
                if is_closed != was_closed or (first and is_closed):
                    await self._say(epic, "closed" if is_closed else "live", status)
            first = False
            await clock.sleep(_LOOK_S)

    async def _statuses(self) -> list[tuple[str, str]]:
        """Every market's status: ``{"markets": [{"epic": "AAPL", "marketStatus": "TRADEABLE", …}]}``."""
        epics, found = sorted(self._of_epic), []
        for start in range(0, len(epics), LARGEST):
            told = await self._session.get("/markets", {"epics": ",".join(epics[start : start + LARGEST])})
            try:
                found += [(str(market["epic"]), str(market["marketStatus"])) for market in told["markets"]]
            except (KeyError, TypeError):
                self._counters["malformed"] += 1
        return [(epic, status) for epic, status in found if epic in self._of_epic]

    async def _say(self, epic: str, state: Literal["live", "closed"], status: str) -> None:
        for key in self._of_epic[epic]:
            async with self._locks[key]:  # after the last bar of the session, if its close is being confirmed
                self._news.put_nowait(Update(key, State(state, self._session.now_ms(), f"the market is {status}")))


async def _close(sockets: Sequence[Socket]) -> None:
    await asyncio.gather(*(socket.close() for socket in sockets))
