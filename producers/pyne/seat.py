"""Where one stream's plugin instance lives: in a daemon thread with an event loop of its own.

What this process sees of it are futures, so a plugin that blocks, raises anything at all or cancels itself harms
nothing else. What it raises becomes one of the contract's errors here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from copy import copy
from datetime import UTC, datetime
from functools import partial
from math import isnan
from typing import Any, TypeVar

from ...bus import sockets  # noqa: F401 - behind PyneCore nobody could import zmq

# isort: split
from pynecore.core.broker.exceptions import AuthenticationError
from pynecore.core.live_runner import download_warmup_in_memory
from pynecore.core.plugin import LiveProviderPlugin, ProviderError, is_retryable_provider_error
from pynecore.types.ohlcv import OHLCV

from ...bus.messages import Bar, Origin
from ...bus.names import Key, timeframe_ms
from .. import clock
from ..calendar import Calendar
from ..contract import Disconnected, Refused

log = logging.getLogger("pynelive")
T = TypeVar("T")

ANSWER_S = 120.0
"""How long a plugin may take to answer; the blocking ones repeat a question themselves."""
_CLOSE_S = 10.0
_WARM_UP = 20  # bars
_LOOK_S = 2.0  # how often a silent plugin is asked whether it is connected, as PyneCore does
_BUGS = (TypeError, AttributeError, LookupError, AssertionError, NameError, ArithmeticError)


class Home:
    """A daemon thread with an event loop, begun with the first work and ended with :meth:`close`."""

    def __init__(self, name: str, judge: Callable[[BaseException], Exception]) -> None:
        """:param judge: what an error of the work means"""
        self._name = name
        self._judge = judge
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """The result of a coroutine that runs over there; it is cancelled with the caller.

        :raises Disconnected: no result in time, or the work has cancelled itself
        """
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._begun()))
        try:
            await asyncio.wait([future], timeout=timeout_s)
            if not future.done():
                raise Disconnected(f"{self._name} has not answered for {timeout_s:g} s", kind="silent")
        finally:
            future.cancel()
        if future.cancelled():
            raise Disconnected(f"{self._name} has given up by itself")
        if error := future.exception():
            raise self._judge(error) from error
        return future.result()

    async def call(self, function: Callable[[], T], timeout_s: float | None = None) -> T:
        """The result of a function that may block; it cannot be interrupted, and others of this home wait."""

        async def called() -> T:
            return function()

        return await self.run(called(), timeout_s)

    async def close(self) -> None:
        """End the thread; one that a plugin blocks is left behind and does not keep the process alive."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        swept = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_sweep(), loop))
        await asyncio.wait([swept], timeout=_CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)
        if not swept.done():
            log.warning("%s blocks its thread, which is left behind", self._name)
        elif self._thread:
            await asyncio.to_thread(self._thread.join, _CLOSE_S)

    def _begun(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_live, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop


class Seat:
    """One stream: its instance, made when it is needed, and a thread in which its copies are asked for history.

    A download writes into the instance that does it (Capital.com's plugin takes its last bar for the stream's last
    one), and another instance would log in again, which ends the session of the first where a venue allows one. So a
    shallow copy is asked: it has the session, and its own fields.
    """

    def __init__(
        self, key: Key, make: Callable[[Key, Any], Any], settings: Any, counters: Counter[str], *, confirm: bool
    ) -> None:
        """:param confirm: a closed bar of the plugin is not final, so all its bars count as forming"""
        self.key = key
        self.settings = settings
        self.refused = False
        self.last_ms = -1
        self.calendar: Calendar | None = None
        self._make = make
        self._counters = counters
        self._confirm = confirm
        self._homes = {part: Home(f"{key} ({part})", partial(judged, str(key))) for part in ("live", "history")}
        self._instance: Any = None
        self._made_with: Any = None
        self._connected = False
        self._before = False

    @property
    def is_connected(self) -> bool:
        """Whether the live instance says so."""
        return self._connected and bool(self._instance.is_connected)

    def end_of(self, open_ms: int) -> int:
        """When the bar that opens then is over."""
        return self.calendar.end_of(open_ms) if self.calendar else open_ms + timeframe_ms(self.key.timeframe)

    async def syminfo(self) -> Any:
        """PyneCore's SymInfo; the instance itself is asked, because it lives by its hours."""
        try:
            live = await self._made()
            return await self._homes["live"].call(live.update_symbol_info, ANSWER_S)
        except Disconnected as error:
            if not _is_refusal(error.__cause__):
                raise
            self.refused = True
            raise Refused(str(error)) from error

    async def connect(self) -> None:
        """Connect the instance, made anew if the settings are others now."""
        if self._made_with is not self.settings:
            self._instance = None
        live = await self._made()
        if not self._before:
            await self._warm_up(live)
        await self._homes["live"].run(live.connect(), live.initial_connect_timeout)
        self._connected = True
        if self._before:
            await self._homes["live"].run(live.on_reconnect(), live.initial_connect_timeout)
        self._before = True

    async def disconnect(self) -> None:
        """Disconnect the instance, in a limited time."""
        if self._instance is None:
            return
        self._connected = False
        try:
            await self._homes["live"].run(self._instance.disconnect(), _CLOSE_S)
        except Disconnected as error:
            log.debug("disconnecting %s: %s", self.key, error)

    async def bars(self, since_ms: int) -> AsyncGenerator[Bar, None]:
        """What the instance says, first what it knows to have closed since the last bar, or ``since_ms``.

        :raises Disconnected: the plugin raises anything at all, or says that it is not connected
        """
        live, home = self._instance, self._homes["live"]
        symbol = self.key.symbol.partition(":")[2] if live.multi_broker else self.key.symbol
        feed = live.normalize_symbol(symbol), self.key.timeframe
        if type(live).backfill_closed_bars is not LiveProviderPlugin.backfill_closed_bars:
            since_ms = max(since_ms, self.last_ms)
            missed = await home.run(live.backfill_closed_bars(*feed, since_ms), ANSWER_S)
            for bar in self._bars([] if self._confirm else missed, "backfill"):
                yield bar
        while True:
            candle = await self._next(home, live, feed)
            for bar in self._bars([candle], "venue", candle.is_closed and not self._confirm):
                yield bar

    async def history(self, from_ms: int, to_ms: int) -> list[Bar]:
        """What the plugin downloads for a time span, which may be more than was asked for."""
        asked = copy(await self._made())
        span = datetime.fromtimestamp(from_ms / 1000, UTC), datetime.fromtimestamp(to_ms / 1000, UTC)
        candles = await self._homes["history"].call(partial(download_warmup_in_memory, asked, *span), ANSWER_S)
        return list(self._bars(candles, "backfill"))

    async def close(self) -> None:
        """End both threads."""
        for home in self._homes.values():
            await home.close()
        self._instance = None

    async def _warm_up(self, live: Any) -> None:
        """Let the instance itself download some bars, as PyneCore does first: from them it knows where it stands."""
        now_s = clock.now_ms() / 1000
        from_s = now_s - _WARM_UP * timeframe_ms(self.key.timeframe) / 1000
        span = datetime.fromtimestamp(from_s, UTC), datetime.fromtimestamp(now_s, UTC)
        await self._homes["live"].call(partial(download_warmup_in_memory, live, *span), ANSWER_S)

    async def _made(self) -> Any:
        if self._instance is None:
            settings = self.settings
            self._instance = await self._homes["live"].call(partial(self._make, self.key, settings), ANSWER_S)
            self._made_with = settings
        return self._instance

    async def _next(self, home: Home, live: Any, feed: tuple[str, str]) -> OHLCV:
        """The next update; in between it is looked whether there still is a connection."""
        update = asyncio.create_task(home.run(live.watch_ohlcv(*feed)))
        try:
            while not (await asyncio.wait([update], timeout=_LOOK_S))[0]:
                if not live.is_connected:
                    raise Disconnected(f"{self.key}: the plugin says that it is not connected")
            return update.result()
        finally:
            if update.cancel():
                await asyncio.wait([update])

    def _bars(self, candles: Iterable[OHLCV], origin: Origin, closed: bool = True) -> Iterator[Bar]:
        for candle in candles:
            try:
                yield bar_of(candle, origin, closed)
            except (TypeError, ValueError, OverflowError):  # None for a price, NaN for a time
                self._counters["malformed"] += 1


def judged(what: str, error: BaseException) -> Disconnected:
    """What an error of a plugin means; PyneCore takes whatever its feed raises for an outage."""
    said = f"{what}: {type(error).__name__}: {error}"
    if isinstance(error, AuthenticationError):
        return Disconnected(said, kind="auth")
    bug = isinstance(error, _BUGS) or _is_refusal(error)
    return Disconnected(said, kind="protocol" if bug else "network")


def _is_refusal(error: BaseException | None) -> bool:
    """Whether the same question would be answered so again: a symbol that is unknown, a broker that does not exist."""
    known = isinstance(error, ProviderError) and not (isinstance(error, AuthenticationError) or _is_network(error))
    return known and error is not None and not is_retryable_provider_error(error)


def _is_network(error: BaseException | None) -> bool:
    """Whether a plugin's own error stands for one of the network; libraries' errors are known by their names."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, OSError) or names & {"NetworkError", "TransportError", "ClientError"}:
            return True
        error = error.__cause__ or error.__context__
    return False


def bar_of(candle: OHLCV, origin: Origin, closed: bool) -> Bar:
    """PyneCore's candle as a bar; a plugin without volumes says NaN."""
    extra = {name: value if isinstance(value, str) else float(value)
             for name, value in (candle.extra_fields or {}).items() if isinstance(value, str | int | float)}
    volume = float(candle.volume)
    if isnan(volume):
        volume, extra["estimated"] = 0.0, "volume"
    return Bar(
        int(candle.timestamp), float(candle.open), float(candle.high), float(candle.low), float(candle.close), volume,
        closed=closed, origin=origin, received_ns=time.time_ns(), extra=extra or None,
    )  # fmt: skip


def _live(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


async def _sweep() -> None:
    """Cancel whatever the plugin has left running on its loop."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
