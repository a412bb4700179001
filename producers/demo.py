"""The demo: endless invented markets that are the same on every machine and after every restart.

A bar is a pure function of seed, symbol, timeframe and number, so nothing has to be remembered: a demo that
was killed goes on after the last bar that the bus has. The closes of one symbol agree at all timeframes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import merge
from math import isfinite, sqrt
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace

from ..bus.messages import Bar, Instrument, State
from ..bus.names import Key, timeframe_ms
from . import clock
from .contract import Capabilities, ConfigError, EndOfData, Provider, Update
from .playback import Event, events_of, paced
from .sessions import DAY_S, END_MS, EPOCH_MS, Hours, RoundTheClock, StockExchange
from .walk import ROOT_S, ROOT_VARIANCE, Walk

PRICES = {
    "BTC/USDT": 95_000.0, "ETH/USDT": 3_400.0, "SOL/USDT": 190.0, "XRP/USDT": 2.4, "DOGE/USDT": 0.32,
    "LTC/USDT": 105.0,
    "AAPL": 245.0, "MSFT": 425.0, "NVDA": 145.0, "TSLA": 400.0, "AMZN": 225.0, "SPY": 590.0,
}
"""The sample symbols and about where they trade; any other symbol works too."""

_MODEL = 1  # the number of the way that bars are made: another one is another source


class Demo(Provider):
    """Random walks; a symbol with a ``/`` trades round the clock, any other one as a US stock."""

    name: ClassVar[str] = "demo"
    capabilities = Capabilities(history=True, forming=True, symbols=True)

    @dataclass
    class Config:
        """The options of the demo."""

        seed: int = 7
        """Another seed, other markets."""
        speed: float = 60
        """How much faster than real time; 1 is real time, 0 as fast as the consumers allow."""
        now: bool = False
        """Begin now and keep to the clock on the wall; with a speed of 1."""
        bars: int = 0
        """The stream ends after so many bars; 0 is endless."""
        forming: int = 4
        """Updates within a bar, evenly spaced."""
        history: int = 1000
        """Bars before the beginning that can be downloaded."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        if problems := _faults(self.keys, config):
            raise ConfigError(problems)
        if not config.speed:
            self.capabilities = Capabilities(history=True, forming=True, symbols=True, paced=False)
        self._connected = False
        self._markets = {key: Market(config.seed, key) for key in self.keys}
        self._now_ms = clock.now_ms() if config.now else EPOCH_MS
        self._first = {key: self._markets[key].hours.index_at(self._now_ms) if config.now else 0 for key in self.keys}
        self._next = dict(self._first)

    async def get_symbol_info(self, key: Key) -> Instrument:
        """The invented instrument; its ``source`` changes with the seed."""
        return self._markets[key].instrument()

    def now_ms(self) -> int:
        """The time of the demo: when the last bar has closed."""
        return self._now_ms

    def resume_after(self, key: Key, time_ms: int) -> None:
        """Go on with the bar after the one that opened at ``time_ms``."""
        self._next[key] = max(self._markets[key].hours.index_at(time_ms) + 1, 0)
        self._now_ms = max(self._now_ms, time_ms + timeframe_ms(key.timeframe))

    async def connect(self) -> None:
        """Nothing to connect to."""
        self._connected = True

    async def disconnect(self) -> None:
        """Nothing to disconnect from."""
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether ``connect`` was called."""
        return self._connected

    async def watch(self) -> AsyncIterator[Update]:
        """All streams on one clock, each from its own next bar; raises ``EndOfData`` after ``bars`` bars."""
        clocks = self._clocks()
        events = (self._play(key, clocks[self._markets[key].crypto]) for key in self.keys)
        played = merge(*events, key=itemgetter(0))
        async for update in paced(played, self.config.speed):
            if isinstance(update.message, Bar) and update.message.closed:
                self._next[update.key] += 1
                self._now_ms = max(self._now_ms, update.message.time_ms + timeframe_ms(update.key.timeframe))
            yield update
        raise EndOfData("all bars have been played")

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The bars of the time span that have been played, and ``history`` bars before the beginning."""
        hours = self._markets[key].hours
        first = max(hours.index_at(from_ms - 1) + 1, -self.config.history)
        past = min(hours.index_at(to_ms - 1) + 1, self._next[key])
        return await asyncio.to_thread(expected_bars, self.config.seed, key, first, max(past - first, 0))

    async def get_list_of_symbols(self) -> list[str]:
        """Sample symbols; every other symbol works as well."""
        return list(PRICES)

    def _clocks(self) -> dict[bool, int]:
        """When it is as the playing begins, for markets round the clock (True) and for those that close.

        Streams of the same hours go on together, whichever is behind catches up. Faster than real time a market that
        closes skips its nights, and is ahead of one that never does.
        """
        if self.config.now or 0 < self.config.speed <= 1:
            return dict.fromkeys((True, False), clock.now_ms() if self.config.now else self._now_ms)
        clocks: dict[bool, int] = {}
        for key, market in self._markets.items():
            closed_ms = market.hours.slot(self._next[key] - 1).close_ms
            clocks[market.crypto] = max(clocks.get(market.crypto, 0), closed_ms)
        return clocks

    def _play(self, key: Key, began_ms: int) -> Iterator[Event]:
        config, market, first = self.config, self._markets[key], self._next[key]
        open_ms, before_ms = market.hours.slot(first).open_ms, market.hours.slot(first - 1).close_ms
        at_s = (before_ms - began_ms) / 1000 if config.now or open_ms == before_ms else 0.0  # one clock for all
        end = self._first[key] + config.bars if config.bars else market.hours.index_at(END_MS)
        for index in range(first, end):
            slot, before = market.hours.slot(index), market.hours.slot(index - 1)
            closed_s = (slot.open_ms - before.close_ms) / 1000
            if closed_s and index:
                yield Event(at_s, Update(key, State("closed", before.close_ms, "the session is over")))
                at_s += closed_s if 0 < config.speed <= 1 else 0
                yield Event(at_s, Update(key, State("live", slot.open_ms, "the session has begun")))
            length_s = (slot.close_ms - slot.open_ms) / 1000
            yield from events_of(key, market.bar(index), at_s, length_s, config.forming, 10**market.digits)
            at_s += length_s


class Market:
    """One symbol at one timeframe, invented from a seed."""

    def __init__(self, seed: int, key: Key) -> None:
        self.key, self._seed = key, seed
        self._walk = Walk(seed, key.symbol)
        self.crypto = "/" in key.symbol
        self.hours: Hours = RoundTheClock(key.timeframe) if self.crypto else StockExchange(key.timeframe)
        luck = self._walk.draws("price")[0]
        price = PRICES.get(key.symbol, 20 + 480 * luck * luck)
        self.digits = 2 if not self.crypto or price >= 100 else 4 if price >= 1 else 6
        self._price = price / _factor(self._walk.at(self.hours.epoch_s).level)

    def bar(self, index: int) -> Bar:
        """The closed bar with this number; 0 is the first one at or after the epoch, history is negative."""
        slot = self.hours.slot(index)
        start, end = self._walk.at(slot.first_s), self._walk.at(slot.last_s)
        up, down, luck, _ = self._walk.draws(f"{self.key.timeframe} {index}")
        open_, close = self._rounded(_factor(start.level)), self._rounded(_factor(end.level))
        wildness = sqrt(end.clock - start.clock)
        high = round(max(open_, close) * (1 + 0.8 * wildness * up), self.digits)
        low = round(min(open_, close) * (1 - 0.8 * wildness * down), self.digits)
        length_s = slot.last_s - slot.first_s
        activity = wildness / sqrt(ROOT_VARIANCE * length_s / ROOT_S) * (0.5 + luck)
        return Bar(slot.open_ms, open_, high, max(low, 10.0**-self.digits), close,
                   self._volume(activity * length_s), origin="demo")

    def instrument(self) -> Instrument:
        """The invented instrument."""
        base, _, rest = self.key.symbol.partition("/")
        plain = Instrument(
            ticker=self.key.symbol.replace("/", "").partition(":")[0],
            timeframe=self.key.timeframe,
            prefix="DEMO",
            description=f"{self.key.symbol} (invented)",
            pricescale=10**self.digits,
            mintick=1 / 10**self.digits,
            source="demo:" + blake2b(f"{_MODEL} {self._seed}".encode(), digest_size=4).hexdigest(),
        )
        plain = replace(plain, basecurrency=base, currency=rest.partition(":")[0]) if self.crypto \
            else replace(plain, kind="stock", mincontract=1.0)
        return self.hours.describe(plain)

    def _rounded(self, factor: float) -> float:
        return max(round(self._price * factor, self.digits), 10.0**-self.digits)

    def _volume(self, activity_s: float) -> float:
        """About half a million dollars a minute in crypto, two in a stock, which trades in whole shares."""
        return round(activity_s * 8_000 / self._price, 4) if self.crypto \
            else float(max(round(activity_s * 32_000 / self._price), 1))


def expected_bars(seed: int, key: Key, start: int, count: int) -> list[Bar]:
    """The ``count`` closed bars from number ``start`` on, exactly as a demo with this seed plays them."""
    market = Market(seed, key)
    return [market.bar(index) for index in range(start, start + count)]


def _factor(level: float) -> float:
    """Nearly ``exp(level)``, always positive, and the same on every machine, which ``exp`` is not."""
    return level + sqrt(1 + level * level)


def _faults(keys: Sequence[Key], config: Demo.Config) -> list[str]:
    problems = [f"stream '{key}': the demo makes bars from 1S to 1D" for key in keys
                if timeframe_ms(key.timeframe) > DAY_S * 1000]
    problems += [f"option '{name}' is {value}: it cannot be negative" for name, value in vars(config).items()
                 if name != "seed" and value < 0]
    if config.now and config.speed != 1:
        problems.append(f"option 'speed' is {config.speed:g}: with now = true it must be 1")
    if not isfinite(config.speed):
        problems.append(f"option 'speed' is {config.speed}: use 0 for as fast as possible")
    return problems
