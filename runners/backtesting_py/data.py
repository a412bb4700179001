# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bars that come one at a time, as the library's own ``data``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .library import Array, Data

PRICES = ("Open", "High", "Low", "Close", "Volume")
_ROOM = 1024
_NS_PER_MS = 1_000_000


class GrowData(Data):  # type: ignore[misc]
    """Arrays with room for more; a strategy sees the first ``len`` samples of each, as in a backtest.

    It takes the place of everything that the library's own class reads from its arrays of fixed length.
    """

    def __init__(self) -> None:
        self._size = self._shown = 0
        self._times = np.empty(_ROOM, np.int64)
        self._columns = {name: np.empty(_ROOM) for name in PRICES}
        self._added: dict[str, Any] = {}
        self._added_before: dict[str, Any] = {}
        self._views: dict[str, Any] = {}
        self._pip: float | None = None

    def append(self, time_ms: int, values: Mapping[str, float]) -> None:
        """Add a bar; a column that is new is NaN before it."""
        if self._size == len(self._times):
            self._times = np.concatenate((self._times, np.empty_like(self._times)))
            self._columns = {name: np.concatenate((c, np.empty_like(c))) for name, c in self._columns.items()}
        for name in values.keys() - self._columns.keys():
            self._columns[name] = np.full(len(self._times), np.nan)
        self._times[self._size] = time_ms * _NS_PER_MS
        for name, column in self._columns.items():
            column[self._size] = values.get(name, np.nan)
        self._size += 1
        self._added, self._added_before = {}, self._added
        self._set_length(self._size)

    def time_ms(self, place: int) -> int:
        """When the bar at that place opened."""
        return int(self._times[place]) // _NS_PER_MS

    def tail(self, count: int) -> GrowData:
        """The last bars alone, as data of their own; no values are copied."""
        tail, part = GrowData(), slice(self._size - count, self._size)
        tail._times = self._times[part]
        tail._columns = {name: column[part] for name, column in self._columns.items()}
        tail._size = count
        tail._set_length(count)
        return tail

    def adopt(self, tail: GrowData) -> None:
        """Take over the newest values of the columns that ``init()`` has added to the last bars."""
        for name, values in tail._added.items():
            before = self._added_before.get(name, np.full(self._size - 1, np.nan))
            self._added[name] = np.append(before, values[-1])

    def times(self, key: slice) -> pd.DatetimeIndex:
        """When bars open, of all that there are."""
        return pd.DatetimeIndex(self._times[: self._size][key].view("datetime64[ns]"))

    @property
    def index(self) -> pd.DatetimeIndex:
        if "index" not in self._views:
            self._views["index"] = self.times(slice(self._shown))
        return self._views["index"]

    @property
    def df(self) -> pd.DataFrame:
        """Made when it is asked for; columns that ``init()`` adds to it are data too."""
        if "df" not in self._views:
            columns = {name: column[: self._shown] for name, column in self._columns.items()}
            columns |= {name: column[: self._shown] for name, column in self._added.items()}
            self._views["df"] = pd.DataFrame(columns, index=self.index)
        return self._views["df"]

    @property
    def pip(self) -> float:
        if self._pip is None:
            decimals = [len(repr(float(price)).partition(".")[2]) for price in self._columns["Close"][: self._shown]]
            self._pip = float(10 ** -np.median(decimals))
        return self._pip

    def _update(self) -> None:
        """After ``init()``: take over the columns that it has added to ``df``."""
        if (df := self._views.get("df")) is not None:
            self._added = {name: df[name].to_numpy() for name in df.columns if name not in self._columns}

    def _set_length(self, length: int) -> None:
        self._shown = length
        self._views.clear()

    def _current_value(self, key: str) -> Any:
        return self._columns[key][self._shown - 1]

    def _view(self, name: str) -> Any:
        if name not in self._views:
            column = self._columns[name] if name in self._columns else self._added[name]
            self._views[name] = Array(column[: self._shown], name=name, index=LazyIndex(self))
        return self._views[name]

    def __len__(self) -> int:
        return self._shown

    def __getitem__(self, name: str) -> Any:
        return self._view(name)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._view(name)
        except KeyError:
            raise AttributeError(f"the data have no column '{name}': there are {', '.join(self._columns)}") from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._shown} bars>"

    Open = property(lambda self: self._view("Open"))
    High = property(lambda self: self._view("High"))
    Low = property(lambda self: self._view("Low"))
    Close = property(lambda self: self._view("Close"))
    Volume = property(lambda self: self._view("Volume"))


class LazyIndex:
    """The times behind an array: pandas' index is made when somebody wants a Series of it, not for each bar."""

    def __init__(self, data: GrowData) -> None:
        self._data = data

    def __getitem__(self, key: slice) -> pd.DatetimeIndex:
        return self._data.times(key)

    def __len__(self) -> int:
        return self._data._size
