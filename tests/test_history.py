"""One download for all: what was asked of a venue once is on the disk, is added to at both ends, and ages."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import made_venue
import pytest
from made_venue import MINUTE, Made, asked, truth
from pynelive.bus.calls import Start
from pynelive.bus.cursor import Cursor
from pynelive.bus.errors import Fault, Hopeless
from pynelive.bus.messages import Bar, Instrument
from pynelive.bus.names import Key
from pynelive.bus.ohlcv import read_bars
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import JournalSpec
from pynelive.bus.topology import load
from pynelive.producers.feed import Feed
from pynelive.producers.history import History
from pynelive.producers.venue import VenueClaim, holder
from support import STREAM, Taken, make_bar, run_dir, wait_until

KEY = Key("BTC/USDT", "1")
NOW_MS = 30_000_000 * MINUTE
HOUR = 60 * MINUTE
TOPOLOGY = """
[[producer]]
name = "NAME"
provider = "my.py"
streams = ["BTC/USDT@1"]
"""


class Behind(Made):
    """A venue whose history comes late."""

    behind_ms = 0

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        bars = await super().download_ohlcv(key, from_ms, to_ms)
        return [bar for bar in bars if bar.time_ms + MINUTE + self.behind_ms <= self.now_ms()]


def history_in(folder: Path, sandbox: bool = False, **changes: int) -> History:
    """The history of a made venue, as a new process would have it."""
    provider = Behind([KEY], Made.Config(sandbox=sandbox), folder)
    provider.time_ms = NOW_MS
    for name, value in changes.items():
        setattr(provider, name, value)
    return History(provider, folder=folder / "cache")


def topology_in(folder: Path, name: str = "made") -> Path:
    """A topology with one producer, whose provider is the made venue."""
    folder.mkdir(exist_ok=True)
    shutil.copy(made_venue.__file__, folder / "my.py")
    (folder / "topology.toml").write_text(TOPOLOGY.replace("NAME", name))
    return folder / "topology.toml"


@contextmanager
def producing(folder: Path, name: str = "made") -> Iterator[subprocess.Popen[str]]:
    """`pynelive run` of that producer, in a process of its own."""
    command = [sys.executable, "-m", "pynelive", "run", name, str(topology_in(folder, name))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)


async def test_many_cold_consumers_cause_one_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 consumers that start at once get 500 bars each, all the same ones, and the venue is asked once."""
    monkeypatch.setenv("PYNELIVE_CACHE", str(tmp_path / "cache"))
    topology = load(topology_in(tmp_path))
    feed = Feed(topology, topology.producers[0])
    feed.prepare()
    feed._provider.time_ms = NOW_MS  # type: ignore[attr-defined]
    stop = asyncio.Event()
    running = asyncio.create_task(feed.run(stop))
    await wait_until(lambda: feed.status().bars == 1)

    async def begin(cursor: Cursor) -> Start:
        return Start(last=501)

    consumers = [Taken(RunDir(topology), ["my:BTC/USDT@1"], begin) for _ in range(32)]
    await wait_until(lambda: all(len(taken.closed("my:BTC/USDT@1")) >= 501 for taken in consumers), 60)
    for taken in consumers:
        await taken.subscriber.close()
    stop.set()
    await running

    minutes = consumers[0].closed("my:BTC/USDT@1")
    older = truth(NOW_MS - 2_000 * MINUTE, NOW_MS - MINUTE)[-500:]
    assert minutes == [*(bar.time_ms // MINUTE for bar in older), NOW_MS // MINUTE - 1]
    assert all(taken.closed("my:BTC/USDT@1") == minutes for taken in consumers)
    assert len(asked(tmp_path)) == 1


async def test_what_is_there_is_never_asked_for_again(tmp_path: Path) -> None:
    """Whatever the spans and their order, also over restarts: answers are complete, no minute is asked for twice,
    holes without trades included, and in the end all is one file."""
    chance, seen = random.Random(7), set[int]()
    history = history_in(tmp_path)
    for number in range(60):
        if number % 9 == 8:
            history = history_in(tmp_path)
        from_ms = NOW_MS - chance.randrange(1_000, 16_000) * MINUTE
        to_ms = from_ms + chance.randrange(1, 400) * MINUTE
        assert await history.span(KEY, from_ms, to_ms) == truth(from_ms, to_ms)
    assert await history.span(KEY, NOW_MS - 16_000 * MINUTE, NOW_MS - 600 * MINUTE) == truth(
        NOW_MS - 16_000 * MINUTE, NOW_MS - 600 * MINUTE
    )
    for question in asked(tmp_path):
        minutes = set(range(int(str(question["from_ms"])) // MINUTE, int(str(question["to_ms"])) // MINUTE))
        assert not minutes & seen
        assert 0 < len(minutes) <= 5_000
        seen |= minutes
    assert seen == set(range(NOW_MS // MINUTE - 16_000, NOW_MS // MINUTE - 600))
    [file] = (tmp_path / "cache").rglob("*.ohlcv")
    assert list(read_bars(file, origin="backfill")) == truth(min(seen) * MINUTE, NOW_MS - 10 * HOUR)


async def test_a_count_reaches_back_over_closed_hours(tmp_path: Path) -> None:
    """So many bars, as many as there are between two times, whatever holes lie between."""
    history = history_in(tmp_path)
    before_ms = NOW_MS - NOW_MS % (720 * MINUTE) + 361 * MINUTE  # the hours without trades have just ended
    history._provider.time_ms = before_ms  # type: ignore[attr-defined]
    assert await history.bars(KEY, 100, 0, before_ms) == truth(before_ms - 12 * HOUR, before_ms)[-100:]
    assert await history.bars(KEY, 3, before_ms - HOUR, before_ms - MINUTE) == []
    questions = len(asked(tmp_path))
    assert await history.bars(KEY, 90, 0, before_ms - MINUTE) == truth(before_ms - 12 * HOUR, before_ms - MINUTE)[-90:]
    assert len(asked(tmp_path)) == questions


@pytest.mark.parametrize("behind", [3, 10, 900, 10**6], ids=["3 bars", "10 bars", "a night", "says nothing"])
async def test_a_venue_that_is_behind_leaves_no_holes(tmp_path: Path, behind: int) -> None:
    """What it does not have yet it is asked for again, once in a few seconds; a day later its silence is a fact."""
    history = history_in(tmp_path, behind_ms=behind * MINUTE)
    venue = history._provider
    from_ms = NOW_MS - 600 * MINUTE
    for _ in range(32):
        assert await history.span(KEY, from_ms, NOW_MS) == truth(from_ms, NOW_MS - behind * MINUTE)
        assert await history.span(KEY, from_ms, NOW_MS - 60 * MINUTE) == truth(
            from_ms, NOW_MS - max(behind, 60) * MINUTE
        )
    assert len(asked(tmp_path)) == 1
    venue.behind_ms, venue.time_ms = 0, NOW_MS + 10_000  # type: ignore[attr-defined]
    assert await history.span(KEY, from_ms, NOW_MS - 60 * MINUTE) == truth(from_ms, NOW_MS - 60 * MINUTE)
    assert await history.span(KEY, from_ms, NOW_MS) == truth(from_ms, NOW_MS)
    assert await history_in(tmp_path).span(KEY, from_ms, NOW_MS) == truth(from_ms, NOW_MS)


async def test_around_what_is_not_known_yet(tmp_path: Path) -> None:
    """A hole between two spans on the disk hides neither; an old silence is a fact, and asked about once."""
    history = history_in(tmp_path)
    begin_ms, end_ms, length_ms = NOW_MS - 600 * MINUTE, NOW_MS - 100 * MINUTE, 100 * MINUTE
    early, late = truth(begin_ms, begin_ms + length_ms), truth(end_ms - length_ms, end_ms)
    assert await history.span(KEY, begin_ms, begin_ms + length_ms) == early
    assert await history.span(KEY, end_ms - length_ms, end_ms) == late
    history = history_in(tmp_path, behind_ms=10**6 * MINUTE)
    assert await history.span(KEY, begin_ms, end_ms) == [*early, *late]
    history = history_in(tmp_path)
    assert await history.span(KEY, begin_ms, end_ms) == truth(begin_ms, end_ms)

    old_ms, questions = NOW_MS - 5_000 * MINUTE, len(asked(tmp_path))
    for _ in range(2):
        history = history_in(tmp_path, behind_ms=10**6 * MINUTE)
        assert await history.span(KEY, old_ms, old_ms + length_ms) == []
    assert len(asked(tmp_path)) == questions + 1


async def test_only_final_bars_are_kept(tmp_path: Path) -> None:
    """A bar that has just closed may be corrected: it is answered as it is, and asked for again when it is final."""
    history = history_in(tmp_path, provisional_ms=MINUTE)
    from_ms = NOW_MS - 30 * MINUTE
    early = await history.span(KEY, from_ms, NOW_MS)
    assert [bar.time_ms for bar in early] == [bar.time_ms for bar in truth(from_ms, NOW_MS)]
    assert early[-1] != truth(from_ms, NOW_MS)[-1]
    assert await history.span(KEY, from_ms, NOW_MS) == early
    assert len(asked(tmp_path)) == 1
    history._provider.time_ms += 10 * MINUTE  # type: ignore[attr-defined]
    assert await history.span(KEY, from_ms, NOW_MS) == truth(from_ms, NOW_MS)
    [_, again] = asked(tmp_path)
    assert NOW_MS - 5 * MINUTE < int(str(again["from_ms"])) < NOW_MS


async def test_downloads_age_and_can_be_thrown_away(tmp_path: Path) -> None:
    """Asked for anew: after 30 days, when the instrument has another tick, when the file is damaged, when told so;
    and the venue's test network has bars of its own."""
    span = KEY, NOW_MS - 10 * HOUR, NOW_MS - HOUR
    later = NOW_MS + 31 * 86_400_000
    for questions, changes in ((1, {}), (1, {}), (2, {"time_ms": later}), (2, {"time_ms": later}),
                               (3, {"tick": 1_000}), (3, {"tick": 1_000})):  # fmt: skip
        assert await history_in(tmp_path, **changes).span(*span) == truth(*span[1:])
        assert len(asked(tmp_path)) == questions
    assert len(list((tmp_path / "cache").rglob("*.ohlcv"))) == 1
    for file in (tmp_path / "cache").rglob("*.ohlcv"):
        file.write_bytes(file.read_bytes()[:-10])
    history = history_in(tmp_path, tick=1_000)
    assert await history.span(*span) == truth(*span[1:])
    assert len(asked(tmp_path)) == 4
    await history.fetch("my:BTC/USDT@1", 0, 0, fresh=True)
    assert await history.span(*span) == truth(*span[1:])
    assert len(asked(tmp_path)) == 5
    await history_in(tmp_path, sandbox=True).span(*span)
    assert len(asked(tmp_path)) == 6


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_history import KEY, NOW_MS, MINUTE, history_in

async def main():
    history = history_in(Path(sys.argv[2]))
    await history.span(KEY, NOW_MS - 900 * MINUTE, NOW_MS - 600 * MINUTE)
    await history.span(KEY, NOW_MS - 1200 * MINUTE, NOW_MS - 300 * MINUTE)

asyncio.run(main())
"""


@pytest.mark.parametrize(("time", "questions"), [(1, 2), (2, 4), (3, 4)])
async def test_a_kill_between_file_and_list_loses_and_doubles_nothing(
    tmp_path: Path, time: int, questions: int
) -> None:
    """Killed when bars are in a file, before the list says so: the next process has all of them, once."""
    environment = {**os.environ, "PYNELIVE_FAILPOINT": f"shelf.between-file-and-list:{time}"}
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    killed = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    history = history_in(tmp_path)
    from_ms, to_ms = NOW_MS - 1_200 * MINUTE, NOW_MS - 300 * MINUTE
    assert await history.span(KEY, from_ms, to_ms) == truth(from_ms, to_ms)
    assert len(asked(tmp_path)) == questions  # that which was answered when it was killed is asked again, no other
    [file] = (tmp_path / "cache").rglob("*.ohlcv")
    assert list(read_bars(file, origin="backfill")) == truth(from_ms, to_ms)


async def test_a_venue_that_fails_is_said_and_asked_again(tmp_path: Path) -> None:
    """What is gone for now and what there will never be are told apart, and nothing wrong is kept."""
    history = history_in(tmp_path)
    (tmp_path / "down").write_text("1")
    with pytest.raises(Fault, match="the venue is down") as raised:
        await history.older("my:BTC/USDT@1", 10, 0, NOW_MS)
    assert not isinstance(raised.value, Hopeless)
    assert await history.older("my:BTC/USDT@1", 10, 0, NOW_MS) == truth(NOW_MS - 12 * HOUR, NOW_MS)[-10:]
    for stream in ("my:GONE@1", "other:BTC/USDT@1", "my:BTC/USDT"):
        with pytest.raises(Hopeless):
            await history.fetch(stream, NOW_MS - HOUR, NOW_MS)
    assert await history.symbols("btc") == ["BTC/EUR", "BTC/USDT"]
    assert await history.symbols() == ["BTC/EUR", "BTC/USDT", "ETH/USDT"]
    assert [question["what"] for question in asked(tmp_path)].count("symbols") == 1


async def test_a_history_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    """A consumer whose older bars are refused for good goes on with what there is, after one question."""
    run, questions = run_dir(tmp_path), 0

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        nonlocal questions
        questions += 1
        raise Hopeless("not in your plan")

    async def begin(cursor: Cursor) -> Start:
        return Start(last=10)

    publisher = Publisher(run, "demo", journal=JournalSpec(), history=history)
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), make_bar(5))
    taken = Taken(run, [STREAM], begin)
    await wait_until(lambda: taken.closed() == [5])
    assert questions == 1
    await taken.subscriber.close()
    await publisher.close()


async def test_what_cannot_be_kept_is_had_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No folder can be made for downloads: the venue is asked each time, which is said once; later it is kept."""
    history = history_in(tmp_path)
    (tmp_path / "cache").write_text("where the folder should be")
    for _ in range(2):
        assert await history.bars(KEY, 300, 0, NOW_MS) == truth(NOW_MS - 24 * HOUR, NOW_MS)[-300:]
    assert caplog.text.count("BTC/USDT@1: the venue is asked each time, downloads cannot be kept") == 1
    (tmp_path / "cache").unlink()
    assert await history.bars(KEY, 300, 0, NOW_MS) == truth(NOW_MS - 24 * HOUR, NOW_MS)[-300:]
    before = len(asked(tmp_path))
    assert await history.bars(KEY, 300, 0, NOW_MS) == truth(NOW_MS - 24 * HOUR, NOW_MS)[-300:]
    assert len(asked(tmp_path)) == before


async def test_one_process_a_venue(tmp_path: Path) -> None:
    """A second producer of the same venue and key is refused in one sentence that names the first, until that ends."""
    with producing(tmp_path / "one", "first") as first:
        await wait_until(lambda: holder("my:venue") is not None)
        second = [sys.executable, "-m", "pynelive", "run", "second", str(topology_in(tmp_path / "two", "second"))]
        refused = await asyncio.to_thread(subprocess.run, second, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        [said] = refused.stderr.splitlines()
        assert f"my:venue is asked by 'first' of the bus in {tmp_path}/one/.pynelive/default (pid {first.pid})" in said
        first.kill()
        first.wait()
    claim = await VenueClaim.take("my:venue", "test")
    claim.release()
    assert holder("my:venue") is None
