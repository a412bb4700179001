"""`pynelive journal`: what it shows is what the journal holds, what it writes is what a recorder writes, and what it
removes is nobody's."""

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Alert, Instrument
from pynelive.bus.rundir import RunDir
from pynelive.bus.segments import Segment
from pynelive.bus.wire import encode
from pynelive.commands.app import main
from pynelive.sinks.contract import Delivery
from pynelive.sinks.ohlcv import OhlcvSink
from support import STREAM, make_bar, publishing, run_dir, wait_until

OTHER = "demo:ETH@1"


def keep(folder: Path, stream: str = STREAM, bars: int = 50, clean: bool = True) -> None:
    """The journal of a publisher that is gone: an instrument and some bars, a record each."""
    journal = Journal(folder)
    track = journal.track(stream)
    journal.append(track, encode([Instrument(stream, "1")]), 1)
    for number in range(1, bars + 1):
        journal.append(track, encode([make_bar(number)]), 1, 1, number * 60_000)
    journal.close(clean)


def asked(capsys: pytest.CaptureFixture[str], run: RunDir, *args: str) -> list[dict[str, object]]:
    """What a command prints as JSON."""
    assert main(["journal", *args, "--json", "--bus", str(run.root)]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


async def test_what_is_kept_is_shown_up_or_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By publisher and by stream, of one that is up, one that has left, one that was killed, and one with damage."""
    run = run_dir(tmp_path)
    keep(run.journals / "killed", clean=False)
    keep(run.journals / "hurt", OTHER)
    segment = next((run.journals / "hurt").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, *map(make_bar, range(1, 21)))
        publisher.flush()
        publisher.publish(STREAM, make_bar(20, revision=1))
        publisher.flush()
        before = {path: path.read_bytes() for path in run.journals.rglob("*.seg")}

        found = await asyncio.to_thread(asked, capsys, run, "ls")
        streams = await asyncio.to_thread(asked, capsys, run, "inspect", "demo")

        assert {path: path.read_bytes() for path in run.journals.rglob("*.seg")} == before
        states = {each["publisher"]: (each["state"], each["damaged"]) for each in found}
        assert states == {"demo": ("up", 0), "hurt": ("clean", 1), "killed": ("unclean", 0)}
        assert streams == [{
            "publisher": "demo", "stream": STREAM, "first": 0, "head": 22, "bars": 20, "kept_bars": 20,
            "first_ms": 20 * 60_000, "last_ms": 20 * 60_000, "bytes": streams[0]["bytes"],
        }]  # fmt: skip
    assert {"demo": "clean"}.items() <= {
        each["publisher"]: each["state"] for each in await asyncio.to_thread(asked, capsys, run, "ls")
    }.items()
    assert await asyncio.to_thread(main, ["journal", "inspect", "nobody", "--bus", str(run.root)]) == 1
    assert "'nobody' has no journal" in capsys.readouterr().err


def test_a_journal_that_is_being_written_is_read_without_harm(tmp_path: Path) -> None:
    """However the writer begins, cuts and drops segments meanwhile: what is read is whole, in order and undamaged."""
    stop, failed = threading.Event(), list[BaseException]()
    writer = Journal(tmp_path, max_bytes=256 << 10)
    track = writer.track(STREAM)

    def write() -> None:
        try:
            while not stop.is_set():
                for _ in range(20):
                    writer.append(track, encode([make_bar(track.head)] * 3), 3, 3, track.head * 60_000)
                writer.trim({})
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=write)
    thread.start()
    heads = []
    while (len(heads) < 40 or max(heads) == heads[0]) and not failed:
        reader = Journal(tmp_path, read_only=True)
        seqs = [record.seq for _, record in reader.in_order()]
        assert seqs == [seqs[0] + 3 * number for number in range(len(seqs))]
        assert reader.damaged == 0
        heads.append(reader.tracks[STREAM].head if STREAM in reader.tracks else 0)
        reader.close(clean=False)
    stop.set()
    thread.join()
    writer.close()
    assert not failed


def test_a_segment_that_is_cut_short_while_it_is_read_harms_no_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer gives back the rest of its segment when the reader has just opened it: a map of it would end in a bus
    error, and the process with it."""
    writer = Journal(tmp_path, max_bytes=8 << 20)
    track = writer.track(STREAM)
    writer.append(track, b"x" * 100, 1)
    load = Segment.load

    def slow(path: Path, **how: bool) -> Segment | None:
        segment = load(path, **how)
        while len(writer.segments) < 2:
            writer.append(track, b"x" * 100_000, 1)
        return segment

    monkeypatch.setattr(Segment, "load", slow)
    reader = Journal(tmp_path, read_only=True)
    assert (reader.tracks[STREAM].head, reader.damaged) == (1, 0)
    reader.close(clean=False)
    writer.close()


def recorded(folder: Path, said: Sequence[object]) -> dict[str, bytes]:
    """What a recorder makes of it: by the ends of their names, the files."""
    sink = OhlcvSink(OhlcvSink.Config(dir="data"), folder)
    sink.write([Delivery(STREAM, message) for message in said])  # type: ignore[arg-type]
    sink.close()
    return files(folder / "data", "demo_BTC_USDT_1")


def files(folder: Path, stem: str) -> dict[str, bytes]:
    """The files of a recording, without its lock."""
    return {
        path.name.removeprefix(stem): path.read_bytes()
        for path in folder.glob(f"{stem}.*")
        if path.suffix in (".ohlcv", ".csv")
    }


async def test_an_export_is_what_a_recorder_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte, revisions beside it, from a publisher that is up; as CSV and as lines too; nothing is ever
    overwritten, and a span is that span."""
    run, out = run_dir(tmp_path), tmp_path / "out"
    finer = Instrument("BTC/USDT", "1", mintick=0.005, pricescale=200)
    revision = replace(make_bar(50), revision=1, close=50.75)
    bars = [make_bar(number) for number in range(1, 101)]
    said = [Instrument("BTC/USDT", "1"), *bars[:60], finer, *bars[60:], revision]

    async def export(name: str, *options: str, stream: str = STREAM) -> int:
        args = ["journal", "export", stream, str(out / name), "--bus", str(run.root), *options]
        return await asyncio.to_thread(main, args)

    async with publishing(run) as publisher:
        publisher.publish(STREAM, *said[1:])
        publisher.publish("run:x", Alert(60_000, "up"))
        publisher.flush()
        assert [await export(f"a.{kind}") for kind in ("ohlcv", "csv", "jsonl")] == [0, 0, 0]
        assert await export("b.csv", "--from", "1970-01-01T00:10", "--to", "1970-01-01T00:20") == 0
        assert await export("alerts.jsonl", stream="run:x") == 0
        said_of = [line.split("  ")[1:3] for line in capsys.readouterr().out.splitlines()]
        whole = ["100 bars", "1970-01-01 00:01 … 1970-01-01 01:40"]
        assert said_of[:2] == [whole, whole]
        assert [await export(name) for name in ("a.ohlcv", "a.jsonl", "a.txt")] == [1, 1, 1]
        assert await export("c.csv", stream="run:x") == 1
        assert await export("c.csv", stream="demo:BTC/USD@1") == 1
        assert await export("c.csv", "--from", "2030-01-01") == 1

    errors = capsys.readouterr().err.splitlines()
    words = ["there already", "there already", "says in which form", "no stream of bars", "did you mean", "00:01 … "]
    assert len(errors) == len(words)
    assert all(word in error for word, error in zip(words, errors, strict=True))
    assert files(out, "a") == {**recorded(tmp_path / "sink", said), ".csv": (out / "a.csv").read_bytes()}
    assert set(files(out, "a")) == {".ohlcv", ".revisions.csv", ".csv"}
    assert len((out / "a.csv").read_text().splitlines()) == 101
    assert [line.split(",")[0] for line in (out / "b.csv").read_text().splitlines()[1:]] == [
        str(minute * 60_000) for minute in range(10, 20)
    ]
    assert len((out / "a.jsonl").read_text().splitlines()) == len(said)
    assert json.loads((out / "alerts.jsonl").read_text())["message"]["message"] == "up"
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


async def test_only_what_is_nobodys_is_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A publisher that is up keeps its journal whatever is said, a declared one and what a recorder has not got are
    kept unless --force, and the rest goes."""
    topology = tmp_path / "topology.toml"
    topology.write_text(
        '[bus]\nname = "t"\nrun_dir = "run"\n'
        '[[producer]]\nname = "declared"\nprovider = "demo"\nstreams = ["BTC/USDT@1"]\n'
        '[[sink]]\nname = "recorder"\ntype = "ohlcv"\nstreams = ["demo:*"]\noptions = { dir = "data" }\n'
    )
    run = run_dir(tmp_path)
    for name, stream in (("declared", STREAM), ("wanted", STREAM), ("had", OTHER), ("gone", "run:gone")):
        keep(run.journals / name, stream)
    sink = OhlcvSink(OhlcvSink.Config(dir="data"), tmp_path)
    sink.write([Delivery(OTHER, each) for each in (Instrument(OTHER, "1"), *map(make_bar, range(1, 51)))])
    sink.close()

    def clean(*args: str) -> tuple[int, str]:
        code = main(["journal", "clean", *args, "--bus", str(topology)])
        said = capsys.readouterr()
        return code, said.out + said.err

    def left() -> set[str]:
        return {path.name for path in run.journals.iterdir()}

    async with publishing(run, "live") as publisher:
        publisher.flush()
        for options in ((), ("--force",)):
            code, said = await asyncio.to_thread(clean, "live", "--yes", *options)
            assert (code, "stop it before" in said) == (1, True)
    code, said = await asyncio.to_thread(clean, "declared", "--yes")
    assert (code, "is declared in" in said) == (1, True)
    code, said = await asyncio.to_thread(clean, "../run", "--yes", "--force")
    assert (code, "has no journal" in said) == (1, True)
    assert left() == {"declared", "wanted", "had", "gone", "live"}

    code, said = await asyncio.to_thread(clean, "--yes")
    assert (code, "'recorder' may not have all of 'demo:BTC/USDT@1'" in said) == (0, True)
    assert left() == {"declared", "wanted"}
    assert (await asyncio.to_thread(clean, "wanted", "--yes", "--force"))[0] == 0
    assert left() == {"declared"}


async def test_little_room_is_said_once_before_growth_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A twentieth of the file system or two segments: one warning in the log, and in `ps` as long as it is so."""
    free = 50 << 30
    monkeypatch.setattr("pynelive.bus.disk.room", lambda place: (1000 << 30, free))
    with caplog.at_level(logging.INFO, "pynelive"):
        async with publishing(run_dir(tmp_path)) as publisher:
            publisher.heartbeat_s = 0.001
            free = (50 << 30) - 1
            await wait_until(lambda: bool(publisher.disk.warning))
            beats = publisher._beats
            await wait_until(lambda: publisher._beats > beats + 50)
            assert "MB free" in publisher.disk.warning
            free = 70 << 30
            await wait_until(lambda: not publisher.disk.warning)
    assert sum("MB free" in record.message for record in caplog.records) == 1
    assert sum("room again" in record.message for record in caplog.records) == 1
