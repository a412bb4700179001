"""Asks the venue what its streams have not said: after a connect, at a hole, in a silence, and without a connection.

Every lane says what it wants to know (``lane.py``); here the questions are put, the most urgent first and a few at
once, with their errors counted by kind and a breaker that gives a failing venue time. While the connection is gone the
same questions are the feed: polling takes over within a bar, and hands back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Mapping

from ..bus.messages import Bar
from ..bus.names import Key
from . import clock
from .budget import HEAL, LOOK, urgency
from .contract import ConfigError, Disconnected, Provider, Refused
from .lane import Lane, Why
from .meters import Meters

log = logging.getLogger("pynelive")
_TICK_S = 0.1
_AT_ONCE = 8
_FULL_PAGE = 50
_DEAF = 3
_PATIENT_MS = 60_000
_STATES_EVERY = 10
_URGENT: frozenset[Why] = frozenset({"heal", "gap", "close"})


class Breaker:
    """Opens after a few failures in a row, for ever longer; then one question goes through, and decides."""

    _FAILURES = 3
    _FIRST_S = 1.0
    _LONGEST_S = 60.0

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    def room(self, at_once: int) -> int:
        """How many questions may be under way now."""
        if clock.monotonic() < self._until:
            return 0
        return at_once if self._failures < self._FAILURES else 1

    def passed(self) -> None:
        """A question was answered."""
        self._failures, self._until = 0, 0.0

    def failed(self, retry_after: float | None) -> None:
        """A question was not answered; the venue may say when it wants the next one."""
        self._failures += 1
        doubled = self._FIRST_S * 2 ** min(self._failures - self._FAILURES, 6) * random.uniform(0.8, 1.2)
        wait_s = min(doubled, self._LONGEST_S) if self._failures >= self._FAILURES else 0.2
        self._until = clock.monotonic() + max(wait_s, retry_after or 0.0)


class Keeper:
    """The questions of one provider's lanes."""

    def __init__(self, provider: Provider, lanes: Mapping[Key, Lane], meters: Meters) -> None:
        self._provider = provider
        self._lanes = lanes
        self._meters = meters
        self._counters = meters.counters
        self._breaker = Breaker()
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._connected = self._mute = False
        self._broken: asyncio.Future[None] | None = None
        self._fatal: BaseException | None = None
        self._deaf: Counter[Key] = Counter()
        self._patient_until_ms = self._connected_ms = 0

    async def run(self) -> None:
        """Ask whatever the lanes want to know, until cancelled; raises what publishing the answers raises."""
        ticks = 0
        try:
            while True:
                await asyncio.sleep(max(_TICK_S / clock.SPEED, 0.01))
                if self._fatal is not None:
                    raise self._fatal
                self._turn(self._provider.now_ms())
                ticks += 1
                if ticks % _STATES_EVERY == 0:
                    self._say_hours(self._provider.now_ms())
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    # --- the connection -----------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """``watch`` begins: every lane that has bars already waits for what it has missed."""
        now_ms = self._provider.now_ms()
        self._connected, self._mute, self._connected_ms = True, False, now_ms
        self._deaf.clear()
        self._broken = asyncio.get_running_loop().create_future()
        for lane in self._lanes.values():
            lane.connected(now_ms)
            lane.ledger.say("healing" if lane.is_shut else "live", now_ms)

    def disconnected(self, reason: str, mute: bool = False) -> None:
        """There is no connection; what can be asked is asked, unless the venue has refused the key."""
        self._connected, self._mute, self._broken = False, mute, None
        for lane in self._lanes.values():
            lane.ledger.say("down", self._provider.now_ms(), reason)

    async def broken(self) -> None:
        """Raise when the connection is found to be silent while the venue is not."""
        assert self._broken is not None
        await asyncio.shield(self._broken)

    def interrupt(self, reason: str) -> None:
        """End the connection, for another one at once."""
        self._break(Disconnected(reason, 0.0))

    async def settled(self) -> None:
        """Wait until nothing is held back any more: the source has ended."""
        while any(lane.is_shut for lane in self._lanes.values()):
            await clock.sleep(_TICK_S)

    # --- the questions ------------------------------------------------------------------------------------------------

    def _turn(self, now_ms: int) -> None:
        wanted = [(why not in _URGENT, lane.asked_ms, key, why) for key, lane in self._lanes.items()
                  if (why := lane.wants(now_ms, not self._connected)) and key not in self._asking]
        room = 0 if self._mute else self._breaker.room(_AT_ONCE) - len(self._asking)
        for _, _, key, why in sorted(wanted)[: max(room, 0)]:  # who has waited longest, of the urgent first
            task = asyncio.create_task(self._ask(self._lanes[key], why))
            self._asking[key] = task
            task.add_done_callback(lambda task, key=key: self._ended(key, task))  # type: ignore[misc]

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            self._fatal = self._fatal or task.exception()

    async def _ask(self, lane: Lane, why: Why) -> None:
        urgency.set(HEAL if why in _URGENT else LOOK)
        begun, connected = time.monotonic(), self._connected
        self._counters["questions"] += 1
        try:
            bars = await self._since(lane)
        except Disconnected as gone:
            self._failed(lane, gone)
            return
        except ConfigError as error:
            self._mute = True
            self._counters["errors_auth"] += 1
            log.error("%s: %s", lane.ledger.stream, error)
            self._break(error)
            return
        except Refused as refused:
            self.refuse(lane, str(refused))
            return
        self._meters.latencies_s.append(time.monotonic() - begun)
        self._breaker.passed()
        fresh = lane.answered(why, bars, self._provider.now_ms())
        if fresh and connected and why in ("close", "silence"):
            self._was_deaf(lane, bars)
        self._say_state(lane)

    async def _since(self, lane: Lane) -> list[Bar]:
        """All that the venue has from where the lane wants it, page by page."""
        since_ms, bars = lane.since_ms(self._provider.now_ms()), list[Bar]()
        while True:
            page = [bar for bar in await self._provider.latest(lane.key, since_ms) if bar.time_ms > since_ms]
            bars += page
            closed = [bar.time_ms for bar in page if bar.closed]
            if len(closed) < _FULL_PAGE:
                return bars
            since_ms = max(closed)
            if lane.calendar.end_of(lane.calendar.next_open(since_ms)) > self._provider.now_ms():
                return bars

    def _failed(self, lane: Lane, gone: Disconnected) -> None:
        self._counters[f"errors_{gone.kind}"] += 1
        if gone.kind in ("rate", "banned") and gone.retry_after:
            self._provider.budget.hold(gone.retry_after)
        self._breaker.failed(gone.retry_after)
        log.info("%s: the venue's history cannot be had: %s", lane.ledger.stream, gone)
        lane.ledger.say("stale" if self._connected and not lane.is_shut else "healing" if self._connected else "down",
                        self._provider.now_ms(), str(gone))

    def refuse(self, lane: Lane, reason: str) -> None:
        """The source does not give this stream any more; the others go on."""
        lane.refuse(reason, self._provider.now_ms())
        self._counters["refused"] += 1
        log.error("%s: %s", lane.ledger.stream, reason)
        lane.ledger.say("down", self._provider.now_ms(), reason)

    # --- silence ------------------------------------------------------------------------------------------------------

    def _was_deaf(self, lane: Lane, bars: list[Bar]) -> None:
        """The venue had closed a bar and the connection did not say so: one lost flag, or a dead connection?"""
        closed_ms = lane.calendar.end_of(max(bar.time_ms for bar in bars if bar.closed))
        self._deaf[lane.key] += 1
        self._counters["unsaid"] += 1
        heard_ms = max(lane.heard_ms for lane in self._lanes.values())
        now_ms = self._provider.now_ms()
        silent = heard_ms < closed_ms and closed_ms > self._connected_ms
        if (silent or self._deaf[lane.key] >= _DEAF) and now_ms >= self._patient_until_ms:
            self._patient_until_ms = now_ms + _PATIENT_MS
            said = "" if silent else f" {lane.key}"
            self._break(Disconnected(f"the connection says nothing{said} while the venue goes on", 0.0, "silent"))

    def heard(self, key: Key) -> None:
        """The connection has closed a bar of this stream by itself, or, where it never does, has said something."""
        self._deaf.pop(key, None)

    def _break(self, error: Disconnected | ConfigError) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    # --- how the streams are ------------------------------------------------------------------------------------------

    def _say_state(self, lane: Lane) -> None:
        now_ms = self._provider.now_ms()
        if not (lane.is_shut or lane.rested) and lane.calendar.is_open(now_ms):
            lane.ledger.say("live", now_ms, "" if self._connected else "by polling")

    def _say_hours(self, now_ms: int) -> None:
        for lane in self._lanes.values():
            if lane.calendar.always or lane.refused or lane.rested:
                continue
            state = lane.ledger.state
            if not lane.calendar.is_open(now_ms) and state == "live" and lane.rests(now_ms):
                lane.ledger.say("closed", now_ms, "the session is over")
            elif state == "closed" and lane.heard_ms and lane.calendar.is_open(now_ms) and self._connected:
                lane.ledger.say("live", now_ms, "the session has begun")
