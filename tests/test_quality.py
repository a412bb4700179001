"""Whether a bar can be true: the rules, trading hours against the demo's own calendar, and what is kept of bad bars."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from math import inf, nan
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from pynelive.bus.messages import Bar, Instrument, Span
from pynelive.bus.specs import QualitySpec
from pynelive.commands.app import app
from pynelive.commands.quarantine import RULES
from pynelive.producers import quarantine as quarantine_module
from pynelive.producers.calendar import Calendar
from pynelive.producers.quality import Quality, flags_of
from pynelive.producers.quarantine import Quarantine, read_quarantine
from pynelive.producers.sessions import Hours, RoundTheClock, StockExchange

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_736_174_400_000  # Monday 2025-01-06 14:40 UTC
GOOD = Bar(T0, 10.0, 12.0, 9.0, 11.0, 5.0)


def rules(kind: str = "crypto", live: bool = True, timeframe: str = "1", **spec: object) -> Quality:
    calendar = Calendar(Instrument("X", timeframe), timeframe)
    return Quality(QualitySpec(**spec), calendar, kind, live)  # type: ignore[arg-type]


# --- rejected and fixed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "wrong"), [
    *(("garbage", {name: value}) for name in ("open", "high", "low", "close") for value in (nan, inf, -inf)),
    ("garbage", {"volume": inf}), ("garbage", {"volume": -inf}), ("volume", {"volume": -1.0}),
    *(("price", {"low": value}) for value in (0.0, -1.0)),
    ("unit", {"time_ms": T0 // 1000}), ("unit", {"time_ms": T0 * 1000}), ("unit", {"time_ms": -T0}),
    ("unit", {"time_ms": 0}), ("unit", {"time_ms": T0 + 2 * DAY}),
    ("early", {"time_ms": T0 + MINUTE}), ("grid", {"time_ms": T0 - 30_000}), ("grid", {"time_ms": T0 - 1_300}),
    ("bounds", {"high": 10.5}), ("bounds", {"low": 10.5}), ("bounds", {"close": 12.5}), ("bounds", {"open": 8.0}),
])  # fmt: skip
def test_a_bar_that_cannot_be_true_is_rejected(rule: str, wrong: dict[str, float]) -> None:
    """By its rule, which counts it and says why; the same bar without the fault passes as it is."""
    quality = rules()
    assert quality.judge(GOOD, T0 + MINUTE) == (GOOD, "", "")
    verdict = quality.judge(replace(GOOD, **wrong), T0 + MINUTE)
    assert verdict.bar is None
    assert verdict.rule == rule
    assert verdict.reason
    assert quality.counters == {rule: 1}


def test_what_is_no_fault() -> None:
    """A volume that is not known, a forming bar before its end, oil below zero, an old bar of a file."""
    assert rules().judge(replace(GOOD, volume=nan), T0 + MINUTE).bar is not None
    assert rules().judge(replace(GOOD, time_ms=T0 + MINUTE, closed=False), T0 + MINUTE).bar is not None
    below = Bar(T0, -10.0, 12.0, -37.0, -11.0, 5.0)
    assert rules("futures").judge(below, T0 + MINUTE).bar == below
    assert rules("stock").judge(below, T0 + MINUTE).rule == "price"
    assert rules("stock", live=False).judge(replace(GOOD, time_ms=DAY + 1), T0).bar is not None


@given(off_ms=st.integers(-30_000, 29_999), snap=st.sampled_from((0.0, 0.02, 0.3)))
def test_a_time_off_the_grid_is_moved_or_rejected(off_ms: int, snap: float) -> None:
    """Onto the nearest bar, from both sides, up to the share that is allowed."""
    quality = rules(snap=snap)
    bar, rule, _ = quality.judge(replace(GOOD, time_ms=T0 + off_ms, closed=False), T0 + MINUTE)
    if off_ms == 0:
        assert bar == replace(GOOD, closed=False)
    elif abs(off_ms) <= MINUTE * snap:
        assert bar is not None
        assert (bar.time_ms, flags_of(bar), asdict(bar)["close"]) == (T0, ["grid"], 11.0)
    else:
        assert (bar, rule) == (None, "grid")
    assert quality.counters["grid"] == (off_ms != 0)


PRICES = st.floats(1e-6, 1e9)


@given(prices=st.tuples(PRICES, PRICES, PRICES, PRICES))
def test_bounds_are_widened_if_that_is_wanted(prices: tuple[float, float, float, float]) -> None:
    """To the extremes of the four prices, flagged; what is sound is not touched."""
    bar = Bar(T0, *prices, volume=1.0, extra={"trades": 3.0})
    sound = bar.high == max(prices) and bar.low == min(prices)
    widened, rejecting = rules(bounds="widen"), rules()
    mended = widened.judge(bar, T0 + MINUTE).bar
    assert mended is not None
    assert (mended.high, mended.low) == (max(prices), min(prices))
    assert (mended.open, mended.close, mended.extra and mended.extra["trades"]) == (bar.open, bar.close, 3.0)
    assert flags_of(mended) == ([] if sound else ["bounds"])
    assert (rejecting.judge(bar, T0 + MINUTE).bar == bar) is sound
    assert rejecting.counters["bounds"] == widened.counters["bounds"] == (not sound)


# --- flagged ----------------------------------------------------------------------------------------------------------


def learnt(quality: Quality, volume: float = 100.0) -> Bar:
    """Fifty usual bars: a range of 2 around 100; the last of them."""
    for number in range(50):
        bar = Bar(T0 + number * MINUTE, 100.0, 101.0, 99.0, 100.0, volume)
        quality.learn(bar)
    return bar


def flags(quality: Quality, bar: Bar) -> list[str]:
    judged = quality.judge(bar, bar.time_ms + MINUTE).bar
    assert judged is not None
    assert replace(judged, extra=None) == replace(bar, extra=None)  # marked, never changed
    return flags_of(judged)


def test_outliers_are_marked_only_if_wanted() -> None:
    """Prices and volume; a gap before the bar makes room for a larger move; a calm history is needed first."""
    spike = Bar(T0 + 50 * MINUTE, 100.0, 160.0, 100.0, 101.0, 5_000.0)
    off, on = rules(), rules(outlier=12, volume_outlier=20)
    learnt(off)
    learnt(on)
    assert flags(off, spike) == []
    assert flags(on, spike) == ["outlier", "volume_outlier"]
    assert on.counters == {"outlier": 1, "volume_outlier": 1}
    assert flags(on, replace(spike, high=120.0, volume=1_000.0)) == []
    assert flags(on, replace(spike, time_ms=spike.time_ms + 9 * MINUTE, volume=1.0)) == []
    assert flags(on, replace(spike, volume=nan)) == ["outlier"]
    new = rules(outlier=12)
    new.learn(replace(GOOD, time_ms=T0 + 49 * MINUTE))
    assert flags(new, spike) == []


def test_a_move_without_volume() -> None:
    """Marked where there is a volume otherwise; not of polled quotes, nor of a source that knows no volume."""
    quality = rules()
    last = learnt(quality)
    moved = Bar(last.time_ms + MINUTE, 100.0, 101.0, 100.0, 101.0, 0.0)
    assert flags(quality, moved) == ["move_without_volume"]
    assert flags(quality, replace(moved, close=100.0)) == []
    assert flags(quality, replace(moved, volume=1.0)) == []
    assert flags(quality, replace(moved, origin="sampled")) == []
    assert flags(quality, replace(moved, closed=False)) == []
    without = rules("forex")
    learnt(without, volume=0.0)
    assert flags(without, moved) == []


def test_every_rule_is_in_the_docs() -> None:
    """With its counter."""
    page = (Path(__file__).parent.parent / "docs" / "quality.md").read_text()
    names = ("garbage", "price", "volume", "unit", "early", "grid", "bounds", "outlier", "volume_outlier",
             "move_without_volume")  # fmt: skip
    assert {*RULES} - {*names} == {"late", "unconfirmed"}  # the lane's
    assert [name for name in names if f"`rule_{name}`" not in page] == []


# --- trading hours ----------------------------------------------------------------------------------------------------

NEW_YORK = ZoneInfo("America/New_York")
FOREX = ((6, 17 * 3600, 86_400), *((day, 0, 86_400) for day in range(4)), (4, 0, 17 * 3600))
LUNCH = tuple((day, start, end) for day in range(5) for start, end in ((9 * 3600, 41_400), (45_000, 15 * 3600)))


def hours(timeframe: str, zone: str, spans: tuple[tuple[int, int, int], ...]) -> Calendar:
    return Calendar(Instrument("X", timeframe, timezone=zone, opening_hours=tuple(Span(*s) for s in spans)), timeframe)


def at(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    """The Unix ms of a wall time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize("kind", [RoundTheClock, StockExchange])
@pytest.mark.parametrize("timeframe", ["30S", "1", "7", "30", "60", "90", "240"])
@given(index=st.integers(-200_000, 200_000))
@settings(max_examples=60)
def test_the_demos_calendar_says_the_same(kind: type[Hours], timeframe: str, index: int) -> None:
    """Bar after bar, over nights, weekends and both changes of the clocks; nothing is missing, and one left out is."""
    own = kind(timeframe)
    calendar = Calendar(own.describe(Instrument("X", timeframe)), timeframe)
    slot, after, second = (own.slot(index + n) for n in range(3))
    assert calendar.next_open(slot.open_ms) == after.open_ms
    assert calendar.end_of(slot.open_ms) == slot.close_ms
    assert calendar.off_grid(slot.open_ms) == 0
    assert calendar.off_grid(slot.open_ms - 400) == -400
    assert calendar.off_grid(slot.open_ms + 400) == 400
    assert calendar.is_open(slot.open_ms)
    assert calendar.is_open(slot.close_ms - 1)
    assert calendar.is_open(slot.close_ms) is (after.open_ms == slot.close_ms)
    assert not calendar.missing(slot.open_ms, after.open_ms)
    assert calendar.missing(slot.open_ms, second.open_ms) is (second.open_ms - after.open_ms > calendar.length_ms // 2)


def test_no_hours_are_all_hours() -> None:
    """And so are seven days that end at 23:59 or a second before midnight."""
    assert Calendar(Instrument("X", "1"), "1").always
    for end_s in (86_400, 86_399, 86_340, 0):
        assert hours("1", "Asia/Tokyo", tuple((day, 0, end_s) for day in range(7))).always
    assert not hours("1", "Asia/Tokyo", tuple((day, 0, 86_000) for day in range(7))).always


def test_a_lunch_break() -> None:
    """09:00 to 11:30 and 12:30 to 15:00 in Tokyo; an hour that begins at 11:00 is over at the break."""
    tokyo = ZoneInfo("Asia/Tokyo")
    calendar = hours("60", "Asia/Tokyo", LUNCH)
    eleven, half_past_twelve = at("2025-01-10T11:00", tokyo), at("2025-01-10T12:30", tokyo)
    assert calendar.end_of(eleven) == at("2025-01-10T11:30", tokyo)
    assert calendar.next_open(eleven) == half_past_twelve
    assert not calendar.is_open(half_past_twelve - 1)
    assert not calendar.missing(eleven, half_past_twelve)
    assert calendar.next_open(at("2025-01-10T14:30", tokyo)) == at("2025-01-13T09:00", tokyo)  # over a weekend
    assert calendar.missing(eleven, at("2025-01-10T13:30", tokyo))


@pytest.mark.parametrize("sunday", ["2025-01-05", "2025-03-09", "2025-11-02"], ids=["winter", "spring", "autumn"])
def test_a_week_of_forex(sunday: str) -> None:
    """Sunday 17:00 to Friday 17:00 in New York is one session, over Monday and both changes of the clocks."""
    opens = at(f"{sunday}T17:00")
    closes = opens + 5 * DAY
    calendar = hours("240", "America/New_York", FOREX)
    assert [calendar.is_open(ms) for ms in (opens - 1, opens, closes - 1, closes)] == [False, True, True, False]
    times = [opens + n * 4 * HOUR for n in range(30)]
    assert [calendar.next_open(ms) for ms in times[:-1]] == times[1:]
    assert [calendar.off_grid(ms) for ms in times] == [0] * 30
    assert [calendar.off_grid(ms - 500) for ms in times] == [-500] * 30
    assert calendar.off_grid(times[2] - times[2] % (4 * HOUR)) == 0  # the hours of UTC are a grid too
    assert calendar.off_grid(times[2] + 30 * MINUTE) == 30 * MINUTE
    following = datetime.fromtimestamp(opens / 1000, NEW_YORK) + timedelta(days=7)  # by the clocks there
    assert calendar.next_open(times[-1]) == following.timestamp() * 1000


def test_an_early_close_in_a_session_over_the_weekend() -> None:
    """A bar that outlasts Friday's close ends with it, whichever day the session began on."""
    calendar = hours("240", "America/New_York", FOREX)
    friday = at("2025-01-10T15:00")  # 20:00 UTC, on UTC's grid
    assert calendar.off_grid(friday) == 0
    assert calendar.end_of(friday) == at("2025-01-10T17:00")
    assert calendar.next_open(friday) == at("2025-01-12T17:00")


@pytest.mark.parametrize("wall", ["2025-11-02T01:30", "2025-03-09T03:00"])
def test_a_session_that_begins_in_the_night_of_the_change(wall: str) -> None:
    """Never found before the time that it is looked for after."""
    start_s = int(wall[11:13]) * 3600 + int(wall[14:]) * 60
    calendar = hours("5", "America/New_York", ((6, start_s, start_s + 7200), (2, 0, 3600)))
    wednesday = at("2025-10-29T00:55") if "11-02" in wall else at("2025-03-05T00:55")
    assert calendar.next_open(wednesday) == at(wall)
    for ms in range(at(wall), at(wall) + 4 * HOUR, 5 * MINUTE):
        assert calendar.next_open(ms) > ms


def test_days_and_weeks_leave_out_closed_days() -> None:
    """Friday's daily bar is followed by Monday's, or by Sunday's where the week begins then."""
    stock = Calendar(StockExchange("1D").describe(Instrument("X", "1D")), "1D")
    friday, monday = at("2025-01-10T00:00", ZoneInfo("UTC")), at("2025-01-13T00:00", ZoneInfo("UTC"))
    assert stock.next_open(friday) == monday
    assert not stock.missing(friday, monday)
    assert stock.missing(friday, monday + DAY)
    assert stock.end_of(friday) == friday + DAY
    assert stock.off_grid(friday + 12_345) == 0
    forex = hours("1D", "America/New_York", FOREX)
    thursday = at("2025-01-09T17:00")
    assert forex.next_open(thursday) == at("2025-01-12T17:00")
    spring = at("2025-03-06T17:00")  # the days of New York's time shift by an hour that weekend
    assert not forex.missing(spring, at("2025-03-09T17:00"))
    assert forex.missing(spring, at("2025-03-10T17:00"))
    week = Calendar(StockExchange("1W").describe(Instrument("X", "1W")), "1W")
    assert week.next_open(monday) == monday + 7 * DAY


# --- the quarantine ---------------------------------------------------------------------------------------------------


def test_a_torn_line_costs_nothing_else(tmp_path: Path) -> None:
    """A process that was killed while it wrote leaves half a line; what is written behind it is read."""
    path = tmp_path / "quarantine" / "venue.jsonl"
    Quarantine(path).keep("x:X@1", "early", "why", GOOD)
    path.write_bytes(path.read_bytes() + path.read_bytes()[:50])
    again = Quarantine(path)
    again.keep("x:X@1", "garbage", "why", replace(GOOD, open=nan, high=inf, low=-inf))
    again.keep("x:X@1", "unit", "why", replace(GOOD, time_ms=10**30))
    kept = list(read_quarantine(path.parent))
    assert [item.rule for item in kept] == ["early", "garbage", "unit"]
    assert (kept[0].bar["close"], kept[1].bar["open"], kept[1].bar["high"], kept[1].bar["low"]) == (
        11.0, "nan", "inf", "-inf")  # fmt: skip
    assert list(read_quarantine(tmp_path / "none")) == []


def test_the_older_half_is_dropped_when_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is said; the newest is always there, whole lines only."""
    monkeypatch.setattr(quarantine_module, "_LARGEST", 20_000)
    quarantine = Quarantine(tmp_path / "venue.jsonl")
    with caplog.at_level(logging.WARNING, "pynelive"):
        for number in range(400):
            quarantine.keep("x:X@1", "early", "why", replace(GOOD, time_ms=number))
            assert quarantine.path.stat().st_size < 20_500
    numbers = [item.bar["time_ms"] for item in read_quarantine(tmp_path)]
    assert numbers == list(range(numbers[0], 400))
    assert 30 < len(numbers) < 400
    assert "its older half is dropped" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["venue.jsonl"]


def test_the_command_shows_it(tmp_path: Path) -> None:
    """Plain and as JSON, by stream and by rule, whether or not the bus is up."""
    (tmp_path / "topology.toml").write_text('[bus]\nrun_dir = "run"\n[[producer]]\nname = "demo"\nprovider = "demo"\n'
                                            'streams = ["BTC/USDT@1"]\n')  # fmt: skip
    folder = tmp_path / "run" / "quarantine"
    Quarantine(folder / "a.jsonl").keep("x:X@1", "garbage", "a price is missing", replace(GOOD, open=nan, high=inf))
    Quarantine(folder / "b.jsonl").keep("y:Y@1", "unit", "another unit", replace(GOOD, time_ms=10**17))

    def asked(*words: str) -> tuple[str, str]:
        done = CliRunner().invoke(app, ["quarantine", *words, "--bus", str(tmp_path / "topology.toml")])
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    out, err = asked()
    assert "x:X@1  2025-01-06 14:40:00  nan  inf  9.0  11.0  5.0  garbage: a price is missing" in out
    assert "y:Y@1    10.0  12.0" in out  # its time is in no calendar
    assert err == "2 rejected: 1 garbage, 1 unit\n"
    lines, err = asked("--json", "x:*")
    [item] = [json.loads(line, parse_constant=pytest.fail) for line in lines.splitlines()]
    assert (item["rule"], item["bar"]["open"], item["bar"]["high"], err) == ("garbage", "nan", "inf", "")
    assert asked("--rule", "early") == ("", "nothing was rejected\n")
    assert asked("--rule", "unit")[0].count("\n") == 1
    strange = CliRunner().invoke(app, ["quarantine", "x:Z@1", "--bus", str(tmp_path / "topology.toml")])
    assert str(strange.exception) == (
        "no stream 'x:Z@1' was published or rejected here: did you mean 'x:X@1' or 'y:Y@1'?"
    )
    unknown = CliRunner().invoke(app, ["quarantine", "--rule", "bonds"])
    assert (unknown.exit_code, "'bounds'" in unknown.stderr) == (2, True)
