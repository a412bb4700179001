"""Stand-ins: while a stream's venue is down, the closed bars of another stream of the bus, marked as what they are.

They are published with origin ``fallback`` and their stream in ``extra["source"]``; a recorder keeps them apart, and a
script gets them only if its topology says so. When the venue answers again, its own bars follow as revisions of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from ..bus.errors import Fault
from ..bus.messages import Bar
from ..bus.rundir import RunDir
from ..bus.subscribe import subscribe
from . import clock
from .lane import Lane

log = logging.getLogger("pynelive")
_KEPT = 1_000
_LOOK_S = 1.0
_AGAIN_S = 5.0


class StandIn:
    """Follows the other sources of one stream; the first of them that has the bars is taken."""

    def __init__(self, run: RunDir, lane: Lane, streams: Sequence[str]) -> None:
        self._run = run
        self._lane = lane
        self._bars: dict[str, dict[int, Bar]] = {stream: {} for stream in streams}

    async def run(self) -> None:
        """Keep the last bars of each at hand, and publish them while the stream has none of its own."""
        await asyncio.gather(*(self._follow(stream) for stream in self._bars), self._stand_in())

    async def _follow(self, stream: str) -> None:
        while True:
            try:
                async with subscribe(stream, history=_KEPT, bus=self._run, timeout_s=60.0) as bars:
                    async for bar in bars:
                        self._keep(stream, bar)
            except Fault as fault:
                log.info("%s: its stand-in %s cannot be followed: %s", self._lane.ledger.stream, stream, fault)
            await clock.sleep(_AGAIN_S)

    def _keep(self, stream: str, bar: Bar) -> None:
        """As it was said last; a stand-in of a stand-in is none."""
        kept = self._bars[stream]
        if bar.origin != "fallback":
            extra = {**(bar.extra or {}), "source": stream}
            kept[bar.time_ms] = replace(bar, origin="fallback", revision=0, extra=extra)
        if len(kept) > _KEPT:
            del kept[min(kept)]

    async def _stand_in(self) -> None:
        while True:
            await clock.sleep(_LOOK_S)
            for bars in self._bars.values():
                last = self._lane.ledger.last
                if last is not None and self._lane.is_missed(clock.now_ms()):
                    for time_ms in sorted(time_ms for time_ms in bars if time_ms > last.time_ms):
                        self._lane.stand_in(bars[time_ms])
