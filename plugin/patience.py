"""How PyneCore waits for the bars of a context, mended: as long as one is due, and for none that is still forming.

At each close of a ``request.security`` context PyneCore 6.11 goes on waiting for a further bar, for 15 to 30 s, and the
chart's bar waits with it. The clock says whether a further bar can have closed at all, and the bus whether the market
is open. Of another symbol at the chart's own timeframe it asks for the bar that closes with the chart's as soon as that
one begins, and never again: every value would be that of the bar before. The names that are replaced are private;
``tests/test_pynecore_contract.py`` pins them.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from pynecore.core import live_runner, security

from .provider import BusProvider

_LOOK_S = 0.01

_streamer: Any = live_runner.LiveBarStreamer
_pop = _streamer.pop_new_closed_bars
_wait = _streamer.wait_for_bars
_confirmed = security._get_confirmed_time


def install() -> None:
    """Let PyneCore wait so for streams of the bus; those of other providers are none of ours."""
    _streamer.pop_new_closed_bars, _streamer.wait_for_bars = _popped, _waited
    security._get_confirmed_time = _closed


def _closed(state: Any, chart_ms: int, next_ms: int = 0, forming_ms: int = 0) -> int:
    """The bar of a context that has closed by now; ``forming_ms`` is 0 at the close of the chart's bar."""
    if forming_ms and state.same_timeframe and state.bar_opens is None:
        return int(state.last_confirmed)
    return int(_confirmed(state, chart_ms, next_ms, forming_ms))


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
