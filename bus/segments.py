"""One file of a journal: reserved on disk, mapped into memory, records one behind the other."""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from . import failpoints
from .errors import Fault

MAGIC: Final = b"PYNJ"
FORMAT: Final = 2
READABLE: Final = (FORMAT,)
"""The formats that this program reads; it writes the last one."""
_HEADER: Final = struct.Struct("<4sHHQ16sq")
HEADER_SIZE: Final = 64
_CLEAN_AT: Final = 6


def boot_id() -> bytes:
    """Sixteen bytes that change with every boot."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except OSError:
        return f"{psutil.boot_time():.0f}".encode().rjust(16, b"\0")[:16]


class SegmentHead(NamedTuple):
    """The head of a segment file: whose epoch and boot it was, and whether it was closed in order."""

    clean: bool
    epoch: int
    boot: bytes
    created_ms: int


class Segment:
    """A mapped segment; ``end`` is where the next record goes."""

    def __init__(self, path: Path, number: int, fd: int, map_: mmap.mmap, head: SegmentHead) -> None:
        self.path = path
        self.number = number
        self.fd = fd
        self.map = map_
        self.view = memoryview(map_)
        self.head = head
        self.end = HEADER_SIZE
        self.size = len(map_)
        self.foreign = False

    @classmethod
    def create(cls, folder: Path, number: int, size: int, epoch: int) -> Segment:
        """Reserve a new file. A full disk is an error here and never a signal in the middle of a write.

        :raises Fault: the disk is full
        """
        path = folder / f"{number:08d}.seg"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _reserve(fd, size)
        except OSError as error:
            os.close(fd)
            path.unlink()
            raise Fault(
                f"the journal in {folder} cannot grow by {size >> 10} KiB: {error.strerror}; free some space"
            ) from None
        head = SegmentHead(False, epoch, boot_id(), time.time_ns() // 1_000_000)
        os.pwrite(fd, _HEADER.pack(MAGIC, FORMAT, 0, head.epoch, head.boot, head.created_ms), 0)
        return cls(path, number, fd, mmap.mmap(fd, size), head)

    @classmethod
    def load(cls, path: Path, foreign: bool = False) -> Segment | None:
        """Map an existing file read-only; None for one that was killed before it had a head, or that has just gone.

        :param foreign: somebody else may be writing it: it is copied, because the writer gives back what it has not
            used in the end, and a touch of that part of a map would kill this process (SIGBUS)
        :raises Fault: a file of a format that this program does not read
        """
        try:
            fd = os.open(path, os.O_RDONLY if foreign else os.O_RDWR)
        except FileNotFoundError:
            return None  # the retention of its publisher, seen by a reader
        size = os.fstat(fd).st_size
        data = os.pread(fd, _HEADER.size, 0)
        if size < HEADER_SIZE or (data[:4] == bytes(4) and _is_blank(fd, size)):
            os.close(fd)
            return None
        if data[:4] == bytes(4):
            data = os.pread(fd, _HEADER.size, 0)  # its writer may have begun it between the two looks
        magic, version, clean, epoch, boot, created_ms = _HEADER.unpack(data)
        if magic != MAGIC or version not in READABLE:
            os.close(fd)
            raise Fault(_unreadable(path, magic, version))
        map_ = mmap.mmap(-1, size) if foreign else mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        segment = cls(path, int(path.stem), fd, map_, SegmentHead(bool(clean), epoch, boot, created_ms))
        segment.foreign = foreign
        segment.look_again()
        return segment

    def look_again(self) -> None:
        """Copy what a foreign file holds by now."""
        if self.foreign:
            data = os.pread(self.fd, self.size, 0)
            self.view[: len(data)] = data

    def seal(self, clean: bool = False) -> None:
        """Give back what was not used; ``clean`` marks an orderly close, durable when this returns."""
        if clean:
            os.fsync(self.fd)
            os.pwrite(self.fd, b"\x01\x00", _CLEAN_AT)
            failpoints.hit("journal.between-mark-and-cut")
        os.ftruncate(self.fd, self.end)
        self.size = self.end
        if clean:
            os.fsync(self.fd)

    def close(self) -> None:
        """Unmap and close; views that a reply still holds keep the memory alive."""
        os.close(self.fd)
        try:
            self.view.release()
            self.map.close()
        except BufferError:
            pass  # the last view that ZeroMQ or a reader holds closes it

    def remove(self) -> None:
        """Close and delete the file."""
        self.path.unlink(missing_ok=True)
        self.close()


def _is_blank(fd: int, size: int) -> bool:
    return not any(os.pread(fd, 1 << 20, at).strip(b"\0") for at in range(0, size, 1 << 20))


def _unreadable(path: Path, magic: bytes, version: int) -> str:
    mend = f"use the pynelive that wrote it, or begin anew with `pynelive journal clean {path.parent.name} --force`"
    if magic != MAGIC:
        return f"{path} is no journal: move it away"
    if version > max(READABLE):
        return f"{path} was written by a newer pynelive (format {version}, this one reads {max(READABLE)}): {mend}"
    return f"{path} is of the old format {version}, and this pynelive reads {min(READABLE)} and newer: {mend}"


def _reserve(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    for at in range(0, size, 1 << 20):  # macOS: only written zeros are reserved
        os.pwrite(fd, bytes(min(1 << 20, size - at)), at)
