"""One stream in a journal, and where its records are."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable

Mark = Callable[[int], tuple[int, int]]
"""What the record at a place says: the latest bar time so far (ms), and the new closed bars before it."""


class Track:
    """One stream in the journal, and the index of its records: an entry a record, the rest is read from it.

    :param mark: reads a record's head
    """

    def __init__(self, name: str, number: int, mark: Mark, head: int = 0, bars: int = 0, time_ms: int = 0) -> None:
        self.name = name
        self.number = number
        self.head = head
        """The seq that the next message gets."""
        self.bars = bars
        """New closed bars so far."""
        self.time_ms = time_ms
        """The latest bar so far."""
        self.opening = b""
        """The payload that the stream began with; kept for ever."""
        self.seqs = array("Q")
        self.places = array("Q")
        self._mark = mark

    @property
    def first(self) -> int:
        """The earliest seq that is kept."""
        return self.seqs[0] if self.seqs else self.head

    def add(self, place: int, seq: int, count: int, bars: int, time_ms: int) -> None:
        """Index a record that stands at a place."""
        self.seqs.append(seq)
        self.places.append(place)
        self.head = seq + count
        self.bars += bars
        self.time_ms = time_ms

    def forget(self, entries: int) -> None:
        """Drop the oldest entries."""
        del self.seqs[:entries], self.places[:entries]

    def time_at(self, entry: int) -> int:
        """The latest bar time, with the record of an entry."""
        return self._mark(self.places[entry])[0]

    def bars_before(self, entry: int) -> int:
        """New closed bars before the record of an entry."""
        return self._mark(self.places[entry])[1]

    def entry_of(self, seq: int) -> int:
        """The entry whose record holds the seq."""
        return max(bisect_right(self.seqs, seq) - 1, 0)

    def seq_from(self, time_ms: int) -> int:
        """The seq of the first record whose latest bar is not before the time."""
        entry = bisect_left(range(len(self.places)), time_ms, key=self.time_at)
        return self.seqs[entry] if entry < len(self.seqs) else self.head

    def entry_of_bar(self, bar: int) -> int:
        """The entry whose record holds the bar with this number (counted from the stream's first)."""
        return max(bisect_right(range(len(self.places)), bar, key=self.bars_before) - 1, 0)
