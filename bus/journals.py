"""The journals of a bus as somebody else finds them: what each holds, and how one that is not used goes.

Nothing here needs a publisher to be up, and one that is up is not disturbed: its files are only read.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from .discovery import publishers
from .errors import Fault
from .journal import Journal, delete
from .rundir import RunDir, is_held, take_lock
from .track import Track


class StreamKept(Struct):
    """A stream in a journal: the seqs from ``first`` to before ``head`` are kept, and ``kept_bars`` of its bars.

    ``first_ms`` and ``last_ms`` are the latest bar in its first record that has one, and in its last.
    """

    publisher: str
    stream: str
    first: int
    head: int
    bars: int
    kept_bars: int
    first_ms: int
    last_ms: int
    bytes: int


class Kept(Struct):
    """A publisher's journal. ``unclean``: it was not closed in order; ``fault``: why it cannot be read."""

    publisher: str
    state: Literal["up", "clean", "unclean", "unreadable", "empty"]
    epoch: int = 0
    segments: int = 0
    bytes: int = 0
    damaged: int = 0
    streams: list[StreamKept] = []
    fault: str = ""


def publishers_kept(run: RunDir) -> list[str]:
    """Whose journals there are."""
    return sorted(path.name for path in run.journals.iterdir() if path.is_dir())


@contextmanager
def reading(run: RunDir, publisher: str) -> Iterator[Journal]:
    """The journal of a publisher, up or not; nothing in it is changed.

    :raises Fault: there is none, or it cannot be read
    """
    folder = run.journals / publisher
    if publisher not in publishers_kept(run):
        raise Fault(f"'{publisher}' has no journal in {run.journals}: `pynelive journal ls` names those that have")
    try:
        journal = Journal(folder, read_only=True)
    except OSError as error:
        raise Fault(f"{error.filename or folder} cannot be read: {error.strerror}") from None
    try:
        yield journal
    finally:
        journal.close(clean=False)


def kept(run: RunDir, publisher: str) -> Kept:
    """What a publisher's journal holds; one that cannot be read says why."""
    alive = is_up(run, publisher)
    size, files = used(run, publisher)
    try:
        with reading(run, publisher) as journal:
            streams = [_stream(publisher, journal, track) for track in journal.tracks.values()]
            clean = "clean" if journal.segments and journal.segments[-1].head.clean else "unclean"
            state = "up" if alive else clean if journal.segments else "empty"
            return Kept(publisher, state, journal.epoch, files, size, journal.damaged, streams)  # type: ignore[arg-type]
    except Fault as fault:
        return Kept(publisher, "unreadable", segments=files, bytes=size, fault=str(fault))


def used(run: RunDir, publisher: str) -> tuple[int, int]:
    """The disk that a journal uses, in bytes, and its files."""
    sizes = [size for path in (run.journals / publisher).glob("*.seg") if (size := _size(path)) is not None]
    return sum(sizes), len(sizes)


def remove(run: RunDir, publisher: str) -> None:
    """Remove the journal of a publisher that is not up.

    :raises Fault: it has just come up, or a file cannot be removed
    """
    held = take_lock(_lock(run, publisher))  # it cannot come up meanwhile
    if held is None:
        raise Fault(f"'{publisher}' is up: stop it before its journal is removed (`pynelive stop {publisher}`)")
    try:
        delete(run.journals / publisher)
        if (announced := publishers(run).get(publisher)) and not announced.remote:
            (run.actors / f"{publisher}.json").unlink(missing_ok=True)
    except OSError as error:
        raise Fault(f"{error.filename} cannot be removed: {error.strerror}") from None
    finally:
        os.close(held)


def is_up(run: RunDir, publisher: str) -> bool:
    """Whether the writer of this journal lives."""
    return is_held(_lock(run, publisher))


def _lock(run: RunDir, publisher: str) -> Path:
    return run.actors / f"{publisher}.lock"


def _stream(publisher: str, journal: Journal, track: Track) -> StreamKept:
    entry = size = 0
    while entry < len(track.places):
        records, entry = journal.raw_from(track, entry, 1 << 20)
        size += sum(map(len, records))
    entries = range(len(track.places))
    first_bar = bisect_right(entries, 0, key=track.time_at)  # before it there are only such as the instrument
    first_ms = track.time_at(first_bar) if first_bar < len(entries) else 0
    kept_bars = track.bars - track.bars_before(0) if entries else 0
    return StreamKept(
        publisher, track.name, track.first, track.head, track.bars, kept_bars, first_ms, track.time_ms, size
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None  # the retention was faster
