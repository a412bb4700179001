"""One CSV a stream, for spreadsheets and other programs: the closed bars, each once, also across a kill."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ..bus.errors import Fault
from ..bus.messages import Bar, Instrument
from ..bus.ohlcv import lock, ohlcv_path, sync_folder
from .contract import Delivery, Sink

_HEADER = b"time,open,high,low,close,volume\n"


class CsvSink(Sink):
    """Appends each closed bar as it was first published; a revision of it is only counted."""

    @dataclass
    class Config:
        """:param dir: the folder of the files; :param time: milliseconds since 1970, or ISO 8601, both UTC"""

        dir: str = "data"
        time: Literal["ms", "iso"] = "ms"

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._held = ExitStack()
        self._files: dict[str, BinaryIO] = {}
        self._last_ms: dict[str, int] = {}
        self.written = self._repeated = 0

    def open(self, stream: str, instrument: Instrument | None) -> int | None:
        """Cut a torn last line off and go on after the last whole one; the time of its bar is the offset.

        :raises Fault: the file is held by somebody else, or its last line is no bar
        """
        if "@" not in stream or stream in self._files:
            return self._last_ms.get(stream)
        path = ohlcv_path(self.base / self.config.dir, stream).with_suffix(".csv")
        self._held.enter_context(lock(path))
        with _explained(path):
            self._files[stream] = file = self._held.enter_context(path.open("a+b"))
            sync_folder(path.parent)
            _cut_torn_line(file)
            last = _last_line(file)
            if not last:
                file.write(_HEADER)
            elif last + b"\n" != _HEADER:
                self._last_ms[stream] = _time_ms(path, last.decode())
        return self._last_ms.get(stream)

    def write(self, batch: Sequence[Delivery]) -> None:
        """Append the closed bars of the batch.

        :raises Fault: the disk is full or the like
        """
        touched = set()
        for stream, bar in batch:
            if isinstance(bar, Bar) and bar.closed and bar.origin != "fallback" and self._is_new(stream, bar):
                touched.add(stream)
                with _explained(Path(self._files[stream].name)):
                    self._files[stream].write(self._line(bar))
        for stream in touched:
            with _explained(Path(self._files[stream].name)):
                self._files[stream].flush()
                os.fsync(self._files[stream].fileno())

    def close(self) -> None:
        """Release files and locks."""
        with _explained(self.base / self.config.dir):
            self._held.close()

    def summary(self) -> list[str]:
        """How many lines were added."""
        repeated = f"  {self._repeated:,} repeats or revisions not written" if self._repeated else ""
        return [f"{self.config.dir}/*.csv  {self.written:,} bars added{repeated}"]

    def _is_new(self, stream: str, bar: Bar) -> bool:
        if stream not in self._files:
            self.open(stream, None)
        if bar.time_ms <= self._last_ms.get(stream, bar.time_ms - 1):
            self._repeated += 1
            return False
        self._last_ms[stream] = bar.time_ms
        self.written += 1
        return True

    def _line(self, bar: Bar) -> bytes:
        time = bar.time_ms if self.config.time == "ms" else _iso(bar.time_ms)
        return f"{time},{bar.open!r},{bar.high!r},{bar.low!r},{bar.close!r},{bar.volume!r}\n".encode()


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def _time_ms(path: Path, line: str) -> int:
    time = line.partition(",")[0]
    try:
        return int(time) if time.isdigit() else round(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        raise Fault(f"the last line of {path} is no bar: mend or delete that line") from None


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 4096))
    tail = file.read()
    file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def _last_line(file: BinaryIO) -> bytes:
    end = file.tell()
    file.seek(max(0, end - 4096))
    lines = file.read().splitlines()
    return lines[-1] if lines else b""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Fault(f"{path} cannot be written ({error.strerror or error}): "
                    "mend that and start again") from error
