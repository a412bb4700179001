# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ``init()`` has left on a strategy that is as long as the data, and how a fresh copy takes its place.

Arrays, Series, DataFrames and indexes of the data's length are of the past and computed anew for each bar. Everything
else (numbers, counters, generators, lists of the strategy's own) is its memory and is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from .library import Array

_OWN = ("_indicators", "_broker", "_data", "_params")


def is_series(value: Any, bars: int) -> bool:
    """Whether it has a value for each bar."""
    if not isinstance(value, np.ndarray | pd.Series | pd.DataFrame | pd.Index) or value.ndim < 1:
        return False
    return bars in (value.shape[0], value.shape[-1])


def held(strategy: Any, bars: int) -> list[str]:
    """The attributes that are series, or hold some in lists, tuples or dicts."""
    return [name for name, value in vars(strategy).items() if name not in _OWN and any(leaves(value, bars))]


def leaves(value: Any, bars: int, place: str = "") -> Iterator[tuple[str, Any]]:
    """The series in a value, each with its place in it (``[2]``, ``['fast']``)."""
    if is_series(value, bars):
        yield place, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, bars, f"{place}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, bars, f"{place}[{key!r}]")


def renewed(old: Any, fresh: Any, bars: int, join: Callable[[Any, Any], Any]) -> Any:
    """The old value, each series in it replaced by ``join`` of it and the fresh one (of so many bars)."""
    if is_series(fresh, bars):
        return join(old, fresh)
    if isinstance(old, list) and isinstance(fresh, list) and len(old) == len(fresh):
        return [renewed(a, b, bars, join) for a, b in zip(old, fresh, strict=True)]
    if type(old) is tuple and type(fresh) is tuple and len(old) == len(fresh):
        return tuple(renewed(a, b, bars, join) for a, b in zip(old, fresh, strict=True))
    if isinstance(old, dict) and isinstance(fresh, dict):
        return {key: renewed(a, fresh[key], bars, join) if key in fresh else a for key, a in old.items()}
    return old


def extended(old: Any, fresh: Any, bars: int, index: Any) -> Any:
    """The old series and the newest value of a fresh one that is of the last bars only."""
    if isinstance(fresh, pd.Series | pd.DataFrame):
        return pd.concat([old, fresh.iloc[-1:]])
    if isinstance(fresh, pd.Index):
        return old.append(fresh[-1:])
    axis = fresh.ndim - 1 if fresh.shape[-1] == bars else 0
    joined = np.concatenate((np.asarray(old), np.asarray(fresh.take([-1], axis))), axis)
    return _like(fresh, joined, index)


def padded(value: Any, bars: int, missing: int, index: Any) -> Any:
    """The series with NaN for bars before it."""
    if isinstance(value, pd.Series | pd.DataFrame):
        return value.reindex(index[:])
    if isinstance(value, pd.Index):
        return index[:]
    axis = value.ndim - 1 if value.shape[-1] == bars else 0
    shape = list(value.shape)
    shape[axis] = missing
    return _like(value, np.concatenate((np.full(shape, np.nan), np.asarray(value)), axis), index)


def _like(value: Any, array: np.ndarray, index: Any) -> Any:
    """The array with what the library keeps beside its values: a name, how it is drawn, the times."""
    if not isinstance(value, Array):
        return array
    kept: Any = array.view(type(value))
    kept.name, kept._opts = value.name, {**value._opts, "index": index}
    return kept
