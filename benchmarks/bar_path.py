"""The way of a bar: encode, journal, publish, receive, check, decode; beside bare pyzmq + msgspec, and beside C.

Every case is one publishing and one receiving process over ipc, the same bars, the same number of bars a frame; the
cases of a round run one after the other, and the ratios are taken within the round. The receiver of every Python case
returns a checksum over all decoded fields; ours must equal the checksum of the journal read again from disk.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec
import zmq
from pynelive.bus.cursor import Cursor
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Bar, Instrument, Message
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber, from_earliest
from pynelive.bus.wire import decode

STREAM = "bench:BTC/USDT@1"
TOPIC = b"b1/bench:BTC%2FUSDT@1\0"
C_SIZE = 100


def bars(count: int) -> list[Bar]:
    """Bars that all differ."""
    return [
        Bar(n * 60_000, n + 0.25, n + 1.5, n - 1.5, n + 0.75, n * 0.125, True, 0, 0, "venue", n, None)
        for n in range(count)
    ]


def checksum(messages: Sequence[Message]) -> int:
    """A number that every field of every bar goes into; exact, as the values are multiples of 1/8."""
    return sum(
        int((b.time_ms + b.open + 2 * b.high + 3 * b.low + 5 * b.close + 7 * b.volume + b.received_ns + b.closed) * 8)
        for b in messages
        if type(b) is Bar
    )


# --- bare pyzmq + msgspec ---------------------------------------------------------------------------------------------


def bare_publish(folder: Path, count: int, frame: int) -> float:
    """XPUB without limit: nothing is journaled, numbered or checked."""
    encode = msgspec.msgpack.Encoder().encode
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.set(zmq.SNDHWM, 0)
        socket.bind(f"ipc://{folder}/bare")
        made = bars(count)
        socket.recv()
        started = time.monotonic()
        for at in range(0, count, frame):
            socket.send(TOPIC + encode(made[at : at + frame]))
        socket.linger = -1
    return started


def bare_receive(folder: Path, count: int) -> tuple[float, int]:
    """A blocking SUB; decodes every frame."""
    read = msgspec.msgpack.Decoder(list[Bar]).decode
    got: list[list[Bar]] = []
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.subscribe(TOPIC)
        socket.connect(f"ipc://{folder}/bare")
        left, skip = count, len(TOPIC)
        while left:
            messages = read(memoryview(socket.recv())[skip:])
            left -= len(messages)
            got.append(messages)
    ended = time.monotonic()
    return ended, sum(checksum(messages) for messages in got)


# --- ours -------------------------------------------------------------------------------------------------------------


async def _publish(folder: Path, count: int, frame: int) -> float:
    publisher = Publisher(RunDir(folder), "bench", {"sink": [STREAM]})
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    publisher.flush()
    made = bars(count)
    while not publisher.consumers.durable().get(STREAM):  # noqa: ASYNC110 - the other end is a process
        await asyncio.sleep(0.001)
    started = time.monotonic()
    for at in range(0, count, frame):
        publisher.publish(STREAM, *made[at : at + frame])
        publisher.flush()
        if at % 2048 == 0:
            await asyncio.sleep(0)
            await publisher.room()
    await publisher.drained()
    await publisher.close()
    return started


def our_publish(folder: Path, count: int, frame: int) -> float:
    """The project's publisher; paced by its declared consumer as any source without a clock."""
    return asyncio.run(_publish(folder, count, frame))


async def _receive(folder: Path, count: int) -> tuple[float, int]:
    got: list[list[Message]] = []
    left, done = count + 1, asyncio.Event()

    def take(cursor: Cursor, messages: list[Message]) -> None:
        nonlocal left
        left -= len(messages)
        got.append(messages)
        subscriber.ack({STREAM: (cursor.epoch, cursor.next)})
        if not left:
            done.set()

    subscriber = Subscriber(RunDir(folder), [STREAM], take, from_earliest, "sink")
    subscriber.open()
    await done.wait()
    ended = time.monotonic()
    await subscriber.finish()
    await subscriber.close()
    return ended, sum(map(checksum, got))


def our_receive(folder: Path, count: int) -> tuple[float, int]:
    """The project's subscriber on asyncio: sequence checked, gaps repaired."""
    return asyncio.run(_receive(folder, count))


def reread(folder: Path) -> int:
    """The checksum of the journal on disk."""
    journal = Journal(folder / "journal" / "bench", read_only=True)
    total = sum(checksum(decode(record.payload)) for _, record in journal.in_order())
    journal.close(clean=False)
    return total


# --- C ----------------------------------------------------------------------------------------------------------------


def build_reference(folder: Path) -> Path | None:
    """Compile the C program against the wheel's libzmq; None without a compiler."""
    library = next((Path(zmq.__file__).parent.parent / "pyzmq.libs").glob("libzmq*"), None)
    source, program = Path(__file__).parent / "reference.c", folder / "reference"
    if library is None:
        return None
    link = [str(library), f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined"]
    command = ["cc", "-O2", str(source), *link, "-o", str(program)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return program


def c_rate(program: Path, count: int) -> float:
    """Messages a second of C_SIZE bytes, from the first send to the last receive."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/c"
        command = [program, "pub", endpoint, str(count), str(C_SIZE)]
        publisher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        receiver = subprocess.Popen([program, "sub", endpoint, str(count)], stdout=subprocess.PIPE, text=True)
        started, ended = int(publisher.communicate()[0]), int(receiver.communicate()[0])
    return count / (ended - started) * 1e9


# --- a round ----------------------------------------------------------------------------------------------------------

CASES: dict[str, Callable[..., object]] = {
    "bare_publish": bare_publish, "bare_receive": bare_receive, "our_publish": our_publish, "our_receive": our_receive,
}  # fmt: skip


def rate(kind: str, count: int, frame: int) -> float:
    """Bars a second from the first publish to the last decoded bar; both ends in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ask = [sys.executable, __file__, str(folder), str(count), str(frame)]
        publisher = subprocess.Popen([*ask, f"{kind}_publish"], stdout=subprocess.PIPE)
        receiver = subprocess.Popen([*ask, f"{kind}_receive"], stdout=subprocess.PIPE)
        started = msgspec.json.decode(publisher.communicate()[0], type=float)
        ended, seen = msgspec.json.decode(receiver.communicate()[0], type=tuple[float, int])
        expected = checksum(bars(count))
        if seen != expected or (kind == "our" and reread(folder) != expected):
            raise SystemExit(f"{kind}, {frame} a frame: the receiver's checksum is {seen}, the bars' is {expected}")
    return count / (ended - started)


GOALS = {("bare", 1): ("P2", 0.75), ("C", 1): ("P2-C", 0.15), ("bare", 64): ("P1", 0.85), ("C", 64): ("P1-C", None)}


def measure(rounds: int = 5, count: int = 200_000) -> list[dict[str, object]]:
    """All ratios, medians over the rounds."""
    ratios: dict[tuple[str, int], list[float]] = {}
    rates: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        program = build_reference(Path(name))
        for _ in range(rounds):
            limit = c_rate(program, count * 5) if program else None
            for frame in (1, 64):
                bare, ours = rate("bare", count, frame), rate("our", count, frame)
                rates.setdefault(frame, []).append(ours)
                ratios.setdefault(("bare", frame), []).append(ours / bare)
                if limit:
                    ratios.setdefault(("C", frame), []).append(ours / limit)
    return [_row(beside, frame, median(seen), median(rates[frame])) for (beside, frame), seen in ratios.items()]


def _row(beside: str, frame: int, ratio: float, bars_per_s: float) -> dict[str, object]:
    name, goal = GOALS[beside, frame]
    other = "bare pyzmq + msgspec, the same frames" if beside == "bare" else f"C, one {C_SIZE} B message a frame"
    what = f"encode, journal, publish, receive, check, decode; {frame} a frame ÷ {other}"
    ok = goal is None or ratio >= goal
    return {"id": name, "what": what, "ratio": round(ratio, 3), "goal": goal, "ok": ok, "bars_per_s": round(bars_per_s)}


if __name__ == "__main__":
    place, how_many, a_frame, case = sys.argv[1:]
    arguments = [Path(place), int(how_many)] + ([int(a_frame)] if case.endswith("publish") else [])
    print(msgspec.json.encode(CASES[case](*arguments)).decode())
