"""How a provider that plays (demo, replay) turns closed bars into updates on a clock.

A source says what happens when on its own virtual clock; :func:`paced` waits for it. One iterator carries any
number of streams, merged by time: no task and no timer a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from math import inf
from typing import NamedTuple

from msgspec.structs import replace

from ..bus.messages import Bar
from ..bus.names import Key
from .contract import Update

_BREATH = 256  # updates without a wait, after which the event loop gets its turn


class Event(NamedTuple):
    """An update at a time of the virtual clock; ``fresh_s`` later it is stale and may be left out."""

    at_s: float
    update: Update
    fresh_s: float = inf


async def paced(events: Iterable[Event], speed: float) -> AsyncIterator[Update]:
    """Yield each update when the clock, ``speed`` times as fast as the wall's, reaches it; 0 never waits.

    Behind schedule, forming updates whose successor is due already are left out, nothing else.
    """
    now = asyncio.get_running_loop().time
    start, breath = now(), 0
    for event in events:
        late_s = now() - start - event.at_s / speed if speed else 0.0
        if speed and late_s * speed > event.fresh_s:
            continue
        breath += 1
        if late_s < 0 or breath >= _BREATH:
            await asyncio.sleep(max(-late_s, 0))
            breath = 0
        yield event.update


def events_of(
    key: Key, bar: Bar, start_s: float, length_s: float, forming: int, scale: float
) -> Iterator[Event]:
    """One bar as events: ``forming`` updates, evenly spaced, then the bar at ``start_s + length_s``."""
    step_s = length_s / (forming + 1)
    for number in range(1, forming + 1):
        yield Event(start_s + number * step_s, Update(key, forming_bar(bar, number, forming, scale)), step_s)
    yield Event(start_s + length_s, Update(key, bar))


def forming_bar(bar: Bar, number: int, count: int, scale: float) -> Bar:
    """The bar as it is at update ``number`` of ``count``; ``scale`` is the number of ticks in a price of 1.

    Between open and close the price walks straight to the extreme that lies farther from the close, where it
    is at a third of the bar, and to the other one, at two thirds: the last of several updates has seen both.
    """
    turns = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    corners = (bar.open, *turns, bar.close)
    leg, rest = divmod(3 * number, count + 1)
    part = rest / (count + 1)
    price = round((corners[leg] + (corners[leg + 1] - corners[leg]) * part) * scale) / scale
    price = min(max(price, bar.low), bar.high)  # a recorded bar may lie off its own grid
    seen = (*corners[: leg + 1], price)
    volume = round(bar.volume * number / (count + 1), 8)
    return replace(
        bar, high=max(seen), low=min(seen), close=price, volume=volume, closed=False, update=number
    )
