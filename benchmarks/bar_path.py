"""P1, P2: the way of a bar – encode, journal, publish, receive, check, decode – beside bare pyzmq, and beside C."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import ours
import zmq
from figures import Row, compare, rounds
from harness import bars, call, checksum, folder, reference, together, verify
from ours import TOPIC, frame_bytes
from pynelive.bus.messages import Bar

TITLE = "The way of a bar"
ABOUT = """
One publishing and one receiving process over `ipc`, from the first publish to the last decoded bar, both sides with the
same bars a frame. The receiver's checksum over every field of every bar must equal the bars', and ours that of the
journal read again from disk.

| side | does |
|---|---|
| ours | encodes, journals (survives a kill -9; on disk within 100 ms), numbers, sends; checks the numbers, repairs, decodes, acknowledges |
| bare | pyzmq and msgspec: encodes and sends, without limit to its queue; receives (blocking) and decodes. No journal, no numbers, no repair |
| C | libzmq's own limit: sends and receives as many bytes. No bars, nothing encoded or decoded |

With one bar a frame ours takes some 3 µs to publish, bare pyzmq 0.4: 1 µs is the journal (header, checksum, copy,
index), 0.3 sending, 0.1 encoding, the rest what waits for the same frame and what is said last of each stream. Of the
subscriber's 3 µs one is ours, in which the bar is decoded too. With 64 bars a frame all that is shared by them.
"""  # noqa: E501 - a table
COUNT = 200_000
C_SIZE = 100


# --- bare pyzmq + msgspec ---------------------------------------------------------------------------------------------


def bare_publish(place: str, count: int, frame: int) -> float:
    """XPUB without limit: nothing is journaled, numbered or checked."""
    encoded = msgspec.msgpack.Encoder().encode
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.bind(f"ipc://{place}/bare")
        made = bars(count)
        socket.recv()
        started = time.monotonic()
        for at in range(0, count, frame):
            socket.send(TOPIC + encoded(made[at : at + frame]))
        socket.linger = -1
    return started


def bare_receive(place: str, count: int) -> tuple[float, int]:
    """A blocking SUB; decodes every frame."""
    read = msgspec.msgpack.Decoder(list[Bar]).decode
    got: list[list[Bar]] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.subscribe(TOPIC)
        socket.connect(f"ipc://{place}/bare")
        left, skip = count, len(TOPIC)
        while left:
            messages = read(memoryview(socket.recv())[skip:])
            left -= len(messages)
            got.append(messages)
    ended = time.monotonic()
    return ended, sum(checksum(messages) for messages in got)


# --- the cases --------------------------------------------------------------------------------------------------------


def bare(count: int, frame: int) -> float:
    """Bars a second."""
    with folder() as at:
        started, (ended, seen) = together(call(bare_publish, at, count, frame), call(bare_receive, at, count))
    verify(f"bare, {frame} a frame", seen, count)
    return float(count / (ended - started))


def limit(count: int, size: int) -> float:
    """Messages a second in C."""
    program = str(reference())
    with folder() as at:
        sending = [program, "pub", f"ipc://{at}/c", str(count), str(size), "0", "1"]
        (started, _), (ended, *_) = together(sending, [program, "sub", f"ipc://{at}/c", str(count), "1", ""])
    return float(count / (ended - started))


def measure(count: int) -> list[Row]:
    """P1 and P2."""
    cases: dict[str, Any] = {}
    for frame in (1, 64):
        cases[f"ours {frame}"] = lambda frame=frame: ours.rate(COUNT, frame)
        cases[f"bare {frame}"] = lambda frame=frame: bare(COUNT, frame)
    if reference():
        cases["C 1"] = lambda: limit(COUNT * 5, C_SIZE)
        cases["C 64"] = lambda: limit(COUNT // 8, frame_bytes(64)) * 64
    found = rounds(count, cases)
    beside = "bare pyzmq + msgspec, the same frames"
    rows = [
        compare("P1", f"64 bars a frame ÷ {beside}", found, "ours 64", "bare 64", "bars/s", 0.85),
        compare("P2", f"1 bar a frame ÷ {beside}", found, "ours 1", "bare 1", "bars/s", 0.75),
    ]
    if reference():
        many, one = f"C, as many bytes a frame ({frame_bytes(64):,})", f"C, one {C_SIZE} B message a frame"
        rows += [
            compare("P1-C", f"64 bars a frame ÷ {many}", found, "ours 64", "C 64", "bars/s"),
            compare("P2-C", f"1 bar a frame ÷ {one}", found, "ours 1", "C 1", "bars/s", 0.15),
        ]
    return rows
