"""A recording beside what it should be: its bars as they were last said, and how they differ from others."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import NamedTuple

from pynelive.bus.ohlcv import ohlcv_path, read_bars

Values = tuple[float, ...]
"""Open, high, low, close and volume."""


class Difference(NamedTuple):
    """How many bars differ, and in what way."""

    bars: int
    missing: int
    wrong: int
    extra: int
    behind: int
    """Bars after the last recorded one."""

    @property
    def none(self) -> bool:
        """Whether there are bars, all of them, and as they should be."""
        return self.bars > 0 and not any(self[1:])


def recorded(folder: Path, stream: str) -> tuple[dict[int, Values], int]:
    """The bars of a stream's recording by time, with its last revisions in place; and how many were revised.

    Nothing is changed: the recorder may be writing.
    """
    path = ohlcv_path(folder, stream)
    if not path.exists():
        return {}, 0
    bars: dict[int, Values] = {
        bar.time_ms: (bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in read_bars(path)
    }
    revised: dict[int, int] = {}
    beside = path.with_suffix(".revisions.csv")
    text = beside.read_text(encoding="utf-8") if beside.exists() else ""
    for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        time_ms, revision = int(row["time_ms"]), int(row["revision"])
        if revision >= revised.get(time_ms, 0):
            revised[time_ms] = revision
            bars[time_ms] = tuple(float(row[name]) for name in ("open", "high", "low", "close", "volume"))
    return bars, len(revised)


def difference(got: Mapping[int, Values], want: Mapping[int, Values], until_ms: int) -> Difference:
    """How bars differ from what they should be, from the first one on that was recorded.

    :param until_ms: the bar that should be there at least
    """
    first_ms, last_ms = min(got, default=0), max(got, default=0)
    due = [time_ms for time_ms in want if time_ms >= first_ms and time_ms <= max(until_ms, last_ms)]
    missing = sum(time_ms not in got and time_ms < last_ms for time_ms in due)
    wrong = sum(time_ms in want and not _same(values, want[time_ms]) for time_ms, values in got.items())
    extra = sum(time_ms not in want for time_ms in got)
    return Difference(len(got), missing, wrong, extra, sum(time_ms > last_ms for time_ms in due))


def _same(one: Values, other: Values) -> bool:
    """Equal but for the last bits of a price, which a file puts on its grid."""
    return all(isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(one, other, strict=True))
