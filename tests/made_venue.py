"""A venue without a network: its bars follow from their time, and it writes down what it was asked.

Tests use it in their own process, and copied as ``my.py`` beside a topology.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from pynelive.bus.messages import Bar, Instrument, Span
from pynelive.bus.names import Key
from pynelive.producers.budget import Rate
from pynelive.producers.contract import Capabilities, Disconnected, Provider, Refused, Update

MINUTE = 60_000


def trades(minute: int) -> bool:
    """Quiet minutes, and three hours of twelve in which nothing is traded."""
    return minute % 7 != 3 and minute // 180 % 4 != 1


def made(minute: int, origin: str = "backfill") -> Bar:
    """The bar of a minute since 1970."""
    price = 100 + minute % 50 / 4
    return Bar(minute * MINUTE, price, price + 1, price - 1, price + 0.25, minute % 9 + 0.5, origin=origin)  # type: ignore[arg-type]


def truth(from_ms: int, to_ms: int) -> list[Bar]:
    """All bars of a span."""
    return [made(minute) for minute in range(-(-from_ms // MINUTE), -(-to_ms // MINUTE)) if trades(minute)]


class Made(Provider):
    """Bars of a minute, one live and then none; 1,000 a request."""

    name = "my"
    capabilities = Capabilities(history=True, symbols=True)
    rates = (Rate(weight=1_200, per_s=60),)

    @dataclass
    class Config:
        """``asked``: what it writes down; ``down``: a file with the number of questions that it does not answer."""

        asked: str = "asked.jsonl"
        down: str = "down"
        sandbox: bool = False

    tick = 100
    time_ms = 0
    """What its clock shows, if not the real time."""
    provisional_ms = 0
    """So long after its close a bar's volume is not the last word."""
    connected = False

    @property
    def account(self) -> str:
        return "my:venue"

    def now_ms(self) -> int:
        return self.time_ms or super().now_ms()

    async def get_symbol_info(self, key: Key) -> Instrument:
        if key.symbol == "GONE":
            raise Refused("the venue does not know GONE")
        days = range(7)
        return Instrument(
            key.symbol, key.timeframe, mintick=1 / self.tick, pricescale=self.tick,
            opening_hours=tuple(Span(day, 0, 86_399) for day in days),
            session_starts=tuple(Span(day, 0, 0) for day in days),
            session_ends=tuple(Span(day, 86_399, 0) for day in days),
        )  # fmt: skip

    async def connect(self) -> None:
        self.connected = True

    async def disconnect(self) -> None:
        self.connected = False

    @property
    def is_connected(self) -> bool:
        return self.connected

    async def watch(self) -> AsyncIterator[Update]:
        minute = self.now_ms() // MINUTE - 1
        yield Update(self.keys[0], made(minute, "venue"))
        await asyncio.Event().wait()

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        self._note({"what": "bars", "key": str(key), "from_ms": from_ms, "to_ms": to_ms})
        requests = -(-(to_ms - from_ms) // (1_000 * MINUTE))
        for _ in range(requests):
            await self.budget.spend()
            await asyncio.sleep(0)
        self._fail_if_told()
        now_ms = self.now_ms()
        return [self._as_of(bar, now_ms) for bar in truth(from_ms, to_ms) if bar.time_ms + MINUTE <= now_ms]

    async def get_list_of_symbols(self) -> list[str]:
        self._note({"what": "symbols"})
        return ["ETH/USDT", "BTC/USDT", "BTC/EUR"]

    @classmethod
    def list_brokers(cls) -> list[str]:
        return ["WEST", "EAST"]

    def _as_of(self, bar: Bar, now_ms: int) -> Bar:
        if bar.time_ms + MINUTE + self.provisional_ms <= now_ms:
            return bar
        return Bar(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume + 1, origin="backfill")

    def _note(self, what: dict[str, object]) -> None:
        with (self.base / self.config.asked).open("a") as file:
            file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")

    def _fail_if_told(self) -> None:
        file = self.base / self.config.down
        left = int(file.read_text()) if file.exists() else 0
        if left:
            file.write_text(str(left - 1))
            raise Disconnected("the venue is down")


def asked(folder: Path) -> list[dict[str, object]]:
    """What the venue was asked, in order."""
    file = folder / "asked.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
