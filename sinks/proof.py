"""A recording beside the journal that it was written from: every bar, with its values, and none missing between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from ..bus.errors import Fault
from ..bus.journal import Journal
from ..bus.messages import Bar
from ..bus.ohlcv import ohlcv_path, read_bars, refusal
from ..bus.wire import decode
from .ohlcv import day, many
from .revisions import SideFile, revisions_path, same


class Proof(Struct):
    """What came of it. ``older`` and ``newer`` bars of the file are beyond what the journal keeps."""

    path: str
    stream: str
    bars: int
    older: int
    newer: int
    difference: str = ""

    @property
    def proved(self) -> int:
        """How many bars the journal bears out."""
        return self.bars - self.older - self.newer


def stream_of(path: Path, streams: Iterable[str]) -> str:
    """Which of the streams a recording is of, by the name of its file.

    :raises Fault: none is
    """
    for stream in streams:
        try:
            if ohlcv_path(path.parent, stream).name == path.name:
                return stream
        except ValueError:
            continue  # it has no bars
    raise Fault(f"no journal of the bus holds a stream that would be recorded as {path.name}")


def verify_recording(path: Path, stream: str, journal: Journal) -> Proof:
    """Compare a recording with what its publisher's journal still has of the stream.

    :raises Fault: the file cannot be read, or the journal has no bar of the stream
    """
    published = _published(journal, stream)
    if not published:
        raise Fault(f"the journal in {journal.folder} has no closed bar of {stream} any more")
    first_ms, last_ms = min(published), max(published)
    bars = {bar.time_ms: bar for bar in read_bars(path)}
    older = sum(time_ms < first_ms for time_ms in bars)
    newer = sum(time_ms > last_ms for time_ms in bars)
    beside = {bar.time_ms for bar in SideFile(revisions_path(path))}  # bars that came too late for the file
    difference = next(_differences(bars, published, beside), "")
    return Proof(str(path), stream, len(bars), older, newer, difference)


def _published(journal: Journal, stream: str) -> dict[int, list[Bar]]:
    """By time all versions of each bar that a recording takes."""
    found: dict[int, list[Bar]] = {}
    for _, record in journal.in_order((stream,)):
        for message in decode(record.payload):
            if type(message) is Bar and message.closed and message.origin != "fallback" and not refusal(message):
                found.setdefault(message.time_ms, []).append(message)
    return found


def _differences(bars: dict[int, Bar], published: dict[int, list[Bar]], beside: set[int]) -> Iterator[str]:
    """What is missing between the first and the last bar that both have; and what nothing that is kept bears out."""
    common = sorted(bars.keys() & published.keys())
    first_ms, last_ms = min(published), max(published)
    for time_ms in sorted(bars.keys() | published.keys()):
        bar, versions = bars.get(time_ms), published.get(time_ms, [])
        if bar is None:
            if common and common[0] < time_ms < common[-1] and time_ms not in beside:
                yield f"the bar of {day(time_ms)} was published and is not recorded"
        elif first_ms <= time_ms <= last_ms and not any(same(bar, version) for version in versions):
            yield f"the bar of {day(time_ms)}\n  recorded   {_values(bar)}\n  published  " \
                  f"{' then '.join(map(_values, versions)) or 'never'}"


def _values(bar: Bar) -> str:
    return f"{bar.open:.10g} {bar.high:.10g} {bar.low:.10g} {bar.close:.10g} {bar.volume:.10g}"


def summary(proof: Proof) -> str:
    """A line for a person."""
    beyond = f"; {many(proof.older, 'bar')} older than the journal" if proof.older else ""
    beyond += f"; {many(proof.newer, 'bar')} newer than it" if proof.newer else ""
    return f"{proof.path}: {many(proof.proved, 'bar')} of {proof.stream} as they were published{beyond}"
