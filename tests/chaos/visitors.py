"""Readers that come late and leave early, each by the public API with its own bit of history.

``python -m chaos.visitors TOPOLOGY FOLDER COUNT LEAST_S MOST_S SEED [PATTERN [OLDER]]``: each follows one stream, or
all that match, and writes what it was given into files of its own; with OLDER from the earliest bar on, with so many of
the source's history before it, and not before it has them. All leave when the file ``leave`` lies beside the topology.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from random import Random

from pynelive import Fault, listen
from pynelive.bus.calls import Start

from .oracle import heard_path, items, line
from .world import STREAMS

_HISTORIES = (0, 1, 7, 100, 700)
_PATIENCE_S = 60


async def visit(bus: str, folder: Path, luck: Random, until_s: float, pattern: str, older: int) -> None:
    """One visit: it is over after some time, but not before something has come, unless nothing comes at all."""
    stream, history, leave = pattern or luck.choice(STREAMS), luck.choice(_HISTORIES), Path(bus).with_name("leave")
    given: dict[str, list[bytes]] = {}
    start = Start(older=older) if older else Start(last=history)
    try:
        async with asyncio.timeout(until_s + _PATIENCE_S):
            await asyncio.sleep(luck.uniform(0, 0.3))
            async with listen(stream, start=start, bus=bus, timeout_s=_PATIENCE_S) as messages:
                until = time.monotonic() + until_s
                async for name, message in messages:
                    given.setdefault(name, []).extend(map(line, items([message])))
                    if len(given[name]) > older and (time.monotonic() > until or leave.exists()):
                        break
    except (Fault, TimeoutError):
        pass
    for name, said in given.items():
        heard_path(folder, name).write_bytes(b"".join(said))


async def _main(
    bus: str, folder: str, count: str, least_s: str, most_s: str, seed: str, pattern: str = "", older: str = "0"
) -> None:
    lucks = [Random(f"{seed} {number}") for number in range(int(count))]
    stays = [luck.uniform(float(least_s), float(most_s)) for luck in lucks]
    await asyncio.gather(
        *(visit(bus, Path(folder) / str(n), lucks[n], stays[n], pattern, int(older)) for n in range(int(count)))
    )


if __name__ == "__main__":
    for number in range(int(sys.argv[3])):
        (Path(sys.argv[2]) / str(number)).mkdir(parents=True)
    asyncio.run(_main(*sys.argv[1:]))
