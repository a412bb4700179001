"""What was downloaded of one stream, on the disk: PyneCore's files, and for which spans of time they are whole.

Each file belongs to one span, which is named after its beginning and grows at its end; when it reaches the next one
the two become one file. So files are only ever appended to. A span is complete also where it holds no bar. The bars
are durable before the list of spans (``spans.json``) says so: whatever a kill leaves behind, it says too little.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import msgspec
from msgspec import Struct

from ..bus import failpoints
from ..bus.errors import Fault
from ..bus.messages import Bar, Instrument, Origin
from ..bus.ohlcv import BarFile, last_time_ms, read_bars, refusal
from ..bus.syminfo import publish, read_note


class Span(Struct, frozen=True, array_like=True):
    """From one time until before another all bars are in the file; ``asked_ms`` is when the oldest was asked for."""

    from_ms: int
    to_ms: int
    asked_ms: int


class _Contents(Struct, frozen=True):
    instrument: str
    spans: tuple[Span, ...] = ()


class Shelf:
    """The downloads of one stream; its methods block. One process at a time has it (``venue.py``)."""

    def __init__(self, folder: Path, instrument: Instrument, oldest_ms: int) -> None:
        """Find what is there; what is another instrument's, older than ``oldest_ms``, or damaged is thrown away."""
        self._folder = folder
        self._instrument = instrument
        self._list = folder / "spans.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._spans = tuple(s for s in self._recorded() if s.asked_ms >= oldest_ms and self._is_sound(s))
        self._sweep()

    def missing(self, from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
        """The parts of a span of time that are not here, oldest first."""
        for span in self._spans:
            if from_ms < min(span.from_ms, to_ms):
                yield from_ms, min(span.from_ms, to_ms)
            from_ms = max(from_ms, span.to_ms)
        if from_ms < to_ms:
            yield from_ms, to_ms

    def add(self, from_ms: int, to_ms: int, bars: Sequence[Bar], now_ms: int) -> None:
        """Keep the bars of a missing part; they are all that there are in it.

        :raises Fault: the disk is full or the like
        """
        before = next((span for span in self._spans if span.to_ms == from_ms), None)
        after = next((span for span in self._spans if span.from_ms == to_ms), None)
        whole = Span(before.from_ms if before else from_ms, after.to_ms if after else to_ms,
                     min(span.asked_ms for span in (before, after, Span(0, 0, now_ms)) if span))  # fmt: skip
        file = BarFile(self._path(whole), self._instrument)
        try:
            _append(file, bars)
            if after:
                _append(file, list(read_bars(self._path(after), origin=self._origin(after))))
        finally:
            file.close()
        failpoints.hit("shelf.between-file-and-list")
        self._spans = tuple(sorted({*self._spans, whole} - {before, after}, key=lambda span: span.from_ms))
        self._record()
        if after:
            self._remove(self._path(after))

    def read(self, from_ms: int, to_ms: int) -> list[Bar]:
        """The bars of a span of time in which nothing is missing."""
        span = next((span for span in self._spans if span.from_ms <= from_ms < span.to_ms), None)
        if span is None:
            return []
        bars = read_bars(self._path(span), from_ms=from_ms, origin=self._origin(span))
        return list(takewhile(lambda bar: bar.time_ms < to_ms, bars))

    def _recorded(self) -> tuple[Span, ...]:
        try:
            contents = msgspec.json.decode(self._list.read_bytes(), type=_Contents)
        except (OSError, msgspec.MsgspecError):
            return ()
        return contents.spans if contents.instrument == _identity(self._instrument) else ()

    def _record(self) -> None:
        fresh = self._list.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(_Contents(_identity(self._instrument), self._spans)))
        publish(fresh, self._list)

    def _is_sound(self, span: Span) -> bool:
        try:
            return self._path(span).exists() and (last_time_ms(self._path(span)) or 0) >= 0
        except Fault:
            return False

    def _sweep(self) -> None:
        """Remove the files of no span: thrown away, or left by a kill before they were on the list."""
        known = {self._path(span) for span in self._spans}
        for path in set(self._folder.glob("*.ohlcv")) - known:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        for one in (path, path.with_suffix(".toml"), path.with_name(path.name + ".lock")):
            one.unlink(missing_ok=True)

    def _path(self, span: Span) -> Path:
        return self._folder / f"{span.from_ms}.ohlcv"

    def _origin(self, span: Span) -> Origin:
        """A source's history is of one kind: the venue's own bars, or what the file names."""
        named: list[Origin] = list(read_note(self._path(span)).origins)  # type: ignore[arg-type]
        return named[0] if named else "backfill"


def clear(folder: Path) -> None:
    """Throw away all that was downloaded of a stream."""
    shutil.rmtree(folder, ignore_errors=True)


def _append(file: BarFile, bars: Sequence[Bar]) -> None:
    """Add what is new; a kill may have left bars that the list does not know."""
    last_ms = -1 if file.last_ms is None else file.last_ms
    file.append([bar for bar in bars if bar.time_ms > last_ms and not refusal(bar)])


def _identity(instrument: Instrument) -> str:
    """What bars depend on; prices of another grid would not read back exactly."""
    grid = f"{instrument.mintick!r} {instrument.minmove}/{instrument.pricescale}"
    return f"{instrument.prefix}:{instrument.ticker}@{instrument.timeframe} {grid} {instrument.source}"
