"""A reader who takes longer for a bar than it takes to come, for some time, and then catches up.

``python -m chaos.slow TOPOLOGY FOLDER STREAM SECONDS``: it computes, as scripts do, so its event loop stands still too
and what it does not read is ZeroMQ's to keep or to drop. It leaves when it has everything, and prints how many bars it
was behind.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from pynelive import listen

from .oracle import heard_path, items, line

_COMPUTES_S = 0.2
_PATIENCE_S = 60


async def read(bus: str, folder: Path, stream: str, seconds: float) -> int:
    """How many bars it had to catch up with."""
    given, behind = list[bytes](), 0
    async with listen(stream, bus=bus, timeout_s=_PATIENCE_S) as messages:
        until = time.monotonic() + seconds
        async for _, message in messages:
            bars = [line(one) for one in items([message])]
            given += bars
            if time.monotonic() < until:
                time.sleep(_COMPUTES_S)  # noqa: ASYNC251 - that is what it does wrong
                continue
            behind += len(bars)
            if bars and not messages._items and not any(cursor.lag for cursor in messages._subscriber.cursors):
                break
    heard_path(folder, stream).write_bytes(b"".join(given))
    return behind


if __name__ == "__main__":
    place = Path(sys.argv[2]) / "0"
    place.mkdir(parents=True)
    print(asyncio.run(read(sys.argv[1], place, sys.argv[3], float(sys.argv[4]))))
