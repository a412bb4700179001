"""One stream in a journal, and where its records are."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right


class Track:
    """One stream in the journal, and the index of its records (an entry a record, in four columns)."""

    def __init__(self, name: str, number: int, head: int = 0, bars: int = 0, time_ms: int = 0) -> None:
        self.name = name
        self.number = number
        self.head = head
        """The seq that the next message gets."""
        self.bars = bars
        self.time_ms = time_ms
        """The latest bar so far."""
        self.opening = b""
        """The payload that the stream began with; kept for ever."""
        self.seqs = array("Q")
        self.places = array("Q")
        self.times = array("q")
        self.counts = array("Q")
        """Bars before each record."""

    @property
    def first(self) -> int:
        """The earliest seq that is kept."""
        return self.seqs[0] if self.seqs else self.head

    def add(self, place: int, count: int, bars: int, seq: int, time_ms: int) -> None:
        """Index a record that stands at a place."""
        self.seqs.append(seq)
        self.places.append(place)
        self.times.append(time_ms)
        self.counts.append(self.bars)
        self.head = seq + count
        self.bars += bars
        self.time_ms = time_ms

    def forget(self, entries: int) -> None:
        """Drop the oldest entries."""
        for column in (self.seqs, self.places, self.times, self.counts):
            del column[:entries]

    def entry_of(self, seq: int) -> int:
        """The entry whose record holds the seq."""
        return max(bisect_right(self.seqs, seq) - 1, 0)

    def seq_from(self, time_ms: int) -> int:
        """The seq of the first record whose latest bar is not before the time."""
        entry = bisect_left(self.times, time_ms)
        return self.seqs[entry] if entry < len(self.seqs) else self.head

    def entry_of_bar(self, bar: int) -> int:
        """The entry whose record holds the bar with this number (counted from the stream's first)."""
        return max(bisect_right(self.counts, bar) - 1, 0)
