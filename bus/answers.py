"""What a publisher answers from its journal: what there is, and what was missed."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from msgspec import structs

from . import wire
from .archive import MOST_HISTORY
from .calls import Info, Replay, Replayed, Span, Start, StreamInfo, Welcome
from .journal import Journal
from .messages import Bar, Executed, Instrument, Message
from .picture import Picture
from .track import Track
from .wire import decode, encode

if TYPE_CHECKING:
    from .outgoing import Out
    from .publisher import Publisher


_LARGEST_REPLY = 16 << 20


def answer_info(publisher: Publisher, request: Info) -> Welcome:
    """Everything that somebody must know before he subscribes."""
    readers, outs = publisher.readers, publisher.outs.values()
    prefixes = [topic for topic in readers if topic.startswith(b"b1/") and topic[-1:] != b"\0"]
    streams = []
    for out in outs:
        if out.track.head:
            wide = sum(readers[prefix] for prefix in prefixes if out.topic.startswith(prefix))
            streams.append(_stream_info(out, readers.get(out.topic, 0) + wide))
    return Welcome(
        publisher.name,
        str(wire.VERSION),
        publisher.epoch,
        publisher.pub_endpoint,
        publisher.heartbeat_s,
        streams,
        publisher.lags(),
        publisher.subscribers,
        publisher.peers.listed() if request.peers else [],
        publisher.door.pub if publisher.door else "",
        publisher.door.bus if publisher.door else "",
    )


def _stream_info(out: Out, subscribers: int) -> StreamInfo:
    track = out.track
    opening = decode(track.opening)[0] if track.opening else None
    instrument = opening if isinstance(opening, Instrument) else None
    return StreamInfo(
        out.stream, track.first, track.head, track.bars, instrument, out.last, out.state, out.ended, subscribers,
        out.rate.now, -1.0 if out.said_s is None else time.monotonic() - out.said_s,
    )  # fmt: skip


def answer_replay(journal: Journal, request: Replay, outs: Mapping[str, Out]) -> Replayed:
    """The asked records, in the order of the request, until ``max_bytes`` are full; the rest is asked for again."""
    budget = min(request.max_bytes, _LARGEST_REPLY)
    spans: dict[str, Span] = {}
    records: list[memoryview] = []
    numbers: dict[int, str] = {}
    for name, start in request.wants.items():
        if budget <= 0:
            break
        track = journal.tracks.get(name)
        if track is None:
            spans[name] = Span(0, 0)
            continue
        spans[name], entry = _begin(journal, track, start)
        if start.picture:
            spans[name] = structs.replace(spans[name], picture=_picture(journal, track, spans[name], outs[name]))
        if spans[name].start < track.head:
            parts, _ = journal.raw_from(track, entry, budget)
            budget -= sum(map(len, parts))
            records += parts
            numbers[track.number] = name
    return Replayed(request.request, journal.epoch, spans, records, numbers)


def _picture(journal: Journal, track: Track, span: Span, out: Out) -> bytes:
    """As a script's stream stands where somebody begins, as far as its messages before that are kept."""
    if out.picture is None or span.start == 0:
        return b""
    if span.start == track.head:
        return encode(out.picture.messages())
    picture = Picture()
    for seq, place in zip(track.seqs, track.places, strict=True):
        if seq >= span.start:
            break
        picture.take(decode(journal.record_at(place).payload)[: span.start - seq])
    return encode(picture.messages())


def _begin(journal: Journal, track: Track, start: Start) -> tuple[Span, int]:
    if start.last is not None:
        return _last_bars(journal, track, start.last, start.kept)
    if start.from_ms is not None:
        return _from_time(journal, track, start.from_ms, start.older)
    seq = max(start.seq or 0, track.first)
    truncated = start.seq is not None and start.seq < track.first
    return Span(min(seq, track.head), track.head, truncated, start.older), track.entry_of(seq)


def _from_time(journal: Journal, track: Track, from_ms: int, older: int) -> tuple[Span, int]:
    """From a bar that the asker has; what is between that and the journal's first bar is missing, if anything is."""
    seq = min(track.seq_from(from_ms), track.head)
    first_ms = _first_bar_ms(journal, track)
    truncated = track.first > 0 and first_ms > from_ms
    missing = MOST_HISTORY if first_ms > from_ms > 0 else older
    return Span(seq, track.head, truncated, missing), track.entry_of(seq)


def _first_bar_ms(journal: Journal, track: Track) -> float:
    """When the earliest bar opens that is kept; infinite if there is none."""
    entries = range(len(track.places))
    for entry in entries[bisect_right(entries, 0, key=track.time_at) :]:  # before it there are such as the instrument
        for message in decode(journal.record_at(track.places[entry]).payload):
            if isinstance(message, Bar | Executed):
                return (message.bar if isinstance(message, Executed) else message).time_ms
    return inf


def _last_bars(journal: Journal, track: Track, last: int, only_kept: bool) -> tuple[Span, int]:
    wanted = track.bars - last
    kept = track.bars_before(0) if track.places else track.bars
    if only_kept and wanted <= kept:  # all of it: who has no bar yet may have said why
        return Span(track.first, track.head), 0
    missing = 0 if only_kept else max(kept - wanted, 0)
    if last <= 0 or not track.places:
        return Span(track.head, track.head, missing=missing), len(track.places)
    entry = track.entry_of_bar(max(wanted, kept))
    seq = track.seqs[entry]
    to_skip = max(wanted, kept) - track.bars_before(entry)
    for message in decode(journal.record_at(track.places[entry]).payload):
        if _is_new_bar(message):
            if to_skip == 0:
                break
            to_skip -= 1
        seq += 1
    return Span(seq, track.head, missing=missing), entry


def _is_new_bar(message: Message) -> bool:
    bar = message.bar if isinstance(message, Executed) else message
    return isinstance(bar, Bar) and bar.closed and not bar.revision
