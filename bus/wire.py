"""Messages as bytes: frames on PUB, and records in the journal.

A frame is one ZeroMQ message ``topic | header | payload``: the topic ends with a zero byte, so that a
subscription means exactly one stream; the header is 50 bytes, little endian; the payload is one msgpack array
of messages, which takes consecutive sequence numbers from ``seq`` on. A journal record is the same header and
payload behind length and crc, so both are made once. docs/wire.md shows how to read it from any language.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from time import time_ns
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from .messages import Message, is_forming

_T = TypeVar("_T")
VERSION: Final = 2
LATEST: Final = 1
"""Frame flag: latest-wins. Not journaled, not numbered; ``seq`` is that of the stream's next message."""

HEADER: Final = struct.Struct("<BBHQQqqQIH")
"""version, flags, count, epoch, seq of the first message, when it was said in ns since 1970; then for the journal:
the latest bar time so far (ms), new closed bars of the stream before it, stream number, new closed bars in it."""

RECORD: Final = struct.Struct("<II" + HEADER.format[1:])
"""length of the payload, crc32 of all that follows it, header."""

HEADER_BYTES: Final = HEADER.size
RECORD_BYTES: Final = RECORD.size

_COMMIT: Final = struct.Struct("<II")
_COMMIT_BYTES: Final = _COMMIT.size
_MARK: Final = struct.Struct("<qQ")
_MARK_AT: Final = struct.calcsize("<IIBBHQQq")
_pack_commit: Final = _COMMIT.pack_into
pack_header: Final = HEADER.pack
unpack_start: Final = struct.Struct("<BBHQQ").unpack_from
"""version, flags, count, epoch and seq of a header."""
unpack_latest: Final = struct.Struct("<28xq12xH").unpack_from
"""The latest bar time so far and the new closed bars of a header."""
_encoder: Final = msgspec.msgpack.Encoder()
_heads: Final = msgspec.msgpack.Decoder(dict[str, int])
_decoder: Final[msgspec.msgpack.Decoder[list[Message]]] = msgspec.msgpack.Decoder(list[Message])
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are none of ours; the last one of arrays within arrays within arrays."""


class Frame(NamedTuple):
    """A frame taken apart; ``payload`` is still encoded."""

    topic: bytes
    flags: int
    messages: int
    epoch: int
    seq: int
    sent_ns: int
    payload: memoryview


class Malformed(Exception):
    """Bytes that no publisher of this version sends; they are counted and dropped, never guessed at."""


class OtherVersion(Malformed):
    """Bytes of another ``version`` of the wire, which is all that can be read of them."""

    def __init__(self, what: str, version: int) -> None:
        super().__init__(f"{what} of version {version}; this program reads version {VERSION}")
        self.version = version


def topic_of(stream: str) -> bytes:
    """The topic of a stream: ``b1/`` and its name with ``%`` and ``/`` escaped, ended by a zero byte."""
    return topics_from(stream) + b"\0"


def topics_from(prefix: str) -> bytes:
    """What the topics of all streams have in common whose names begin so."""
    return b"b1/" + prefix.replace("%", "%25").replace("/", "%2F").encode()


def heartbeat_topic(publisher: str) -> bytes:
    """Where a publisher says the heads of its streams."""
    return b"hb/" + publisher.encode() + b"\0"


def join_topic(nonce: str) -> bytes:
    """Subscribed last: the answer on it proves that all subscriptions before it are in."""
    return b"j/" + nonce.encode() + b"\0"


encode: Final[Callable[[Sequence[Message]], bytes]] = _encoder.encode
"""The payload that holds the messages."""


def decode(payload: bytes | memoryview) -> list[Message]:
    """The messages of a payload.

    :raises Malformed: it is not an array of known messages
    """
    try:
        return _decoder.decode(payload)
    except UNREADABLE as error:
        raise Malformed(str(error)) from None


def fits(flags: int, count: int, messages: Sequence[Message]) -> bool:
    """Whether messages are what their header says: so many numbered ones, or one of a forming bar alone."""
    if not messages or len(messages) != count:
        return False
    forming = is_forming(messages[-1])
    return forming is (flags & LATEST != 0) and (count == 1 or not forming)


def decode_said(flags: int, count: int, payload: bytes | memoryview) -> list[Message]:
    """The messages of a frame or record.

    :raises Malformed: they cannot be read, or are not what their header says
    """
    try:
        messages = _decoder.decode(payload)
    except UNREADABLE as error:
        raise Malformed(str(error)) from None
    if not fits(flags, count, messages):
        raise Malformed("they are not what their header says")
    return messages


def hint(count: int, epoch: int, seq: int, payload: bytes) -> bytes:
    """Header and payload of a latest-wins frame, which no journal keeps."""
    return pack_header(VERSION, LATEST, count, epoch, seq, time_ns(), 0, 0, 0, 0) + payload


def parse_frame(data: bytes) -> Frame:
    """Take a frame apart.

    :raises Malformed: too short, no topic, or another version
    """
    end = data.find(b"\0") + 1
    if end and len(data) > end and data[end] != VERSION:
        raise OtherVersion("a frame", data[end])
    if end == 0 or len(data) < end + HEADER_BYTES:
        raise Malformed("a frame without topic or header")
    _, flags, count, epoch, seq, sent_ns, *_ = HEADER.unpack_from(data, end)
    return Frame(data[:end], flags, count, epoch, seq, sent_ns, memoryview(data)[end + HEADER_BYTES :])


class Record(NamedTuple):
    """A journal record taken apart: ``size`` bytes at its place, ``payload`` still encoded."""

    size: int
    stream: int
    messages: int
    bars: int
    seq: int
    time_ms: int
    payload: memoryview


def write_record(buffer: memoryview, at: int, said: bytes) -> int:
    """Write header and payload as a record, return its end; length and crc go last: a torn one is never whole."""
    end = at + _COMMIT_BYTES + len(said)
    buffer[at + _COMMIT_BYTES : end] = said
    _pack_commit(buffer, at, end - at - RECORD_BYTES, crc32(said))
    return end


def read_record(buffer: memoryview, at: int) -> Record | None:
    """The record at a place, or None where there is no whole one (the end, or a torn tail)."""
    if at + RECORD_BYTES > len(buffer):
        return None
    size, crc, version, flags, count, _, seq, _, time_ms, _, stream, bars = RECORD.unpack_from(buffer, at)
    end = at + RECORD_BYTES + size
    if version != VERSION or flags or not bars <= count > 0 or end > len(buffer):
        return None
    if crc32(buffer[at + _COMMIT_BYTES : end]) != crc:
        return None
    return Record(RECORD_BYTES + size, stream, count, bars, seq, time_ms, buffer[at + RECORD_BYTES : end])


def read_mark(buffer: memoryview, at: int) -> tuple[int, int]:
    """Of the record at a place: the latest bar time so far (ms), and the new closed bars before it."""
    time_ms, bars_before = _MARK.unpack_from(buffer, at + _MARK_AT)
    return time_ms, bars_before


def encode_heads(heads: dict[str, int]) -> bytes:
    """The payload of a heartbeat: the next seq of streams by name."""
    return _encoder.encode(heads)


def decode_heads(payload: bytes | memoryview) -> dict[str, int]:
    """:raises Malformed: not a heartbeat's payload"""
    try:
        return _heads.decode(payload)
    except UNREADABLE as error:
        raise Malformed(str(error)) from None
