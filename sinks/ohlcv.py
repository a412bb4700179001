"""The recorder: the closed bars of each stream, in PyneCore's ``.ohlcv`` files.

Its offset is its file: the time of the last bar. What the file cannot take goes to the CSVs of
``revisions.py``, so that nothing is dropped, and the files come out byte for byte the same however the bars
were batched or repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..bus.errors import Fault
from ..bus.messages import Bar, Instrument
from ..bus.ohlcv import BarFile, ohlcv_path, read_bars, read_instrument, refusal
from .contract import Delivery, Sink
from .revisions import SideFile, fallback_path, merged_path, revisions_path, same

_log = logging.getLogger(__name__)


class OhlcvSink(Sink):
    """Records what PyneCore can read again: ``pyne run SCRIPT FILE``, replay, warm-up."""

    @dataclass
    class Config:
        """:param dir: the folder of the recordings, one file a stream"""

        dir: str = "data"

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._folder = base / config.dir
        self._recordings: dict[str, Recording] = {}

    def open(self, stream: str, instrument: Instrument | None) -> int | None:
        """Continue the stream's file or begin it; a stream without bars, such as ``run:NAME``, has none.

        :raises Fault: the file is held by somebody else, damaged, or of another timeframe or source
        """
        if instrument is None and "@" in stream:
            instrument = read_instrument(ohlcv_path(self._folder, stream))
        if instrument is None:
            return None
        known = self._recordings.get(stream)
        if known and known.instrument == instrument:
            return known.last_ms
        self._release(stream)
        path = ohlcv_path(self._folder, stream)
        self._recordings[stream] = Recording(path, _shown(path, self.base), instrument)
        return self._recordings[stream].last_ms

    def write(self, batch: Sequence[Delivery]) -> None:
        """Record the closed bars of the batch.

        :raises Fault: the disk is full or the like, somebody has changed a file, or a bar has no instrument
        """
        for stream, message in batch:
            if isinstance(message, Bar) and message.closed:
                self._recording(stream).take(message)
            elif isinstance(message, Instrument):
                self.open(stream, message)
        for recording in self._recordings.values():
            recording.commit()

    def close(self) -> None:
        """Release all files and their locks; the summary stays."""
        for recording in self._recordings.values():
            recording.close()

    def summary(self) -> list[str]:
        """A line a file: its bars, their days, and what is beside it."""
        return [recording.summary() for recording in list(self._recordings.values())]

    def _recording(self, stream: str) -> Recording:
        try:
            return self._recordings[stream]
        except KeyError:
            raise Fault(f"stream '{stream}' has sent a bar before its instrument: "
                        "restart its producer") from None

    def _release(self, stream: str) -> None:
        if recording := self._recordings.pop(stream, None):
            recording.commit()
            recording.close()


class Recording:
    """One stream's file and what is beside it."""

    def __init__(self, path: Path, shown: str, instrument: Instrument) -> None:
        self.instrument = instrument
        self._shown = shown
        self._file = BarFile(path, instrument)
        try:
            self._side, self._merged = SideFile(revisions_path(path)), SideFile(merged_path(path))
            self._fallback = SideFile(fallback_path(path))
            self._left_out = self._count_left_out()
        except Fault:
            self._file.close()
            raise
        self.last_ms = self._file.last_ms
        self._fresh: dict[int, Bar] = {}
        self._reported: set[str] = set()

    def take(self, bar: Bar) -> None:
        """Sort a closed bar to where it belongs; :meth:`commit` writes it."""
        if bar.origin == "fallback":
            self._fallback.add(bar)
        elif why := refusal(bar):
            self._leave_out(bar, f"a bar that no .ohlcv can hold ({why})")
        elif self.last_ms is None or bar.time_ms > self.last_ms:
            self._fresh[bar.time_ms] = bar
            self.last_ms = bar.time_ms
        else:
            self._again(bar)

    def commit(self) -> None:
        """Write what was taken: a revision is durable before any later bar."""
        self._side.commit()
        self._fallback.commit()
        self._file.append(list(self._fresh.values()))
        self._fresh.clear()

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()

    def summary(self) -> str:
        """``data/demo_AAPL_1.ohlcv  1,234 bars  2024-01-02 … 2024-01-03  2 revisions``."""
        left_out, fallback = self._left_out, len(self._fallback)
        revisions = len(self._side) - left_out
        first_ms, last_ms = self._file.first_ms, self._file.last_ms
        parts = [self._shown, many(self._file.size, "bar")]
        if first_ms is not None and last_ms is not None:
            parts.append(f"{day(first_ms)} … {day(last_ms)}")
        parts += [many(revisions, "revision")] if revisions else []
        parts += [f"{left_out:,} left out"] if left_out else []
        parts += [f"{fallback:,} from a fallback"] if fallback else []
        return "  ".join(parts)

    def _again(self, bar: Bar) -> None:
        """A bar that is not later than the file's last: a repeat, a revision, or one that came too late."""
        if bar in self._side or bar in self._merged:
            return
        have = self._fresh.get(bar.time_ms) or self._file.bar_at(bar.time_ms)
        if have is None:
            self._leave_out(bar, "a late bar")
        elif not (same(have, bar) and bar.revision <= self._lowest(bar.time_ms)):
            self._keep_beside(bar, "a revision")

    def _lowest(self, time_ms: int) -> float:
        return min(self._side.lowest(time_ms), self._merged.lowest(time_ms))

    def _leave_out(self, bar: Bar, what: str) -> None:
        if bar not in self._merged and bar not in self._side:
            self._left_out += 1
            self._keep_beside(bar, what)

    def _keep_beside(self, bar: Bar, what: str) -> None:
        self._side.add(bar)
        if what in self._reported:
            return
        self._reported.add(what)
        _log.warning("%s: %s, of %s, is kept in %s; 'pynelive merge' puts into the file what it can hold",
                     self._shown, what, datetime.fromtimestamp(bar.time_ms / 1000, UTC), self._side.path.name)

    def _count_left_out(self) -> int:
        if not len(self._side):
            return 0
        times = {bar.time_ms for bar in read_bars(self._file.path)}
        last_ms = max(times, default=0)
        return sum(refusal(bar) is not None or (bar.time_ms < last_ms and bar.time_ms not in times)
                   for bar in self._side)


def _shown(path: Path, base: Path) -> str:
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def many(count: int, noun: str) -> str:
    """``1 bar``, ``2,000 bars``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def day(time_ms: int) -> str:
    """A time in UTC, short."""
    whole = time_ms % 86_400_000 == 0
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M")
