"""A program of somebody's own: follows streams by the public API and writes down every message that it was given.

``python -m chaos.follower TOPOLOGY FOLDER STREAM…`` ends when the streams do. Killed and started again it goes on
behind its last bar; of a script's stream it takes the whole run again, as a run has no other beginning.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from pynelive import Fault, listen
from pynelive.bus.calls import Start
from pynelive.bus.messages import Bar, Message, Run

from .oracle import Item, heard, heard_path, items, line

_PAUSE_S = 0.2


class Notebook:
    """One stream's file."""

    def __init__(self, folder: Path, stream: str) -> None:
        self._path = heard_path(folder, stream)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._script = stream.startswith("run:")
        kept: list[Item] = [] if self._script else heard(self._path)
        self.last_ms = kept[-1][1]["time_ms"] if kept else None
        os.ftruncate(self._fd, sum(len(line(one)) for one in kept))  # without a torn line

    @property
    def start(self) -> Start:
        """Where to go on."""
        return Start(from_ms=self.last_ms)

    def take(self, message: Message) -> None:
        """Write it down; a new run of a script replaces the old one."""
        if isinstance(message, Run):
            os.ftruncate(self._fd, 0)
        for one in items([message]):
            os.write(self._fd, line(one))
            if not self._script:
                self.last_ms = one[1]["time_ms"]


async def follow(bus: str, folder: Path, stream: str) -> None:
    """To the end of the stream, however often its publisher goes and comes."""
    book = Notebook(folder, stream)
    while True:
        try:
            async with listen(stream, start=book.start, bus=bus, timeout_s=60) as messages:
                known_ms = book.last_ms or 0
                async for _, message in messages:
                    if not (isinstance(message, Bar) and message.time_ms <= known_ms):
                        book.take(message)
            return
        except Fault:
            await asyncio.sleep(_PAUSE_S)  # the bus is not up yet


async def _all(bus: str, folder: Path, streams: list[str]) -> None:
    await asyncio.gather(*(follow(bus, folder, stream) for stream in streams))


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    asyncio.run(_all(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
