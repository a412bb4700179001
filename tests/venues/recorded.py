"""A venue that says again what a real one has said: ``python -m venues.recorded FILE.jsonl --symbol BTC/USDT``.

FILE.jsonl has the frames of one stream and FILE.csv the bars, as ``venues.live`` keeps them. The frames come as they
came then; the rest (addresses, listings, history, answers to what a client says) is the laboratory's own venue, with
those bars as its truth. Two JSON lines tell the clock that the clients have to live by, and the addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pynelive.producers import clock

from .__main__ import VENUES, serve
from .line import Channel
from .market import Row, Trade
from .server import Venue
from .spec import MarketSpec, Spec

_ANSWERS = frozenset({"result", "success", "op", "method", "correlationId", "event", "ret_msg"})
"""Fields by which an answer to a client is known; the laboratory answers for itself."""


class Frame(NamedTuple):
    """What was heard, and when."""

    time_ms: int
    data: str | bytes


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="venues.recorded", description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--venue", choices=sorted(VENUES), default="binance", help="whose frames they are")
    parser.add_argument("--symbol", required=True, help="as ccxt writes it; of Capital.com, so that it gives the epic")
    parser.add_argument("--timeframe", default="1")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--lead", type=float, default=60.0, help="how long (s) before the first frame the clock begins")
    options = parser.parse_args()
    if clock.VARIABLE not in os.environ:  # it is read when a process begins, so this one begins again
        began_ms = next(frames_of(options.frames)).time_ms - options.lead * 1000
        os.environ[clock.VARIABLE] = f"{began_ms},{time.time()!r},{options.speed!r}"
        os.execv(sys.executable, [sys.executable, "-m", "venues.recorded", *sys.argv[1:]])
    print(json.dumps({"clock": os.environ[clock.VARIABLE]}), flush=True)
    market = MarketSpec(options.symbol, options.timeframe, str(options.frames.with_suffix(".csv")))
    VENUES["recorded"] = "recorded:recorded"
    told = {"frames": str(options.frames), "venue": options.venue}
    asyncio.run(serve(Spec("recorded", [market], options=told)))


def recorded(spec: Spec) -> Venue:
    """The venue that ``venue`` of the options names, with the frames of the file ``frames``."""
    module, _, name = VENUES[spec.options["venue"]].partition(":")
    kind: Any = getattr(import_module(f".{module}", __package__), name)

    class Recorded(kind):  # type: ignore[misc]
        """That venue, which says nothing of its own accord but what is in the file."""

        def frames(self, channel: Channel, row: Row, closed: bool) -> list[str]:
            return []

        def trade_frames(self, channel: Channel, trades: list[Trade]) -> list[str]:
            return []

        async def pump(self) -> None:
            """Say each frame when its time has come, to whoever has subscribed."""
            for time_ms, data in frames_of(Path(self.spec.options["frames"])):
                await clock.sleep((time_ms - clock.now_ms()) / 1000)
                for connection in self.connections:
                    if connection.channels:
                        connection.send(data)
            await asyncio.Event().wait()

    made: Venue = Recorded(spec)
    return made


def frames_of(path: Path) -> Iterator[Frame]:
    """The frames of a file that are no answers, oldest first."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            kept = json.loads(line)
            data = kept["text"] if "text" in kept else b64decode(kept["base64"])
            if isinstance(data, bytes) or not _is_answer(data):
                yield Frame(kept["time_ms"], data)


def _is_answer(text: str) -> bool:
    try:
        message = json.loads(text)
    except ValueError:
        return False  # such as "pong": nobody minds hearing it
    return isinstance(message, dict) and not _ANSWERS.isdisjoint(message)


if __name__ == "__main__":
    main()
