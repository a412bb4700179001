"""Streams that are made of another one: the same whatever the restarts, corrected with it, and marked."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pynelive.bus.archive import Archive, Page
from pynelive.bus.messages import Bar, End, Instrument
from pynelive.bus.specs import QualitySpec
from pynelive.producers.calendar import Calendar
from pynelive.producers.derived import Derived, DerivedArchive, fault_of, method_of
from pynelive.producers.ledger import Ledger
from pynelive.producers.quality import Quality
from pynelive.producers.quarantine import Quarantine
from topologies import Bench, candles

MINUTE = 60_000
BEGIN = 1_700_000_040_000
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


class Said:
    """What a publisher was given."""

    outs: ClassVar[dict[str, object]] = {}

    def publish(self, stream: str, message: object) -> None:
        """It is public."""


def ledger() -> Ledger:
    quality = Quality(QualitySpec(), Calendar(Instrument("X", "1"), "1"), "crypto", live=False)
    return Ledger("x", Said(), quality, Quarantine(Path()))  # type: ignore[arg-type]


class Shelf(Archive):
    """A hundred minutes."""

    async def older(self, stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        return [Bar(m * MINUTE, 1.0, 2.0, 0.5, float(m), 1.0) for m in range(before_ms // MINUTE)][-count:]

    async def fetch(self, stream: str, from_ms: int, to_ms: int, fresh: bool = False) -> Page:
        return Page([])

    async def symbols(self, search: str = "") -> list[str]:
        return []


def close(minute: int) -> float:
    return 100.0 + minute


def write(path: Path, minutes: list[int]) -> None:
    rows = [f"{BEGIN + m * MINUTE},{close(m)},{close(m) + 1},{close(m) - 1},{close(m)},7" for m in minutes]
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


async def test_a_stand_in_is_not_handed_on() -> None:
    """What another source said is no bar to derive from: the venue's own may still come, and then is."""
    source, own = ledger(), ledger()
    Derived(source, own, Calendar(Instrument("X", "1"), "1"), "fill")
    for minute, origin in ((0, "venue"), (1, "fallback"), (2, "fallback"), (3, "venue")):
        source.publish(Bar(BEGIN + minute * MINUTE, 1.0, 2.0, 0.5, close(minute), 1.0, origin=origin))  # type: ignore[arg-type]
    assert [bar.close for bar in own.remembered()] == [100.0, 100.0, 100.0, 103.0]
    source.publish(Bar(BEGIN + MINUTE, 1.0, 2.0, 0.5, close(1), 1.0, origin="backfill"))
    assert [bar.close for bar in own.remembered()] == [100.0, 101.0, 101.0, 103.0]


async def test_older_bars_of_a_derived_stream_are_derived() -> None:
    """A warm-up is made of the source's history, as the live bars are of the live ones."""
    archive = DerivedArchive(Shelf())
    archive.sources["x:X~mean:3@1"] = "x:X@1", "mean:3", Calendar(Instrument("X", "1"), "1")
    bars = await archive.older("x:X~mean:3@1", 5, 0, 100 * MINUTE)
    assert [bar.time_ms // MINUTE for bar in bars] == [95, 96, 97, 98, 99]
    assert [bar.close for bar in bars] == [94.0, 95.0, 96.0, 97.0, 98.0]
