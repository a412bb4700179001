"""CoinMarketCap against its laboratory: sampled bars, the venue's own bars by plan, credits, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pynelive.bus.messages import Bar
from pynelive.bus.names import Key, parse_key
from pynelive.producers import clock
from pynelive.producers.coinmarketcap.bars import Samples
from pynelive.producers.coinmarketcap.provider import CoinMarketCap
from pynelive.producers.coinmarketcap.wire import Quote
from pynelive.producers.contract import ConfigError, Disconnected, Refused, Update
from venues.client import Lab, lab
from venues.faults import Fault
from venues.spec import MarketSpec

MINUTE_MS, DAY_MS = 60_000, 86_400_000
QUOTES = "rest:/v2/cryptocurrency/quotes/latest"
MUCH = {"credits_per_month": 1_000_000, "requests_per_min": 1000}


def provider_at(venue: Lab, *streams: str, **options: Any) -> CoinMarketCap:
    options = {"api_key": "key", "requests_per_min": 1000, "url": venue.http, **options}
    return CoinMarketCap([parse_key(stream) for stream in streams], CoinMarketCap.Config(**options))


@asynccontextmanager
async def using(provider: CoinMarketCap) -> AsyncIterator[CoinMarketCap]:
    try:
        yield provider
    finally:
        await provider.close()


async def watched(provider: CoinMarketCap, enough: Callable[[list[Update]], bool]) -> list[Update]:
    """All updates from a connect on, until there are enough of them."""
    updates: list[Update] = []
    await provider.connect()
    async with asyncio.timeout(100), aclosing(provider.watch()) as watch:  # type: ignore[type-var]
        async for update in watch:
            updates.append(update)
            if enough(updates):
                return updates
    raise AssertionError("watch has ended without a word")


def closes(updates: list[Update], key: Key) -> list[Bar]:
    return [u.message for u in updates if u.key == key and isinstance(u.message, Bar) and u.message.closed]


async def test_bars_are_made_of_the_prices_that_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab("coinmarketcap", "BTC/USD", "ETH/USD", "ETH/EUR", speed=300, limits=MUCH) as venue:
        venue.follow(monkeypatch)
        keys = [parse_key(text) for text in ("BTC/USD@5", "id:2/EUR@5")]
        async with using(provider_at(venue, *map(str, keys))) as provider:
            updates = await watched(provider, lambda all_: all(
                len(bars := closes(all_, key)) >= 4 and max(bar.extra["samples"] for bar in bars) >= 4 for key in keys
            ))  # fmt: skip
        looks = venue.counters()["requests:/v2/cryptocurrency/quotes/latest"]
        assert venue.counters()["credits"] == 2 * looks + 1  # two currencies, and the map
        for key, symbol in zip(keys, ("BTC/USD", "ETH/EUR"), strict=True):
            seen = {bar.time_ms: bar.open for bar in venue.truth(symbol)}  # a minute opens with a trade
            bars, joined_ms = closes(updates, key), updates[0].message.time_ms
            assert bars[0].time_ms > joined_ms  # the first bar was joined late
            for bar in bars:
                prices = [seen[bar.time_ms + minute * MINUTE_MS] for minute in range(5)]
                assert {bar.open, bar.close} <= set(prices)
                assert min(prices) <= bar.low <= bar.high <= max(prices)
                assert (bar.origin, bar.volume, bar.extra["volume_24h"]) == ("sampled", 0.0, 7.1e9)
                if bar.extra["samples"] == 5:
                    assert (bar.open, bar.high, bar.low, bar.close) == (
                        prices[0], max(prices), min(prices), prices[-1],
                    )  # fmt: skip


async def test_the_plans_own_bars_are_never_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    market = MarketSpec("BTC/USD", history=6000)
    options = {"history": ["hourly", "daily"]}
    async with lab("coinmarketcap", market, speed=600, limits=MUCH, options=options) as venue:
        venue.follow(monkeypatch)
        hour, day = Key("BTC/USD", "60"), Key("BTC/USD", "1D")
        async with using(provider_at(venue, str(hour), str(day), history="hourly")) as provider:
            assert (provider.capabilities.heals, provider.capabilities.flagged) == (True, False)
            updates = await watched(provider, lambda all_: len(all_) >= 4)
            assert not any(u.message.closed for u in updates)
            for key in (hour, day):
                since_ms = venue.spec.epoch_ms - 4 * DAY_MS
                bars = await provider.backfill_closed_bars(key, since_ms)
                told = [bar for bar in venue.truth("BTC/USD", key.timeframe, since_ms) if bar.time_ms > since_ms]
                truth = {bar.time_ms: tuple(bar[1:6]) for bar in told}
                assert [bar.time_ms for bar in bars] == list(truth)[: len(bars)]
                assert all((b.time_ms, b.open, b.high, b.low, b.close) == truth[b.time_ms] for b in bars)
                assert len(bars) >= {"60": 90, "1D": 3}[key.timeframe]
            before = venue.counters()["requests"]
            assert len(await provider.download_ohlcv(hour, since_ms, venue.spec.epoch_ms - DAY_MS)) == 72
            assert venue.counters()["requests"] - before == 1


async def test_what_the_plan_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab("coinmarketcap", "BTC/USD", limits=MUCH) as venue:
        venue.follow(monkeypatch)
        hour = Key("BTC/USD", "60")
        async with using(provider_at(venue, str(hour), "NONE/USD@60", "id:7/USD@60", history="hourly")) as provider:
            with pytest.raises(Refused, match=r"the plan does not include .*ohlcv.*1006.*: change the plan"):
                await provider.backfill_closed_bars(hour, 0)
            with pytest.raises(Refused, match="no active coin 'NONE'"):
                await provider.get_symbol_info(Key("NONE/USD", "60"))
            with pytest.raises(Refused, match="no price of 'id:7'"):
                await provider.get_symbol_info(Key("id:7/USD", "60"))
            instrument = await provider.get_symbol_info(hour)  # one bad coin costs nobody else
        assert (instrument.ticker, instrument.basecurrency, instrument.volumetype) == ("BTCUSD", "BTC", "quote")
        async with using(provider_at(venue, "BTC/USD@5")) as provider:
            assert not provider.capabilities.heals
            assert await provider.backfill_closed_bars(Key("BTC/USD", "5"), 0) == []


async def test_several_coins_of_a_symbol_are_told_or_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = {"BTC": [{"id": 31469, "rank": 4000, "name": "boost coin"}]}
    async with lab("coinmarketcap", "BTC/USD", options={"twins": twins}, limits=MUCH) as venue:
        venue.follow(monkeypatch)
        key = Key("BTC/USD", "5")
        async with using(provider_at(venue, str(key))) as provider:
            with pytest.raises(ConfigError, match=r"id:1 \(BTC coin, rank 1\), id:31469 \(boost coin, rank 4000\)"):
                await provider.get_symbol_info(key)
        async with using(provider_at(venue, str(key), duplicates="rank")) as provider:
            assert (await provider.get_symbol_info(key)).source == "coinmarketcap:1:sampled"
            assert await provider.get_list_of_symbols() == ["BTC/USD", "id:31469/USD"]


async def test_credits_are_spread_and_never_overdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"credits_per_day": 200, "credits_per_month": 6000, "requests_per_min": 30}
    async with lab("coinmarketcap", "BTC/USD", speed=20_000, limits=limits) as venue:
        venue.follow(monkeypatch)
        began_ms = venue.counters()["now_ms"]
        async with using(provider_at(venue, "BTC/USD@60", credits_per_day=200, requests_per_min=30)) as provider:
            await watched(provider, lambda all_: all_[-1].event_ms > venue.spec.epoch_ms + DAY_MS
                          and provider.counters["credits"] >= 10)  # fmt: skip
        counted = venue.counters()
        days = (counted["now_ms"] - began_ms) / DAY_MS
        assert counted["error:1008"] + counted["error:1009"] + counted["error:1010"] == 0
        assert counted["credits"] <= 200 * days + 3
        assert provider.counters["credits"] in (counted["credits"], counted["credits"] - 1)


async def test_a_plan_that_is_too_small_says_what_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab("coinmarketcap", "BTC/USD", options={"used": 15_000}) as venue:
        venue.follow(monkeypatch)
        async with using(provider_at(venue, "BTC/USD@5")) as provider:
            with pytest.raises(ConfigError, match=r"a price every 173 s.*use bars of 6 minutes or more"):
                await provider.connect()
        async with using(provider_at(venue, "BTC/USD@60")) as provider:
            with pytest.raises(Disconnected, match="the credits of the month are used up") as over:
                await provider.connect()
            assert over.value.kind == "rate"
            assert (over.value.retry_after or 0) > 60


@pytest.mark.parametrize("ok_status", [False, True])
async def test_an_error_is_what_its_code_says_whatever_the_status(
    monkeypatch: pytest.MonkeyPatch, ok_status: bool
) -> None:
    limits = {"requests_per_min": 3, "credits_per_month": 1_000_000}
    async with lab("coinmarketcap", "BTC/USD", options={"ok_status": ok_status}, limits=limits) as venue:
        venue.follow(monkeypatch)
        async with using(provider_at(venue, "BTC/USD@5", api_key="wrong")) as provider:
            with pytest.raises(ConfigError, match=r"option 'api_key' does not do.*1001"):
                await provider.connect()
        async with using(provider_at(venue, "BTC/USD@5")) as provider:

            async def overdraw() -> None:
                for _ in range(9):
                    await provider.connect()

            with pytest.raises(Disconnected, match="1008") as limited:
                await overdraw()
            assert (limited.value.kind, limited.value.retry_after) == ("rate", 60)


@pytest.mark.parametrize(("kind", "meaning"), [
    ("html", "protocol"), ("null", "protocol"), ("badjson", "protocol"), ("truncate", "network"),
    ("rate", "rate"), ("maintenance", "network"),
])  # fmt: skip
async def test_a_bad_answer_has_its_kind_and_is_got_over(
    monkeypatch: pytest.MonkeyPatch, kind: str, meaning: str
) -> None:
    async with lab("coinmarketcap", "BTC/USD", speed=600, faults=[Fault(QUOTES, kind)], limits=MUCH) as venue:
        venue.follow(monkeypatch)
        async with using(provider_at(venue, "BTC/USD@5")) as provider:
            with pytest.raises(Disconnected) as lost:
                await watched(provider, bool)
            assert lost.value.kind == meaning
            assert (QUOTES, 0, kind) in venue.fired()
            await clock.sleep(lost.value.retry_after or 5)
            assert await watched(provider, bool)


def test_only_whole_bars_are_closed() -> None:
    samples, patience_ms = Samples(Key("BTC/USD", "5"), 2), 180_000

    def seen(*minutes: int) -> list[int]:
        start = datetime(2026, 1, 5, tzinfo=UTC)
        quotes = [Quote(float(minute), start + timedelta(minutes=minute)) for minute in minutes]
        bars = [bar for quote in quotes for bar in samples.take(quote, patience_ms, 1)]
        return [bar.time_ms // MINUTE_MS - round(start.timestamp() / 60) for bar in bars if bar.closed]

    assert seen(2, 3, 4, 5) == []  # joined late
    assert seen(6, 6, 7, 8, 9, 10) == [5]
    assert seen(11, 12, 16, 17) == []  # a hole of four minutes
    assert seen(18, 19, 20) == []  # the bar began with it
    assert seen(22, 24, 25) == [20]
    assert seen(28, 29, 31) == [25]
    assert seen(33, 37) == []  # the end of the bar was not seen
    assert seen(38, 39, 40, 44, 45) == []  # 35 began late, 40 has a hole within
    assert seen(46, 47, 50) == [45]
    assert samples.thin == 6


def test_faulty_options_are_told_all_at_once() -> None:
    keys = [parse_key(text) for text in ("BTC@5", "id:x/USD@5", "BTC/USD@7", "BTC/USD@30S")]
    with pytest.raises(ConfigError) as wrong:
        CoinMarketCap(keys, CoinMarketCap.Config(poll_s=10, min_samples=0, credits_per_day=-1))
    told = [problem.split("'")[1] for problem in wrong.value.problems]
    assert told == ["api_key", "poll_s", "min_samples", "credits_per_day", *map(str, keys)]
    with pytest.raises(ConfigError, match=r"stream 'BTC/USD@1': there is a price every 60 s.*2 minutes"):
        CoinMarketCap([Key("BTC/USD", "1")], CoinMarketCap.Config(api_key="key"))
    with pytest.raises(ConfigError, match="every 864 s"):
        CoinMarketCap([Key("BTC/USD", "5")], CoinMarketCap.Config(api_key="key", credits_per_day=100))
