"""Run an actor and keep the raw frames that its sockets hear: ``python -m venues.record FILE run NAME TOPOLOGY``.

What follows FILE are the words of ``pynelive``. The file gets a JSON line for each frame, ``{"time_ms": …, "socket": 1,
"path": "/stream", "text": …}`` (``"base64"`` instead of ``"text"`` for a binary one). Only what comes in is kept: what
goes out has tokens in it at some venues.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from itertools import count
from pathlib import Path
from typing import Any, TextIO
from weakref import WeakKeyDictionary

from aiohttp import ClientWebSocketResponse, WSMsgType
from pynelive.commands.app import main
from pynelive.producers import clock


def keep_frames(file: TextIO) -> None:
    """Write down from now on whatever any client's WebSocket of this process receives."""
    receive = ClientWebSocketResponse.receive
    numbers: WeakKeyDictionary[ClientWebSocketResponse, int] = WeakKeyDictionary()
    fresh = count(1)

    async def receive_and_keep(self: ClientWebSocketResponse, *arguments: Any, **named: Any) -> Any:
        message = await receive(self, *arguments, **named)
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            number = numbers.get(self) or numbers.setdefault(self, next(fresh))
            said = {"text": message.data} if message.type is WSMsgType.TEXT else {
                "base64": b64encode(message.data).decode()
            }  # fmt: skip
            line = {"time_ms": clock.now_ms(), "socket": number, "path": self._response.url.path, **said}
            file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")
        return message

    ClientWebSocketResponse.receive = receive_and_keep  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", encoding="utf-8", buffering=1) as kept:
        keep_frames(kept)
        sys.exit(main(sys.argv[2:]))
