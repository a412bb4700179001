"""The time that producers live by: the machine's own, unless a laboratory sets another.

``PYNELIVE_CLOCK = "epoch_ms,started_s,speed"`` says that at the Unix time ``started_s`` it was ``epoch_ms`` and that
time runs ``speed`` times as fast since. The venue laboratory sets it, so that a day of real bars passes in minutes,
graces and back-off included. Time-outs of the network stay what they are.
"""

from __future__ import annotations

import asyncio
import os
import time

from ..bus.errors import TopologyError

VARIABLE = "PYNELIVE_CLOCK"


def _read(text: str) -> tuple[float, float, float]:
    if not text:
        return 0.0, 0.0, 1.0
    try:
        epoch_ms, started_s, speed = map(float, text.split(","))
    except ValueError:
        raise TopologyError([f"{VARIABLE} must be epoch_ms,started_s,speed and not '{text}': unset it"]) from None
    if speed <= 0:
        raise TopologyError([f"{VARIABLE}: the speed must be more than 0, not {speed:g}: unset it"])
    return epoch_ms, started_s, speed


_EPOCH_MS, _STARTED_S, SPEED = _read(os.environ.get(VARIABLE, ""))


def now_ms() -> int:
    """The time, Unix milliseconds UTC."""
    if SPEED == 1.0 and not _EPOCH_MS:
        return time.time_ns() // 1_000_000
    return int(_EPOCH_MS + (time.time() - _STARTED_S) * 1000 * SPEED)


def monotonic() -> float:
    """Seconds for measuring how long something takes by this clock."""
    return time.monotonic() * SPEED


async def sleep(seconds: float) -> None:
    """Wait so long by this clock."""
    await asyncio.sleep(max(seconds, 0.0) / SPEED)
