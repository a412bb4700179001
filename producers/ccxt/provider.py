"""Any exchange that ccxt knows, one in a process: closed bars on the venue's own flag where it has one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import ccxt

from ...bus.messages import Bar, Instrument, Origin, State
from ...bus.names import Key, timeframe_ms
from .. import clock
from ..budget import Budget
from ..contract import Capabilities, ConfigError, Disconnected, Provider, Refused, Update
from . import symbols
from .check import checked, one_exchange, settings_of, way_to_follow
from .client import hang_up, open_exchange, point
from .errors import meaning
from .follow import Follower
from .rest import BROKEN, Rest
from .subscribe import Market, Subscriber
from .taps import Row
from .venues import intervals_of, rates_of, venue_of

_LOOK_MS = (2_000, 60_000)
"""Between two looks at a stream whose venue can only be asked: a twelfth of the bar, within these."""


class Ccxt(Provider):
    """Candles and history of any ccxt exchange; binance, bybit, okx and eight more by their own raw frames."""

    name: ClassVar[str] = "ccxt"
    credentials = ("api_key", "secret", "password")
    pyne_names: ClassVar[Mapping[str, str]] = {
        "api_key": "apiKey", "secret": "secret", "password": "password", "sandbox": "sandbox",
    }  # fmt: skip
    capabilities = Capabilities(history=True, forming=True, symbols=True, heals=True, flagged=False)
    answer_s: ClassVar[float] = 15.0
    """How long a venue may take to answer a subscription."""

    @dataclass
    class Config:
        """The options of ccxt; keys are only needed where a venue gives nothing without."""

        exchange: str = ""
        """Which exchange, where no stream says it (to list symbols)."""
        market: str = ""
        """ccxt's defaultType: spot, margin, swap, future or option; empty is what the symbols say."""
        api_key: str = ""
        """A key that may only read."""
        secret: str = ""
        """The key's secret."""
        password: str = ""
        """The key's passphrase, where the venue has one."""
        sandbox: bool = False
        """The venue's test network."""
        url: str = ""
        """Another address for requests, such as a proxy of one's own: scheme and host, the paths stay."""
        ws_url: str = ""
        """Another address for WebSockets."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        self._exchange = one_exchange(keys, config)
        self._venue = venue_of(self._exchange)
        self._ex = open_exchange(self._exchange, self, self._venue, settings_of(self._exchange, keys, config))
        checked(self._ex, self._venue, keys, config)
        point(self._ex, config.url, config.ws_url)
        self._way = way_to_follow(self._ex, self._venue)
        self.capabilities = Capabilities(
            history=True, forming=True, symbols=True, heals=True, flagged=self._venue.flagged and self._way == "tap"
        )
        self.budget = Budget(*rates_of(self._ex, self._venue))
        self._rest = Rest(self._ex, self._venue, self.budget)
        self._routes: dict[tuple[str, str, str], Key] = {}
        self._newest: dict[Key, int] = {}
        self._queue: asyncio.Queue[Update | Exception] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._hub: Subscriber | Follower | None = None
        self._work: asyncio.Task[None] | None = None
        self._minding: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._up = False

    @classmethod
    def list_brokers(cls) -> list[str]:
        """All exchanges, as streams name them."""
        return [name.upper() for name in ccxt.exchanges]

    @property
    def account(self) -> str:
        """Venues count by address, so one process for each venue."""
        return f"ccxt:{self._exchange.upper()}" + (f"@{self.config.url}" if self.config.url else "")

    @property
    def is_connected(self) -> bool:
        """Whether the venue's candles can arrive."""
        return self._up

    def now_ms(self) -> int:
        """The venue's time."""
        return self._rest.clock.now_ms()

    def rekey(self, config: Config) -> None:
        """Sign with other keys from now on."""
        super().rekey(config)
        self._ex.apiKey, self._ex.secret, self._ex.password = config.api_key, config.secret, config.password

    async def get_symbol_info(self, key: Key) -> Instrument:
        """The instrument, as `pyne data download ccxt` would write it."""
        await self._rest.load()
        return symbols.instrument(self._ex, key, self._rest.market(key))

    async def get_list_of_symbols(self) -> list[str]:
        """All that is traded there, as streams name it."""
        await self._rest.load()
        return [f"{self._exchange.upper()}:{symbol}" for symbol in self._ex.symbols]

    async def connect(self) -> None:
        """Load the markets, compare the clocks and open the first WebSocket."""
        await self._rest.load()
        await self._rest.compare_clocks()
        self.counters["skew_ms"] = round(self._rest.clock.offset_ms)
        self._queue, self._opened, self._failure = asyncio.Queue(), asyncio.Event(), None
        self._newest.clear()
        self._up = True
        wanted = self._wanted()
        self._hub = self._hub_for(wanted)
        self._work = asyncio.create_task(self._serve(wanted))
        self._minding = asyncio.create_task(self._mind_clock())
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait({self._work, opened}, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is not None:
                raise self._failure
        except BaseException:
            await self.disconnect()
            raise
        finally:
            opened.cancel()

    async def disconnect(self) -> None:
        """Close the WebSockets; requests go on."""
        self._up = False
        tasks = [task for task in (self._work, self._minding) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(self._hub, Subscriber):
            await self._hub.close()
        self._hub = self._work = self._minding = None
        await hang_up(self._ex)

    async def close(self) -> None:
        """Close what requests use."""
        await self._ex.close()

    async def watch(self) -> AsyncIterator[Update]:
        """The candles of all streams as they come; a stream that the venue refuses is told as down."""
        while True:
            item = await self._queue.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """By REST; closed is what has ended by the venue's clock."""
        return [bar for bar in await self.latest(key, since_ms) if bar.closed]

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        """By REST, all or a good page; without a ``since_ms`` the last closed bar and the forming one."""
        return await (self._rest.since(key, since_ms) if since_ms > 0 else self._rest.page(key, None, 2))

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """By REST, page by page."""
        return await self._rest.download(key, from_ms, to_ms)

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        """``1h`` is ``60``."""
        return symbols.tradingview(timeframe)

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        """``60`` is ``1h``."""
        return symbols.timeframe_of(timeframe)

    # what the connections say: called in ccxt's receiving, so nothing here may raise or wait

    def opened(self, url: str) -> None:
        """A WebSocket is open."""
        self.counters["connections"] += 1
        self._opened.set()

    def lost(self, url: str, error: Exception) -> None:
        """A WebSocket is gone: ccxt would dial again and say nothing, so all of it ends here."""
        if not self._up:
            return
        meant = meaning(error, self._exchange)
        if isinstance(meant, Refused):
            meant = Disconnected(str(meant), kind="protocol")
        if isinstance(meant, Disconnected):
            self.counters["malformed"] += meant.kind == "protocol"
            if "keepalive" in str(error):
                meant.kind = "silent"
        self._fail(meant)

    def heard(self, url: str, frame: Any) -> None:
        """Any frame: it may be the answer to a subscription."""
        self.counters["frames"] += 1
        if self._hub is not None:
            self._hub.hear(frame)

    def candles(self, url: str, frame: Any, *more: Any) -> None:
        """A frame of candles, by the venue's own few lines."""
        assert self._venue.tap is not None
        found: dict[Key, list[Row]] = {}
        try:
            for row in self._venue.tap(url, frame, *more):
                key = self._routes.get((row.market, row.symbol, row.interval))
                if key is not None:
                    found.setdefault(key, []).append(row)
        except BROKEN:
            self.counters["malformed"] += 1
        for key, rows in found.items():
            self._take(key, rows)

    async def spend(self, cost: float) -> None:
        """The turn of a request, in the venue's weight."""
        await self.budget.spend(cost * self._venue.weight)

    def _take(self, key: Key, rows: list[Row]) -> None:
        """Tell the candles of one stream: never an older one, but what the venue says is closed."""
        sound = sorted(filter(_is_sound, rows), key=lambda row: row.time_ms)
        self.counters["malformed"] += len(rows) - len(sound)
        if not sound:
            return
        newest_ms = self._newest.get(key, sound[-1].time_ms)
        for row in sound:
            if row.closed or row.time_ms >= newest_ms:
                self._tell(key, row)
            else:
                self.counters["late"] += key in self._newest
        self._newest[key] = max(newest_ms, sound[-1].time_ms)
        if self._hub is not None:
            self._hub.fed(key)

    def _tell(self, key: Key, row: Row) -> None:
        if row.event_ms:
            self._rest.clock.heard(row.event_ms)
        origin: Origin = "aggregated" if self._way == "trades" else "venue"
        open_, high, low, close, volume = row.values
        extra = row.extra
        if self._venue.turnover_is_volume and self._rest.market(key).get("inverse"):
            volume, extra = float(extra["quote_volume"]), {"contracts": volume}
        bar = Bar(
            row.time_ms, open_, high, low, close, volume, closed=bool(row.closed), origin=origin,
            received_ns=time.time_ns(), extra=dict(extra) or None,
        )  # fmt: skip
        self._queue.put_nowait(Update(key, bar, row.event_ms))

    def _refuse(self, key: Key, reason: str) -> None:
        self.counters["refused"] += 1
        self._queue.put_nowait(Update(key, State("down", self.now_ms(), reason)))

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._queue.put_nowait(error)

    # connecting

    async def _serve(self, wanted: dict[Key, tuple[Market, str]]) -> None:
        """Subscribe, and follow where subscribing is not enough."""
        try:
            if self._hub is not None:
                await self._hub.run()
            else:
                await self._poll(wanted)
        except (Disconnected, ConfigError) as error:
            self._fail(error)

    async def _mind_clock(self) -> None:
        try:
            await self._rest.mind_clock()
        except ConfigError as error:
            self._fail(error)

    def _hub_for(self, wanted: dict[Key, tuple[Market, str]]) -> Subscriber | Follower | None:
        if self._way == "rest":
            return None
        if self._way == "tap" and self._venue.asks is not None:
            return Subscriber(self._ex, self._venue, wanted, self._refuse, self.answer_s)
        return Follower(self._ex, wanted, self._way, self._take, self._refuse, self.answer_s)

    def _wanted(self) -> dict[Key, tuple[Market, str]]:
        """The streams that the venue has, and how its frames name them."""
        wanted = {}
        self._routes.clear()
        for key in self.keys:
            try:
                market = self._rest.market(key)
            except Refused as refusal:
                self._refuse(key, str(refusal))
                continue
            timeframe = symbols.timeframe_of(key.timeframe)
            interval = str(intervals_of(self._ex, market).get(timeframe))
            for kind in ("", "spot" if market.get("spot") else "contract"):
                for name in (market["id"], market["symbol"]):
                    self._routes[kind, name, interval] = key
            wanted[key] = market, timeframe
        return wanted

    async def _poll(self, wanted: dict[Key, tuple[Market, str]]) -> None:
        """Look at the newest candle of each stream in turn; what has closed the feed asks for itself."""
        self._opened.set()
        shortest_ms = min((timeframe_ms(key.timeframe) for key in wanted), default=0)
        pause_ms = min(max(shortest_ms / 12, _LOOK_MS[0]), _LOOK_MS[1])
        while wanted:
            for key in list(wanted):
                try:
                    bars = await self._rest.page(key, None, 2)
                except Refused as refusal:
                    self._refuse(key, str(refusal))
                    del wanted[key]
                    continue
                if bars and not bars[-1].closed:
                    self._queue.put_nowait(Update(key, bars[-1]))
            await clock.sleep(pause_ms / 1000)


def _is_sound(row: Row) -> bool:
    numbers = all(isinstance(value, int | float) and isfinite(value) for value in row.values)
    return row.time_ms > 0 and len(row.values) == 5 and numbers
