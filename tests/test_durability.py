"""What is on the disk, and when (docs/durability.md): the disk as a power failure would leave it, after every step."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pynelive.bus import folders as disks
from pynelive.bus import journal as journals
from pynelive.bus.consumers import Consumers
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Bar, Instrument
from pynelive.bus.ohlcv import ohlcv_path, read_bars
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.specs import JournalSpec
from pynelive.bus.topology import read
from pynelive.bus.wire import decode, encode
from pynelive.sinks.contract import Delivery, Sink
from pynelive.sinks.csv import CsvSink
from pynelive.sinks.feed import SinkFeed
from pynelive.sinks.jsonl import JsonlSink
from pynelive.sinks.ohlcv import OhlcvSink
from pynelive.sinks.revisions import revisions_path
from support import STREAM, make_bar, run_dir, wait_until

INSTRUMENT = Instrument("BTC/USDT", "1", source="seed 7")
STORY = [
    [make_bar(1), make_bar(2)],
    [make_bar(3), replace(make_bar(2), revision=1, close=2.75)],
    [make_bar(4), replace(make_bar(3), revision=1, close=3.75), make_bar(5), replace(make_bar(6), close=6.1234567)],
    [make_bar(9), make_bar(8), make_bar(10, origin="fallback")],
]  # fmt: skip
"""Revisions, a price off the grid, for which the file is made anew, a late bar, a stand-in's bar."""


class Disk:
    """What a power failure leaves of a folder: of each file what its last fsync has seen, of each folder the names that
    its last fsync has seen, and nothing else; that is the least that POSIX promises."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.synced: Callable[[], None] = lambda: None
        """Called after each fsync."""
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {root.stat().st_ino: {}}
        self._held: list[int] = []  # so that no inode gets its number again
        patch.setattr(os, "fsync", self._fsync)

    def _fsync(self, fd: int) -> None:
        found = os.fstat(fd)
        self._held.append(os.dup(fd))
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(fd) as entries:
                self._names[found.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            with open(f"/proc/self/fd/{fd}", "rb") as file:
                self._contents[found.st_ino] = file.read()
        self.synced()

    def after_power_loss(self, to: Path) -> Path:
        """Write down what is left."""
        shutil.rmtree(to, ignore_errors=True)
        self._restore(self.root.stat().st_ino, to)
        return to

    def _restore(self, folder: int, to: Path) -> None:
        to.mkdir()
        for name, inode in self._names[folder].items():
            if inode in self._names:
                self._restore(inode, to / name)
            else:
                (to / name).write_bytes(self._contents.get(inode, b""))

    def close(self) -> None:
        for fd in self._held:
            os.close(fd)


@pytest.fixture(name="disk")
def _disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "real").mkdir()
    disk = Disk(monkeypatch, tmp_path / "real")
    yield disk
    disk.close()


def files(folder: Path) -> dict[str, bytes]:
    """All that is in the files of a folder, but for those that only hold a lock."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def contents(folder: Path) -> list[int]:
    """The numbers of all bars in a journal."""
    journal = Journal(folder, read_only=True)
    bars = [message for _, record in journal.in_order() for message in decode(record.payload)]
    journal.close(clean=False)
    return [bar.time_ms // 60_000 for bar in bars if isinstance(bar, Bar)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [(OhlcvSink, {"dir": "a/b"}), (CsvSink, {"dir": "a/b"}), (JsonlSink, {"path": "a/b/all.jsonl"})],
)
def test_what_a_sink_has_written_is_on_the_disk(
    disk: Disk, tmp_path: Path, kind: type[Sink], options: Mapping[str, str]
) -> None:
    """Whenever `write` returns, a power failure leaves every file as it is, with its name and its folders."""
    sink = kind(kind.Config(**options), disk.root)
    sink.open(STREAM, INSTRUMENT)
    for batch in STORY:
        sink.write([Delivery(STREAM, bar) for bar in batch])

        assert files(disk.after_power_loss(tmp_path / "after")) == files(disk.root)
    sink.close()


def test_a_revision_is_on_the_disk_before_any_later_bar(disk: Disk, tmp_path: Path) -> None:
    """At no fsync at all does the recording hold a bar that came after a revision which is not there."""
    seen: list[int] = []

    def look() -> None:
        after = disk.after_power_loss(tmp_path / "after")
        path = ohlcv_path(after, STREAM)
        recorded = [bar.time_ms // 60_000 for bar in read_bars(path)] if path.exists() and path.stat().st_size else []
        kept = revisions_path(path)
        revisions = kept.read_text().count("\n") - 1 if kept.exists() else 0
        seen.append(revisions)
        for bar, needed in ((3, 0), (4, 1), (6, 2), (9, 2)):
            assert bar not in recorded or revisions >= needed

    sink = OhlcvSink(OhlcvSink.Config(dir="."), disk.root)
    sink.open(STREAM, INSTRUMENT)
    disk.synced = look
    for batch in STORY[:3]:
        sink.write([Delivery(STREAM, bar) for bar in batch])
    disk.synced = lambda: None
    sink.close()
    assert seen[-1] == 2


async def test_what_is_acknowledged_is_on_the_disk(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher never hears that a recorder has something which a power failure could still take."""
    spec, _ = read(_topology(disk.root))
    heard: list[int] = []
    acknowledge = Consumers.acknowledge

    def check(self: Consumers, consumer: str, durable: Mapping[str, int]) -> None:
        after = disk.after_power_loss(tmp_path / "after")
        path = ohlcv_path(after / "data", STREAM)
        bars = len(list(read_bars(path))) if path.exists() and path.stat().st_size else 0
        heard.append(durable[STREAM])
        assert bars >= durable[STREAM] - 1  # the instrument has a number too
        acknowledge(self, consumer, durable)

    monkeypatch.setattr(Consumers, "acknowledge", check)
    publisher = Publisher(RunDir(spec), "demo", {"recorder": [STREAM]})
    await publisher.open()
    publisher.publish(STREAM, INSTRUMENT)
    stop = asyncio.Event()
    feed = SinkFeed(spec, spec.sinks[0])
    feed.prepare()
    recording = asyncio.create_task(feed.run(stop))
    for number in range(1, 31):
        publisher.publish(STREAM, make_bar(number))
        publisher.flush()
        if number % 10 == 0:
            await asyncio.wait_for(publisher.drained(), 100)
    assert len(heard) >= 3
    assert heard[-1] == 31
    stop.set()
    await recording
    await publisher.close()


def _topology(folder: Path) -> Path:
    path = folder / "topology.toml"
    path.write_text(
        '[bus]\nname = "power"\nrun_dir = "run"\n[[producer]]\nname = "demo"\nprovider = "demo"\n'
        'streams = ["BTC/USDT@1"]\n[[sink]]\nname = "recorder"\ntype = "ohlcv"\nstreams = ["demo:*"]\n'
    )
    return path


async def test_the_journal_reaches_the_disk_by_its_timer(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is there before anything is said; what is said follows without a close; after a power failure a new
    epoch begins behind it."""
    publisher = Publisher(run_dir(disk.root), "demo", journal=JournalSpec(sync_ms=1))
    await publisher.open()
    place = publisher.journal.folder.relative_to(disk.root)
    assert contents(disk.after_power_loss(tmp_path / "after") / place) == []
    assert list((tmp_path / "after" / place).glob("*.seg")), "the journal has no name yet"

    for number in range(1, 4):
        publisher.publish(STREAM, make_bar(number))
        publisher.flush()
        await wait_until(
            lambda number=number: number in contents(disk.after_power_loss(tmp_path / "after") / place)
        )
    epoch = publisher.epoch
    after = disk.after_power_loss(tmp_path / "after") / place
    await publisher.close()
    monkeypatch.setattr(journals, "boot_id", lambda: b"the next boot...")
    again = Journal(after)
    assert again.epoch > epoch
    assert again.tracks[STREAM].head == 3
    again.close()


def test_a_sync_brings_all_segments_and_their_names(disk: Disk, tmp_path: Path) -> None:
    """However many segments were begun since: a power failure takes nothing after `sync`, nor the mark of a close."""
    journal = Journal(disk.root / "journal", max_bytes=1 << 20)
    track = journal.track(STREAM)
    for number in range(1, 4_001):
        journal.append(track, encode([make_bar(number)]), 1, 1, number)
        if number % 2_000 == 0:
            journal.sync()()
            assert contents(disk.after_power_loss(tmp_path / "after") / "journal") == list(range(1, number + 1))
    assert len(journal.segments) >= 3
    journal.close()
    assert files(disk.after_power_loss(tmp_path / "after")) == files(disk.root)
    again = Journal(tmp_path / "after" / "journal")
    assert again.segments[-2].head.clean
    again.close()


def test_without_the_names_nothing_is_there(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests can fail: a folder that is not synced is not on the disk, and neither is what is in it."""
    monkeypatch.setattr(disks, "sync_folder", lambda folder: None)
    sink = CsvSink(CsvSink.Config(dir="a/b"), disk.root)
    sink.open(STREAM, INSTRUMENT)
    sink.write([Delivery(STREAM, make_bar(1))])
    sink.close()

    assert files(disk.after_power_loss(tmp_path / "after")) == {}
    assert files(disk.root)
