"""The built-in sinks: nothing dropped, nothing twice, and the same bytes whatever happened on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from pynelive.bus.errors import Fault
from pynelive.bus.messages import Alert, Bar, Executed, Instrument, Message
from pynelive.bus.ohlcv import lock, ohlcv_path, read_bars, read_instrument
from pynelive.bus.syminfo import read_note
from pynelive.sinks.contract import Delivery, Sink
from pynelive.sinks.csv import CsvSink
from pynelive.sinks.jsonl import JsonlSink
from pynelive.sinks.ohlcv import OhlcvSink
from pynelive.sinks.revisions import merge_revisions, merged_path, revisions_path
from pynelive.sinks.table import SINKS, find_sink
from pynelive.sinks.template import DRAWING, TEMPLATE

STREAM = "demo:BTC/USDT@1"
NAME = "demo_BTC_USDT_1"
INSTRUMENT = Instrument("BTC/USDT", "1", source="seed 7")


def bar(minute: int, close: float = 100.25, revision: int = 0) -> Bar:
    """A closed bar of the demo."""
    return Bar(1_700_000_040_000 + minute * 60_000, 100.25, max(101.0, close), min(99.5, close), close, 1.5,
               revision=revision, origin="demo")


STORY: list[Bar] = [
    *(bar(minute) for minute in range(4)), bar(2, 100.5, 1), bar(4), bar(3, 100.75, 1), bar(3, 100.25, 2),
    bar(7), bar(6), bar(8, 100.123), bar(8, 100.5, 1), bar(9), bar(9, 100.1 + 0.2), bar(10, 200.0),
    bar(11, 250.125), structs.replace(bar(11, 90.0), origin="fallback"), bar(9, 100.4, 3), bar(12),
]
"""Revisions, a revision back to the first value, a late bar, prices off the grid, a stand-in's bar."""

PLAY = """
import sys
from pathlib import Path
import msgspec
from pynelive.bus.messages import Bar, Instrument
from pynelive.sinks.contract import Delivery
from pynelive.sinks.ohlcv import OhlcvSink
base, size = Path(sys.argv[1]), int(sys.argv[2])
bars = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Bar])
sink = OhlcvSink(OhlcvSink.Config(), base)
last_ms = sink.open("demo:BTC/USDT@1", Instrument("BTC/USDT", "1", source="seed 7"))
first = next((n for n, bar in enumerate(bars) if bar.time_ms == last_ms), 0)
for start in range(first, len(bars), size):
    sink.write([Delivery("demo:BTC/USDT@1", bar) for bar in bars[start:start + size]])
sink.close()
"""

MERGE = """
import sys
from pathlib import Path
from pynelive.sinks.revisions import merge_revisions
merge_revisions(Path(sys.argv[1]))
"""


def deliver(sink: Sink, messages: Sequence[Message], stream: str = STREAM) -> None:
    """One batch."""
    sink.write([Delivery(stream, message) for message in messages])


def recorded(base: Path, batches: Sequence[Sequence[Message]]) -> OhlcvSink:
    """One sitting of the recorder; the sink is closed."""
    sink = OhlcvSink(OhlcvSink.Config(), base)
    sink.open(STREAM, INSTRUMENT)
    for batch in batches:
        deliver(sink, batch)
    sink.close()
    return sink


def kept(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the locks."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def run(code: str, *given: object, failpoint: str = "", input: bytes = b"") -> int:
    """Run a program that is killed where the failpoint says; its exit code."""
    environment = {**os.environ, "PYNELIVE_FAILPOINT": failpoint}
    return subprocess.run([sys.executable, "-c", code, *map(str, given)], input=input, env=environment,
                          cwd="/", check=False).returncode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the recorder keeps of the story if nothing happens."""
    base = tmp_path_factory.mktemp("undisturbed")
    recorded(base, [STORY])
    return kept(base / "data")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=4))
def test_bytes_do_not_depend_on_batching_or_restarts(tmp_path_factory: pytest.TempPathFactory,
                                                     undisturbed: dict[str, bytes],
                                                     sittings: list[list[int]]) -> None:
    """However the story is cut into batches, stopped, and repeated from the offset: the same files."""
    base = tmp_path_factory.mktemp("any")
    for sizes in [*sittings, [len(STORY)]]:
        sink = OhlcvSink(OhlcvSink.Config(), base)
        last_ms = sink.open(STREAM, INSTRUMENT)
        at = next((n for n, one in enumerate(STORY) if one.time_ms == last_ms), 0)
        for size in sizes:
            deliver(sink, STORY[at:at + size])
            at += size
        sink.close()
    assert kept(base / "data") == undisturbed
    shutil.rmtree(base)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("failpoint", [
    "ohlcv.before-publish:1", "ohlcv.before-publish:2", "ohlcv.before-publish:3",
    "ohlcv.between-record-and-header:1", "ohlcv.between-record-and-header:3", "ohlcv.in-promotion",
    "ohlcv.after-commit:1", "ohlcv.after-commit:3", "revisions.after-commit:1", "revisions.after-commit:2",
])
def test_a_kill_anywhere_changes_nothing(tmp_path: Path, undisturbed: dict[str, bytes], failpoint: str,
                                         size: int) -> None:
    """Killed with -9 at this place and started again, the recorder ends with the same bytes."""
    story = msgspec.json.encode(STORY)
    assert run(PLAY, tmp_path, size, failpoint=failpoint, input=story) == -signal.SIGKILL
    assert run(PLAY, tmp_path, size, input=story) == 0
    assert kept(tmp_path / "data") == undisturbed


def test_a_torn_line_of_revisions_is_written_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """A power failure may cut the last line anywhere."""
    recorded(tmp_path, [STORY[:5]])
    side = revisions_path(tmp_path / "data" / f"{NAME}.ohlcv")
    side.write_bytes(side.read_bytes()[:-7])
    recorded(tmp_path, [STORY[3:]])
    assert kept(tmp_path / "data") == undisturbed


def test_what_is_recorded_and_what_is_said_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """First values in the .ohlcv, the rest beside it, reported once; origins and source in the .toml."""
    malformed = structs.replace(bar(13), high=1.0)
    forming = structs.replace(bar(14), closed=False)
    sink = recorded(tmp_path, [STORY, [malformed, forming, Alert(0, "no bar")]])
    path = tmp_path / "data" / f"{NAME}.ohlcv"
    assert [one.close for one in read_bars(path)][:5] == [100.25] * 5
    assert sink.summary() == [f"data/{NAME}.ohlcv  11 bars  2023-11-14 22:14 … 2023-11-14 22:26"
                              "  6 revisions  2 left out  1 from a fallback"]
    assert len(caplog.records) == 3
    assert read_note(path).origins == ("demo",)
    assert read_instrument(path) == INSTRUMENT
    assert recorded(tmp_path, [[malformed, bar(6)]]).summary()[0].endswith("2 left out  1 from a fallback")


def test_merging_puts_the_last_word_into_the_file(tmp_path: Path) -> None:
    """Revisions and late bars are in the .ohlcv, what they replaced is kept, and repeats stay repeats."""
    recorded(tmp_path, [STORY])
    path = tmp_path / "data" / f"{NAME}.ohlcv"
    first = {one.time_ms: one for one in read_bars(path)}
    assert merge_revisions(path) == 4
    merged = {one.time_ms: one.close for one in read_bars(path)}
    assert list(merged) == sorted(merged)
    assert merged == {**{time_ms: one.close for time_ms, one in first.items()}, bar(6).time_ms: 100.25,
                      bar(2).time_ms: 100.5, bar(8).time_ms: 100.5, bar(9).time_ms: 100.4}
    assert not revisions_path(path).exists()
    assert f"{bar(8).time_ms},0,100.25,101.0,99.5,100.123," in merged_path(path).read_text()
    before = kept(tmp_path / "data")
    recorded(tmp_path, [STORY])
    assert merge_revisions(path) == 0
    assert kept(tmp_path / "data") == before


@pytest.mark.parametrize("failpoint",
                         ["revisions.after-commit", "ohlcv.before-publish", "merge.before-retire"])
def test_a_killed_merge_is_run_again(tmp_path: Path, failpoint: str) -> None:
    """Killed at any step, a merge has lost nothing and the next one ends as an undisturbed one does."""
    for name in ("calm", "killed"):
        recorded(tmp_path / name, [STORY])
    calm, killed = (tmp_path / name / "data" / f"{NAME}.ohlcv" for name in ("calm", "killed"))
    merge_revisions(calm)
    assert run(MERGE, killed, failpoint=failpoint) == -signal.SIGKILL
    merge_revisions(killed)
    assert kept(killed.parent) == kept(calm.parent)


def test_a_merge_waits_for_no_recorder(tmp_path: Path) -> None:
    """While the file is recorded, a merge is refused."""
    recorded(tmp_path, [STORY])
    path = tmp_path / "data" / f"{NAME}.ohlcv"
    with lock(path), pytest.raises(Fault, match="being written by another recorder"):
        merge_revisions(path)


def test_only_a_recording_is_merged(tmp_path: Path) -> None:
    """Another file is refused in one line, and nothing is left beside it."""
    (tmp_path / "script.py").touch()
    with pytest.raises(Fault, match=r"script\.py is no recording: name its \.ohlcv file$"):
        merge_revisions(tmp_path / "script.py")
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_an_instrument_must_come_before_bars(tmp_path: Path) -> None:
    """A stream without bars is let be, an instrument may come with the bars, a bar without one is a fault."""
    sink = OhlcvSink(OhlcvSink.Config(), tmp_path)
    assert sink.open("run:ema", None) is None
    assert sink.open(STREAM, None) is None
    deliver(sink, [Alert(0, "buy")], "run:ema")
    with pytest.raises(Fault, match="sent a bar before its instrument"):
        deliver(sink, [bar(0)])
    deliver(sink, [INSTRUMENT, bar(0)])
    sink.close()
    assert OhlcvSink(OhlcvSink.Config(), tmp_path).open("demo:ETH/USDT@1", None) is None
    again = OhlcvSink(OhlcvSink.Config(), tmp_path)
    assert again.open(STREAM, None) == bar(0).time_ms
    again.close()


def test_the_file_name_is_that_of_pynecore(tmp_path: Path) -> None:
    """PyneCore's file names fold separators and case."""
    first, second, other = (ohlcv_path(tmp_path, f"x:{key}") for key in ("BTC/USDT@1", "btc_usdt@1", "BTC/USDT@5"))
    assert first == second == tmp_path / "x_BTC_USDT_1.ohlcv"
    assert other != first


@pytest.mark.parametrize("time", ["ms", "iso"])
def test_a_csv_has_each_bar_once(tmp_path: Path, time: str) -> None:
    """Torn in the middle of a line and repeated from the offset, the file is what it would have been."""
    for name, cut in (("calm", 0), ("torn", 9)):
        sink = CsvSink(CsvSink.Config(time=time), tmp_path / name)  # type: ignore[arg-type]
        assert sink.open(STREAM, INSTRUMENT) is None
        deliver(sink, STORY[:4])
        sink.close()
        path = tmp_path / name / "data" / f"{NAME}.csv"
        path.write_bytes(path.read_bytes()[:len(path.read_bytes()) - cut])
        sink = CsvSink(CsvSink.Config(time=time), tmp_path / name)  # type: ignore[arg-type]
        assert sink.open(STREAM, INSTRUMENT) == bar(2 if cut else 3).time_ms
        deliver(sink, STORY[2:])
        sink.close()
    lines = (tmp_path / "torn" / "data" / f"{NAME}.csv").read_text().splitlines()
    assert lines == (tmp_path / "calm" / "data" / f"{NAME}.csv").read_text().splitlines()
    assert lines[0] == "time,open,high,low,close,volume"
    begun = "1700000040000" if time == "ms" else "2023-11-14T22:14:00Z"
    assert lines[1] == f"{begun},100.25,101.0,99.5,100.25,1.5"
    assert len(lines) == 12


def test_json_lines_say_everything_once(tmp_path: Path) -> None:
    """Fields have names, the bar inside an executed update too; a restart's repeats are not written again."""
    said: list[Message] = [INSTRUMENT, *STORY[:3], Executed(bar(0), 1, 7), Alert(5, "buy")]
    path = tmp_path / "all.jsonl"
    for last_ms in (None, bar(2).time_ms):
        sink = JsonlSink(JsonlSink.Config(path=path.name), tmp_path)
        assert sink.open(STREAM, None) == last_ms
        deliver(sink, said)
        sink.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])  # torn, so that the next sitting has to say the alert again
    assert whole.count(b"\n") == len(said)
    lines = [msgspec.json.decode(line) for line in whole.splitlines()]
    assert [line["kind"] for line in lines] == ["instrument", "bar", "bar", "bar", "executed", "alert"]
    assert lines[4]["message"]["bar"]["close"] == 100.25
    assert lines[0]["message"]["source"] == "seed 7"
    assert {line["stream"] for line in lines} == {STREAM}


def test_json_lines_on_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The default is a pipe's."""
    sink = JsonlSink(JsonlSink.Config(), tmp_path)
    deliver(sink, [Alert(5, "buy")])
    sink.close()
    assert msgspec.json.decode(capfdbinary.readouterr().out)["message"]["message"] == "buy"


def test_all_sinks_are_found(tmp_path: Path) -> None:
    """Every name of the table leads to a sink."""
    assert all(issubclass(find_sink(name, tmp_path), Sink) for name in SINKS)


def test_the_template_is_a_sink_and_the_documented_one(tmp_path: Path) -> None:
    """What the page shows is what works: found as a file, resumed without a repeat."""
    page = Path(__file__).parent.parent / "docs" / "write-a-sink.md"
    assert f"```python\n{TEMPLATE}```" in page.read_text(encoding="utf-8")
    (tmp_path / "closes.py").write_text(TEMPLATE, encoding="utf-8")
    kind = find_sink("closes.py", tmp_path)
    for _ in range(2):
        sink = kind(kind.Config(), tmp_path)
        sink.open(STREAM, INSTRUMENT)
        deliver(sink, [INSTRUMENT, *STORY[:3]])
        sink.close()
    assert (tmp_path / "closes.txt").read_text().splitlines() == [
        f"{STREAM} {one.time_ms} {one.close}" for one in STORY[:3]]


def test_the_sink_that_draws_draws(tmp_path: Path) -> None:
    """What the page shows makes a picture of the last closes, and says where it is."""
    page = Path(__file__).parent.parent / "docs" / "write-a-sink.md"
    assert f"```python\n{DRAWING}```" in page.read_text(encoding="utf-8")
    (tmp_path / "sparklines.py").write_text(DRAWING, encoding="utf-8")
    kind = find_sink("sparklines.py", tmp_path)
    sink = kind(kind.Config(bars=5), tmp_path)
    sink.open(STREAM, INSTRUMENT)
    deliver(sink, [INSTRUMENT, *STORY[:4]])
    deliver(sink, [bar(8, 109.5), bar(9, 100.25), structs.replace(bar(10, 104.5), closed=False)])
    deliver(sink, [bar(3, 100.25)], "demo:<other>@1")
    drawn = ElementTree.fromstring(Path(sink.address.removeprefix("file://")).read_text(encoding="utf-8"))
    lines = [child.attrib["points"].split() for child in drawn if child.tag.endswith("polyline")]
    assert [child.text for child in drawn if child.tag.endswith("text")] == ["demo:<other>@1 100.25", f"{STREAM} 104.5"]
    assert [float(point.partition(",")[2]) for point in lines[1]] == [75.0, 75.0, 45.0, 75.0, 61.2]
