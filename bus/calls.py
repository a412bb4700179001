"""What is asked of a publisher and answered: requests of a DEALER, replies of a ROUTER.

A call is one byte, the version, and one msgpack array whose first element is its tag. docs/wire.md shows them.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from .messages import Instrument, Message
from .reports import Peer, Report
from .versions import Refused
from .wire import UNREADABLE, VERSION, Malformed, OtherVersion

_T = TypeVar("_T")
_encoder: Final = msgspec.msgpack.Encoder()


class Info(Struct, frozen=True, array_like=True, tag="info"):
    """Ask what the publisher has; with ``peers`` also who follows it."""

    peers: bool = False


class Start(Struct, frozen=True, array_like=True):
    """Where to begin in a stream; the first field that is set counts, none means the earliest that is kept.

    ``seq``: at this message. ``from_ms``: at the first record whose latest bar is not before this time, so
    that a consumer that has that bar sees the revisions after it. ``last``: so that the last N closed bars
    follow; with ``kept`` no more than are kept, and at the earliest if these are all. ``older``: at the earliest,
    with so many bars of the source's history before it. With ``picture`` a script's stream is told first as it stands
    there, unless it begins there.
    """

    seq: int | None = None
    from_ms: int | None = None
    last: int | None = None
    older: int = 0
    picture: bool = False
    kept: bool = False


class Replay(Struct, frozen=True, array_like=True, tag="replay"):
    """Ask for the journal of some streams, in order of their names; at most ``max_bytes`` come at once."""

    request: int
    wants: dict[str, Start]
    max_bytes: int = 1 << 20


class History(Struct, frozen=True, array_like=True, tag="history"):
    """Ask the source for its last ``count`` closed bars that open after ``after_ms`` and before ``before_ms``; if that
    is 0, for the last that it has.
    """

    request: int
    stream: str
    count: int
    before_ms: int
    after_ms: int = 0


class Fetch(Struct, frozen=True, array_like=True, tag="fetch"):
    """Ask for closed bars that open from ``from_ms`` until before ``to_ms``, of any stream that the venue has.

    ``fresh`` throws away first what was downloaded of the stream before; an empty span then asks for no more.
    """

    request: int
    stream: str
    from_ms: int
    to_ms: int
    fresh: bool = False


class Symbols(Struct, frozen=True, array_like=True, tag="symbols"):
    """Ask which symbols the venue has; ``search`` is a part of their names."""

    request: int
    search: str = ""


class Ack(Struct, frozen=True, array_like=True, tag="ack"):
    """A declared consumer has everything below these seqs on disk; ``final`` asks for an answer."""

    consumer: str
    epoch: int
    durable: dict[str, int]
    final: bool = False


class StreamInfo(Struct, frozen=True, array_like=True):
    """A stream of a publisher: its number, the seqs that are kept, its instrument and the last bar.

    ``first`` is the earliest seq that can be replayed, ``head`` the seq that comes next; ``rate`` is closed bars a
    second of the last minute, ``age_s`` how long ago the last new closed bar was said; -1 if the publisher was started
    since.
    """

    name: str
    first: int
    head: int
    bars: int
    instrument: Instrument | None = None
    last: Message | None = None
    state: Message | None = None
    ended: bool = False
    subscribers: int = 0
    rate: float = 0.0
    age_s: float = -1.0


class Welcome(Struct, frozen=True, array_like=True, tag="welcome"):
    """The answer to ``Info``; ``lags`` is what each declared consumer has not got yet, in messages.

    ``pub_elsewhere`` is where other hosts subscribe, and ``bus`` tells them whose it is; empty if they cannot.
    """

    publisher: str
    version: str
    epoch: int
    pub: str
    heartbeat_s: float
    streams: list[StreamInfo]
    lags: dict[str, int]
    subscribers: int
    peers: list[Peer] = []
    pub_elsewhere: str = ""
    bus: str = ""


class Span(Struct, frozen=True, array_like=True):
    """Of one stream in a replay: ``start`` is the first seq that counts; what is before it is skipped.

    ``truncated`` says that earlier messages were asked for than are kept; ``missing`` how many of the
    ``last`` bars are older than the journal. ``picture`` is a payload: what somebody must know who begins at ``start``.
    """

    start: int
    head: int
    truncated: bool = False
    missing: int = 0
    picture: bytes = b""


class Replayed(Struct, frozen=True, array_like=True, tag="replayed"):
    """The answer to ``Replay``: spans by stream, whole journal records, and their streams by number."""

    request: int
    epoch: int
    spans: dict[str, Span]
    records: list[memoryview]
    numbers: dict[int, str]


class Bars(Struct, frozen=True, array_like=True, tag="bars"):
    """The answer to ``History`` and ``Fetch``: a payload of closed bars, oldest first, or why there are none.

    To ``Fetch`` the payload begins with the instrument; ``next_ms`` is where the rest begins, 0 if that was all.
    ``final`` says that asking again is of no use.
    """

    request: int
    payload: bytes
    reason: str = ""
    next_ms: int = 0
    final: bool = False


class Names(Struct, frozen=True, array_like=True, tag="names"):
    """The answer to ``Symbols``, or why there is none."""

    request: int
    names: list[str]
    reason: str = ""
    final: bool = False


class Acked(Struct, frozen=True, array_like=True, tag="acked"):
    """The answer to a final ``Ack``."""

    epoch: int


Request = Info | Replay | History | Fetch | Symbols | Ack | Report
Reply = Welcome | Replayed | Bars | Names | Acked | Refused

_requests: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)
_refused: Final = msgspec.msgpack.Decoder(Refused)


def encode_call(call: Request | Reply) -> bytes:
    """A request or reply as bytes, with the version in front."""
    return bytes((VERSION,)) + _encoder.encode(call)


def decode_request(data: bytes) -> Request:
    """:raises Malformed: not a request of this version"""
    return _call(_requests, data)


def decode_reply(data: bytes) -> Reply:
    """:raises Malformed: not a reply of this version, nor a refusal, which every version can read"""
    try:
        return _call(_replies, data)
    except OtherVersion as other:
        try:
            return _refused.decode(memoryview(data)[1:])
        except UNREADABLE:
            raise other from None


def _call(decoder: msgspec.msgpack.Decoder[_T], data: bytes) -> _T:
    if not data:
        raise Malformed("a call of no version")
    if data[0] != VERSION:
        raise OtherVersion("a call", data[0])
    try:
        return decoder.decode(memoryview(data)[1:])
    except UNREADABLE as error:
        raise Malformed(str(error)) from None
