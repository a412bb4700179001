"""The connection of a subscriber to one publisher: join without a seam, follow, repair.

Joining: ask the publisher what it has (``Info``); subscribe to the streams, and last to a topic of one's own; its
answer proves that all subscriptions are in and says the heads; ask for the journal up to there; then take frames as
they come. From then on there is one rule: the next seq is delivered, an older one is known, a newer one means that
something was dropped and is asked of the journal. Heartbeats say the heads, so that a lost last message is noticed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

from .asker import PATIENCE_S, Asker
from .calls import Ack, Acked, Bars, Info, Replayed, Reply, Welcome
from .cursor import Cursor
from .discovery import Announcement
from .errors import Fault
from .repair import Repair
from .reports import Reporter
from .security import connecting_keys
from .sockets import Reader, connect_sub, subscribe
from .taker import Taker
from .versions import Refused, advice
from .wire import (
    HEADER_BYTES,
    LATEST,
    VERSION,
    Malformed,
    OtherVersion,
    decode_heads,
    decode_said,
    heartbeat_topic,
    join_topic,
    parse_frame,
    topics_from,
    unpack_latest,
    unpack_start,
)

log = logging.getLogger("pynelive")
_SILENT_BEATS = 5
_GONE_S = 15.0


class Link:
    """Everything between this process and one publisher."""

    def __init__(self, announcement: Announcement, taker: Taker) -> None:
        self.announcement = announcement
        self.name = announcement.name
        self.cursors: dict[str, Cursor] = {}
        self.welcome: Welcome | None = None
        """The publisher's last account of itself."""
        self.counters = {"gaps": 0, "repairs": 0, "duplicates": 0, "malformed": 0, "truncated": 0}
        self.acked = asyncio.Event()
        self.refused = ""
        """Why this publisher cannot be followed: it is of another version."""
        self._taker = taker
        self._prefixes = tuple(map(topics_from, taker.prefixes))
        self._by_topic: dict[bytes, Cursor] = {}
        """By topic, without the zero byte that ends it."""
        self._sub: Reader | None = None
        self._pub_endpoint = ""
        self.epoch = 0
        """The publisher's epoch, as it said last."""
        self._heartbeat_s = 1.0
        self.heard = time.monotonic()
        """The publisher's last heartbeat: what it had said before is here, or is known to be missing (monotonic)."""
        self._join = b""
        self._beginning: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self._away = self._missed = False
        self._warned = False
        self._reporter = Reporter()
        self._curve = connecting_keys(announcement.client_key, announcement.server_key)
        self._asker = Asker(announcement.control, self.name, self._on_reply, self._curve, announcement.bus)
        self._historian = Asker(announcement.control, self.name, self._on_reply, self._curve)
        self._repair = Repair(self._asker, self._historian, taker, self.cursors, self.counters)
        self.greet()

    # --- life -----------------------------------------------------------------------------------------------------

    def moved(self, announcement: Announcement) -> None:
        """The publisher is back, maybe elsewhere: greet it anew; what was delivered stays delivered."""
        self._curve = connecting_keys(announcement.client_key, announcement.server_key)
        self.announcement = announcement
        self._pub_endpoint = ""  # to be connected anew: with other keys, maybe
        self.acked.clear()
        self.refused, self._warned = "", False
        self._asker.reconnect(announcement.control, self._curve)
        self._historian.reconnect(announcement.control, self._curve)
        self.greet()

    def greet(self, peers: bool = False) -> None:
        """Ask the publisher what it has; with ``peers`` also who follows it."""
        self._asker.ask(Info(peers))

    def close(self) -> None:
        """Leave without a trace."""
        for task in self._tasks:
            task.cancel()
        self._asker.close()
        self._historian.close()
        if self._sub:
            self._sub.close()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading; what ZeroMQ drops meanwhile is repaired."""
        self._paused = paused
        if self._sub:
            self._sub.paused = paused
            self._sub.poke()

    def counts(self) -> dict[str, int]:
        """What happened here, by kind."""
        malformed = self.counters["malformed"] + self._asker.malformed
        return {**self.counters, "malformed": malformed, "timeouts": self._asker.timeouts}

    @property
    def place(self) -> str:
        """The publisher in words, with what tells where to look for it."""
        return self.announcement.place

    @property
    def foreign(self) -> str:
        """Who listens where this publisher should, in a sentence."""
        return self._asker.foreign

    @property
    def unanswered(self) -> bool:
        """Whether the publisher has been asked in vain ever since."""
        return self.welcome is None and not self.refused and self.silent

    @property
    def silent(self) -> bool:
        """Whether the publisher has missed its heartbeats."""
        return time.monotonic() - self.heard > max(_SILENT_BEATS * self._heartbeat_s, PATIENCE_S)

    @property
    def left(self) -> bool:
        """Whether a publisher of another host has been silent for so long that it will not come back by itself."""
        return self.announcement.remote and time.monotonic() - self.heard > _GONE_S

    @property
    def ready(self) -> bool:
        """Whether every stream of this publisher is followed live, or waits for its first bar."""
        return bool(self._pub_endpoint) and not self._join and all(c.settled for c in self.cursors.values())

    @property
    def at_rest(self) -> bool:
        """Whether nothing was asked that is not answered yet, and nothing is to be asked."""
        return bool(self._pub_endpoint) and not (self._join or self._asker.busy or self._repair.busy)

    def tick(self) -> None:
        """Called some times a second: ask again what was not answered, and say when the publisher is away."""
        if self.refused:
            return
        if self.silent is not self._away:
            self._turn()
        self._asker.tick()
        self._historian.tick()
        if self._join and time.monotonic() > self._join_deadline:
            if self.announcement.remote:
                self._connect(self._pub_endpoint)  # likewise
            self._prove_subscriptions()
        self._catch_up()

    def _turn(self) -> None:
        """The publisher has fallen silent, or is heard again."""
        self._away = not self._away
        if self.unanswered:
            said = "does not answer yet: it is asked on and on"
        elif self._away:
            said = "is silent now; waiting for it to come back" if self.cursors else ""
        else:
            said = "answers" if self._missed else ""
        if said:
            log.warning("%s %s", self.place, said)
        self._missed = bool(said)
        for cursor in self.cursors.values():
            cursor.silent = self._away
        if self.announcement.remote:  # ZeroMQ gives a connection up for good after an error in its encryption
            if self._away:
                self.greet()
            else:
                self._historian.reconnect(self.announcement.control, self._curve)

    # --- asking ---------------------------------------------------------------------------------------------------

    def ack(self, consumer: str, durable: dict[str, int], final: bool = False) -> None:
        """Say what is on disk."""
        if not self.refused:
            self._asker.say(Ack(consumer, self.epoch, durable, final))

    def report(self, name: str, host: str) -> None:
        """Say who follows this publisher, and how that goes."""
        if self.cursors and not self.refused:
            self._asker.say(self._reporter.report(name, host, self.epoch, self.cursors.values(), self.counts()))

    def _catch_up(self) -> None:
        if not (self._join or self._paused or self.foreign) and self._pub_endpoint:
            self._repair.ask()

    def _on_reply(self, reply: Reply) -> None:
        if type(reply) is Acked:
            self.acked.set()
        elif type(reply) is Welcome:
            self._on_welcome(reply)
        elif type(reply) is Replayed:
            self._on_replayed(reply)
        elif type(reply) is Bars and not self.foreign:
            self._repair.on_bars(reply)
        elif type(reply) is Refused:
            self.refused = self._warn(*reply.versions)
            self.acked.set()  # it will never hear of it
            return
        self._catch_up()

    def _warn(self, *versions: int) -> str:
        """Say once that the publisher is of another version."""
        sentence = advice(self.name, versions, VERSION)
        if not self._warned:
            self._warned = True
            log.error("%s", sentence)
        return sentence

    def _on_replayed(self, reply: Replayed) -> None:
        if reply.epoch == self.epoch:
            self._repair.on_replayed(reply, not self._paused)
        else:
            self._greet_again()

    # --- joining --------------------------------------------------------------------------------------------------

    def _on_welcome(self, welcome: Welcome) -> None:
        self.welcome = welcome
        self.acked.clear()
        self.heard = time.monotonic()
        self._heartbeat_s = welcome.heartbeat_s
        pub = welcome.pub_elsewhere if self.announcement.remote else welcome.pub
        try:
            if pub != self._pub_endpoint:
                self._connect(pub)
        except Fault:
            self.counters["malformed"] += 1
            return
        self.epoch = welcome.epoch
        for stream in welcome.streams:
            if stream.name not in self.cursors and self._taker.wanted(stream.name):
                cursor = self.cursors[stream.name] = Cursor(stream.name, stream.instrument)
                self._subscribe(cursor)
        for cursor in self.cursors.values():
            cursor.rewind(welcome.epoch)
            self._repair.judge(cursor)
        for stream in welcome.streams:
            if stream.ended and (known := self.cursors.get(stream.name)) is not None:
                known.ended_at = stream.head  # its end itself may be kept no longer
        self._taker.greeted(self.name)
        self._prove_subscriptions()

    def _connect(self, pub: str) -> None:
        socket = connect_sub(pub, self._curve)
        if self._sub:
            self._sub.close()
        self._sub_socket = socket
        self._sub = Reader(self._sub_socket, self._on_frame)
        self._sub.paused = self._paused
        self._pub_endpoint = pub
        self._by_topic.clear()
        subscribe(self._sub_socket, heartbeat_topic(self.name))
        for prefix in self._prefixes:
            subscribe(self._sub_socket, prefix)
        for cursor in self.cursors.values():
            self._subscribe(cursor)

    def _subscribe(self, cursor: Cursor) -> None:
        self._by_topic[cursor.topic[:-1]] = cursor
        if not cursor.topic.startswith(self._prefixes):
            subscribe(self._sub_socket, cursor.topic)

    def _prove_subscriptions(self) -> None:
        if self._join:
            subscribe(self._sub_socket, self._join, stop=True)
        self._join = join_topic(secrets.token_hex(8))
        self._join_deadline = time.monotonic() + PATIENCE_S
        subscribe(self._sub_socket, self._join)
        if self._sub:
            self._sub.poke()

    def _on_joined(self, heads: dict[str, int]) -> None:
        subscribe(self._sub_socket, self._join, stop=True)
        self._join = b""
        self._take_heads(heads)
        fresh = [c for c in self.cursors.values() if not (c.begun or c.stream in self._beginning)]
        if fresh:
            self._beginning.update(cursor.stream for cursor in fresh)
            task = asyncio.create_task(self._begin(fresh))
            self._tasks.add(task)
            task.add_done_callback(self._begun)
        for cursor in self.cursors.values():
            self._repair.judge(cursor)
        self._catch_up()

    async def _begin(self, cursors: list[Cursor]) -> None:
        for cursor in cursors:
            cursor.begin(await self._taker.begin(cursor))
            self._repair.judge(cursor)
        self._catch_up()

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._taker.fail(error)

    # --- following ------------------------------------------------------------------------------------------------

    def _on_frame(self, data: bytes) -> None:
        topic, _, said = data.partition(b"\0")
        cursor = self._by_topic.get(topic)
        if cursor is None or len(said) < HEADER_BYTES:
            self._on_other(data)
            return
        version, flags, count, epoch, seq = unpack_start(said)
        if seq != cursor.next or not cursor.live or epoch != cursor.epoch or version != VERSION:
            self._on_odd_frame(cursor, version, flags, count, epoch, seq, said[HEADER_BYTES:])
            return
        try:
            messages = decode_said(flags, count, said[HEADER_BYTES:])
        except Malformed:
            self.counters["malformed"] += 1
            return
        if not flags & LATEST:
            cursor.next = seq = seq + count
            if seq > cursor.head:
                cursor.head = seq
        if cursor.known_ms:  # after another epoch the publisher says again what it had lost
            messages = cursor.unseen(messages)
        if count > 1:
            cursor.note_many(messages, *unpack_latest(said))
        else:
            cursor.note(messages)
        self._taker.deliver(cursor, messages)

    def _on_odd_frame(
        self, cursor: Cursor, version: int, flags: int, count: int, epoch: int, seq: int, payload: bytes
    ) -> None:
        """Not the next one: known, too early, of another epoch, or of another version."""
        if version != VERSION:
            self.counters["malformed"] += 1
            self._warn(version)
        elif epoch != cursor.epoch:
            self._greet_again()
        elif flags & LATEST and seq == cursor.next and cursor.missing and cursor.settled:
            self._repair.deliver_from(cursor, seq, 0, payload)
            self._repair.judge(cursor)  # the first bar here: what is older can be asked for now
        elif flags & LATEST:
            self._take_heads({cursor.stream: seq})
        elif seq + count <= cursor.next:
            self.counters["duplicates"] += count
        else:
            self._take_heads({cursor.stream: seq + count})

    def _on_other(self, data: bytes) -> None:
        """A heartbeat, the answer to a join, a stream that is new (a heartbeat will say so), or rubbish."""
        try:
            frame = parse_frame(data)
            if frame.topic.startswith(self._prefixes):
                return
            heads = decode_heads(frame.payload)
        except Malformed as error:
            self.counters["malformed"] += 1
            if isinstance(error, OtherVersion):
                self._warn(error.version)
            return
        if frame.epoch != self.epoch:  # another run, or somebody else: the greeting tells
            self._greet_again()
            return
        self.heard = time.monotonic()
        if frame.topic == self._join:
            self._on_joined(heads)
        elif frame.topic == heartbeat_topic(self.name):
            self._take_heads(heads)

    def _greet_again(self) -> None:
        if not (self.refused or (self._asker.busy and isinstance(self._asker.asked, Info))):
            self.greet()

    def _take_heads(self, heads: dict[str, int]) -> None:
        for stream, head in heads.items():
            cursor = self.cursors.get(stream)
            if cursor is None:
                if self._taker.wanted(stream):
                    self._greet_again()
            elif head > cursor.head:
                cursor.head = head
                if cursor.live and head > cursor.next:
                    self.counters["gaps"] += 1
                self._repair.judge(cursor)
        self._catch_up()
