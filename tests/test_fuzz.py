"""Hostile bytes at every socket and in every journal file: the short run of `fuzz.py`, and what it has found."""

import asyncio
import logging
from pathlib import Path

import pytest
from fuzz import attack
from fuzz_world import STREAM, World, world
from pynelive.bus import calls, wire
from pynelive.bus.archive import MOST_HISTORY, Desk
from pynelive.bus.calls import encode_call
from pynelive.bus.messages import Bar
from pynelive.bus.wire import HEADER, LATEST, VERSION, encode
from support import make_bar, wait_until


def frame(there: World, seq: int, count: int, payload: bytes, flags: int = 0) -> bytes:
    """A frame of the stream with any header."""
    header = HEADER.pack(VERSION, flags, count, there.publisher.epoch, seq, 0, 0, 0, 0, 0)
    return wire.topic_of(STREAM) + header + payload


async def test_mutated_frames_requests_replies_and_journals_are_counted_and_never_believed(tmp_path: Path) -> None:
    """12,000 of them: nothing raises, every bar that is delivered is the true one, what is refused is counted."""
    counts = await attack(tmp_path, 12_000, seed=1)

    for kind in ("malformed frames", "malformed requests", "malformed replies", "damaged records", "through sockets"):
        assert counts[kind] > 100, kind
    assert counts["damaged journals"] + counts["refused journals"] > 10


async def test_a_deep_message_is_malformed_and_no_more(tmp_path: Path) -> None:
    """Arrays in arrays by the thousand end no process: on PUB, at the ROUTER, in a reply."""
    deep = b"\x91" * 100_000
    async with world(tmp_path, 1) as there:
        there.link._on_frame(frame(there, there.link.cursors[STREAM].next, 1, b"\x91\x92\xa3end" + deep))
        there.publisher._on_request(b"asker", bytes((VERSION,)) + b"\x92\xa4info" + deep)
        there.link._asker._on_reply(bytes((VERSION,)) + b"\x92\xa5acked" + deep)
        there.link._asker._on_reply(bytes((VERSION - 1,)) + b"\x94\xa7refused\xa1x\x91\x01" + deep)

        assert there.link.counts()["malformed"] == 3
        assert there.publisher.malformed == 1


async def test_a_false_head_is_refuted_by_the_journal(tmp_path: Path) -> None:
    """A frame far ahead makes the subscriber ask; the journal knows better, it is counted, and bars come live again."""
    async with world(tmp_path, 1) as there:
        cursor = there.link.cursors[STREAM]
        there.link._on_frame(frame(there, 2**64 - 1, 9, encode([make_bar(0)])))
        assert not cursor.live
        await wait_until(lambda: cursor.live)

        assert there.link.counts()["malformed"] == 1
        for data in there.say():
            there.link._on_frame(data)
        await there.settle()


async def test_a_flag_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """A closed bar as latest-wins would come twice; a forming one with a number would take a closed one's place."""
    async with world(tmp_path, 1) as there:
        cursor = there.link.cursors[STREAM]
        closed, forming = encode([make_bar(0)]), encode([make_bar(0, closed=False)])
        there.link._on_frame(frame(there, cursor.next, 1, closed, LATEST))
        there.link._on_frame(frame(there, cursor.next, 1, forming))
        there.link._on_frame(frame(there, cursor.next, 0, encode([])))

        assert there.link.counts()["malformed"] == 3
        assert not any(isinstance(message, Bar) and message.closed for message in there.taken.messages[STREAM][5:])
        for data in there.say():
            there.link._on_frame(data)
        await there.settle()


async def test_a_flood_of_unreadable_frames_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of any version, for a stream that is live and for one that waits for its first bar: counted, said once."""
    async with world(tmp_path, 1) as there:
        caplog.clear()  # of what a busy machine has said before
        cursor, payload = there.link.cursors[STREAM], b"\xc1" * 50
        odd = [wire.topic_of(STREAM) + bytes((version,)) + payload for version in range(VERSION + 1, VERSION + 101)]
        for missing in (0, 5):
            cursor.missing = missing
            there.link._repair.judge(cursor)
            for flags in (0, LATEST):
                for data in (*odd, *[frame(there, cursor.next, 0, payload, flags)] * 100):
                    there.link._on_frame(data)
        said = [record for record in caplog.records if record.levelno >= logging.WARNING]

        assert there.link.counts()["malformed"] >= 700
        assert len(said) == 1
        assert "speaks version" in said[0].getMessage()


async def test_a_welcome_that_leads_astray_is_counted(tmp_path: Path) -> None:
    """To another host, to no address at all: nothing is connected nor left open, and the true one is still followed."""
    async with world(tmp_path, 1) as there:
        for pub in ("tcp://10.0.0.1:5", "\x00", "ipc://", "pub"):
            there.link._on_reply(calls.Welcome("demo", "2", there.publisher.epoch, pub, 1.0, [], {}, 1))

        assert there.link.counts()["malformed"] == 4
        for data in there.say():
            there.link._on_frame(data)
        await there.settle()


async def test_nobody_has_what_was_not_said(tmp_path: Path) -> None:
    """An acknowledgement beyond the end is counted and moves nothing."""
    async with world(tmp_path, 1) as there:
        beyond = calls.Ack("recorder", there.publisher.epoch, {STREAM: 2**63})
        there.publisher._on_request(b"asker", encode_call(beyond))

        assert there.publisher.counts()["malformed_requests"] == 1
        assert there.publisher.consumers.durable() == {STREAM: 0}


async def test_too_many_questions_are_refused_not_gathered() -> None:
    """A flood of questions to the venue is answered with "later"; what is open stays bounded."""
    waits, answers = asyncio.Event(), list[calls.Reply]()

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        assert 0 <= count <= MOST_HISTORY
        await waits.wait()
        return []

    desk = Desk("demo", history, lambda asker, reply: answers.append(reply))
    for number in range(3_000):
        desk.take(b"asker", calls.History(number, STREAM, 2**63, 0))
    assert len(answers) == 2_000
    assert all(isinstance(reply, calls.Bars) and reply.reason and not reply.final for reply in answers)
    waits.set()
    await wait_until(lambda: len(answers) == 3_000)
