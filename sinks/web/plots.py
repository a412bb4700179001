"""The plots of one run in columns: a row an executed bar, a column a title, and the colours where they change."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from math import inf, nan
from typing import Any, NamedTuple

from ...bus.messages import Plot

_CELLS = 8_000_000
"""So many values are kept at most, 64 MB, however many titles a script invents."""


class Rows(NamedTuple):
    """Which rows are asked for; ``older`` says that there are more before them, or more that have changed."""

    at: range
    older: bool


class Plots:
    """What a run has plotted on its closed bars; a bar is executed once, and never an older one after it.

    :param most: so many bars are kept; the oldest are let go of, an eighth of them at a time
    :param begun: the number of the change that the run began with: who knows an earlier one knows another run
    """

    def __init__(self, most: int, begun: int = 0) -> None:
        self.times = array("d")
        """When each bar opens, ascending (ms)."""
        self._most = most
        self._begun = begun
        self._changed = array("q")
        """By row the number of its last change, never falling."""
        self._gone = -1
        """That of the last row that is kept no more."""
        self._columns: dict[str, array[float]] = {}
        self._texts: dict[str, dict[float, str]] = {}
        self._styles: dict[str, tuple[array[float], list[Any]]] = {}

    def add_bar(self, time_ms: int, n: int) -> None:
        """A bar was executed; what is plotted on it follows."""
        self.times.append(time_ms)
        self._changed.append(n)
        for column in self._columns.values():
            column.append(nan)
        kept = min(self._most, _CELLS // max(len(self._columns), 1))
        if len(self.times) > kept + max(kept // 8, 1):
            self._let_go(len(self.times) - kept)

    def put(self, plot: Plot, n: int) -> None:
        """What is plotted on a bar, the last one or the one before it; of an older one only the colours still count."""
        row = bisect_left(self.times, plot.time_ms)
        if row < len(self.times) and self.times[row] == plot.time_ms:
            self._changed[row:] = array("q", [n]) * (len(self.times) - row)
            for title, value in plot.values.items():
                self._put_value(row, title, value)
        for name, style in plot.styles.items():
            times, styles = self._styles.setdefault(name, (array("d"), []))
            times.append(plot.time_ms)
            styles.append(style)

    def _put_value(self, row: int, title: str, value: float | str | bool | None) -> None:
        column = self._columns.get(title)
        if column is None:
            column = self._columns[title] = array("d", [nan]) * len(self.times)
        if isinstance(value, str):
            self._texts.setdefault(title, {})[self.times[row]] = value
        else:
            column[row] = nan if value is None else value

    def _let_go(self, count: int) -> None:
        self._gone, first = self._changed[count - 1], self.times[count]
        del self.times[:count], self._changed[:count]
        for column in self._columns.values():
            del column[:count]
        for title, texts in self._texts.items():
            self._texts[title] = {time_ms: text for time_ms, text in texts.items() if time_ms >= first}
        for times, styles in self._styles.values():
            old = max(bisect_right(times, first) - 1, 0)  # what holds on the first bar stays
            del times[:old], styles[:old]

    # --- what is asked ------------------------------------------------------------------------------------------------

    def rows(
        self, before_ms: float = inf, from_ms: float = -inf, since_n: int | None = None, limit: int = 5_000
    ) -> Rows:
        """The newest rows of a span of time; with ``since_n`` only those that have changed since."""
        low, high = bisect_left(self.times, from_ms), bisect_left(self.times, before_ms)
        if since_n is not None:
            low = max(low, bisect_right(self._changed, since_n))
            first = max(low, high - limit)
            return Rows(range(first, high), first > low or since_n < max(self._begun, self._gone))
        first = min(max(low, high - limit), high)
        return Rows(range(first, high), first > low or (self._gone >= 0 and from_ms < self.times[0]))

    def columns(self, rows: range) -> dict[str, array[float]]:
        """The values of the rows, by title, which can be any; na is NaN, true is 1."""
        return {title: column[rows.start : rows.stop] for title, column in self._columns.items()}

    def styles(self, rows: range) -> list[tuple[int, str, Any]]:
        """Of each plot what holds on the first row, and how it changes on those after it: when, its id, how."""
        if not rows:
            return []
        first, last = self.times[rows[0]], self.times[rows[-1]]
        said = []
        for name, (times, styles) in self._styles.items():
            begin, end = bisect_right(times, first), bisect_right(times, last)
            held = [(first, styles[begin - 1])] if begin else []
            said += [(int(time_ms), name, style)
                     for time_ms, style in (*held, *zip(times[begin:end], styles[begin:end], strict=True))]  # fmt: skip
        return sorted(said, key=lambda change: change[0])

    def texts(self, rows: range) -> dict[str, list[tuple[int, str]]]:
        """By title the values that are texts, which are NaN in their columns: when, and which."""
        if not rows:
            return {}
        first, last = self.times[rows[0]], self.times[rows[-1]]
        return {
            title: [(int(time_ms), text) for time_ms, text in texts.items() if first <= time_ms <= last]
            for title, texts in self._texts.items()
        }
