"""PyneCore's one wait that is mended here: a higher timeframe's bar is awaited as long as one is due, not longer.

At each close of a ``request.security`` context PyneCore 6.11 goes on waiting for a further bar, for 15 to 30 s, and the
chart's bar waits with it. The clock says whether a further bar can have closed at all, and the bus whether the market
is open. The names that are replaced are private; ``tests/test_pynecore_contract.py`` pins them.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from pynecore.core import live_runner

from .provider import BusProvider

_LOOK_S = 0.01

_streamer: Any = live_runner.LiveBarStreamer
_pop = _streamer.pop_new_closed_bars
_wait = _streamer.wait_for_bars


def install() -> None:
    """Let PyneCore wait so for streams of the bus; those of other providers are none of ours."""
    _streamer.pop_new_closed_bars, _streamer.wait_for_bars = _popped, _waited


def _popped(streamer: Any) -> list[Any]:
    bars: list[Any] = _pop(streamer)
    if bars and isinstance(streamer._provider, BusProvider):
        streamer._provider.handed_ms = bars[-1].timestamp
    return bars


def _waited(streamer: Any, timeout: float) -> list[Any]:
    provider = streamer._provider
    if not isinstance(provider, BusProvider):
        return list(_wait(streamer, timeout))
    deadline, pause = time.monotonic() + timeout, threading.Event()
    while not (bars := _popped(streamer)):
        forming = streamer.peek_developing_bar()
        if time.monotonic() > deadline or not provider.is_due(forming.timestamp if forming else 0):
            return _popped(streamer)  # it may have closed between the two looks
        pause.wait(_LOOK_S)
    return bars
