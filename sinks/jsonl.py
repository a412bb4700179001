"""Everything that is said, as JSON, a line a message: for ``jq``, log shippers and the eye."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..bus.errors import Fault
from ..bus.messages import Bar, Instrument, as_object
from ..bus.ohlcv import lock, sync_folder
from .contract import Delivery, Sink


class JsonlSink(Sink):
    """Writes a line ``{"stream": …, "kind": …, "message": {…}}`` a message, to standard output or one file.

    The offset is the time of a stream's last bar. What a restart repeats is recognised among the last 100,000
    lines, so that each message is there once.
    """

    @dataclass
    class Config:
        """:param path: the file; ``-`` is standard output"""

        path: str = "-"

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._held = ExitStack()
        self._recent: deque[int] = deque(maxlen=100_000)
        self._known: set[int] = set()
        self._last_ms: dict[str, int] = {}
        self._written = 0
        self._out: BinaryIO = sys.stdout.buffer if config.path == "-" else self._continue(base / config.path)

    def open(self, stream: str, instrument: Instrument | None) -> int | None:
        """The time of the stream's last bar; from now on, what is there already may be repeated."""
        self._known = set(self._recent)
        return self._last_ms.get(stream)

    def write(self, batch: Sequence[Delivery]) -> None:
        """Write the messages.

        :raises Fault: the disk is full, or nobody reads the output any more
        """
        fresh = []
        for stream, message in batch:
            line = msgspec.json.encode(as_object(stream, message)) + b"\n"
            if hash(line) not in self._known:
                fresh.append(line)
                self._recent.append(hash(line))
            if isinstance(message, Bar):
                self._last_ms[stream] = message.time_ms
        try:
            self._out.write(b"".join(fresh))
            self._out.flush()
            if self.config.path != "-":
                os.fsync(self._out.fileno())
        except OSError as error:
            raise self._fault(error) from error
        self._written += len(fresh)

    def close(self) -> None:
        """Release the file and its lock."""
        try:
            self._held.close()
        except OSError as error:
            raise self._fault(error) from error

    def summary(self) -> list[str]:
        """How many lines were written."""
        place = "standard output" if self.config.path == "-" else self.config.path
        return [f"{place}  {self._written:,} messages"]

    def _continue(self, path: Path) -> BinaryIO:
        self._held.enter_context(lock(path))
        try:
            file = self._held.enter_context(path.open("a+b"))
            sync_folder(path.parent)
            file.seek(0)
            whole = 0
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)  # a kill has torn it
                    break
                whole += len(line)
                self._remember(line)
        except OSError as error:
            raise self._fault(error) from error
        return file

    def _remember(self, line: bytes) -> None:
        self._recent.append(hash(line))
        said = msgspec.json.decode(line)
        if said["kind"] == "bar":
            self._last_ms[said["stream"]] = said["message"]["time_ms"]

    def _fault(self, error: OSError) -> Fault:
        place = "standard output" if self.config.path == "-" else self.base / self.config.path
        return Fault(f"{place} cannot be written ({error.strerror or error}): mend that and start again")
