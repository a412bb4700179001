"""Wrong input ends the actor that it concerns, in one sentence that names it; everything else goes on."""

from __future__ import annotations

from pathlib import Path

from pynelive.bus.messages import Executed, Plot, Run
from topologies import Bench, candles, rows

BARS = 2000
STREAM = "demo:BTC/USDT@1"
DEMO = f"""
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = {{ seed = 7, speed = 0, bars = {BARS} }}

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = {{ dir = "data" }}
"""
RUNNER = f"""
[[runner]]
name = "NAME"
script = "NAME.py"
stream = "{STREAM}"
history = 10
"""
SCRIPT = '''"""@pyne"""
from pynecore.lib import bar_index, close, input, plot, script

@script.indicator("Made for a test")
def main(length=input.int(3)):
    plot(close * 2, "twice")
'''


WRONG = (
    (SCRIPT + "    if bar_index == 100:\n        raise ValueError('too many bars')\n", "",
     "script0.py failed at line 8 on the bar of 2025-01-06T16:00:00Z: ValueError: too many bars"),
    (SCRIPT, "inputs = { lenght = 3 }",
     "script1.py cannot be loaded at line 4: ValueError: Unknown input(s): lenght"),
    (SCRIPT, 'inputs = { length = "long" }', "'length' is 'long' but must be of type int"),
    (SCRIPT, 'output = "script0.py"', "cannot be made (Not a directory): correct 'output'"),
    ('"""@pyne"""\nthis is no Python', "", "script4.py cannot be loaded at line 2: SyntaxError"),
    ("plain = 1", "", "script5.py cannot be loaded"),
)  # fmt: skip
"""Scripts, options of their runners, and what is said of them."""


def bench_of(folder: Path, tables: str, script: str = SCRIPT) -> Bench:
    """A bench with a script of its own beside the topology."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(script)
    return Bench(folder, tables.replace("NAME", "script"))


def test_scripts_that_cannot_run(tmp_path: Path) -> None:
    """Each sentence names file, line and bar; no script is tried again, and the recorder has all bars."""
    tables = [DEMO]
    for number, (script, options, _) in enumerate(WRONG):
        tables.append(RUNNER.replace("NAME", f"script{number}") + options)
        (tmp_path / f"script{number}.py").write_text(script)
    ended = Bench(tmp_path, "".join(tables)).up()
    assert ended.code == 1
    assert [sentence for _, _, sentence in WRONG if sentence not in ended.output] == []
    assert "again in" not in ended.output
    assert len(candles(tmp_path / "data" / "demo_BTC_USDT_1.ohlcv")) == BARS


def test_stream_that_nobody_produces(tmp_path: Path) -> None:
    """It is found before anything is started."""
    ended = bench_of(tmp_path, DEMO + RUNNER.replace("USDT@1", "USD@1")).up()
    assert ended.code == 2
    assert "nobody publishes 'demo:BTC/USD@1': did you mean 'demo:BTC/USDT@1'?" in ended.output
    assert not (tmp_path / "run" / "logs").exists()


def test_other_source_under_the_same_name(tmp_path: Path) -> None:
    """Another seed is refused by the journal that has bars of the first one; without it, by the recording."""
    assert bench_of(tmp_path, DEMO).up().code == 0
    before = candles(tmp_path / "data" / "demo_BTC_USDT_1.ohlcv")
    other = bench_of(tmp_path, DEMO.replace("seed = 7", "seed = 8"))
    ended = other.up()
    assert ended.code == 1
    assert "holds bars of another source" in ended.output
    for segment in (tmp_path / "run" / "journal" / "demo").iterdir():
        segment.unlink()
    ended = other.up()
    assert ended.code == 1
    assert "demo_BTC_USDT_1.ohlcv was made from" in ended.output
    assert candles(tmp_path / "data" / "demo_BTC_USDT_1.ohlcv") == before


def test_other_timeframe_in_the_file(tmp_path: Path) -> None:
    """A file of five-minute bars is not gone on with one-minute bars."""
    assert bench_of(tmp_path / "a", DEMO.replace("USDT@1", "USDT@5")).up().code == 0
    bench = bench_of(tmp_path / "b", DEMO)
    data = tmp_path / "b" / "data"
    data.mkdir()
    (tmp_path / "a" / "data" / "demo_BTC_USDT_5.ohlcv").rename(data / "demo_BTC_USDT_1.ohlcv")
    ended = bench.up()
    assert ended.code == 1
    assert "holds bars of timeframe 5, not 1: move it away" in ended.output


def test_changed_script_is_a_new_run(tmp_path: Path) -> None:
    """It is said, and plots and stream are the new script's, from the first bar on."""
    bench = bench_of(tmp_path, DEMO + RUNNER)
    assert bench.up().code == 0
    first = bench.published("script", "run:script")
    (tmp_path / "script.py").write_text(SCRIPT.replace("close * 2", "close * 3"))
    ended = bench.up()
    assert ended.code == 0, ended.output
    assert "a new run begins" in bench.log("script")
    said = bench.published("script", "run:script")
    assert [type(m) for m in said] == [type(m) for m in first]
    assert isinstance(said[0], Run)
    assert isinstance(first[0], Run)
    assert said[0].fingerprint != first[0].fingerprint
    closes = {m.bar.time_ms: m.bar.close for m in said if isinstance(m, Executed)}
    assert {m.time_ms: m.values["twice"] for m in said if isinstance(m, Plot)} == {
        time_ms: close * 3 for time_ms, close in closes.items()
    }
    assert len(rows(tmp_path / "output" / "script" / "plot.csv")) == BARS + 10
