# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ``init()`` computes, tried out: how far back it looks, and whether it looks ahead.

The strategy is a black box: ``init()`` is run on parts of the bars, and what it says of a bar is compared. What is
read in ``next()`` itself is not seen here; ``check.py`` compares the decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from . import series
from .engine import Shadow
from .library import Data, Strategy, warmup
from .settings import Settings

_PLACES = 12
_GAP = 2  # a crossing compares the last two values
_EXACT, _ABSOLUTE = 1e-9, 1e-12

Values = dict[str, Any]


class Probe(Struct, frozen=True):
    """What was found out; names are those of attributes, with the place inside a list or a dict."""

    lookback: int | None
    """How many bars the values depend on; None: on all of them, or there are too few bars to say."""
    warmup: int
    """The first bar that a backtest decides on."""
    repaints: tuple[str, ...]
    """Series whose past values change with the bars that come later."""
    scalars: tuple[str, ...]
    """Numbers that ``init()`` has computed over all bars, and that differ when it has fewer."""
    listed: tuple[str, ...]
    """Series in lists, tuples or dicts: a backtest shows all of them, the future included."""

    @property
    def looks_ahead(self) -> tuple[str, ...]:
        """What a live strategy cannot know."""
        return self.repaints + self.scalars


def probe(kind: type[Strategy], inputs: Mapping[str, Any], settings: Settings, bars: pd.DataFrame) -> Probe:
    """Try a strategy's ``init()`` on the bars."""
    return _Trial(kind, inputs, settings, bars).result()


class _Trial:
    def __init__(
        self, kind: type[Strategy], inputs: Mapping[str, Any], settings: Settings, bars: pd.DataFrame
    ) -> None:
        self._kind, self._inputs, self._settings, self._bars = kind, dict(inputs), settings, bars
        self._whole = self._computed(0, len(bars))
        self._first = 1 + int(warmup(self._whole))

    def result(self) -> Probe:
        bars = len(self._bars)
        listed = [name + place for name in series.held(self._whole, bars)
                  for place, _ in series.leaves(vars(self._whole)[name], bars) if place]  # fmt: skip
        first = max(self._first + 1, bars // 2)
        places = {int(place) for place in np.linspace(first, bars - 2, _PLACES)} if first <= bars - 2 else set()
        tried = {place: strategy for place in sorted(places) if (strategy := self._strategy(0, place + 1))}
        prefixes = {place: _values(strategy, place + 1, slice(-_GAP, None)) for place, strategy in tried.items()}
        scalars = sorted({name for strategy in tried.values() for name in self._other_scalars(strategy)})
        repaints = sorted({name for place, values in prefixes.items() for name in self._other_values(place, values)})
        causal = {place: {name: v for name, v in values.items() if name not in repaints}
                  for place, values in prefixes.items()}  # fmt: skip
        lookback = self._lookback(causal) if causal else None
        return Probe(lookback, self._first, tuple(repaints), tuple(scalars), tuple(listed))

    # --- looking ahead --------------------------------------------------------------------------------------

    def _other_values(self, place: int, values: Values) -> Iterator[str]:
        """The series whose value at a bar is another one when nothing comes after it."""
        whole = _values(self._whole, len(self._bars), slice(place + 1 - _GAP, place + 1))
        yield from (name for name, value in values.items() if name in whole and not _same(value, whole[name]))

    def _other_scalars(self, strategy: Strategy) -> Iterator[str]:
        fewer = vars(strategy)
        for name, value in vars(self._whole).items():
            if _is_number(value) and _is_number(fewer.get(name)) and not _same(value, fewer[name]):
                yield name

    # --- looking back ---------------------------------------------------------------------------------------

    def _lookback(self, prefixes: dict[int, Values]) -> int | None:
        """The fewest bars that give the same last values everywhere: doubled until they do, then bisected."""
        least, enough = 0, max(_GAP + 1, self._first + 1)
        while not self._suffice(enough, prefixes):
            least, enough = enough, enough * 2
            if enough > min(prefixes):
                return None
        while enough - least > 1:
            middle = (least + enough) // 2
            if self._suffice(middle, prefixes):
                enough = middle
            else:
                least = middle
        return enough

    def _suffice(self, count: int, prefixes: dict[int, Values]) -> bool:
        return all(self._says(count, place, values) for place, values in prefixes.items())

    def _says(self, count: int, place: int, values: Values) -> bool:
        start = max(place + 1 - count, 0)
        if (strategy := self._strategy(start, place + 1)) is None:
            return False
        found = _values(strategy, place + 1 - start, slice(-_GAP, None))
        return all(name in found and _same(found[name], value) for name, value in values.items())

    def _strategy(self, start: int, end: int) -> Strategy | None:
        """None where ``init()`` wants more bars than these."""
        try:
            return self._computed(start, end)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
            return None

    def _computed(self, start: int, end: int) -> Strategy:
        data = Data(self._bars.iloc[start:end])
        strategy = self._kind(Shadow(data, self._settings), data, self._inputs)
        strategy.init()
        return strategy


def _values(strategy: Strategy, bars: int, part: slice) -> Values:
    """Some values of all numbers that there are for each bar, by name."""
    found: Values = {}
    for name in series.held(strategy, bars):
        for place, value in series.leaves(vars(strategy)[name], bars):
            array = np.asarray(value)
            if array.dtype.kind in "fiub":
                by_bar = array if array.shape[-1] == bars else array.T
                found[name + place] = by_bar[..., part].astype(float)
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 0
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    return np.shape(one) == np.shape(other) and bool(
        np.allclose(np.asarray(one, float), np.asarray(other, float), _EXACT, _ABSOLUTE, equal_nan=True))  # fmt: skip
