"""A sink to start from: what ``docs/write-a-sink.md`` shows."""

from __future__ import annotations

TEMPLATE = '''\
"""Writes the close of every bar into a text file, a line a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynelive.bus.messages import Bar, Instrument
from pynelive.sinks.contract import Delivery, Sink


class Closes(Sink):
    @dataclass
    class Config:
        path: str = "closes.txt"

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._file = (base / config.path).open("a+", encoding="utf-8")
        self._file.seek(0)
        self._last_ms = {stream: int(time_ms) for stream, time_ms, _ in map(str.split, self._file)}

    def open(self, stream: str, instrument: Instrument | None) -> int | None:
        return self._last_ms.get(stream)

    def write(self, batch: Sequence[Delivery]) -> None:
        for stream, message in batch:
            if isinstance(message, Bar) and message.time_ms > self._last_ms.get(stream, 0):
                self._last_ms[stream] = message.time_ms
                self._file.write(f"{stream} {message.time_ms} {message.close}\\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
'''
"""The text of a whole sink: save it as a file and name that file as the ``type`` of a ``[[sink]]``."""
