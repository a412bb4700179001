"""Bars that were not let through, kept where a person can read them: a line of JSON each, beside the journals."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from ..bus.errors import Fault
from ..bus.messages import Bar
from . import clock

log = logging.getLogger("pynelive")
_LARGEST = 64 << 20


class Rejected(Struct, frozen=True):
    """A bar that broke a rule, when, and how; ``bar`` by field, a number that JSON has none for as a string."""

    stream: str
    time_ms: int
    rule: str
    reason: str
    bar: dict[str, Any]


class Quarantine:
    """The file of one producer; the older half of it is dropped, and said, when it reaches 64 MB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = False  # whatever an earlier process has left at the end of it

    def keep(self, stream: str, rule: str, reason: str, bar: Bar) -> None:
        """Append a bar.

        :raises Fault: the disk is full or the like: rather stop than lose it
        """
        line = msgspec.json.encode(Rejected(stream, clock.now_ms(), rule, reason, _fields(bar))) + b"\n"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._halve()
            with self.path.open("ab") as file:
                file.write(line if self._whole else b"\n" + line)
            self._whole = True
        except OSError as error:
            raise Fault(f"the quarantine {self.path} cannot be written: {error.strerror}") from None

    def _halve(self) -> None:
        if not self.path.exists() or self.path.stat().st_size < _LARGEST:
            return
        log.warning("%s has reached %d MB; its older half is dropped", self.path, _LARGEST >> 20)
        lines = self.path.read_bytes().splitlines(keepends=True)
        fresh = self.path.with_suffix(".tmp")
        fresh.write_bytes(b"".join(lines[len(lines) // 2 :]))
        os.replace(fresh, self.path)


def read_quarantine(folder: Path) -> Iterator[Rejected]:
    """All rejected bars of a bus, producer by producer, oldest first; a torn last line is no bar."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield msgspec.json.decode(line, type=Rejected)
            except msgspec.DecodeError:
                continue


def _fields(bar: Bar) -> dict[str, Any]:
    return {name: value if not isinstance(value, float) or isfinite(value) else str(value)
            for name, value in structs.asdict(bar).items()}
