"""What `fuzz.py` attacks: a publisher and a subscriber on real sockets, all of whose messages are known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from mutator import Mutator
from pynelive.bus import calls, wire
from pynelive.bus.calls import Start, encode_call
from pynelive.bus.link import Link
from pynelive.bus.messages import Bar, Instrument, Message, State
from pynelive.bus.publisher import Publisher
from pynelive.bus.versions import Refused
from pynelive.bus.wire import HEADER, LATEST, VERSION, Malformed, fits
from support import STREAM, Taken, make_bar, run_dir, wait_until

OTHER = "demo:ETH/USDT@1"


class World:
    """A publisher and a subscriber of it, whose every message is known."""

    def __init__(self, publisher: Publisher, taken: Taken, sacrificed: Taken, seed: int) -> None:
        self.publisher = publisher
        self.taken = taken
        self.sacrificed = sacrificed
        self.counts: Counter[str] = Counter()
        self.truth: list[Message] = []
        self.frames: list[bytes] = []
        self.dice = random.Random(seed)
        self._send = publisher._send
        publisher._send = self._keep  # type: ignore[assignment]
        self.mutate = Mutator(seed, [*self.say(), *self.calls()])

    def _keep(self, data: bytes) -> None:
        if data.startswith(b"b1/"):
            self.frames.append(data)
        else:
            self._send(data)

    @property
    def link(self) -> Link:
        """The subscriber's connection."""
        return self.taken.subscriber.links["demo"]

    def say(self) -> list[bytes]:
        """The publisher says the next few messages: their frames, which nobody has got yet."""
        self.frames.clear()
        number = len(self.truth)
        said: list[Message] = [make_bar(number + n) for n in range(self.dice.choice((1, 1, 1, 3)))]
        if number % 7 == 0:
            said.append(State("live", number, "fuzz"))
        self.truth += said
        self.publisher.publish(STREAM, *said)
        self.publisher.flush()
        self.publisher.forming(STREAM, make_bar(len(self.truth), closed=False, update=1))
        self.publisher.flush()
        return list(self.frames)

    def calls(self) -> list[bytes]:
        """Real requests and replies of all kinds."""
        epoch, journal = self.publisher.epoch, self.publisher.journal
        replay = calls.Replay(1, {STREAM: Start(seq=0), OTHER: Start(last=3), "demo:NO@1": Start(older=3)})
        made: list[calls.Request | calls.Reply] = [
            calls.Info(), replay, calls.Replay(2, {STREAM: Start(from_ms=60_000)}, 100),
            calls.History(3, STREAM, 5, 10**12),
            calls.Fetch(4, STREAM, 0, 10**12, True), calls.Symbols(5, "BTC"),
            calls.Ack("recorder", epoch, {STREAM: 1}, True),
            calls.Acked(epoch), calls.Names(5, ["a"]), calls.Bars(3, wire.encode([make_bar(1)])),
            calls.Replayed(1, epoch, {STREAM: calls.Span(0, 1)}, [b"\x01" * 40], {1: STREAM}),
            calls.Welcome("demo", "1", epoch, self.publisher.pub_endpoint, 1.0, [], {}, 1),
        ]  # fmt: skip
        assert journal.tracks
        return [*map(encode_call, made), b"\x01" + encode_call(Refused("demo", [1]))[1:]]

    def forged(self, data: bytes) -> bool:
        """Whether a reader must take it for a frame of this publisher that says something else than the truth."""
        end = data.find(b"\0") + 1
        if data[:end] != wire.topic_of(STREAM) or len(data) < end + HEADER.size:
            return False
        version, flags, count, epoch, seq = wire.unpack_start(data, end)
        if version != VERSION or epoch != self.publisher.epoch:
            return False
        try:
            messages = wire.decode(data[end + HEADER.size :])
        except Malformed:
            return False
        true = messages == self.truth[seq - 1 : seq - 1 + count] and not flags & LATEST
        return fits(flags, count, messages) and not true

    def unreadable(self, data: bytes) -> bool:
        """Whether the subscriber, as it stands, has to count it as malformed."""
        end = data.find(b"\0") + 1
        if data[:end] != wire.topic_of(STREAM) or len(data) < end + HEADER.size:
            return not reads(lambda: wire.decode_heads(wire.parse_frame(data).payload))
        cursor = self.link.cursors[STREAM]
        version, flags, count, epoch, seq = wire.unpack_start(data, end)
        if version == VERSION and epoch == cursor.epoch and seq == cursor.next and cursor.live:
            return not reads(lambda: fits(flags, count, wire.decode(data[end + HEADER.size :])) or None)
        return bool(version != VERSION)

    async def settle(self) -> None:
        """Let the subscriber get all that was said, and compare every bar with the truth."""
        for data in self.frames:
            self.link._on_frame(data)
        true = [message for message in self.truth if isinstance(message, Bar)]
        await wait_until(lambda: len(self.taken.closed()) >= len(true), 60)
        got = [m for m in self.taken.messages[STREAM] if isinstance(m, Bar) and m.closed]
        assert got == true, "lost, doubled, out of order, or not what was said"


def reads(read: Callable[[], object]) -> bool:
    try:
        return read() is not None
    except Malformed:
        return False


@asynccontextmanager
async def world(folder: Path, seed: int) -> AsyncIterator[World]:
    """Real sockets, a real journal, a subscriber that is live, and one that may be lied to."""
    run = run_dir(folder)

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        return [make_bar(number) for number in range(min(count, 5))]

    publisher = Publisher(run, "demo", {"recorder": [STREAM]}, history=history)
    publisher.heartbeat_s = 60.0  # the heads come with the frames here
    await publisher.open()
    for stream in (STREAM, OTHER):
        publisher.publish(stream, Instrument(stream, "1"))
    takers = [Taken(run, [STREAM]), Taken(run, [STREAM])]
    try:
        for taken in takers:
            await wait_until(lambda taken=taken: taken.subscriber.ready() and bool(taken.messages))
        yield World(publisher, takers[0], takers[1], seed)
    finally:
        for taken in takers:
            await taken.subscriber.close()
        await publisher.close()
