"""Use the laboratory in a test: ``with lab("binance", "BTC/USDT", speed=60) as venue``, or ``async with``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from pynelive.producers import clock
from pynelive.producers.sessions import EPOCH_MS

from .bars import bars_of
from .faults import Fault
from .spec import MarketSpec, Spec

if TYPE_CHECKING:
    import pytest

TESTS = Path(__file__).parents[1]
DATA = TESTS.parent.parent / "shared" / "data"
"""Real bars, where they are at hand; a test that needs them is skipped without."""


class TrueBar(NamedTuple):
    """A closed bar as it truly was."""

    revision: int
    time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Lab:
    """A venue in a process of its own; from the start of the ``with`` until its end."""

    def __init__(self, spec: Spec, speed: float) -> None:
        self.spec, self.speed = spec, speed
        self.http = self.ws = ""
        self.env: dict[str, str] = {}
        """What the processes need that shall live by the venue's time."""
        self.returncode: int | None = None

    def __enter__(self) -> Lab:
        if self.spec.epoch_ms:
            self.env = {clock.VARIABLE: f"{self.spec.epoch_ms},{time.time()!r},{self.speed!r}"}
        paths = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "venues", "--spec", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **self.env, "PYTHONPATH": paths},
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(self.spec).decode() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.__exit__()
            raise RuntimeError(f"the venue '{self.spec.venue}' does not start: see its words above")
        said = json.loads(line)
        self.http, self.ws = said["http"], said["ws"]
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                self.returncode = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    async def __aenter__(self) -> Lab:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def follow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process live by the venue's time, and its children too."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
            for variable, number in zip(("_EPOCH_MS", "_STARTED_S", "SPEED"), value.split(","), strict=True):
                monkeypatch.setattr(clock, variable, float(number))

    def truth(self, symbol: str, timeframe: str = "", since_ms: int | None = None) -> list[TrueBar]:
        """The bars that have closed since the venue's beginning (or a time), each followed by its revisions."""
        query = f"symbol={symbol}" + (f"&timeframe={timeframe}" if timeframe else "")
        query += f"&since_ms={since_ms}" if since_ms is not None else ""
        return [TrueBar(*row) for row in self._asked(f"/lab/truth?{query}")]

    def fired(self) -> list[tuple[str, int, str]]:
        """The faults that have happened: hook, number of the event, kind."""
        return [(where, index, kind) for where, index, kind, _ in self._asked("/lab/faults")["fired"]]

    def arm(self, where: str, kind: str, at: int = 0, count: int = 1, **args: Any) -> None:
        """Plan a fault; ``at`` counts from now."""
        self._asked("/lab/faults", msgspec.json.encode(Fault(where, kind, at, count, args)))

    def counters(self) -> Counter[str]:
        """What was counted at the venue, ``open`` connections, ``subscriptions``, and ``now_ms``, its time."""
        return Counter(self._asked("/lab/counters"))

    def _asked(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.http + path, body, timeout=60) as answer:
            return json.load(answer)


def lab(
    venue: str, *markets: str | MarketSpec, speed: float = 60.0, faults: Sequence[Fault] = (), **more: Any
) -> Lab:
    """A venue with some markets (``BTC/USDT``: the demo's walk in minutes), to be entered.

    :param speed: how much faster than real time it lives
    :param more: of :class:`Spec`; ``epoch_ms=0`` is the machine's own time, at speed 1
    """
    specs = [MarketSpec(market) if isinstance(market, str) else market for market in markets]
    epoch_ms = more.pop("epoch_ms", None)
    if epoch_ms is None:
        epoch_ms = _beginning(specs[0]) if specs else EPOCH_MS
    return Lab(Spec(venue, specs, epoch_ms=epoch_ms, faults=list(faults), **more), speed)


def _beginning(market: MarketSpec) -> int:
    """Where given bars begin to be live, or the demo's epoch."""
    if market.source == "walk":
        return EPOCH_MS
    bars = bars_of(market.source, 0, market.symbol, market.timeframe)
    return bars.span(min(market.history, bars.ends[1] // 2))[0]
