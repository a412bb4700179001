"""The journal: what was appended is there, in order, after any death of its process."""

import struct
import time
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynelive.bus import segments
from pynelive.bus.errors import Fault
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Bar, Instrument
from pynelive.bus.segments import READABLE
from pynelive.bus.wire import decode, encode

appends = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 64), st.integers(0, 2_000)), max_size=60)


def contents(journal: Journal) -> dict[str, list[tuple[int, bytes]]]:
    """All records by stream: seq and payload."""
    return {
        name: [
            (journal.record_at(place).seq, bytes(journal.record_at(place).payload)) for place in track.places
        ]
        for name, track in journal.tracks.items()
    }


def fill(journal: Journal, said: list[tuple[str, int, int]]) -> None:
    """Append records of so many messages and so many bytes."""
    for number, (stream, messages, size) in enumerate(said):
        journal.append(journal.track(stream), bytes([number % 256]) * size, messages, messages, number)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=appends, after=appends)
def test_what_was_appended_is_there_after_a_kill(
    tmp_path_factory: pytest.TempPathFactory, before: list, after: list
) -> None:
    """A journal that was never closed holds everything when it is opened again, and goes on where it was."""
    folder = tmp_path_factory.mktemp("journal")
    killed = Journal(folder)
    fill(killed, before)
    said = contents(killed)
    heads = {name: track.head for name, track in killed.tracks.items()}

    again = Journal(folder)

    assert contents(again) == said
    assert {name: track.head for name, track in again.tracks.items()} == heads
    assert again.epoch == killed.epoch
    fill(again, after)
    third = Journal(folder, read_only=True)
    assert contents(third) == contents(again)
    for journal in (killed, again, third):
        journal.close(clean=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=appends.filter(bool), data=st.data())
def test_a_torn_tail_costs_only_what_is_torn(
    tmp_path_factory: pytest.TempPathFactory, said: list, data: st.DataObject
) -> None:
    """Cut the file anywhere: all records before the cut are there, none is wrong, the next ones follow on."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    fill(journal, said)
    whole = contents(journal)
    path = journal.segments[-1].path
    end = journal.segments[-1].end
    journal.close(clean=False)
    kept = path.read_bytes()[: data.draw(st.integers(segments.HEADER_SIZE, end))]
    path.write_bytes(kept)

    again = Journal(folder)

    for name, records in contents(again).items():
        assert records == whole[name][: len(records)]
    fill(again, [("a", 2, 10)])
    last = again.tracks["a"]
    assert again.record_at(last.places[-1]).seq == last.head - 2
    again.close()


def test_a_flipped_bit_is_left_out_and_said(tmp_path: Path) -> None:
    """Damage in the middle loses that record, no other, and never passes as data."""
    journal = Journal(tmp_path)
    fill(journal, [("a", 1, 100)] * 10)
    place = journal.tracks["a"].places[4] & 0xFFFFFFFF
    path = journal.segments[0].path
    journal.close(clean=False)
    damaged = bytearray(path.read_bytes())
    damaged[place + 60] ^= 1
    path.write_bytes(damaged)

    again = Journal(tmp_path)

    assert again.damaged == 1
    assert again.tracks["a"].first == 5
    assert again.tracks["a"].head == 10
    again.close()


def test_the_size_is_bounded_and_what_is_lost_is_said(tmp_path: Path) -> None:
    """The oldest segments go beyond max_bytes; True says that a declared consumer had not got all of it."""
    journal = Journal(tmp_path, max_bytes=1 << 20)
    fill(journal, [("a", 1, 1000)] * 5000)

    assert journal.trim({"a": 5000}) is False
    assert journal.size <= 1 << 20
    assert 3000 < journal.tracks["a"].first < 5000

    fill(journal, [("a", 1, 1000)] * 5000)
    assert journal.trim({"a": 5000}) is True
    again = Journal(tmp_path, max_bytes=1 << 20)
    assert again.tracks["a"].head == 10_000
    assert again.tracks["a"].first == journal.tracks["a"].first
    assert again.tracks["a"].opening == bytes(1000)
    journal.close(clean=False)
    again.close()


def test_age_waits_for_declared_consumers(tmp_path: Path) -> None:
    """Segments older than the limit go once every declared consumer has them, not before."""
    journal = Journal(tmp_path, max_age_s=1e-9)
    fill(journal, [("a", 1, 1000)] * 5000)
    count = len(journal.segments)

    assert journal.trim({"a": 0}) is False
    assert len(journal.segments) == count > 2

    while time.time() - journal.segments[-1].head.created_ms / 1000 < 1e-3:
        pass
    journal.trim({"a": 5000})
    assert len(journal.segments) < count
    journal.close()


def test_power_loss_begins_a_new_epoch_and_a_clean_close_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another boot without a clean close: numbers may be given twice, hence a new epoch; records stay."""
    first = Journal(tmp_path)
    fill(first, [("a", 3, 50)])
    first.close(clean=True)
    monkeypatch.setattr("pynelive.bus.segments.boot_id", lambda: b"another boot, b1")
    monkeypatch.setattr("pynelive.bus.journal.boot_id", lambda: b"another boot, b1")
    clean = Journal(tmp_path)
    assert clean.epoch == first.epoch
    fill(clean, [("a", 3, 50)])
    clean.close(clean=False)
    monkeypatch.setattr("pynelive.bus.journal.boot_id", lambda: b"another boot, b2")

    after = Journal(tmp_path)

    assert after.epoch > first.epoch
    assert after.tracks["a"].head == 6
    after.close()


def test_a_full_disk_is_a_sentence_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a segment cannot be reserved nothing is half written: what was before stays, later ones fit."""
    journal = Journal(tmp_path)
    fill(journal, [("a", 1, 1000)] * 100)

    def full(fd: int, at: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.posix_fallocate", full)
        with pytest.raises(Fault, match="No space left"):
            fill(journal, [("a", 1, 1000)] * 1000)
    head = journal.tracks["a"].head
    fill(journal, [("a", 1, 1000)] * 300)
    assert journal.tracks["a"].head == head + 300
    assert [seq for seq, _ in contents(journal)["a"]] == list(range(head + 300))
    journal.close()


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file of another format is named, not read."""
    (tmp_path / "00000001.seg").write_bytes(b"something else" * 100)
    with pytest.raises(Fault, match="is no journal"):
        Journal(tmp_path)


def test_the_index_finds_seqs_times_and_bars(tmp_path: Path) -> None:
    """By seq, by time and by number of bars: the index gives the record that a scan of all records gives."""
    journal = Journal(tmp_path)
    track = journal.track("a")
    seq = 0
    for number in range(200):
        batch = [Bar((seq + i) * 60_000, 1, 1, 1, 1, 1) for i in range(number % 7 + 1)]
        journal.append(track, encode(batch), len(batch), len(batch), batch[-1].time_ms)
        seq += len(batch)
    for wanted in (0, 1, 17, 400, seq - 1):
        record = journal.record_at(track.places[track.entry_of(wanted)])
        assert record.seq <= wanted < record.seq + record.messages
        assert track.entry_of_bar(wanted) == track.entry_of(wanted)
        assert track.seq_from(wanted * 60_000) == record.seq
        assert decode(record.payload)[wanted - record.seq].time_ms == wanted * 60_000
    journal.close()


def test_damage_over_several_records_loses_no_more_than_it_hit(tmp_path: Path) -> None:
    """A stretch of zeros in the middle: what stands behind it is found, numbers are never given twice."""
    journal = Journal(tmp_path)
    fill(journal, [("a", 1, 30)] * 60)
    place = journal.tracks["a"].places[10] & 0xFFFFFFFF
    path = journal.segments[0].path
    journal.close(clean=False)
    damaged = bytearray(path.read_bytes())
    damaged[place + 9 : place + 309] = bytes(300)
    path.write_bytes(damaged)

    again = Journal(tmp_path)

    assert again.damaged >= 1
    assert again.tracks["a"].head == 60
    assert 10 < again.tracks["a"].first < 25
    again.close()


def test_megabytes_of_zeros_are_not_the_end(tmp_path: Path) -> None:
    """What stands behind them was sent: it is found, and its numbers are not given again."""
    journal = Journal(tmp_path)
    fill(journal, [("a", 1, 10), ("a", 1, 3 << 20), ("a", 1, 10)])
    first, last = (journal.tracks["a"].places[entry] & 0xFFFFFFFF for entry in (1, 2))
    path, epoch = journal.segments[-1].path, journal.epoch
    assert last - first > 3 << 20
    journal.close(clean=False)
    with path.open("r+b") as file:
        file.seek(first)
        file.write(bytes(last - first))

    again = Journal(tmp_path)

    assert (again.damaged, again.tracks["a"].first, again.tracks["a"].head) == (1, 2, 3)
    assert again.epoch > epoch
    again.close()


def test_everything_before_a_sync_is_brought_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many segments were begun since the last sync, it reaches all of them, and their folder."""
    journal = Journal(tmp_path, max_bytes=1 << 20)
    fill(journal, [("a", 1, 1000)] * 900)
    synced: set[str] = set()
    monkeypatch.setattr("os.fsync", lambda fd: synced.add(Path(f"/proc/self/fd/{fd}").resolve().name))

    journal.sync()()

    if Path("/proc/self/fd").exists():
        assert synced == {segment.path.name for segment in journal.segments} | {tmp_path.name}
    journal.close(clean=False)


def old_segment(version: int) -> bytes:
    """A segment as the first release wrote it, byte by byte: a table, then two records of a stream."""

    def record(stream: int, count: int, bars: int, seq: int, time_ms: int, payload: bytes) -> bytes:
        body = struct.pack("<IHHQq", stream, count, bars, seq, time_ms) + payload
        return struct.pack("<II", len(payload), crc32(body)) + body

    head = struct.pack("<4sHHQ16sq", b"PYNJ", version, 1, 77, b"a boot", 5)
    table = msgspec.msgpack.encode([["a", 1, 0, 0, 0, b""]])
    first = msgspec.msgpack.encode([["instrument", "A", "1"]])
    second = msgspec.msgpack.encode([["bar", minute * 60_000, 1.0, 2.0, 0.5, 1.5, 9.0] for minute in (1, 2)])
    return b"".join((
        head.ljust(64, b"\0"), record(0, 1, 0, 0, 0, table), record(1, 1, 0, 0, 0, first),
        record(1, 2, 2, 1, 120_000, second),
    ))  # fmt: skip


def test_a_journal_of_the_first_format_is_read_or_refused_with_its_mend(tmp_path: Path) -> None:
    """What the first release wrote is read to the last message by whoever can, and gone on with under its epoch."""
    (tmp_path / "00000001.seg").write_bytes(old_segment(1))
    if 1 not in READABLE:
        with pytest.raises(Fault, match=r"of the old format 1.*journal clean"):
            Journal(tmp_path)
        return
    journal = Journal(tmp_path)
    said = [message for _, record in journal.in_order() for message in decode(record.payload)]
    assert (journal.epoch, journal.tracks["a"].head, journal.tracks["a"].bars) == (77, 3, 2)
    assert [type(message) for message in said] == [Instrument, Bar, Bar]
    journal.close()


@pytest.mark.parametrize(("version", "said"), [(0, "of the old format 0"), (max(READABLE) + 1, "by a newer pynelive")])
def test_a_journal_of_another_format_is_refused_and_left_alone(tmp_path: Path, version: int, said: str) -> None:
    """The sentence names the file, its format and the command that begins anew."""
    path = tmp_path / "demo" / "00000001.seg"
    path.parent.mkdir()
    path.write_bytes(old_segment(version))
    with pytest.raises(Fault) as refused:
        Journal(path.parent)
    for part in (str(path), said, f"format {version}", "`pynelive journal clean demo --force`"):
        assert part in str(refused.value)
    assert path.read_bytes() == old_segment(version)
