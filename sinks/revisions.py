"""What a ``.ohlcv`` file cannot take: revisions and late bars, in a CSV beside it until they are merged.

The file holds every bar as it was first published, since it can only be appended to; what is said of a bar
later is a line here. The same line is kept once, however often a restart repeats it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import isclose, isnan
from pathlib import Path
from typing import get_args

from ..bus import failpoints
from ..bus.errors import Fault
from ..bus.messages import Bar, Origin
from ..bus.ohlcv import lock, read_bars, refusal, rewrite, sync_folder

_COLUMNS = "time_ms,revision,open,high,low,close,volume,origin"


def revisions_path(path: Path) -> Path:
    """Where the revisions and late bars of an ``.ohlcv`` file are until they are merged."""
    return path.with_suffix(".revisions.csv")


def merged_path(path: Path) -> Path:
    """Where they are afterwards, with the bars that they have replaced."""
    return path.with_suffix(".merged.csv")


def fallback_path(path: Path) -> Path:
    """Where the bars of a stand-in source are; they are never merged."""
    return path.with_suffix(".fallback.csv")


class SideFile:
    """An append-only CSV of bars; a torn last line, as a kill leaves it, is cut off."""

    def __init__(self, path: Path) -> None:
        """:raises Fault: the file cannot be read, or a line of it is no bar"""
        self.path = path
        self._bars: dict[str, Bar] = {}
        self._lowest: dict[int, int] = {}
        self._fresh: list[Bar] = []
        with _explained(path):
            for number, line in enumerate(_whole_lines(path)[1:], start=2):
                self._remember(_parsed(path, number, line))

    def __contains__(self, bar: Bar) -> bool:
        return _key(bar) in self._bars

    def __iter__(self) -> Iterator[Bar]:
        return iter(self._bars.values())

    def __len__(self) -> int:
        return len(self._bars)

    def lowest(self, time_ms: int) -> float:
        """The lowest revision that is kept of the bar at this time; infinite if there is none."""
        return self._lowest.get(time_ms, float("inf"))

    def add(self, bar: Bar) -> bool:
        """Keep a bar with the next :meth:`commit`; False if it is kept already."""
        if bar in self:
            return False
        self._remember(bar)
        self._fresh.append(bar)
        return True

    def commit(self) -> None:
        """Make durable what was added.

        :raises Fault: the disk is full or the like
        """
        if not self._fresh:
            return
        with _explained(self.path):
            begun = self.path.exists() and self.path.stat().st_size > 0
            lines = [] if begun else [_COLUMNS]
            lines += [f"{_key(bar)},{bar.origin}" for bar in self._fresh]
            with self.path.open("ab") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
            if not begun:
                sync_folder(self.path.parent)
        self._fresh.clear()
        failpoints.hit("revisions.after-commit")

    def _remember(self, bar: Bar) -> None:
        self._bars[_key(bar)] = bar
        self._lowest[bar.time_ms] = min(bar.revision, self._lowest.get(bar.time_ms, bar.revision))


def same(one: Bar, other: Bar) -> bool:
    """Whether two bars say the same, but for the last bits of a price, which the file puts on its grid."""
    pairs = zip(_values(one), _values(other), strict=True)
    return all(isclose(a, b, rel_tol=1e-13) or (isnan(a) and isnan(b)) for a, b in pairs)


def merge_revisions(path: Path) -> int:
    """Put the revisions and late bars of a recording into its ``.ohlcv``; how many bars are changed or new.

    What was replaced is kept in :func:`merged_path`. A kill at any moment loses nothing: run it again.

    :raises Fault: there is no such recording, it is being written, or the disk is full
    """
    if not path.exists():
        raise Fault(f"there is no file {path} to merge revisions into")
    if path.suffix != ".ohlcv":
        raise Fault(f"{path} is no recording: name its .ohlcv file")
    if path.with_suffix(".extra.csv").exists():
        raise Fault(f"{path} has extra fields in an .extra.csv, whose rows a merge would shift: "
                    "move that file away")
    with lock(path):
        side, done = SideFile(revisions_path(path)), SideFile(merged_path(path))
        bars = {bar.time_ms: bar for bar in read_bars(path)}
        changed = {time_ms: bar for time_ms, bar in _latest(side).items()
                   if time_ms not in bars or not same(bars[time_ms], bar)}
        for bar in [*(bars[time_ms] for time_ms in changed if time_ms in bars), *side]:
            done.add(bar)
        done.commit()
        if changed:
            bars.update(changed)
            rewrite(path, [bars[time_ms] for time_ms in sorted(bars)])
        failpoints.hit("merge.before-retire")
        side.path.unlink(missing_ok=True)
        sync_folder(path.parent)
    return len(changed)


def _latest(side: SideFile) -> dict[int, Bar]:
    """The last word on each bar: its highest revision, and of equal ones the one that came last."""
    latest: dict[int, Bar] = {}
    for bar in side:
        known = latest.get(bar.time_ms)
        if refusal(bar) is None and (known is None or bar.revision >= known.revision):
            latest[bar.time_ms] = bar
    return latest


def _values(bar: Bar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def _key(bar: Bar) -> str:
    return ",".join(map(str, (bar.time_ms, bar.revision, *map(float, _values(bar)))))


def _parsed(path: Path, number: int, line: str) -> Bar:
    try:
        time_ms, revision, *values, origin = line.split(",")
        opened, high, low, close, volume = map(float, values)
        if origin not in get_args(Origin):
            raise ValueError(origin)
        return Bar(int(time_ms), opened, high, low, close, volume, revision=int(revision), origin=origin)  # type: ignore[arg-type]
    except ValueError:
        raise Fault(f"line {number} of {path} is no bar: mend or delete that line") from None


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file; what follows the last line end was torn by a kill and is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return data[:whole].decode().splitlines()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Fault(f"{path} cannot be written ({error.strerror or error}): mend that and start again, "
                    "what is in the file is whole") from error
