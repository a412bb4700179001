"""A publisher: writes what it says to its journal, sends it, and answers whoever missed some of it.

The order is the guarantee: a must-deliver message is in the journal before it is on the socket. Messages that wait
together travel together, up to 64 in a frame; nothing ever waits for a frame to fill.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from . import failpoints
from .answers import answer_info, answer_replay
from .archive import Archive, Desk, HistorySource
from .calls import Ack, Acked, Fetch, History, Info, Replay, Reply, Symbols, decode_request, encode_call
from .consumers import Consumers
from .discovery import Claim
from .disk import DiskWatch
from .endpoints import clear
from .errors import Fault, Hopeless
from .hosts import Door
from .journal import Journal, delete
from .messages import Bar, Message, Plot
from .outgoing import Out
from .reports import Peers, Report
from .rundir import RunDir
from .security import Gate, open_door
from .sockets import Reader, RouterReader, answer, bind_pub, bind_router, endpoint_of, own_endpoint, send, sender
from .specs import JournalSpec
from .versions import Refused
from .wire import VERSION, Malformed, OtherVersion, decode, encode, encode_heads, heartbeat_topic, hint

log = logging.getLogger("pynelive")
HEARTBEAT_S = 0.2
FRAME_MESSAGES = 64
_FULL_HEARTBEAT = 10
_WINDOW = 16_384
_STUCK_S = 1.0
"""So long nobody who is waited for has moved: maybe for want of what is not said yet."""
_MOST_MESSAGES = 2**16 - 1
_LARGEST_PAYLOAD = 32 << 20
"""In bytes: behind 16 MiB of other records it is still a reply that a subscriber takes."""


class Publisher:
    """Owns some streams: journal, live socket, answering socket.

    :param run: the folder of the bus
    :param name: the actor's name; one publisher of a name lives at a time
    :param consumers: the declared consumers and the streams that each must get
    :param history: gives bars that are older than the journal; an archive has those of other streams too
    :param door: where it listens for other hosts, if it does
    """

    def __init__(
        self,
        run: RunDir,
        name: str,
        consumers: Mapping[str, Iterable[str]] | None = None,
        journal: JournalSpec = JournalSpec(),  # noqa: B008 - frozen
        history: Archive | HistorySource | None = None,
        transport: str = "auto",
        door: Door | None = None,
    ) -> None:
        self.name = name
        self.door = door
        self.gate: Gate | None = None
        self.heartbeat_s = HEARTBEAT_S
        self.consumers = Consumers(consumers or {})
        self.outs: dict[str, Out] = {}
        self.readers: dict[bytes, int] = {}
        """How many subscribe to a topic, or to all that begin so."""
        self.malformed = 0
        self.peers = Peers()
        self.disk = DiskWatch(name)
        self.damaged = 0
        self._run = run
        self._spec = journal
        self._desk = Desk(name, history, self._reply)
        self._transport = transport
        self._waiting: list[Out] = []
        self._scheduled = False
        self._moved: set[Out] = set()
        """What has said something that is not counted yet."""
        self._news: dict[str, int] = {}
        """The heads that the next heartbeat says."""
        self._ackers: dict[str, bytes] = {}
        self._beats = 0
        self._stuck = False
        """Whether the declared consumers seem to wait for what is not said yet."""
        self._timers: list[asyncio.Task[None]] = []
        self._wrote = asyncio.Event()
        """Whether the journal holds what is not brought to disk yet."""
        self._failed: asyncio.Future[None]

    # --- life -----------------------------------------------------------------------------------------------------

    async def open(self, usable: Callable[[Journal], bool] = lambda journal: True) -> None:
        """Take the name, recover the journal, listen, and say so.

        :param usable: whether what the journal holds can be gone on with; if not, it is emptied under a new epoch
        :raises Fault: the name is taken, the disk is full, the journal is of another version, a stranger gets in
        """
        self._claim = await Claim.take(self._run, self.name)
        folder, limit = self._run.journals / self.name, int(self._spec.max_mb * (1 << 20))
        self.journal = await asyncio.to_thread(Journal, folder, limit, self._spec.max_hours * 3600)
        self.damaged = self.journal.damaged
        if self.journal.tracks and not usable(self.journal):
            self.journal.restart()
        for track in self.journal.tracks.values():
            out = self._out(track.name)
            self._recover(out)
            self._moved.add(out)
        self._pub = bind_pub(own_endpoint(self._run.sockets, f"{self.name}.pub", self._transport))
        self._router = bind_router(own_endpoint(self._run.sockets, f"{self.name}.ctl", self._transport))
        self._send = sender(self._pub)
        self.pub_endpoint, self._control = endpoint_of(self._pub), endpoint_of(self._router)
        self._loop = asyncio.get_running_loop()
        self._failed = self._loop.create_future()
        self._subscriptions = Reader(self._pub, self._on_subscription)
        self._requests = RouterReader(self._router, self._on_request)
        self._disk = ThreadPoolExecutor(1, "journal-sync")
        if self.door:
            self.gate = await open_door(self.door, self.name, self._router, self._pub)
        self._timers = [asyncio.create_task(self._beat()), asyncio.create_task(self._sync())]
        for timer in self._timers:
            timer.add_done_callback(self._timer_ended)
        self._claim.announce(self._control, self.journal.epoch)

    def _timer_ended(self, timer: asyncio.Task[None]) -> None:
        if not timer.cancelled() and (error := timer.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Remember what makes publishing impossible; ``failed`` raises it."""
        if isinstance(error, OSError):
            error = Fault(f"the journal in {self.journal.folder} cannot be written: {error.strerror}")
        if not self._failed.done():
            self._failed.set_exception(error)

    def _out(self, stream: str) -> Out:
        out = self.outs.get(stream)
        if out is None:
            out = self.outs[stream] = Out(stream, self.journal.track(stream))
        return out

    def _recover(self, out: Out) -> None:
        """Find what was said last, for those who ask."""
        if out.picture is not None:
            for place in out.track.places:
                out.remember(decode(self.journal.record_at(place).payload))
            return
        records = []
        for record in self.journal.backwards(out.track):
            records.append(record)
            if record.bars:
                break
        for record in reversed(records):
            out.remember(decode(record.payload))

    async def close(self, forget: bool = False) -> None:
        """Send what waits, close in order, and give the name back; ``forget`` leaves nothing behind."""
        self.flush()
        for consumer, lag in self.lags().items():
            if not lag and consumer in self._ackers:  # on another host it would wait for an answer
                self._reply(self._ackers[consumer], Acked(self.journal.epoch))
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*self._timers, self._desk.close(), return_exceptions=True)
        self._disk.shutdown()
        self._subscriptions.close()
        self._requests.close()
        if self.gate:
            self.gate.close()
        clear(self.pub_endpoint, self._control)
        await asyncio.to_thread(self.journal.close)
        if forget:
            delete(self.journal.folder)
        self._claim.release(forget)
        if self._failed.done():
            self._failed.exception()  # whoever wanted to know has asked

    @property
    def epoch(self) -> int:
        """The epoch of all seqs of this publisher."""
        return self.journal.epoch

    @property
    def subscribers(self) -> int:
        """How many follow this publisher."""
        return self.readers.get(heartbeat_topic(self.name), 0)

    def counts(self) -> dict[str, int]:
        """What ``pynelive ps --json`` shows of it: followers, requests refused, records of the journal left out."""
        return {"subscribers": self.subscribers, "malformed_requests": self.malformed, "damaged_records": self.damaged}

    # --- saying ---------------------------------------------------------------------------------------------------

    def publish(self, stream: str, *messages: Message) -> None:
        """Say something that must arrive; messages of one call stay together in one journal record.

        :raises Fault: the disk is full
        :raises Hopeless: it is more than a frame holds, 65,535 messages or 32 MiB; what waits goes with it, unsaid
        """
        out = self.outs.get(stream) or self._out(stream)
        out.pending += messages
        out.forming = None
        if len(out.pending) >= FRAME_MESSAGES:
            self._write(out)
        elif not out.waits:
            self._wait(out)

    def forming(self, stream: str, message: Bar | Plot) -> None:
        """Say how the forming bar stands; only the latest of those that wait is sent."""
        out = self.outs.get(stream) or self._out(stream)
        out.forming = message
        if not out.waits:
            self._wait(out)

    def _wait(self, out: Out) -> None:
        out.waits = True
        self._waiting.append(out)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        """The loop has nothing more to say in this turn."""
        self._scheduled = False
        try:
            self.flush()
        except Fault as fault:
            self._fail(fault)
        self._subscriptions.poke()

    def flush(self) -> None:
        """Write and send all that waits, now."""
        waiting, self._waiting = self._waiting, []
        for out in waiting:
            out.waits = False
            if out.pending:
                self._write(out)
            if out.forming is not None:
                self._hint(out, out.forming)

    def _write(self, out: Out) -> None:
        """Into the journal, then on the socket: the one place where a message becomes public."""
        messages, payload = out.pending, encode(out.pending)
        if len(messages) > _MOST_MESSAGES or len(payload) > _LARGEST_PAYLOAD:
            out.pending = []
            size = f"{len(messages):,} messages, {len(payload) / 2**20:,.1f} MiB"
            most = f"{_MOST_MESSAGES:,} and {_LARGEST_PAYLOAD >> 20} MiB"
            raise Hopeless(f"{size} at once on {out.stream}: a frame holds {most}; publish fewer in one call")
        bars, time_ms = out.remember(messages)
        if bars:
            out.said_s = time.monotonic()
        said = self.journal.append(out.track, payload, len(messages), bars, time_ms)
        out.pending = []  # not before: what cannot be written must not be skipped
        self._moved.add(out)
        self._wrote.set()
        if failpoints.ACTIVE:
            failpoints.hit("publisher.between-journal-and-send")
        self._send(out.topic + said)
        if failpoints.ACTIVE:
            failpoints.hit("publisher.after-send")

    def _hint(self, out: Out, message: Bar | Plot) -> None:
        out.forming = None
        self._send(out.topic + hint(1, self.journal.epoch, out.track.head, encode((message,))))

    async def failed(self) -> None:
        """Return never, or raise what made publishing impossible (a full disk)."""
        await asyncio.shield(self._failed)

    # --- pace and end ---------------------------------------------------------------------------------------------

    def heads(self) -> dict[str, int]:
        """By stream the seq that comes next, what waits included."""
        return {stream: out.track.head + len(out.pending) for stream, out in self.outs.items()}

    def _written(self) -> dict[str, int]:
        return {stream: out.track.head for stream, out in self.outs.items()}

    def _count(self) -> None:
        """Take note of the streams that have said something: whoever asks for a sum need not look at all of them."""
        moved, self._moved = self._moved, set()
        heads = {out.stream: out.track.head for out in moved}
        self._news |= heads
        self.consumers.said(heads)

    def outstanding(self) -> int:
        """How much of what was said the declared consumers have not got yet, in messages."""
        self._count()
        return self.consumers.outstanding

    def lags(self) -> dict[str, int]:
        """The same by consumer."""
        self._count()
        return self.consumers.lags()

    async def room(self) -> None:
        """Wait until the declared consumers are near enough for more; sources without a clock ask before each step.

        Where none of them moves, they may wait for what is not said yet: then the journal's size is the limit.
        """
        most = max(int(self._spec.max_mb * 1024), FRAME_MESSAGES)
        window = min(_WINDOW, most)
        if len(self._waiting) * FRAME_MESSAGES > window:
            self.flush()  # what waits is not counted
        if (outstanding := self.outstanding()) <= window:
            self._stuck = False
        since = self._loop.time()
        while outstanding > (most if self._stuck else window):
            self.flush()
            await self.consumers.moved(_STUCK_S)
            before, outstanding = outstanding, self.outstanding()
            if outstanding < before:
                since = self._loop.time()
            self._stuck |= self._loop.time() - since >= _STUCK_S

    async def drained(self) -> None:
        """Wait until every declared consumer has everything."""
        self.flush()
        while self.outstanding():
            await self.consumers.moved()

    # --- hearing --------------------------------------------------------------------------------------------------

    def _on_subscription(self, data: bytes) -> None:
        subscribed, topic = data[:1] == b"\x01", data[1:]
        if data[:1] not in (b"\x00", b"\x01"):
            self.malformed += 1
        elif topic.startswith((b"hb/", b"b1/")):
            self._count_reader(topic, 1 if subscribed else -1)
        elif subscribed and topic.startswith(b"j/"):
            self._send_heads(topic, self._written())

    def _count_reader(self, topic: bytes, change: int) -> None:
        count = self.readers.pop(topic, 0) + change
        if count > 0:
            self.readers[topic] = count

    def _on_request(self, asker: bytes, data: bytes) -> None:
        try:
            request = decode_request(data)
        except Malformed as error:
            self.malformed += 1
            if isinstance(error, OtherVersion):
                self._reply(asker, Refused(self.name, [VERSION]))
            return
        if type(request) is Replay:
            self._replay(asker, request)
        elif type(request) is Info:
            self._end_of_turn()  # a stream that is told has said its instrument
            self._reply(asker, answer_info(self, request))
        elif type(request) is Ack:
            self._on_ack(asker, request)
        elif type(request) is Report:
            self.peers.take(request, self.journal.epoch, self.journal.tracks)
        elif isinstance(request, History | Fetch | Symbols):
            self._desk.take(asker, request)

    def _replay(self, asker: bytes, request: Replay) -> None:
        try:
            self._reply(asker, answer_replay(self.journal, request, self.outs))
        except Fault as fault:  # it was damaged on the disk: the next start leaves out what cannot be read
            self._fail(fault)

    def _reply(self, asker: bytes, reply: Reply) -> None:
        answer(self._router, asker, encode_call(reply))
        self._requests.poke()

    def _on_ack(self, asker: bytes, ack: Ack) -> None:
        if ack.epoch == self.journal.epoch:
            self._count()
            self.malformed += not self.consumers.acknowledge(ack.consumer, ack.durable)
            if ack.consumer in self.consumers:
                self._ackers[ack.consumer] = asker
        if ack.final:
            self._reply(asker, Acked(self.journal.epoch))

    # --- timers ---------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Say the heads, so that a lost last message is noticed, and apply the retention."""
        topic = heartbeat_topic(self.name)
        while True:
            await asyncio.sleep(self.heartbeat_s)
            self._count()
            self._beats += 1
            full = self._beats % _FULL_HEARTBEAT == 0
            news, self._news = self._written() if full else self._news, {}
            self._send_heads(topic, news)
            if full:
                self.disk.look(self.journal)
                for out in self.outs.values():
                    out.rate.of(out.track.bars - out.history)
            if self.journal.trim(self.consumers.durable()):
                log.warning(
                    "%s: the journal reached its %g MB before every declared consumer had it; the oldest part is gone",
                    self.name,
                    self._spec.max_mb,
                )

    def _send_heads(self, topic: bytes, heads: dict[str, int]) -> None:
        send(self._pub, topic + hint(0, self.journal.epoch, 0, encode_heads(heads)))
        self._subscriptions.poke()

    async def _sync(self) -> None:
        """Bring the journal to disk now and then, away from the loop: it bounds what a power loss takes."""
        while True:
            await self._wrote.wait()
            self._wrote.clear()
            await asyncio.sleep(self._spec.sync_ms / 1000)
            await self._loop.run_in_executor(self._disk, self.journal.sync())
