"""Strangers who begin ZeroMQ's handshake and never finish it."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from urllib.parse import urlsplit

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
_HELLO_BODY = b"\x05HELLO\x01\x00" + bytes(72)
_OFF = struct.pack("ii", 1, 0)


def shake_hands(endpoint: str, count: int, rate: float = 0) -> int:
    """Connect so many times, each with a HELLO that no key has made; how many the publisher took.

    :param endpoint: where a publisher listens for other hosts
    :param rate: connections a second; as fast as it goes by default
    """
    parts = urlsplit(endpoint)
    assert parts.hostname
    assert parts.port
    started, taken = time.monotonic(), 0
    for number in range(count):
        while rate and time.monotonic() - started < number / rate:
            time.sleep(0.001)
        body = _HELLO_BODY + os.urandom(120)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _OFF)  # no TIME_WAIT: ports would run out
            stranger.sendall(_GREETING + b"\x04" + bytes((len(body),)) + body)
            taken += 1
    return taken


if __name__ == "__main__":
    print(shake_hands(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
