"""Programs of two versions meet on real sockets: each is told what the other speaks, and nobody waits for ever."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import zmq
from pynelive.bus.archive import RemoteArchive
from pynelive.bus.asker import Questions
from pynelive.bus.discovery import Claim
from pynelive.bus.errors import Fault, Hopeless
from pynelive.bus.wire import HEADER, VERSION, heartbeat_topic, topic_of
from support import STREAM, Taken, make_bar, publishing, run_dir, wait_until

NEWER, OLDER = VERSION + 1, VERSION - 1


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    """How often it is in the log."""
    return sum(words in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("version", [NEWER, OLDER, 255])
async def test_a_program_of_another_version_is_answered(tmp_path: Path, version: int) -> None:
    """Whatever follows the version byte: the answer is the publisher's version, then who speaks which versions."""
    async with publishing(run_dir(tmp_path)) as publisher:
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(publisher._router.getsockopt_string(zmq.LAST_ENDPOINT))
        dealer.send(bytes((version,)) + b"what nobody here can read")
        answer = await asyncio.to_thread(dealer.recv)
        assert answer[0] == VERSION
        assert msgspec.msgpack.decode(answer[1:]) == ["refused", "demo", [VERSION]]
        assert publisher.malformed == 1
        context.destroy()


async def refuse_all(router: zmq.Socket[bytes], version: int, calls: list[bytes]) -> None:
    """A publisher of another version, as far as this one can understand it; a field more than is known here."""
    while True:
        if router.poll(0):
            asker, call = router.recv_multipart()
            calls.append(call)
            answer = msgspec.msgpack.encode(["refused", "demo", [version], "of the future"])
            router.send_multipart([asker, bytes((version,)) + answer])
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("version", "mend"), [(NEWER, "upgrade pynelive here"), (OLDER, "restart 'demo' with")])
async def test_a_publisher_of_another_version_is_named_once(
    tmp_path: Path, version: int, mend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks for its streams gets one sentence, and so does the log; it is not asked again, and its successor of
    our version is followed."""
    run = run_dir(tmp_path)
    claim, context, calls = await Claim.take(run, "demo"), zmq.Context(), list[bytes]()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    router.bind("tcp://127.0.0.1:*")
    control = router.getsockopt_string(zmq.LAST_ENDPOINT)
    claim.announce(control, 1)
    refusing = asyncio.create_task(refuse_all(router, version, calls))
    sentence = f"'demo' speaks version {version} of the wire, and this program version {VERSION}: {mend}"

    taken = Taken(run, [STREAM])
    await wait_until(lambda: said(caplog, sentence) > 0)
    with pytest.raises(Fault, match=sentence):
        await taken.subscriber.all_found(0.1)
    questions = Questions(control, "demo", lambda: True)
    with pytest.raises(Hopeless, match=sentence):
        await RemoteArchive(questions).symbols()
    questions.close()
    assert not taken.subscriber.links["demo"]._asker.busy
    assert all(call[0] == VERSION for call in calls)
    assert said(caplog, sentence) == 1

    refusing.cancel()
    context.destroy()
    claim.release()
    async with publishing(run) as publisher:
        publisher.publish(STREAM, make_bar(1))
        await wait_until(lambda: taken.closed() == [1])
    await taken.subscriber.close()


async def test_frames_of_another_version_are_said_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On a stream and on the heartbeat, with a header that is shorter or longer than ours; ours go on."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        taken = Taken(run, [STREAM])
        await wait_until(taken.subscriber.ready)
        for topic in (topic_of(STREAM), heartbeat_topic("demo")):
            for rest in (b"", b"short", bytes(HEADER.size + 50)):
                publisher._send(topic + bytes((NEWER,)) + rest)
        publisher.publish(STREAM, make_bar(1))
        await wait_until(lambda: taken.closed() == [1])
        assert taken.subscriber.counters()["malformed"] == 6
        assert said(caplog, f"'demo' speaks version {NEWER} of the wire") == 1
        await taken.subscriber.close()
