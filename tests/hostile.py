"""Strangers who begin ZeroMQ's handshake and never finish it."""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import suppress
from urllib.parse import urlsplit

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
_HELLO_BODY = b"\x05HELLO\x01\x00" + bytes(72)
_OFF = struct.pack("ii", 1, 0)


def shake_hands(endpoint: str, count: int) -> int:
    """Connect so many times; how many the publisher took."""
    return sum(1 for _ in range(count) if _knock(endpoint))


def knock_till_it_leaves(endpoint: str) -> int:
    """Connect until nobody listens there; how often somebody did."""
    taken = 0
    with suppress(ConnectionError, TimeoutError):
        while _knock(endpoint):
            taken += 1
    return taken


def besiege(endpoint: str, seconds: float) -> float:
    """Connect as fast as it goes, from the first time that somebody listens there; connections a second."""
    began, taken = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        try:
            taken += _knock(endpoint)
        except (ConnectionError, TimeoutError):
            if taken:
                break  # who listened has left
            began = now
            time.sleep(0.01)
    return taken / (time.monotonic() - began)


def _knock(endpoint: str) -> bool:
    """One connection, with a HELLO that no key has made."""
    parts = urlsplit(endpoint)
    assert parts.hostname
    assert parts.port
    body = _HELLO_BODY + os.urandom(120)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _OFF)  # no TIME_WAIT: ports would run out
        stranger.sendall(_GREETING + b"\x04" + bytes((len(body),)) + body)
    return True
