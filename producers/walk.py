"""An endless random walk that can be entered anywhere: the demo's prices.

The walk is a Brownian motion in multifractal time (Mandelbrot): an interval is halved again and again, its
variance is shared unevenly between the halves, and the price in the middle is drawn given those at the ends.
Quiet and wild hours come from the uneven shares. Every draw is a hash of the seed, the symbol and the
interval, so any second is reached in about twenty draws, however far away. Only ``+ - * /`` and ``sqrt`` are
used, which IEEE 754 rounds alike everywhere: every machine makes the same bars.
"""

from __future__ import annotations

from hashlib import blake2b
from math import sqrt
from struct import unpack
from typing import NamedTuple

ROOT_S = 15 << 21
"""A root interval, about a year: halves of it end on multiples of 15 s, so most timeframes need few draws."""

ROOT_VARIANCE = 0.3
"""Of the logarithm of the price over a root interval: 3 % a day for what trades round the clock."""

_SQRT_3 = sqrt(3.0)


class Point(NamedTuple):
    """Where the walk is: ``level`` is about the logarithm of the price, ``clock`` its variance so far."""

    level: float
    clock: float


class _Interval(NamedTuple):
    start_s: int
    end_s: int
    start: Point
    end: Point


class Walk:
    """The walk of one symbol over its trading seconds (any integer, also negative)."""

    def __init__(self, seed: int, symbol: str) -> None:
        self._seeded = blake2b(f"{seed} {symbol}".encode(), digest_size=14)
        self._path: list[_Interval] = []

    def at(self, second: int) -> Point:
        """The walk at a second; quickest when the seconds asked for are close together."""
        path = self._path
        while path and not path[-1].start_s <= second <= path[-1].end_s:
            path.pop()
        if not path:
            path.append(self._root(second // ROOT_S))
        while path[-1].start_s < second < path[-1].end_s:
            path.append(self._half(path[-1], second))
        last = path[-1]
        return last.start if second == last.start_s else last.end

    def draws(self, what: str) -> tuple[float, float, float, float]:
        """Three numbers from 0 to 1 and about a standard normal one, always the same for ``what``."""
        seeded = self._seeded.copy()
        seeded.update(what.encode())
        first, second, third, *four = unpack("<7H", seeded.digest())
        return first / 0xFFFF, second / 0xFFFF, third / 0xFFFF, (sum(four) / 0xFFFF - 2.0) * _SQRT_3

    def _root(self, number: int) -> _Interval:
        start_s, end_s = number * ROOT_S, (number + 1) * ROOT_S
        return _Interval(start_s, end_s, self._anchor(number), self._anchor(number + 1))

    def _anchor(self, number: int) -> Point:
        *_, normal = self.draws(f"root {number}")
        return Point(sqrt(ROOT_VARIANCE) / 2 * normal, number * ROOT_VARIANCE)

    def _half(self, whole: _Interval, second: int) -> _Interval:
        """The half of the interval that holds ``second``."""
        start_s, end_s, start, end = whole
        middle_s = (start_s + end_s) // 2
        uneven, *_, normal = self.draws(f"{start_s} {end_s}")
        share = (middle_s - start_s) / (end_s - start_s) * (0.6 + 0.8 * uneven)
        variance = end.clock - start.clock
        spread = sqrt(variance * share * (1 - share))
        middle = Point(start.level + (end.level - start.level) * share + spread * normal,
                       start.clock + variance * share)
        return _Interval(start_s, middle_s, start, middle) if second <= middle_s \
            else _Interval(middle_s, end_s, middle, end)

