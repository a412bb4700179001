"""One rate budget for everybody who asks a venue, the most urgent first.

A venue counts what an address and a key ask of it in a window; the one process that serves the venue counts along.
A question waits until its weight fits. Who waits is ordered by urgency (heal, then live looks, warm-up, bulk), and
what a venue says about slowing down (``Retry-After``, a ban) holds everybody.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count

from . import clock

HEAL, LOOK, WARM_UP, BULK = range(4)
"""Urgency: missed bars, looks at live bars, history that a consumer waits for, downloads."""

urgency: ContextVar[int] = ContextVar("urgency", default=WARM_UP)
"""Of the work that runs now; the feed sets it."""


@dataclass(frozen=True)
class Rate:
    """So much weight in any window of so many seconds; a share of it is left free for others on the same address."""

    weight: float
    per_s: float
    use: float = 0.8


class Budget:
    """What may still be asked now; :meth:`spend` before every request."""

    def __init__(self, *rates: Rate) -> None:
        """:param rates: all of them hold at once; none means that nothing is limited"""
        self._rates = rates
        self._spent: list[deque[tuple[float, float]]] = [deque() for _ in rates]
        self._sums = [0.0] * len(rates)
        self._held_until = 0.0
        self._queue: list[tuple[int, int, float, asyncio.Future[None]]] = []
        self._numbers = count()
        self._pump: asyncio.Task[None] | None = None

    async def spend(self, weight: float = 1.0) -> None:
        """Wait until a request of this weight may be sent, and count it."""
        if not self._queue and self._delay(weight) <= 0:
            self._charge(weight)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (urgency.get(), next(self._numbers), weight, turn))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._serve())
        await turn

    def seconds_for(self, weight: float) -> float:
        """How long questions of this weight take together, at the slowest of the rates."""
        return max((weight * rate.per_s / (rate.weight * rate.use) for rate in self._rates), default=0.0)

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: the venue has asked for it."""
        self._held_until = max(self._held_until, clock.monotonic() + seconds)

    def used_in_window(self) -> float:
        """The weight that counts now in the first window."""
        self._forget(clock.monotonic())
        return self._sums[0] if self._sums else 0.0

    async def _serve(self) -> None:
        while self._queue:
            wait_s = self._delay(self._queue[0][2])
            if wait_s > 0:
                await clock.sleep(min(wait_s, 1.0))  # somebody more urgent may come meanwhile
                continue
            _, _, weight, turn = heapq.heappop(self._queue)
            if not turn.done():
                self._charge(weight)
                turn.set_result(None)

    def _delay(self, weight: float) -> float:
        """How long (s) a request of this weight has to wait."""
        now = clock.monotonic()
        self._forget(now)
        wait_s = self._held_until - now
        for rate, spent, total in zip(self._rates, self._spent, self._sums, strict=True):
            over = total + min(weight, rate.weight * rate.use) - rate.weight * rate.use
            for when, cost in spent:
                if over <= 1e-9:
                    break
                over -= cost
                wait_s = max(wait_s, when + rate.per_s - now)
        return wait_s

    def _charge(self, weight: float) -> None:
        now = clock.monotonic()
        for i, spent in enumerate(self._spent):
            spent.append((now, weight))
            self._sums[i] += weight

    def _forget(self, now: float) -> None:
        for i, (rate, spent) in enumerate(zip(self._rates, self._spent, strict=True)):
            while spent and spent[0][0] + rate.per_s <= now:
                self._sums[i] -= spent.popleft()[1]
