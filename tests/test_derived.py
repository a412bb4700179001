"""Streams that are made of another one: the same whatever the restarts, corrected with it, and marked."""

from __future__ import annotations

from pathlib import Path

import pytest
from pynelive.bus.messages import Bar, End, Instrument
from pynelive.producers.calendar import Calendar
from pynelive.producers.derived import fault_of, method_of
from topologies import Bench, candles

MINUTE = 60_000
TABLES = """
[[producer]]
name = "source"
provider = "replay"
streams = ["X@1"]
options = { files = { "X@1" = "x.csv" }, speed = 0 }
derive = { "X@1" = ["fill", "mean:3"] }

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["replay:*"]
"""
MINUTES = [0, 1, 2, 5, 6, 10, 11, 12]


def close(minute: int) -> float:
    return 100.0 + minute


def write(path: Path, minutes: list[int]) -> None:
    rows = [f"{1_700_000_040_000 + m * MINUTE},{close(m)},{close(m) + 1},{close(m) - 1},{close(m)},7" for m in minutes]
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(rows) + "\n")


def test_holes_are_filled_and_prices_smoothed_beside_the_stream(tmp_path: Path) -> None:
    """The stream itself is as it was; the derived ones go on after their last bar when more is played."""
    bench = Bench(tmp_path, TABLES)
    write(tmp_path / "x.csv", MINUTES)
    assert bench.up().code == 0
    minutes = {name: [(c[0] // MINUTE - 28_333_334, c[4], c[5]) for c in candles(path)]
               for path in tmp_path.glob("data/*.ohlcv") for name in [path.stem]}
    assert minutes["replay_X_1"] == [(m, close(m), 7.0) for m in MINUTES]
    before = {m: max(n for n in MINUTES if n <= m) for m in range(13)}
    assert minutes["replay_X~FILL_1"] == [(m, close(b), 7.0 if m == b else 0.0) for m, b in before.items()]
    means = [(m, pytest.approx(sum(map(close, MINUTES[i - 2 : i + 1])) / 3, abs=0.001), 7.0)
             for i, m in enumerate(MINUTES) if i > 1]
    assert minutes["replay_X~MEAN_3_1"] == means
    said = bench.published("source", "replay:X~fill@1")
    assert isinstance(said[0], Instrument)
    assert isinstance(said[-1], End)
    assert {bar.origin for bar in said if isinstance(bar, Bar)} == {"derived"}
    assert [bar.time_ms // MINUTE - 28_333_334 for bar in said if isinstance(bar, Bar) and bar.extra] == [3, 4, 7, 8, 9]


def test_a_correction_of_the_source_corrects_what_was_filled() -> None:
    """From the corrected bar on, everything is made again; what has not changed is a repeat."""
    bars = [Bar(m * MINUTE, 1.0, 2.0, 0.5, close(m), 1.0) for m in (0, 3)]
    calendar = Calendar(Instrument("X", "1"), "1")
    made = list(method_of("fill")(bars, 0, calendar))
    assert [bar.close for bar in made] == [100.0, 100.0, 100.0, 103.0]
    assert list(method_of("fill")(bars, 1, calendar)) == made[1:]


def test_unknown_methods_are_faults() -> None:
    """One sentence that says what there is."""
    assert "mean:60" in fault_of("mean:61")
    assert fault_of("fill") == ""
