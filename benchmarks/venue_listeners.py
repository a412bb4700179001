"""Who listens to a venue beside the producer: `python venue_listeners.py ccxt|bundled HTTP WS STREAMS SECONDS SPEED`.

Each runs in a process of its own, measures itself, and prints its result as JSON (see ``venues.py``).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import psutil


def names(count: int) -> list[str]:
    """So many markets."""
    return [f"S{number:04}/USDT" for number in range(count)]


def pointed(exchange: Any, http: str, ws: str) -> Any:
    """A ccxt exchange whose addresses are the laboratory's; it decides by ``/stream`` that a market is spot."""

    def moved(urls: Any) -> Any:
        if isinstance(urls, dict):
            return {name: moved(url) for name, url in urls.items()}
        return re.sub(r"^ws.*", f"{ws}/stream/ws", re.sub(r"^https?://[^/]+", http, urls))

    exchange.urls["api"] = moved(exchange.urls["api"])
    exchange.options["fetchMarkets"] = {"types": ["spot"]}
    return exchange


class Meter:
    """The processor and the memory of this process, and what it has taken for closed bars."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun = 0.0
        self._cpu = 0.0
        self.last: dict[str, list[float]] = {}
        self.closes: dict[str, list[list[float]]] = {}
        """By symbol, what was taken for a closed bar: its time, then open, high, low, close and volume."""
        self.seen: set[str] = set()

    def begin(self) -> None:
        """Count from now on."""
        self._begun, self._cpu = time.monotonic(), time.process_time()

    @property
    def is_over(self) -> bool:
        """Whether it has counted for long enough."""
        return bool(self._begun) and time.monotonic() - self._begun > self._seconds

    def rows(self, symbol: str, row: list[float]) -> None:
        """The newest row of a symbol: another time than before closes the one before, as there is no flag."""
        before = self.last.get(symbol)
        if before is not None and before[0] != row[0]:
            self.closes.setdefault(symbol, []).append(before)
        self.last[symbol] = list(row)
        self.seen.add(symbol)

    def say(self) -> None:
        """Print the result."""
        cpu = (time.process_time() - self._cpu) / (time.monotonic() - self._begun)
        memory_mb = psutil.Process().memory_info().rss / 2**20
        print(json.dumps({"cpu": cpu, "memory_mb": memory_mb, "seen": len(self.seen), "closes": self.closes}))


async def listen_by_ccxt(http: str, ws: str, count: int, seconds: float, speed: float) -> None:
    """ccxt's own loop, as its documentation has it."""
    import ccxt.pro

    exchange = pointed(ccxt.pro.binance(), http, ws)
    await exchange.load_markets()
    pairs, meter = [[name, "1m"] for name in names(count)], Meter(seconds)
    while not meter.is_over:
        updates = await exchange.watch_ohlcv_for_symbols(pairs)
        if not meter.seen:
            meter.begin()
        for symbol, frames in updates.items():
            meter.rows(symbol, frames["1m"][-1])
    meter.say()
    await exchange.close()


async def listen_by_bundled(http: str, ws: str, count: int, seconds: float, speed: float) -> None:
    """The provider that PyneCore bundles, as `pyne run --live` asks it, an instance for each stream."""
    from pynecore.providers.ccxt import CCXTProvider

    meter = Meter(seconds)
    providers = {name: CCXTProvider(symbol=f"binance:{name}", timeframe="1") for name in names(count)}
    for provider in providers.values():
        await provider.connect()
        pointed(provider._async_client, http, ws)
        await provider._async_client.load_markets()

    async def follow(symbol: str, provider: Any) -> None:
        while True:
            bar = await provider.watch_ohlcv(symbol, "1")
            meter.seen.add(symbol)
            if bar.is_closed:
                values = [bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume]
                meter.closes.setdefault(symbol, []).append(values)

    tasks = [asyncio.create_task(follow(symbol, provider)) for symbol, provider in providers.items()]
    await asyncio.sleep(60 / speed * 2)  # all are subscribed
    meter.begin()
    await asyncio.sleep(seconds)
    meter.say()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for provider in providers.values():
        await provider.disconnect()


CASES: dict[str, Callable[[str, str, int, float, float], Coroutine[Any, Any, None]]] = {
    "ccxt": listen_by_ccxt, "bundled": listen_by_bundled,
}  # fmt: skip


if __name__ == "__main__":
    case, address, ws_address, streams, measured_s, times = sys.argv[1:]
    asyncio.run(CASES[case](address, ws_address, int(streams), float(measured_s), float(times)))
