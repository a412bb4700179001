"""The bus end to end on real sockets: every message once and in order, whatever is dropped, killed or late."""

import asyncio
import itertools
import random
from pathlib import Path

import pytest
import zmq
from pynelive.bus import segments
from pynelive.bus.calls import Replayed, Reply, Start
from pynelive.bus.cursor import Cursor
from pynelive.bus.discovery import publishers
from pynelive.bus.endpoints import refuse_remote
from pynelive.bus.errors import Fault, Hopeless
from pynelive.bus.journal import delete
from pynelive.bus.messages import Bar, End, Instrument, Message, State
from pynelive.bus.publisher import FRAME_MESSAGES, Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import JournalSpec
from pynelive.bus.subscriber import from_head
from pynelive.bus.wire import heartbeat_topic
from support import STREAM, Taken, make_bar, publishing, run_dir, wait_until


def drop_frames(publisher: Publisher, share: float, seed: int) -> list[int]:
    """Lose a share of what is sent on PUB (heartbeats excepted); the list counts what was lost."""
    dice, send, lost = random.Random(seed), publisher._send, []

    def sometimes(data: bytes) -> None:
        if not data.startswith(b"hb/") and dice.random() < share:
            lost.append(len(data))
        else:
            send(data)

    publisher._send = sometimes  # type: ignore[assignment]
    return lost


def fall_silent_after(publisher: Publisher, heartbeats: int) -> None:
    """Send no more than so many."""
    send, left = publisher._send_heads, iter(range(heartbeats))

    def rarely(topic: bytes, heads: dict[str, int]) -> None:
        if next(left, None) is not None:
            send(topic, heads)

    publisher._send_heads = rarely  # type: ignore[method-assign]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
async def test_dropped_frames_are_repaired_in_order(tmp_path: Path, share: float) -> None:
    """With 1 to 30 % of the frames lost, the last one too, everything arrives once, in order, within two heartbeats;
    no forming bar comes ahead of a close that is still missing."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        taken = Taken(run, [STREAM])
        await wait_until(taken.subscriber.ready)
        lost = drop_frames(publisher, share, seed=1)
        for number in range(600):
            publisher.publish(STREAM, make_bar(number))
            publisher.flush()
            publisher.forming(STREAM, make_bar(number + 1, closed=False, update=1))
            await asyncio.sleep(0)
        publisher.flush()
        publisher._send = lambda data: lost.append(len(data))  # type: ignore[assignment]
        fall_silent_after(publisher, heartbeats=2)
        publisher.publish(STREAM, make_bar(600), End())
        publisher.flush()
        await wait_until(lambda: taken.closed()[-1:] == [600])

        assert taken.closed() == list(range(601))
        assert taken.subscriber.counters()["repairs"] > 0
        assert len(lost) > 600 * share / 2
        newest = -1
        for message in taken.messages[STREAM]:
            if isinstance(message, Bar):
                if message.closed:
                    newest = message.time_ms
                else:
                    assert message.time_ms == newest + 60_000
        await taken.subscriber.close()


async def load(publisher: Publisher, names: list[str], dice: random.Random) -> None:
    """Publish bars to the first stream, and as many to the others, until cancelled."""
    for number in itertools.count(300):
        publisher.publish(names[0], make_bar(number))
        if len(names) > 1:
            publisher.publish(dice.choice(names[1:]), make_bar(number))
        if number % dice.randint(1, 10) == 0:
            await asyncio.sleep(0.002)


async def join(run: RunDir, names: list[str], dice: random.Random) -> None:
    """Come at some instant, ask for 200 bars, stay for a while; what was heard has no hole and no double."""

    async def begin(cursor: Cursor) -> Start:
        return Start(last=200)

    await asyncio.sleep(dice.random() * 0.05)
    taken = Taken(run, names, begin)
    await wait_until(lambda: len(taken.messages.get(names[0], ())) > 220, 60)
    await taken.subscriber.close()
    seen = taken.closed(names[0])
    assert seen == list(range(seen[0], seen[-1] + 1))
    assert seen[0] >= 100
    for name in names[1:]:
        others = taken.closed(name)
        assert others == sorted(set(others))


@pytest.mark.parametrize("streams", [1, 2000])
async def test_joins_at_random_instants_lose_and_double_nothing(tmp_path: Path, streams: int) -> None:
    """A hundred subscribers come at random instants under load and ask for 200 bars of history: each gets exactly
    200 bars, then every later one, no seam; with one subscription and with 2,000."""
    run, dice = run_dir(tmp_path), random.Random(7)
    names = [f"demo:S{n}@1" for n in range(streams)]
    async with publishing(run) as publisher:
        for name in names:
            publisher.publish(name, Instrument(name, "1"))
        publisher.publish(names[0], *map(make_bar, range(300)))
        loading = asyncio.create_task(load(publisher, names, dice))
        at_once = 10 if streams == 1 else 4
        for _ in range(100 // at_once):
            await asyncio.gather(*(join(run, names, dice) for _ in range(at_once)))
        loading.cancel()


async def test_history_is_exact_and_ends_where_live_begins(tmp_path: Path) -> None:
    """`last` counts closed bars: states and revisions between them do not, and records may hold many bars."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        for number in range(100):
            publisher.publish(STREAM, make_bar(number))
            if number % 10 == 0:
                publisher.publish(STREAM, State("live", 0), make_bar(number, revision=1))
        publisher.flush()

        async def begin(cursor: Cursor) -> Start:
            return Start(last=37)

        taken = Taken(run, ["demo:*"], begin)
        await wait_until(taken.subscriber.ready)
        publisher.publish(STREAM, make_bar(100))
        await wait_until(lambda: taken.closed()[-1:] == [100])
        assert taken.closed() == list(range(63, 101))
        await taken.subscriber.close()


async def test_a_long_replay_goes_on_while_a_part_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part is asked for before one is taken; what came damaged is asked for again, nothing is doubled."""
    run, count, parts, ahead = run_dir(tmp_path), 60_032, 0, []
    async with publishing(run) as publisher:
        for number in range(0, count, 64):
            publisher.publish(STREAM, *map(make_bar, range(number, number + 64)))
        reply = publisher._reply

        def damaging(asker: bytes, said: Reply) -> None:
            nonlocal parts
            if isinstance(said, Replayed):
                parts += 1
                if parts == 2:
                    said.records[len(said.records) // 2] = memoryview(bytes(100))
            reply(asker, said)

        monkeypatch.setattr(publisher, "_reply", damaging)
        taken = Taken(run, [STREAM])
        take = taken.subscriber.deliver

        def watching(cursor: Cursor, messages: list[Message]) -> None:
            ahead.append(taken.subscriber.links["demo"]._asker.busy)
            take(cursor, messages)

        taken.subscriber.deliver = watching
        await wait_until(lambda: taken.closed()[-1:] == [count - 1])
        assert taken.closed() == list(range(count))
        assert ahead.count(True) > len(ahead) // 2
        await taken.subscriber.close()


async def test_a_publisher_that_comes_back_is_followed_on(tmp_path: Path) -> None:
    """After a restart of the publisher the numbers go on, and so does every subscriber, without a word twice."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(10)))
        taken = Taken(run, [STREAM])
        await wait_until(lambda: len(taken.closed()) == 10)
        epoch = publisher.epoch
    async with publishing(run) as publisher:
        assert publisher.epoch == epoch
        publisher.publish(STREAM, *map(make_bar, range(10, 20)))
        await wait_until(lambda: len(taken.closed()) == 20)
    assert taken.closed() == list(range(20))
    await taken.subscriber.close()


@pytest.mark.parametrize("live", [False, True])
async def test_a_lost_journal_is_another_epoch_and_doubles_nothing(tmp_path: Path, live: bool) -> None:
    """A journal that was removed begins a new epoch: the subscriber goes on by bar time, whether it finds in the
    journal what it has already, or is told that again once it is live."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(10)))
        taken = Taken(run, [STREAM])
        await wait_until(lambda: len(taken.closed()) == 10)
        folder = publisher.journal.folder
    for path in folder.glob("*.seg"):
        path.unlink()
    async with publishing(run) as publisher:
        if live:
            await wait_until(lambda: all(c.epoch == publisher.epoch and c.settled for c in taken.subscriber.cursors))
        for number in range(5, 15):
            publisher.publish(STREAM, make_bar(number))
            publisher.flush()
        await wait_until(lambda: len(taken.closed()) >= 15)
    assert taken.closed() == list(range(15))
    await taken.subscriber.close()


@pytest.mark.parametrize("live", [False, True])
async def test_what_a_new_journal_lacks_is_asked_of_the_history(tmp_path: Path, live: bool) -> None:
    """A journal that was removed begins later than the subscriber has got: nothing between is missing in the end."""
    run = run_dir(tmp_path)

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        return [make_bar(number, origin="backfill") for number in range(after_ms // 60_000 + 1, before_ms // 60_000)]

    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(10)))
        taken = Taken(run, [STREAM])
        await wait_until(lambda: len(taken.closed()) == 10)
    delete(publisher.journal.folder)
    publisher = Publisher(run, "demo", history=history)
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    if live:
        await wait_until(lambda: all(c.epoch == publisher.epoch and c.settled for c in taken.subscriber.cursors))
    publisher.publish(STREAM, *map(make_bar, range(20, 25)))
    await wait_until(lambda: 24 in taken.closed())
    assert taken.closed() == list(range(25))
    await taken.subscriber.close()
    await publisher.close()


async def test_what_is_no_longer_kept_is_said_and_asked_of_the_history(tmp_path: Path) -> None:
    """Retention that overtakes a subscriber is loud, and the source's history fills the hole."""
    run = run_dir(tmp_path)

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        numbers = range(after_ms // 60_000 + 1, before_ms // 60_000)
        return [make_bar(number, origin="backfill") for number in numbers][-count:]

    publisher = Publisher(run, "demo", journal=JournalSpec(max_mb=0.25), history=history)
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    taken = Taken(run, [STREAM])
    await wait_until(taken.subscriber.ready)
    publisher.publish(STREAM, make_bar(0))
    await wait_until(lambda: taken.closed() == [0])
    taken.subscriber.pause(True)
    drop_frames(publisher, 1.0, 1)
    for number in range(1, 20_000):
        publisher.publish(STREAM, make_bar(number))
        if number % 500 == 0:
            publisher.flush()
    publisher.flush()
    while publisher.journal.size > 0.25 * (1 << 20):
        publisher.journal.trim({})
    taken.subscriber.pause(False)
    await wait_until(lambda: taken.closed()[-1:] == [19_999])
    assert taken.closed() == list(range(20_000))
    assert taken.subscriber.counters()["truncated"] >= 1
    await taken.subscriber.close()
    await publisher.close()


@pytest.mark.parametrize(("count", "size"), [(65_472, 0), (1, 32 << 20)])
async def test_more_than_a_frame_holds_is_a_sentence(tmp_path: Path, count: int, size: int) -> None:
    """Nobody could be given it: nothing of it is said, and what comes after it is."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        taken = Taken(run, [STREAM])
        said = [State("live", 0, "x" * size)] * count + [make_bar(0)] * FRAME_MESSAGES
        with pytest.raises(Hopeless, match=rf"{STREAM}: a frame holds 65,535 and 32 MiB"):
            publisher.publish(STREAM, *said)
        publisher.publish(STREAM, *(make_bar(number) for number in range(65_535)))
        await wait_until(lambda: taken.closed()[-1:] == [65_534])
        assert taken.closed() == list(range(65_535))
        await taken.subscriber.close()


async def test_a_source_without_a_clock_goes_on_where_nobody_moves(tmp_path: Path) -> None:
    """Its consumers may wait for what it has not said yet: then it says as much as its journal holds."""
    spec = JournalSpec(max_mb=18)
    async with publishing(run_dir(tmp_path), consumers={"recorder": [STREAM]}, journal=spec) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(17_000)))
        await asyncio.wait_for(publisher.room(), 60)
        publisher.publish(STREAM, *map(make_bar, range(17_000, 20_000)))
        room = asyncio.ensure_future(publisher.room())
        assert await asyncio.wait([room], timeout=1.5) == (set(), {room})
        publisher.consumers.forget("recorder")
        await asyncio.wait_for(room, 60)


async def test_declared_consumers_hold_back_a_source_without_a_clock(tmp_path: Path) -> None:
    """`room` waits for what a declared consumer has acknowledged, `drained` for all of it, and for no one else."""
    run = run_dir(tmp_path)
    async with publishing(run, consumers={"recorder": [STREAM]}, journal=JournalSpec(max_mb=0.0625)) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(500)))
        room = asyncio.ensure_future(publisher.room())
        bystander = Taken(run, [STREAM])
        await wait_until(lambda: len(bystander.closed()) == 500)
        assert not room.done()

        taken = Taken(run, [STREAM], consumer="recorder")
        await wait_until(lambda: len(taken.closed()) == 500)
        taken.subscriber.ack({STREAM: (publisher.epoch, 480)})
        await asyncio.wait_for(room, 60)
        drained = asyncio.ensure_future(publisher.drained())
        taken.subscriber.ack({STREAM: (publisher.epoch, 501)})
        await asyncio.wait_for(drained, 60)
        await asyncio.wait_for(taken.subscriber.finish(), 60)
        for one in (bystander, taken):
            await one.subscriber.close()


async def test_rubbish_at_every_socket_harms_nobody(tmp_path: Path) -> None:
    """Garbage at the ROUTER, oversize and endless subscriptions at the XPUB, garbage from a rogue publisher: counted,
    and everybody else goes on."""
    run, dice = run_dir(tmp_path), random.Random(3)
    async with publishing(run) as publisher:
        taken = Taken(run, [STREAM])
        await wait_until(taken.subscriber.ready)
        context = zmq.Context()
        dealer, sub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        for socket in (dealer, sub):
            socket.linger = 0
        dealer.connect(publisher._router.getsockopt_string(zmq.LAST_ENDPOINT))
        sub.connect(publisher.pub_endpoint)
        for size in (0, 1, 2, 50, 400, 300_000):
            dealer.send(dice.randbytes(size))
            dealer.send_multipart([dice.randbytes(size), b"", dice.randbytes(3)])
        for number in range(2_000):
            sub.subscribe(dice.randbytes(20) + number.to_bytes(4, "little"))
        sub.subscribe(b"x" * 20_000)  # over the limit, under what crashes the asking libzmq itself
        topic = next(iter(taken.subscriber.cursors)).topic
        rubbish = (dice.randbytes(27), dice.randbytes(500))
        heartbeat = heartbeat_topic("demo") + dice.randbytes(90)
        for data in (b"", b"\0", topic, *(topic + more for more in rubbish), heartbeat):
            publisher._send(data)
        publisher.publish(STREAM, *map(make_bar, range(50)))
        await wait_until(lambda: taken.closed() == list(range(50)))
        await wait_until(lambda: publisher.malformed > 0)
        assert taken.subscriber.counters()["malformed"] > 0
        await taken.subscriber.close()
        context.destroy()


async def test_one_name_publishes_once(tmp_path: Path) -> None:
    """A second publisher of the same name is refused with a sentence; the first goes on."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        with pytest.raises(Fault, match="'demo' is already publishing"):
            await Publisher(run, "demo").open()
        taken = Taken(run, [STREAM])
        await wait_until(taken.subscriber.ready)
        publisher.publish(STREAM, make_bar(1))
        await wait_until(lambda: taken.closed() == [1])
        await taken.subscriber.close()


async def test_tcp_on_loopback_works_and_beyond_it_is_refused(tmp_path: Path) -> None:
    """The same over tcp://127.0.0.1; any other tcp address is refused, and the sentence says why."""
    run = run_dir(tmp_path)
    publisher = Publisher(run, "demo", transport="tcp")
    await publisher.open()
    assert publisher.pub_endpoint.startswith("tcp://127.0.0.1:")
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), make_bar(0))
    taken = Taken(run, [STREAM])
    await wait_until(lambda: taken.closed() == [0])
    await taken.subscriber.close()
    await publisher.close()
    for endpoint in ("tcp://0.0.0.0:5555", "tcp://10.1.2.3:5555", "tcp://*:5555", "tcp://example.com:1", "pgm://x"):
        with pytest.raises(Fault, match="unencrypted"):
            refuse_remote(endpoint)


async def test_who_asks_for_no_history_begins_at_the_head(tmp_path: Path) -> None:
    """Without a wish a subscriber gets what is said after it has come."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(10)))
        taken = Taken(run, [STREAM], from_head)
        await wait_until(taken.subscriber.ready)
        publisher.publish(STREAM, make_bar(10))
        await wait_until(lambda: taken.closed() == [10])
        await taken.subscriber.close()


async def test_an_ack_of_an_older_epoch_counts_for_nothing(tmp_path: Path) -> None:
    """What was durable before the journal was lost says nothing of the numbers that are given anew."""
    run = run_dir(tmp_path)
    taken = Taken(run, [STREAM], consumer="recorder", acks=True)
    async with publishing(run, consumers={"recorder": [STREAM]}) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(500)))
        await asyncio.wait_for(publisher.drained(), 60)
        folder = publisher.journal.folder
    for path in folder.glob("*.seg"):
        path.unlink()
    taken.acks = False
    async with publishing(run, consumers={"recorder": [STREAM]}) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(500, 520)))
        await wait_until(lambda: taken.closed()[-1:] == [519])
        await wait_until(taken.subscriber.ready)
        assert publisher.consumers.durable() == {STREAM: 0}
    assert taken.closed() == list(range(520))
    await taken.subscriber.close()


async def test_a_quiet_stream_that_was_trimmed_away_is_asked_of_the_history(tmp_path: Path) -> None:
    """Retention that has taken all records of a stream is noticed by who was in the middle of it; a source that cannot
    answer at once is asked again."""
    run, quiet, asked = run_dir(tmp_path), "demo:QUIET@1", 0

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Fault("the venue is down")
        if asked == 2:
            raise KeyError("a mistake in a provider")
        return [make_bar(n, origin="backfill") for n in range(after_ms // 60_000 + 1, before_ms // 60_000)][-count:]

    publisher = Publisher(run, "demo", journal=JournalSpec(max_mb=0.25), history=history)
    await publisher.open()
    publisher.publish(quiet, Instrument("QUIET", "1"), *map(make_bar, range(20)))
    publisher.flush()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    for number in range(20_000):
        publisher.publish(STREAM, make_bar(number))
    publisher.flush()
    while publisher.journal.tracks[quiet].places:
        publisher.journal.trim({})

    async def begin(cursor: Cursor) -> Start:
        return Start(from_ms=5 * 60_000)

    taken = Taken(run, [quiet], begin)
    await wait_until(lambda: taken.subscriber.counters().get("truncated", 0) == 1)
    publisher.publish(quiet, make_bar(20))
    await wait_until(lambda: taken.closed(quiet)[-1:] == [20])
    assert taken.closed(quiet) == list(range(6, 21))
    assert asked == 3
    await taken.subscriber.close()
    await publisher.close()


async def test_the_end_of_a_stream_waits_for_bars_that_are_no_longer_kept(tmp_path: Path) -> None:
    """Nothing but its end is left of the stream: the bars come from the source, up to its last, and before the end."""
    run, quiet = run_dir(tmp_path), "demo:QUIET@1"

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        last = before_ms // 60_000 if before_ms else 20
        return [make_bar(number, origin="backfill") for number in range(after_ms // 60_000 + 1, last)][-count:]

    publisher = Publisher(run, "demo", journal=JournalSpec(max_mb=0.25), history=history)
    await publisher.open()
    publisher.publish(quiet, Instrument("QUIET", "1"), make_bar(0))
    taken = Taken(run, [quiet])
    await wait_until(lambda: taken.closed(quiet) == [0])
    taken.subscriber.pause(True)
    drop_frames(publisher, 1.0, 1)
    publisher.publish(quiet, *map(make_bar, range(1, 20)))
    publisher.flush()
    for number in range(20_000):
        publisher.publish(STREAM, make_bar(number))
    publisher.flush()
    while publisher.journal.tracks[quiet].places:
        publisher.journal.trim({})
    publisher.publish(quiet, End("played"))
    taken.subscriber.pause(False)
    await wait_until(lambda: isinstance(taken.messages[quiet][-1], End))
    assert taken.closed(quiet) == list(range(20))
    await taken.subscriber.close()
    await publisher.close()


async def test_a_correction_does_not_set_a_reader_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision of an old bar is the last that came before the machine went down: no bar after it comes again."""
    run = run_dir(tmp_path)
    taken = Taken(run, [STREAM])
    monkeypatch.setattr(segments, "boot_id", lambda: bytes(16))
    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(1, 101)), make_bar(50, revision=1))
        await wait_until(lambda: any(isinstance(m, Bar) and m.revision for m in taken.messages.get(STREAM, [])))
        monkeypatch.setattr(publisher.journal.segments[-1], "seal", lambda clean: None)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, make_bar(101))
        await wait_until(lambda: taken.closed()[-1:] == [101])
    assert taken.closed() == list(range(1, 102))
    await taken.subscriber.close()


async def test_what_is_known_already_is_acknowledged(tmp_path: Path) -> None:
    """Under a new epoch a source without a clock says again more than it may be ahead: nobody waits for anybody."""
    run = run_dir(tmp_path)
    taken = Taken(run, [STREAM], consumer="recorder", acks=True)
    for bars in (200, 210):
        spec = JournalSpec(max_mb=0.0625)  # so that the source may be 64 messages ahead
        async with publishing(run, consumers={"recorder": [STREAM]}, journal=spec) as publisher:
            for number in range(bars):
                await asyncio.wait_for(publisher.room(), 60)
                publisher.publish(STREAM, make_bar(number))
            await asyncio.wait_for(publisher.drained(), 60)
            folder = publisher.journal.folder
        delete(folder)
    assert taken.closed() == list(range(210))
    await taken.subscriber.close()


async def test_another_publisher_at_a_known_address_is_not_taken_for_it(tmp_path: Path) -> None:
    """Ports have moved on, and this host has not heard of it yet: the streams come once, under their own publisher."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, publishing(run, "other") as other:
        publisher.publish(STREAM, *map(make_bar, range(10)))
        address = publishers(run)["demo"].control
        other._claim.announce(address, other.epoch)
        taken = Taken(run, [STREAM])
        await wait_until(lambda: taken.subscriber.counters().get("timeouts", 0) > 0)
        await wait_until(lambda: taken.closed()[-1:] == [9])
        assert taken.closed() == list(range(10))
        assert not taken.subscriber.links["other"].cursors
        await taken.subscriber.close()


async def test_damage_on_the_disk_of_a_publisher_that_is_up_is_said(tmp_path: Path) -> None:
    """Who asks for the record must not get the same bytes for ever: the publisher ends, to start again without it."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(10)))
        publisher.flush()
        segment = publisher.journal.segments[-1]
        segment.view[segment.end - 1] ^= 1
        taken = Taken(run, [STREAM])
        with pytest.raises(Fault, match="was changed on disk at byte"):
            await asyncio.wait_for(publisher.failed(), 60)
        await taken.subscriber.close()
