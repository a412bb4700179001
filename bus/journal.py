"""The journal: the truth of a publisher. What is not in it was never said; what is in it can be asked for again.

One journal a publisher, all its streams in the order in which they were said, in segment files. ``append`` returns
after the record is in the page cache: it survives a kill -9 of the process. ``sync`` (from a helper thread, on a
timer) bounds what a power loss takes: then the boot id differs without a clean close, and the journal starts a new
epoch, since numbers that were published may be given again.
"""

from __future__ import annotations

import heapq
import logging
import os
import struct
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from time import time_ns

import msgspec

from . import failpoints
from .errors import Fault
from .folders import make_folder, sync_folder
from .segments import HEADER_SIZE, Segment, boot_id
from .track import Track
from .wire import RECORD_BYTES, VERSION, Record, pack_header, read_mark, read_record, write_record

log = logging.getLogger("pynelive")
_FIRST_SEGMENT = 256 << 10
_LARGEST_SEGMENT = 64 << 20
_TABLE = 0
_UNSEALED = 2  # so many at the end a writer may still cut to their length: it begins the next one first
_SEARCH = 1 << 20
"""A whole record behind a damaged one is looked for in so many bytes there, and in so many behind zeros."""
_LENGTH = struct.Struct("<I")
_table_decoder = msgspec.msgpack.Decoder(list[tuple[str, int, int, int, int, bytes]])


class Journal:
    """The segments of one publisher and the index of every stream in them.

    :param folder: made if it is not there
    :param max_bytes: the size that is kept; the oldest segments beyond it go, whoever still wants them
    :param max_age_s: segments older than this go once every declared consumer has them; 0 keeps them
    :param read_only: for the journal of another process, which may be writing: nothing is changed
    """

    def __init__(self, folder: Path, max_bytes: int = 256 << 20, max_age_s: float = 0, read_only: bool = False) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s
        self.tracks: dict[str, Track] = {}
        self.names: dict[int, str] = {}
        self.segments: list[Segment] = []
        self.epoch = 0
        self.damaged = 0
        self._doubtful = False
        """Whether the last record of a stream may be damaged, which was sent: its numbers would be given again."""
        self._by_number: dict[int, Segment] = {}
        self._unsynced: list[Segment] = []
        if not read_only:
            make_folder(folder, 0o700)
        self._recover(read_only)
        if not read_only:
            self._begin()

    # --- recovery -------------------------------------------------------------------------------------------------

    def _recover(self, read_only: bool) -> None:
        paths = sorted(self.folder.glob("*.seg"))
        for path in paths:
            segment = Segment.load(path, foreign=read_only and path in paths[-_UNSEALED:])
            if segment is None:
                if not read_only:
                    path.unlink()
                continue
            self._add(segment)
            self._index(segment)
            self.epoch = segment.head.epoch
            if not (read_only or self._doubtful) and segment.size > segment.end:
                segment.seal()

    def _add(self, segment: Segment) -> None:
        self.segments.append(segment)
        self._by_number[segment.number] = self._last = segment

    def _index(self, segment: Segment) -> None:
        view, at, damaged = segment.view, HEADER_SIZE, self.damaged
        while True:
            record = read_record(view, at)
            if record is None:
                skipped = _skip_damage(view, at)
                if skipped is None:
                    break
                segment.look_again()
                if read_record(view, at) is not None:
                    continue  # it was being written
                self.damaged += 1
                log.warning("%s: a damaged record at byte %d is left out", segment.path, at)
                at = skipped
                continue
            if record.stream == _TABLE:
                self._read_table(record)
            else:
                self._index_record(segment, at, record)
            at += record.size
        segment.end = at
        self._doubtful = self.damaged > damaged or any(view[at : at + 8])  # what a kill has torn has no length

    def _index_record(self, segment: Segment, at: int, record: Record) -> None:
        name = self.names.get(record.stream)
        if name is None:  # the record that named it is damaged
            self.damaged += 1
            return
        track = self.tracks[name]
        if record.seq < track.head:  # said before: it stands in the wrong place
            self.damaged += 1
            return
        if record.seq != track.head:  # a damaged record is missing before this one
            track.forget(len(track.seqs))
        if record.seq == 0:
            track.opening = bytes(record.payload)
        track.add(segment.number << 32 | at, record.seq, record.messages, record.bars, record.time_ms)

    def _read_table(self, record: Record) -> None:
        try:
            rows = _table_decoder.decode(record.payload)
        except msgspec.MsgspecError:
            self.damaged += 1
            return
        for name, number, head, bars, time_ms, opening in rows:
            track = self.tracks.get(name)
            if track is None:
                track = self.tracks[name] = Track(name, number, self._mark, head, bars, time_ms)
                self.names[number] = name
            elif head > track.head:  # what came before is damaged
                track.forget(len(track.seqs))
                track.head, track.bars, track.time_ms = head, bars, time_ms
            track.opening = opening or track.opening

    def _begin(self) -> None:
        """Start writing: always in a new segment, so that nothing is ever written behind a torn tail."""
        last = self.segments[-1].head if self.segments else None
        if last is None:
            self.epoch = time_ns()
        elif not last.clean and last.boot != boot_id():
            self.epoch = max(time_ns(), self.epoch + 1)
            log.warning("%s: the machine went down without a clean close; a new epoch begins", self.folder)
        elif self._doubtful:
            self.epoch = max(time_ns(), self.epoch + 1)
            log.warning("%s: the newest segment is damaged; a new epoch begins", self.folder)
        self._roll(0)
        self.sync()()  # before anything is published: a file that is not there after a power loss had said nothing

    # --- writing --------------------------------------------------------------------------------------------------

    def track(self, name: str) -> Track:
        """The stream of this name; a new one is written to the table."""
        track = self.tracks.get(name)
        if track is None:
            track = self.tracks[name] = Track(name, len(self.names) + 1, self._mark)
            self.names[track.number] = name
            self._write_table([track])
        return track

    def append(self, track: Track, payload: bytes, count: int, bars: int = 0, time_ms: int = 0) -> bytes:
        """Add a record of ``count`` messages, ``bars`` of them new closed bars; header and payload of its frame.

        :raises Fault: the disk is full; nothing was written
        """
        segment, size = self._last, RECORD_BYTES + len(payload)
        if segment.end + size > segment.size:
            segment = self._roll(size)
        seq, at = track.head, segment.end
        if time_ms < track.time_ms:
            time_ms = track.time_ms
        head = pack_header(VERSION, 0, count, self.epoch, seq, time_ns(), time_ms, track.bars, track.number, bars)
        said = head + payload
        segment.end = write_record(segment.view, at, said)
        if seq == 0:
            track.opening = payload
        track.add(segment.number << 32 | at, seq, count, bars, time_ms)
        return said

    def _roll(self, size: int) -> Segment:
        table = self._table(self.tracks.values())
        wanted = self.next_size if size else min(_FIRST_SEGMENT, self._largest)
        wanted = max(wanted, HEADER_SIZE + 2 * RECORD_BYTES + len(table) + 2 * size)
        number = self.segments[-1].number + 1 if self.segments else 1
        new = Segment.create(self.folder, number, wanted, self.epoch)
        failpoints.hit("journal.between-new-and-seal")
        if self.segments and size:
            self.segments[-1].seal()
        failpoints.hit("journal.between-seal-and-table")
        self._unsynced += [*self.segments[-1:], new]
        self._add(new)
        self._put_table(table)
        return new

    @property
    def next_size(self) -> int:
        """The size of the segment that comes next, unless a record is larger than that."""
        return min(self.segments[-1].size * 2, self._largest) if self.segments else min(_FIRST_SEGMENT, self._largest)

    @property
    def _largest(self) -> int:
        return min(_LARGEST_SEGMENT, max(self.max_bytes // 8, 16 << 10))

    def _write_table(self, tracks: list[Track]) -> None:
        table = self._table(tracks)
        if self._last.end + RECORD_BYTES + len(table) > self._last.size:
            self._roll(RECORD_BYTES + len(table))  # the new segment's table holds these too
            return
        self._put_table(table)

    def _put_table(self, table: bytes) -> None:
        last = self._last
        head = pack_header(VERSION, 0, 1, self.epoch, 0, time_ns(), 0, 0, _TABLE, 0)
        last.end = write_record(last.view, last.end, head + table)

    @staticmethod
    def _table(tracks: Iterable[Track]) -> bytes:
        rows = [(t.name, t.number, t.head, t.bars, t.time_ms, t.opening) for t in tracks]
        return msgspec.msgpack.encode(rows)

    def sync(self) -> Callable[[], None]:
        """What brings everything appended so far to disk: a call that blocks, for a helper thread."""
        fresh, self._unsynced = [s for s in self._unsynced if s.number in self._by_number], []
        files = [os.dup(segment.fd) for segment in dict.fromkeys([*fresh, self.segments[-1]])]
        folder = self.folder if fresh else None

        def to_disk() -> None:
            for fd in files:
                os.fsync(fd)
                os.close(fd)
            if folder:
                sync_folder(folder)

        return to_disk

    def trim(self, durable: Mapping[str, int]) -> bool:
        """Apply the retention; ``durable`` is the seq below which every declared consumer has a stream.

        :return: True if something was dropped that a declared consumer has not got
        """
        lost = False
        while len(self.segments) > 1 and (self.size > self.max_bytes or self._aged(durable)):
            lost |= not self._drop_first(durable)
        return lost

    def _aged(self, durable: Mapping[str, int]) -> bool:
        if not self.max_age_s:
            return False
        newest_of_first = self.segments[1].head.created_ms / 1000
        return time.time() - newest_of_first > self.max_age_s and not self._wanted(durable)

    def _wanted(self, durable: Mapping[str, int]) -> bool:
        limit = (self.segments[0].number + 1) << 32
        for name, seq in durable.items():
            track = self.tracks.get(name)
            if track and track.places and track.places[0] < limit and track.first < track.head:
                entry = bisect_left(track.places, limit)
                last = track.seqs[entry] if entry < len(track.seqs) else track.head
                if seq < last:
                    return True
        return False

    def _drop_first(self, durable: Mapping[str, int]) -> bool:
        wanted = self._wanted(durable)
        segment = self.segments.pop(0)
        del self._by_number[segment.number]
        limit = (segment.number + 1) << 32
        for track in self.tracks.values():
            if track.places and track.places[0] < limit:
                track.forget(bisect_left(track.places, limit))
        segment.remove()
        return not wanted

    def restart(self) -> None:
        """Drop everything and begin a new epoch."""
        for segment in self.segments:
            segment.remove()
        self.segments.clear()
        self._by_number.clear()
        self._unsynced.clear()
        self.tracks.clear()
        self.names.clear()
        self.epoch = max(time_ns(), self.epoch + 1)
        self._roll(0)

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def end(self) -> tuple[int, int]:
        """Where the next record goes: the number of the segment, and the byte in it."""
        return self._last.number, self._last.end

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self.segments)

    def record_at(self, place: int) -> Record:
        """The record at an indexed place.

        :raises Fault: it was damaged after it was indexed
        """
        segment = self._by_number[place >> 32]
        record = read_record(segment.view, place & 0xFFFFFFFF)
        if record is None:
            raise Fault(f"{segment.path} was changed on disk at byte {place & 0xFFFFFFFF}")
        return record

    def _mark(self, place: int) -> tuple[int, int]:
        return read_mark(self._by_number[place >> 32].view, place & 0xFFFFFFFF)

    def raw_from(self, track: Track, entry: int, max_bytes: int) -> tuple[list[memoryview], int]:
        """Whole records of a stream from an entry on, about ``max_bytes`` of them as they stand; and the next entry.

        :raises Fault: the first one was damaged after it was indexed: whoever gets it asks for it again and again
        """
        parts: list[memoryview] = []
        if entry < len(track.places):
            self.record_at(track.places[entry])
        while entry < len(track.places) and max_bytes > 0:
            place = track.places[entry]
            segment = self._by_number[place >> 32]
            at = place & 0xFFFFFFFF
            (size,) = _LENGTH.unpack_from(segment.view, at)
            parts.append(segment.view[at : at + RECORD_BYTES + size])
            max_bytes -= RECORD_BYTES + size
            entry += 1
        return parts, entry

    def in_order(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Record]]:
        """All records of these streams (of all), as they were said."""
        wanted = self.tracks.keys() if names is None else self.tracks.keys() & set(names)
        tracks = ([(place, name) for place in self.tracks[name].places] for name in wanted)
        for place, name in heapq.merge(*tracks):
            yield name, self.record_at(place)

    def backwards(self, track: Track) -> Iterator[Record]:
        """The records of a stream, the newest first."""
        for place in reversed(track.places):
            yield self.record_at(place)

    def close(self, clean: bool = True) -> None:
        """Close in order: everything on disk, marked as clean."""
        if clean:
            self.sync()()
            self.segments[-1].seal(clean=True)
        for segment in self.segments:
            segment.close()
        self.segments.clear()
        self._by_number.clear()


def delete(folder: Path) -> None:
    """Remove the files of a closed journal that nobody will ask for again."""
    for path in folder.glob("*.seg"):
        path.unlink()
    folder.rmdir()


def _skip_damage(view: memoryview, at: int) -> int | None:
    """Where the next whole record stands behind damage; None at the end of what was written, or behind a torn tail."""
    for begin in islice(_written(view, at), 2):
        places = range(max(begin, at + 1), min(begin + _SEARCH, len(view)))
        if (found := next((place for place in places if read_record(view, place)), None)) is not None:
            return found
    return None


def _written(view: memoryview, at: int) -> Iterator[int]:
    """Where the pieces begin in which anything stands but zeros."""
    zeros = bytes(_SEARCH)
    for begin in range(at, len(view), _SEARCH):
        piece = bytes(view[begin : begin + _SEARCH])
        if piece != zeros[: len(piece)]:
            yield begin
