"""Readers that come late and leave early, each by the public API with its own bit of history.

``python -m chaos.visitors TOPOLOGY FOLDER COUNT STAY_S SEED``: each writes what it was given into a file of its own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from random import Random

from pynelive import Fault, subscribe

from .oracle import Item, heard_path, items, line
from .world import STREAMS

_HISTORIES = (0, 1, 7, 100, 700)


async def visit(bus: str, folder: Path, luck: Random, stay_s: float) -> None:
    """One visit; nothing comes of it if the bus is not up then."""
    stream, history, until = luck.choice(STREAMS), luck.choice(_HISTORIES), luck.uniform(0, stay_s)
    await asyncio.sleep(luck.uniform(0, 0.3))
    given: list[Item] = []
    try:
        async with asyncio.timeout(30), subscribe(stream, history=history, bus=bus, timeout_s=25) as bars:
            async with asyncio.timeout(until):
                async for bar in bars:
                    given += items([bar])
    except (Fault, TimeoutError):
        pass
    heard_path(folder, stream).write_bytes(b"".join(map(line, given)))


async def _main(bus: str, folder: str, count: str, stay_s: str, seed: str) -> None:
    lucks = [Random(f"{seed} {number}") for number in range(int(count))]
    await asyncio.gather(
        *(visit(bus, Path(folder) / str(n), luck, float(stay_s)) for n, luck in enumerate(lucks))
    )


if __name__ == "__main__":
    for number in range(int(sys.argv[3])):
        (Path(sys.argv[2]) / str(number)).mkdir(parents=True)
    asyncio.run(_main(*sys.argv[1:]))
