"""Subscribers say how they stand, and their publisher knows it: who, how far behind, with what repaired and lost."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from pynelive.bus import reports
from pynelive.bus.reports import MOST_PEERS, Peer, Peers, Report
from pynelive.bus.specs import JournalSpec
from pynelive.bus.subscriber import Subscriber
from pynelive.bus.track import Track
from pynelive.commands.app import main
from support import STREAM, Taken, make_bar, publishing, run_dir, wait_until


@dataclass
class Watch:
    """What a publisher knows of a subscriber, by name."""

    peers: Peers

    def of(self, name: str) -> Peer | None:
        return next((peer for peer in self.peers.listed() if peer.name == name), None)

    def lag(self, name: str) -> int:
        peer = self.of(name)
        return peer.lag if peer else -1


async def test_a_publisher_knows_its_subscribers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared one by its name, another by its program; one that reads no more falls behind, one that repairs says
    so, and one that has left is gone."""
    run = run_dir(tmp_path)
    monkeypatch.setattr("sys.argv", ["/home/me/my_program.py"])
    async with publishing(run, consumers={"recorder": [STREAM]}) as publisher:
        watch = Watch(publisher.peers)
        recorder, program = Taken(run, [STREAM], consumer="recorder"), Taken(run, ["demo:*"])
        await wait_until(lambda: recorder.subscriber.ready() and program.subscriber.ready())
        await wait_until(lambda: watch.lag("recorder") == 0 == watch.lag("my_program.py"))

        recorder.subscriber.pause(True)
        send = publisher._send
        publisher._send = lambda data: None  # type: ignore[assignment]
        publisher.publish(STREAM, *map(make_bar, range(1, 11)))
        publisher.flush()
        publisher._send = send
        publisher.publish(STREAM, *map(make_bar, range(11, 101)))
        publisher.flush()
        await wait_until(lambda: watch.lag("recorder") == 100)
        await wait_until(lambda: (peer := watch.of("my_program.py")) is not None and peer.repairs > 0 == peer.lag)
        assert program.subscriber.counters()["gaps"] == 1

        recorder.subscriber.pause(False)
        await wait_until(lambda: watch.lag("recorder") == 0)
        await recorder.subscriber.close()
        monkeypatch.setattr(reports, "EXPIRES_S", 1.5)
        await wait_until(lambda: watch.of("recorder") is None)
        await program.subscriber.close()


async def test_what_is_lost_is_reported(tmp_path: Path) -> None:
    """A subscriber that comes back after the journal has dropped what it wanted says so in its reports."""
    run = run_dir(tmp_path)
    async with publishing(run, journal=JournalSpec(max_mb=0.25)) as publisher:
        taken = Taken(run, [STREAM])
        await wait_until(taken.subscriber.ready)
        taken.subscriber.pause(True)
        send = publisher._send
        publisher._send = lambda data: None  # type: ignore[assignment]
        for number in range(1, 20_001):
            publisher.publish(STREAM, make_bar(number))
        publisher.flush()
        await wait_until(lambda: publisher.journal.tracks[STREAM].first > 1)
        publisher._send = send
        taken.subscriber.pause(False)
        watch = Watch(publisher.peers)
        await wait_until(lambda: (peer := watch.of(reports.program())) is not None and peer.truncated > 0)
        await taken.subscriber.close()


def test_a_flood_of_reports_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of peers, endless names and streams that are none: so many are kept, cut short; those that live stay
    known, and room is made by those that are silent."""
    now = 0.0
    monkeypatch.setattr("pynelive.bus.reports.time.monotonic", lambda: now)
    peers, tracks = Peers(), {"a": Track("a", 1, lambda place: (0, 0), head=10)}
    good = Report("good", "here", 1, 1, 7, {"a": 4, "nothing": 0}, 1, 0)
    peers.take(good, 7, tracks)
    for number in range(3 * MOST_PEERS):
        peers.take(replace(good, name="\x1b[31m" + "x" * 10_000, number=number + 2), 7, tracks)
    listed = peers.listed()
    assert len(listed) == MOST_PEERS
    assert max(len(peer.name) for peer in listed) < 100
    assert all(peer.name.isprintable() for peer in listed)
    now = 4.0
    peers.take(replace(good, nexts={"a": 9}), 7, tracks)
    now = 6.0
    assert [(peer.name, peer.lag) for peer in peers.listed()] == [("good", 1)]
    peers.take(replace(good, nexts={"a": 0}, epoch=6, number=2), 7, tracks)
    assert sorted(peer.lag for peer in peers.listed()) == [0, 1]
    peers.take(replace(good, nexts={"a": -(2**63)}), 7, tracks)  # a sum of such would be no number of a reply
    assert sorted(peer.lag for peer in peers.listed()) == [0, 10]


async def test_streams_shows_a_line_a_subscriber(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, process and counters, in the table and as JSON; who only looks is not among them."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, make_bar(1))
        subscriber = Subscriber(run, [STREAM], lambda cursor, messages: None, name="chart [1]")
        subscriber.open()
        await wait_until(lambda: Watch(publisher.peers).lag("chart [1]") == 0)
        lines, table = list[dict[str, object]](), ""
        while not (len(lines) == 2 and "chart" in table):  # a busy machine may take a publisher for silent
            assert await asyncio.to_thread(main, ["streams", "--json", "--bus", str(run.root)]) == 0
            lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert await asyncio.to_thread(main, ["streams", "--bus", str(run.root)]) == 0
            table = capsys.readouterr().out
        assert await asyncio.to_thread(main, ["streams", "run:*", "--json", "--bus", str(run.root)]) == 0
        assert STREAM not in capsys.readouterr().out
        said = ""
        while "nobody publishes 'nope'" not in said:  # as above
            code = await asyncio.to_thread(main, ["streams", "nope", "--bus", str(run.root)])
            said = capsys.readouterr().err
        assert (code, f"there is {STREAM}" in said) == (1, True)
        await subscriber.close()
    assert [line["stream"] for line in lines] == [STREAM, ""]
    assert lines[1].items() >= {"publisher": "demo", "subscriber": "chart [1]", "lag": 0, "truncated": 0}.items()
    assert "chart [1]" in table
