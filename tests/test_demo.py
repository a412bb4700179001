"""The demo is the same everywhere and always: a pure function of its seed that can be entered anywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import correlation, fmean, pvariance
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynelive.bus.messages import Bar, State
from pynelive.bus.names import Key
from pynelive.producers.contract import ConfigError, EndOfData, Update
from pynelive.producers.demo import PRICES, Demo, Market, expected_bars
from pynelive.producers.sessions import EPOCH_MS

BTC, AAPL = Key("BTC/USDT", "1"), Key("AAPL", "60")
keys = st.builds(Key, st.sampled_from(["BTC/USDT", "DOGE/USDT", "AAPL", "XYZ"]),
                 st.sampled_from(["1S", "30S", "1", "7", "60", "240", "1D"]))


async def play(demo: Demo, at_most: int = 10**9) -> list[Update]:
    """The updates of a demo until its end or the given number."""
    seen: list[Update] = []
    try:
        async for update in demo.watch():
            seen.append(update)
            if len(seen) >= at_most:
                break
    except EndOfData:
        pass
    return seen


def demo(streams: Sequence[Key], **options: float) -> Demo:
    """A demo as fast as possible."""
    return Demo(streams, Demo.Config(**{"speed": 0, **options}))  # type: ignore[arg-type]


def closed(updates: Sequence[Update], key: Key) -> list[Bar]:
    """The closed bars of one stream."""
    return [message for at, message, _ in updates if at == key and isinstance(message, Bar) and message.closed]


@given(st.integers(), keys, st.integers(-5_000, 40_000), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_any_slice_is_the_same_bars(seed: int, key: Key, start: int, skipped: int) -> None:
    """Wherever one begins, the bars are those of the whole walk: sound, on the grid, without a seam."""
    scale = Market(seed, key).instrument().pricescale
    whole = expected_bars(seed, key, start, 60)
    assert expected_bars(seed, key, start + skipped, 60 - skipped) == whole[skipped:]
    for bar in whole:
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.volume > 0
        assert bar.origin == "demo"
        prices = (bar.open, bar.high, bar.low, bar.close)
        assert all(round(price * scale) / scale == price for price in prices)
    if "/" in key.symbol:
        assert all(after.open == before.close for before, after in pairwise(whole))


def test_these_are_the_bars_on_every_machine() -> None:
    """A change of the model would break every journal and recording of a demo: it needs another source."""
    assert expected_bars(7, BTC, 0, 1) == [
        Bar(1736173800000, 95000.0, 95001.62, 94970.22, 94987.11, 2.4085, origin="demo"),
    ]
    assert expected_bars(7, AAPL, 6, 2) == [
        Bar(1736195400000, 240.56, 240.94, 239.77, 240.25, 179589.0, origin="demo"),
        Bar(1736260200000, 240.17, 240.67, 238.5, 238.72, 399911.0, origin="demo"),
    ]


def test_timeframes_of_a_symbol_agree() -> None:
    """The close of an hour is the close of its last minute, the open that of its first."""
    [hour] = expected_bars(3, Key("BTC/USDT", "60"), 1, 1)
    minutes = expected_bars(3, BTC, 30, 60)
    assert (hour.time_ms, hour.open, hour.close) == (minutes[0].time_ms, minutes[0].open, minutes[-1].close)
    [day] = expected_bars(3, Key("AAPL", "1D"), 0, 1)
    assert day.close == expected_bars(3, Key("AAPL", "1"), 389, 1)[0].close


def test_wild_hours_follow_wild_hours() -> None:
    """Returns do not repeat, their size does, and it has fat tails: what a market looks like."""
    returns = [bar.close / bar.open - 1 for bar in expected_bars(7, Key("BTC/USDT", "5"), 0, 10_000)]
    assert abs(correlation(returns[1:], returns[:-1])) < 0.05
    sizes = [abs(value) for value in returns]
    assert correlation(sizes[5:], sizes[:-5]) > 0.08
    assert fmean(value**4 for value in returns) / pvariance(returns) ** 2 > 4


@given(keys, st.integers(0, 30), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
async def test_a_killed_demo_goes_on_as_if_nothing_had_happened(key: Key, last: int, forming: int) -> None:
    """What follows the bus's last bar is what an undisturbed demo plays there, forming updates included."""
    whole = await play(demo([key], bars=40, forming=forming))
    resumed = demo([key], bars=40, forming=forming)
    kept = expected_bars(7, key, last, 1)[0]
    resumed.resume_after(key, kept.time_ms)
    rest = await play(resumed)
    at = next(index for index, update in enumerate(whole) if update.message == kept)
    assert rest == whole[at + 1:]
    assert closed(whole, key) == expected_bars(7, key, 0, 40)


async def test_markets_go_on_at_the_same_pace() -> None:
    """A stock skips its nights and is days ahead; after a restart the other market does not rush after it."""
    streams = [Key("BTC/USDT", "1"), Key("AAPL", "1")]
    first = await play(demo(streams, forming=0, speed=1e9), at_most=2_000)
    resumed = demo(streams, forming=0, speed=1e9)
    for key in streams:
        resumed.resume_after(key, closed(first, key)[-1].time_ms)
    rest = await play(resumed, at_most=200)
    assert all(95 <= len(closed(rest, key)) <= 101 for key in streams)


async def test_forming_updates_grow_into_the_closed_bar() -> None:
    """Highs only rise, lows only fall, volume only grows, and the closed bar is what they have seen."""
    updates = [update.message for update in await play(demo([BTC], bars=50, forming=7))]
    for start in range(0, len(updates), 8):
        *forming, whole = (message for message in updates[start:start + 8] if isinstance(message, Bar))
        assert [bar.update for bar in forming] == [1, 2, 3, 4, 5, 6, 7]
        assert not any(bar.closed for bar in forming)
        assert whole.closed
        for before, after in pairwise([*forming, whole]):
            assert (before.time_ms, before.open) == (after.time_ms, after.open)
            assert after.high >= before.high >= before.close >= before.low >= after.low
            assert after.volume > before.volume
        assert (forming[-1].high, forming[-1].low) == (whole.high, whole.low)


@pytest.mark.parametrize("timeframe", ["60", "1D"])
async def test_stocks_trade_in_their_sessions_in_summer_and_winter(timeframe: str) -> None:
    """09:30 to 16:00 in New York on weekdays, whatever that is in UTC; the stream says when it is closed."""
    key, days = Key("AAPL", timeframe), 60
    per_day = 7 if timeframe == "60" else 1
    updates = await play(demo([key], bars=days * per_day, forming=0))
    zone = ZoneInfo("America/New_York")
    opens = [datetime.fromtimestamp(bar.time_ms / 1000, zone) for bar in closed(updates, key)]
    assert {(at.hour, at.minute) for at in opens} == {(9 + number, 30) for number in range(per_day)}
    assert {at.weekday() for at in opens} == {0, 1, 2, 3, 4}
    assert {at.astimezone(UTC).hour - at.hour for at in opens} == {4, 5}  # the clocks go forward on 9 March
    states = [update.message for update in updates if isinstance(update.message, State)]
    assert [state.state for state in states] == ["closed", "live"] * (days - 1)
    for shut, live in zip(states[::2], states[1::2], strict=True):
        assert (live.since_ms - shut.since_ms) / 3_600_000 in (17.5, 65.5, 64.5)


@given(keys, st.integers(-3_000, 20_000), st.integers(-1, 1))
@settings(max_examples=100, deadline=None)
def test_a_bar_is_found_by_its_time(key: Key, index: int, off_ms: int) -> None:
    """The number of a bar and its time are the same thing, between bars the earlier one counts."""
    hours = Market(7, key).hours
    assert hours.index_at(hours.slot(index).open_ms + off_ms) == index - (off_ms < 0)


async def test_history_ends_where_the_stream_is() -> None:
    """Before the epoch there are `history` bars; of what comes after it only what was played."""
    source = demo([AAPL], bars=20, history=100)
    everything = (0, 10 * EPOCH_MS)
    assert await source.download_ohlcv(AAPL, *everything) == expected_bars(7, AAPL, -100, 100)
    await play(source)
    assert await source.download_ohlcv(AAPL, *everything) == expected_bars(7, AAPL, -100, 120)
    some = expected_bars(7, AAPL, -40, 30)
    assert await source.download_ohlcv(AAPL, some[0].time_ms, some[-1].time_ms) == some[:-1]
    assert await source.backfill_closed_bars(AAPL, 0) == []


async def test_a_thousand_streams_start_deep_in_time_at_once() -> None:
    """Resuming at bar five million costs no walk to it, and one iterator serves all streams fairly."""
    streams = [Key(f"X{number}/USDT", "1") for number in range(1_000)]
    begun = time.process_time()
    source = demo(streams, forming=1)
    deep_ms = EPOCH_MS + 5_000_000 * 60_000
    for key in streams:
        source.resume_after(key, deep_ms)
    updates = await play(source, at_most=2_000)
    assert time.process_time() - begun < 5
    assert {bar.time_ms for _, bar, _ in updates if isinstance(bar, Bar)} == {deep_ms + 60_000}
    assert closed(updates, streams[-1]) == expected_bars(7, streams[-1], 5_000_001, 1)


async def test_the_clock_is_kept_and_only_forming_updates_are_dropped() -> None:
    """Two minutes at 600 times the speed take 0.2 s; hopelessly late, every closed bar is still there."""
    begun = time.perf_counter()
    updates = await play(demo([BTC], speed=600, bars=2))
    assert 0.19 < time.perf_counter() - begun < 60
    assert closed(updates, BTC) == expected_bars(7, BTC, 0, 2)
    late = await play(demo([BTC], speed=1e12, bars=500))
    assert [update.message for update in late] == expected_bars(7, BTC, 0, 500)


async def test_the_instrument_says_what_makes_the_stream() -> None:
    """Another seed is another source; the speed is not; only an unpaced demo waits for its consumers."""
    here = await demo([AAPL]).get_symbol_info(AAPL)
    assert (here.timezone, len(here.opening_hours), here.kind) == ("America/New_York", 5, "stock")
    assert (await demo([AAPL], speed=9, bars=1).get_symbol_info(AAPL)) == here
    assert (await demo([AAPL], seed=8).get_symbol_info(AAPL)).source != here.source
    assert (demo([BTC]).capabilities.paced, demo([BTC], speed=1).capabilities.paced) == (False, True)
    assert await demo([BTC]).get_list_of_symbols() == list(PRICES)


def test_all_faults_of_the_options_are_said_at_once() -> None:
    """Negative numbers and timeframes beyond a day are refused by name."""
    with pytest.raises(ConfigError) as caught:
        Demo([Key("AAPL", "1W")], Demo.Config(speed=-1, bars=-2), Path())
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["AAPL@1W", "speed", "bars"]
