"""The wire: what is encoded comes back, and what is damaged is noticed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynelive.bus.calls import decode_reply, decode_request
from pynelive.bus.messages import Alert, Bar, End, Executed, Instrument, Message, Plot, Span, State
from pynelive.bus.names import matches, parse_key
from pynelive.bus.wire import (
    HEADER,
    RECORD,
    VERSION,
    Malformed,
    decode,
    decode_heads,
    encode,
    parse_frame,
    read_mark,
    read_record,
    topic_of,
    write_record,
)

numbers = st.floats(allow_nan=False)
texts = st.text(max_size=20)
bars = st.builds(
    Bar, st.integers(0, 2**45), numbers, numbers, numbers, numbers, numbers, closed=st.booleans(),
    update=st.integers(0, 99), revision=st.integers(0, 9),
    origin=st.sampled_from(["venue", "demo", "replay"]),
    received_ns=st.integers(0, 2**62), extra=st.none() | st.dictionaries(texts, numbers | texts, max_size=3),
)  # fmt: skip
messages = st.one_of(
    bars,
    st.builds(State, st.sampled_from(["live", "down", "closed"]), st.integers(0, 2**45), texts),
    st.builds(End, texts),
    st.builds(
        Instrument,
        texts,
        st.just("1"),
        opening_hours=st.lists(st.builds(Span, st.integers(0, 6), st.just(0), st.just(9))).map(tuple),
    ),
    st.builds(
        Plot,
        st.integers(0, 2**45),
        st.dictionaries(texts, st.none() | numbers | st.booleans() | texts, max_size=4),
    ),
    st.builds(Alert, st.integers(0, 2**45), texts),
    st.builds(Executed, bars, st.integers(0, 2**60), st.integers(0, 2**60)),
)


@given(st.lists(messages, max_size=64))
def test_messages_come_back_as_they_were(said: list[Message]) -> None:
    """Encoding and decoding a payload changes nothing, whatever the kinds in it."""
    assert decode(encode(said)) == said


@given(
    st.lists(messages, min_size=1, max_size=5),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.binary(max_size=200),
)
def test_a_frame_comes_back_as_it_was(said: list[Message], epoch: int, seq: int, behind: bytes) -> None:
    """Header and payload of a frame are what was packed; anything shorter than its header is refused."""
    data = topic_of("demo:BTC/USDT@1") + HEADER.pack(VERSION, 0, len(said), epoch, seq, 7, 0, 0, 0, 0) + encode(said)

    frame = parse_frame(data)

    assert (frame.topic, frame.messages) == (b"b1/demo:BTC%2FUSDT@1\0", len(said))
    assert (frame.epoch, frame.seq, frame.sent_ns) == (epoch, seq, 7)
    assert decode(frame.payload) == said


@given(st.binary(max_size=400))
def test_rubbish_is_refused_and_never_crashes(data: bytes) -> None:
    """Whatever arrives, it is a message of ours or Malformed."""
    for read in (parse_frame, decode, decode_request, decode_reply, decode_heads):
        try:
            read(data)
        except Malformed:
            pass


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_record_survives_whole_or_not_at_all(payload: bytes, data: st.DataObject) -> None:
    """A record reads back; with any bit of it flipped, or any of its tail missing, there is no record."""
    buffer = bytearray(RECORD.size + len(payload))
    said = HEADER.pack(VERSION, 0, 2, 9, 40, 7, 60_000, 5, 3, 1) + payload
    size = write_record(memoryview(buffer), 0, said)

    record = read_record(memoryview(buffer), 0)

    assert size == len(buffer)
    assert record is not None
    assert (record.stream, record.messages, record.bars) == (3, 2, 1)
    assert (record.seq, record.time_ms, bytes(record.payload)) == (40, 60_000, payload)
    assert read_mark(memoryview(buffer), 0) == (60_000, 5)

    cut = data.draw(st.integers(0, size - 1))
    assert read_record(memoryview(buffer)[:cut], 0) is None
    bit = data.draw(st.integers(0, size * 8 - 1))
    buffer[bit // 8] ^= 1 << bit % 8
    assert read_record(memoryview(buffer), 0) is None


def test_an_older_reader_and_an_older_writer_understand_each_other() -> None:
    """A message with fields appended is read by who does not know them, and one without gets defaults."""
    longer = msgspec.msgpack.decode(encode([Bar(1, 2.0, 3.0, 1.0, 2.5, 9.0)]))
    longer[0].append("a field of the future")
    shorter = [["bar", 1, 2.0, 3.0, 1.0, 2.5, 9.0]]

    for written in (longer, shorter):
        assert decode(msgspec.msgpack.encode(written)) == [Bar(1, 2.0, 3.0, 1.0, 2.5, 9.0)]


@pytest.mark.parametrize("text", ["BTC/USDT", "@1", "BTC@", "BTC@0", "BTC@1H", "BTC@1M", "BTC@x"])
def test_a_key_without_symbol_or_timeframe_is_refused(text: str) -> None:
    """What is no symbol@timeframe is said to be none."""
    with pytest.raises(ValueError, match=r"timeframe|names no symbol"):
        parse_key(text)


def test_a_pattern_crosses_separators_and_takes_brackets_as_text() -> None:
    """`demo:*` means every stream of the demo; a bracket in a name is just a bracket."""
    assert matches("demo:BTC/USDT@1", "demo:*")
    assert matches("x:[A]@1", "x:[A]@*")
    assert not matches("demo:BTC/USDT@15", "demo:*@1")
