"""What actors print: one stamped file an actor, rotated by size, and all of them read as one."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_BYTES = 10_000_000
KEPT = 3
"""Files a log consists of at most: the current one and its predecessors."""

LEVELS = ("debug", "info", "warning", "error")
"""What a line may be, the least first; one that says nothing of it is ``info``."""

_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (.*)")
_LEVELLED = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_GRAVE = re.compile(r"Traceback \(most recent call last\)|\S*(Error|Exception)\b|.* has failed for good: ")
_ODD = re.compile(r".* (was killed by|ended with exit code|lives but is silent|did not stop within) ")


class Line(NamedTuple):
    """One line of the log of ``name``; ``time`` is ISO 8601 in UTC."""

    time: str
    name: str
    text: str

    @property
    def level(self) -> str:
        """One of ``LEVELS``, as the line itself says; else by what a supervisor or a traceback would say so."""
        if said := _LEVELLED.match(self.text):
            return "error" if said[1] == "CRITICAL" else said[1].lower()
        return "error" if _GRAVE.match(self.text) else "warning" if _ODD.match(self.text) else "info"


class LogFile:
    """The log of one actor, written by the supervisor; a line is stamped when it arrives."""

    def __init__(self, folder: Path, name: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = folder / f"{name}.log"
        self._max_bytes = max_bytes
        self._file = self._path.open("ab", buffering=0)
        self.last = ""
        self.lost = 0
        """Lines that the disk did not take."""

    def write(self, text: str) -> None:
        """Append one line; visible to readers when this returns."""
        self.last = text.strip() or self.last
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {text}\n".encode(errors="replace")
        try:
            self._file.write(line)
            if self._file.tell() > self._max_bytes:
                self._rotate()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """A log that cannot be written must not stop the actor that it is about."""
        self.lost += 1
        if self.lost == 1:
            try:
                print(f"{self._path} cannot be written ({error.strerror}): lines are lost", file=sys.stderr, flush=True)
            except OSError:
                pass  # of `up --detach` it goes to the same disk

    def _rotate(self) -> None:
        self._file.close()
        files = _files(self._path)
        for older, newer in pairwise(files):
            if newer.exists():
                newer.replace(older)
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _files(path: Path) -> list[Path]:
    """The files of a log, oldest first."""
    return [path.with_name(f"{path.name}.{age}") for age in range(KEPT - 1, 0, -1)] + [path]


class LogReader:
    """Reads the logs of a folder as one, in the order of time; ``fresh`` goes on where it ended.

    :param last_bytes: how much of what is there already is read of each log; everything by default
    """

    def __init__(self, folder: Path, name: str | None = None, last_bytes: int | None = None) -> None:
        self._folder = folder
        self._last_bytes = last_bytes
        self._pattern = f"{name or '*'}.log"
        self._open: dict[Path, BinaryIO] = {}

    def fresh(self) -> list[Line]:
        """All lines that came since the last call."""
        lines = [line for path in self._folder.glob(self._pattern) for line in self._read(path)]
        return sorted(lines, key=lambda line: line.time)

    def _read(self, path: Path) -> list[Line]:
        file = self._open.get(path)
        if file:
            data = file.read()
        else:
            older = [] if self._last_bytes else _files(path)[:-1]
            data = b"".join(each.read_bytes() for each in older if each.exists())
        try:
            if file is None or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                fresh = self._open[path] = path.open("rb")
                if file:
                    file.close()
                data += _end(fresh, self._last_bytes) if self._last_bytes and not file else fresh.read()
        except FileNotFoundError:
            pass  # being rotated just now: the next call finds the new file
        whole = data.decode(errors="replace").removesuffix("\n")
        return _parse(path.stem, whole.split("\n")) if whole else []

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()


def _end(file: BinaryIO, size: int) -> bytes:
    """The whole lines in the last bytes of a log."""
    begin = max(os.fstat(file.fileno()).st_size - size, 0)
    file.seek(begin)
    return file.read().partition(b"\n")[2] if begin else file.read()


def _parse(name: str, texts: list[str]) -> list[Line]:
    """A line without a stamp (what a dying supervisor printed) takes that of the line before it."""
    lines: list[Line] = []
    time = ""
    for text in texts:
        if match := _STAMPED.fullmatch(text):
            time, text = match.groups()
        lines.append(Line(time, name, text))
    return lines
