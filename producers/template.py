"""A provider to copy: it asks a web service for candles every other second.

Everything that your source does differently is in ``_fetch``. It answers with JSON rows of
``[time_ms, open, high, low, close, volume]``, oldest first; a row whose bar is not over yet is a forming bar.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

from pynelive.bus.messages import Bar, Instrument, Span  # absolute: this file works wherever it is copied to
from pynelive.bus.names import Key, timeframe_ms
from pynelive.producers import clock
from pynelive.producers.budget import Rate
from pynelive.producers.contract import Capabilities, ConfigError, Disconnected, Kind, Provider, Refused, Update

AROUND_THE_CLOCK = tuple(Span(day, 0, 86_399) for day in range(7))


class MyProvider(Provider):
    """Candles of a web service, by polling."""

    name: ClassVar[str] = "mine"
    capabilities = Capabilities(history=True, forming=True, heals=True)
    rates = (Rate(600, 60),)  # what the service allows: 600 requests a minute

    @dataclass
    class Config:
        """The ``options`` of the producer in the topology."""

        url: str = ""
        """Where the candles are; {symbol}, {timeframe} and {since_ms} are filled in."""
        poll_s: float = 2.0
        """Seconds between two questions."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        problems = ["option 'url' is missing"] if not config.url else []
        problems += ["option 'poll_s' must be more than 0"] if config.poll_s <= 0 else []
        if problems:
            raise ConfigError(problems)
        self._connected = False

    async def get_symbol_info(self, key: Key) -> Instrument:
        """Tick grid and trading hours; a real provider asks its source."""
        return Instrument(
            key.symbol, key.timeframe, prefix="MINE", mintick=0.01, pricescale=100, opening_hours=AROUND_THE_CLOCK
        )

    async def connect(self) -> None:
        """Ask once, so that a wrong address is noticed here; a socket would be opened here."""
        if self.keys:
            await self._fetch(self.keys[0], self.now_ms())
        self._connected = True

    async def disconnect(self) -> None:
        """Close what ``connect`` has opened: nothing, here."""
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the service has answered."""
        return self._connected

    async def watch(self) -> AsyncIterator[Update]:
        """Every bar that is new or has changed, from the one on that forms now."""
        last_ms = {key: self.now_ms() - timeframe_ms(key.timeframe) for key in self.keys}
        while True:
            for key in self.keys:
                for bar in await self._fetch(key, last_ms[key]):
                    if bar.closed:
                        last_ms[key] = bar.time_ms
                    yield Update(key, bar)
            await clock.sleep(self.config.poll_s)

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        """What was missed, and the forming bar; asked beside ``watch`` after every connect and on any doubt."""
        return await self._fetch(key, since_ms)

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """What was missed."""
        return [bar for bar in await self._fetch(key, since_ms) if bar.closed]

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """History, for the warm-up of scripts."""
        return [bar for bar in await self.backfill_closed_bars(key, from_ms - 1) if bar.time_ms < to_ms]

    async def _fetch(self, key: Key, since_ms: int) -> list[Bar]:
        """The bars that open after ``since_ms``; never loops and never waits: the feed asks again."""
        url = self.config.url.format(
            symbol=quote(key.symbol, safe=""),
            timeframe=self.to_exchange_timeframe(key.timeframe),
            since_ms=since_ms,
        )
        await self.budget.spend()
        try:
            now_ms = self.now_ms()  # of before the question: what forms while it is answered is not closed
            rows = json.loads(await asyncio.to_thread(_get, url))
            bars = [_bar(row, timeframe_ms(key.timeframe), now_ms) for row in rows]
        except HTTPError as error:
            with error:
                if error.code in (404, 410):
                    raise Refused(f"{url} does not exist: is '{key.symbol}' its symbol?") from error
                wait_s = float(error.headers.get("Retry-After", "0")) or None
                kind: Kind = "rate" if error.code == 429 else "network"
                raise Disconnected(f"{url} answers with status {error.code}", wait_s, kind) from error
        except (OSError, ValueError) as error:
            self._connected = False
            raise Disconnected(f"{url} gives no candles: {error}") from error
        return [bar for bar in bars if bar.time_ms > since_ms]


def _bar(row: Sequence[float], length_ms: int, now_ms: int) -> Bar:
    """``[1767222000000, 95010.5, 95020.0, 95000.25, 95012.0, 3.41]``"""
    time_ms, open_, high, low, close, volume = row
    closed = time_ms + length_ms <= now_ms
    return Bar(
        int(time_ms), open_, high, low, close, volume, closed=closed, origin="backfill", received_ns=time.time_ns()
    )


def _get(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body
