"""Brings streams that are behind to where their publisher is: by its journal, or by its source's history."""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import Final

from .archive import MOST_HISTORY
from .asker import Asker
from .calls import Bars, History, Replay, Replayed, Span, Start
from .cursor import Cursor
from .messages import Bar, End, Message
from .taker import Taker
from .wire import LATEST, Malformed, decode, decode_said, read_record

log = logging.getLogger("pynelive")
_STREAMS_A_REQUEST: Final = 256


class Repair:
    """What is behind, and how it is made whole: one request at a time, oldest need first.

    :param asker: asks for the journal
    :param historian: asks for the source's history, which takes its time, so that the journal need not wait for it
    :param cursors: the streams of the link, by name
    """

    def __init__(
        self, asker: Asker, historian: Asker, taker: Taker, cursors: dict[str, Cursor], counters: dict[str, int]
    ) -> None:
        self._asker = asker
        self._historian = historian
        self._taker = taker
        self._cursors = cursors
        self._counters = counters
        self._behind: dict[str, Cursor] = {}
        """What is to be asked of the journal, by stream, the oldest need first."""
        self._holding: dict[str, Cursor] = {}
        """What waits for the source's history."""

    @property
    def busy(self) -> bool:
        """Whether a stream is behind."""
        return bool(self._behind or self._holding)

    def judge(self, cursor: Cursor) -> None:
        """Decide whether frames of a stream can be taken as they come, or something is to be asked for first."""
        cursor.live = cursor.settled and not cursor.missing
        cursor.joined |= cursor.live
        _keep(self._holding, cursor, cursor.held is not None)
        _keep(self._behind, cursor, cursor.behind and cursor.held is None)

    def ask(self) -> None:
        """Ask for what is missing, unless a question is open."""
        if self._holding and not self._historian.busy:
            self._ask_history()
        if self._behind and not self._asker.busy:
            behind = list(islice(self._behind.values(), _STREAMS_A_REQUEST))
            for cursor in behind:
                cursor.asked = cursor.head
            self._asker.ask(Replay(self._asker.number(), {cursor.stream: cursor.where() for cursor in behind}))

    def _ask_history(self) -> None:
        now = time.monotonic()
        cursor = next((cursor for cursor in self._holding.values() if now >= cursor.patience_until), None)
        if cursor:
            number = self._historian.number()
            self._historian.ask(History(number, cursor.stream, cursor.missing, cursor.before_ms, cursor.time_ms))

    def on_replayed(self, reply: Replayed, go_on: bool) -> None:
        """Take records of the journal; ``go_on`` with the next ones of a long replay before these are taken."""
        for stream, span in reply.spans.items():
            if (cursor := self._cursors.get(stream)) is not None and cursor.epoch == reply.epoch:
                self._on_span(cursor, span)
        if go_on and reply.records:
            self._ask_ahead(reply)
        for data in reply.records:
            self._on_record(data, reply.numbers)
        for stream in reply.spans:
            if stream in self._cursors:
                self.judge(self._cursors[stream])

    def _ask_ahead(self, reply: Replayed) -> None:
        """Ask for what follows the last record, so that the publisher reads on while what has come is taken."""
        last = read_record(reply.records[-1], 0)
        cursor = self._cursors.get(reply.numbers.get(last.stream, "")) if last else None
        span = reply.spans.get(cursor.stream) if cursor else None
        if not (last and cursor and span) or cursor.missing:  # what is missing is asked of the source first
            return
        end = last.seq + last.messages
        if span.start <= cursor.next < end < cursor.head:
            cursor.asked = cursor.head
            self._asker.ask(Replay(self._asker.number(), {cursor.stream: Start(seq=end)}))

    def _on_record(self, data: memoryview, streams: dict[int, str]) -> None:
        record = read_record(data, 0)
        cursor = self._cursors.get(streams.get(record.stream, "")) if record else None
        if record is None or cursor is None:
            self._counters["malformed"] += 1
        elif record.seq <= cursor.next < record.seq + record.messages:
            self._counters["repairs"] += cursor.joined
            self.deliver_from(cursor, record.seq, record.messages, record.payload, record.time_ms, record.bars)

    def _on_span(self, cursor: Cursor, span: Span) -> None:
        if not cursor.learn_head(span.head):
            self._counters["malformed"] += 1  # the frame or heartbeat that said so
        if span.truncated:
            self._counters["truncated"] += 1
            log.error(
                "%s: messages before %d are no longer kept; the history of the source is asked for the bars",
                cursor.stream,
                span.start,
            )
            span = Span(span.start, span.head, True, MOST_HISTORY)
        if cursor.start is not None or span.truncated:
            cursor.missing = span.missing if cursor.instrument else 0
            cursor.start = None
            cursor.next = span.start
            picture = self._picture(span)
            cursor.note(picture)
            self._taker.deliver(cursor, picture)

    def _picture(self, span: Span) -> list[Message]:
        try:
            return decode(span.picture) if span.picture else []
        except Malformed:
            self._counters["malformed"] += 1
            return []

    def deliver_from(
        self, cursor: Cursor, seq: int, count: int, payload: bytes | memoryview, latest_ms: int = 0, bars: int = 0
    ) -> None:
        """Deliver what is new of ``count`` messages that begin at ``seq``; to be judged afterwards.

        :param latest_ms: with ``bars`` what their header says: the latest bar so far, and the new closed bars in them
        """
        try:
            messages = decode_said(0, count, payload) if count else decode_said(LATEST, 1, payload)
            messages = cursor.unseen(messages[cursor.next - seq :])
        except Malformed as error:
            self._counters["malformed"] += 1
            if count:  # of the journal; a frame that nobody can read must not fill the log
                log.error("%s: messages %d to %d cannot be read: %s", cursor.stream, seq, seq + count - 1, error)
            messages = []
        cursor.next = seq + count
        cursor.head = max(cursor.head, cursor.next)
        self._hand_over(cursor, messages, latest_ms, bars)

    def _hand_over(self, cursor: Cursor, messages: list[Message], latest_ms: int, bars: int) -> None:
        """Deliver, but older bars that are asked of the source's history go first."""
        if cursor.held is not None:
            cursor.held += messages
            return
        if cursor.missing and any(type(message) in (Bar, End) for message in messages):
            cursor.held = messages  # an end alone too: all that was left of the stream may be gone with its bars
            return
        cursor.note_many(messages, latest_ms, bars)
        self._taker.deliver(cursor, messages)

    def on_bars(self, reply: Bars) -> None:
        """Take older bars from the source's history, then what waited behind them."""
        asked = self._historian.asked
        cursor = self._cursors.get(asked.stream) if isinstance(asked, History) else None
        if cursor is None or cursor.held is None:
            return
        if reply.reason and not reply.final and cursor.wait_for_history():
            log.warning("%s: the history cannot be had now: %s; it is asked again", cursor.stream, reply.reason)
            return
        if reply.reason:
            log.error("%s: the bars before %d are missing: %s", cursor.stream, cursor.before_ms, reply.reason)
        held, cursor.held, cursor.missing = cursor.held, None, 0
        if older := self._older(cursor, reply.payload):
            self._taker.older(cursor, older)
        cursor.note(held)
        self._taker.deliver(cursor, held)
        self.judge(cursor)

    def _older(self, cursor: Cursor, payload: bytes) -> list[Message]:
        try:
            bars = decode(payload)
        except Malformed:
            self._counters["malformed"] += 1
            return []
        return [bar for bar in bars if isinstance(bar, Bar) and bar.time_ms > cursor.time_ms]


def _keep(cursors: dict[str, Cursor], cursor: Cursor, there: bool) -> None:
    """Have a cursor there, at its old place if it was there, or not."""
    if there:
        cursors.setdefault(cursor.stream, cursor)
    else:
        cursors.pop(cursor.stream, None)
