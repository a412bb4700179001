"""Massive against its laboratory: live, history, what is refused, and its official client as oracle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from massive import RESTClient, WebSocketClient
from pynelive.bus.messages import Bar, Span
from pynelive.bus.names import Key, parse_key
from pynelive.producers import clock
from pynelive.producers.contract import ConfigError, Disconnected, Refused, Update
from pynelive.producers.massive.bars import Growing
from pynelive.producers.massive.provider import Massive, Polygon
from venues.client import Lab, TrueBar, lab
from venues.faults import Fault
from venues.spec import MarketSpec

MINUTE_MS = 60_000
KEY = Key("AAPL", "1")
AGGREGATES = "rest:/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}"
Values = tuple[float, ...]


@asynccontextmanager
async def living(monkeypatch: pytest.MonkeyPatch, *markets: str | MarketSpec, **more: Any) -> AsyncIterator[Lab]:
    """A venue by whose time this test lives; it allows many requests unless told otherwise."""
    async with lab("massive", *markets, **{"limits": {"requests_per_min": 1000}, **more}) as venue:
        venue.follow(monkeypatch)
        yield venue


@asynccontextmanager
async def served(venue: Lab, *streams: str, **options: Any) -> AsyncIterator[Massive]:
    """A provider of some streams of the venue."""
    options = {"api_key": "key", "requests_per_min": 0, "rest_url": venue.http, "ws_url": venue.ws, **options}
    provider = Massive([parse_key(stream) for stream in streams], Massive.Config(**options))
    try:
        yield provider
    finally:
        await provider.close()


async def watched(provider: Massive, enough: Callable[[list[Update]], bool], timeout_s: float = 100) -> list[Update]:
    """All updates of one connection, until there are enough of them."""
    updates: list[Update] = []
    for key in provider.keys:
        await provider.get_symbol_info(key)
    await provider.connect()
    try:
        async with asyncio.timeout(timeout_s), aclosing(provider.watch()) as watch:  # type: ignore[type-var]
            async for update in watch:
                updates.append(update)
                if enough(updates):
                    return updates
    finally:
        await provider.disconnect()
    raise AssertionError("watch has ended without a word")


def values(bar: Bar) -> Values:
    return bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume


def theirs_of(aggregate: Any, time_ms: int) -> Values:
    return time_ms, aggregate.open, aggregate.high, aggregate.low, aggregate.close, aggregate.volume


def closes(updates: list[Update], key: Key) -> list[Bar]:
    return [u.message for u in updates if u.key == key and isinstance(u.message, Bar) and u.message.closed]


def true_bars(
    venue: Lab, symbol: str, timeframe: str = "", since_ms: int | None = None
) -> dict[tuple[int, int], Values]:
    """By time and revision, without the bars in which nobody traded."""
    bars: list[TrueBar] = venue.truth(symbol, timeframe, since_ms)
    return {(bar.time_ms, bar.revision): tuple(bar[1:]) for bar in bars if bar.volume}


async def test_closed_minutes_are_the_truth_on_one_connection_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    markets = ["AAPL", MarketSpec("BTC/USD", quiet=0.3), MarketSpec("EUR/USD")]
    async with living(monkeypatch, *markets, speed=240) as venue:
        keys = [parse_key(stream) for stream in ("AAPL@1", "X:BTCUSD@1", "C:EURUSD@1")]
        async with served(venue, *map(str, keys)) as provider:
            updates = await watched(provider, lambda all_: all(len(closes(all_, key)) >= 5 for key in keys))
            assert venue.counters()["connections"] == 3
        for key in keys:
            truth = true_bars(venue, key.symbol)
            bars = closes(updates, key)
            first = bars[0].time_ms
            due = [values for (time_ms, _), values in truth.items() if first <= time_ms <= bars[-1].time_ms]
            assert [values(bar) for bar in bars] == due
            assert all(bar.origin == "venue" and bar.received_ns for bar in bars)
        assert all(u.event_ms == u.message.time_ms + MINUTE_MS
                   for u in updates if isinstance(u.message, Bar) and u.message.closed)


async def test_longer_bars_form_from_seconds_and_are_closed_by_history(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(monkeypatch, "AAPL", speed=240) as venue:
        second, five, hour = Key("AAPL", "1S"), Key("AAPL", "5"), Key("AAPL", "60")
        async with served(venue, "AAPL@5", "AAPL@60") as plain:
            assert not plain.capabilities.flagged
        async with served(venue, "AAPL@1S", "AAPL@5", "AAPL@60") as provider:
            assert provider.capabilities.flagged
            slots = lambda updates: {u.message.time_ms for u in updates if u.key == five}  # noqa: E731
            updates = await watched(provider, lambda updates: len(slots(updates)) >= 4)
            bars = (await provider.backfill_closed_bars(five, updates[0].message.time_ms))[:2]
            truth = {true[0]: true for true in true_bars(venue, "AAPL", "5").values()}
            assert [values(bar) for bar in bars] == [truth[bar.time_ms] for bar in bars]
            latest = await provider.latest(hour, 0)
        formed = [u for u in updates if u.key == five]
        assert all(u.message.closed == (u.key == second) for u in updates)
        last = {u.message.time_ms: u.message for u in formed}
        seconds = {bar.time_ms: bar for bar in closes(updates, second)}
        for bar in bars:
            assert values(last[bar.time_ms])[:5] == values(bar)[:5]
            assert last[bar.time_ms].volume == pytest.approx(bar.volume)
            within = [seconds[at_ms] for at_ms in sorted(seconds) if 0 <= at_ms - bar.time_ms < 5 * MINUTE_MS]
            assert (within[0].open, within[-1].close) == (bar.open, bar.close)
            assert sum(part.volume for part in within) == pytest.approx(bar.volume)
        assert [bar.closed for bar in latest[-2:]] == [True, False]
        assert latest[-1].time_ms % 3_600_000 == 0


async def test_a_bar_that_was_joined_late_goes_on_from_history(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(monkeypatch, "BTC/USD", speed=240) as venue:
        key = Key("X:BTCUSD", "1D")
        async with served(venue, str(key), forming=False) as provider:
            before = (await provider.latest(key, 0))[-1]
            updates = await watched(provider, lambda all_: len(all_) >= 3)
        assert not before.closed
        for bar in (update.message for update in updates):
            assert (bar.time_ms, bar.open, bar.extra) == (before.time_ms, before.open, {"estimated": "volume"})
            assert bar.low <= before.low <= before.high <= bar.high
            assert bar.volume > before.volume


def test_a_forming_bar_takes_every_trade_once() -> None:
    growing, minute, second = Growing(Key("AAPL", "5")), MINUTE_MS, 1000

    def add(time_ms: int, price: float, volume: float, length_ms: int) -> Values | None:
        bar = growing.add(Bar(time_ms, price, price, price, price, volume), length_ms)
        return bar and values(bar)

    assert add(2 * minute, 5, 1, second) == (0, 5, 5, 5, 5, 1)
    assert add(2 * minute + second, 9, 1, second) == (0, 5, 9, 5, 9, 2)
    assert add(2 * minute + second, 8, 3, second) == (0, 5, 8, 5, 8, 4)  # the same second once more
    assert add(2 * minute, 7, 10, minute) == (0, 7, 7, 7, 7, 10)  # the minute is over
    assert add(2 * minute + 2 * second, 99, 1, second) is None
    growing.start_from(Bar(0, 1, 20, 1, 6, 100, closed=False), 3 * minute + 30 * second)
    assert add(2 * minute, 7, 10, minute) is None  # history has it
    assert add(3 * minute, 6, 5, minute) == (0, 1, 20, 1, 6, 105)
    assert add(5 * minute, 4, 2, minute) == (5 * minute, 4, 4, 4, 4, 2)
    assert add(4 * minute, 3, 2, minute) is None
    growing.close(5 * minute)
    assert add(6 * minute, 4, 2, minute) is None


async def test_a_late_aggregate_replaces_the_bar_live_and_in_history(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [Fault("bar:AAPL", "revise", at=1)]
    async with living(monkeypatch, "AAPL", speed=240, faults=faults) as venue, served(venue, str(KEY)) as provider:
        bars = closes(await watched(provider, lambda all_: len(closes(all_, KEY)) >= 4), KEY)
        twice = next(bar.time_ms for bar, again in pairwise(bars) if bar.time_ms == again.time_ms)
        said = [values(bar) for bar in bars if bar.time_ms == twice]
        truth = true_bars(venue, "AAPL")
        assert said == [truth[twice, 0], truth[twice, 1]]
        assert values((await provider.backfill_closed_bars(KEY, twice - 1))[0]) == said[1]


@pytest.mark.parametrize(("fault", "options", "kind"), [
    (Fault("bar:AAPL", "abort", at=1), {}, "network"),
    (Fault("bar:AAPL", "midframe", at=1), {}, "network"),
    (Fault("bar:AAPL", "close", at=1, args={"code": 1001}), {}, "network"),
    (Fault("bar:AAPL", "badjson", at=1), {}, "protocol"),
    (None, {"farewell": "slow_consumer"}, "rate"),
    (None, {"farewell": "force_disconnect"}, "network"),
    (Fault("wssub", "noack"), {}, "silent"), (Fault("wssub", "abort"), {}, "network"),
    (Fault("wsopen", "status", args={"status": 503}), {}, "maintenance"),
    (Fault("wsopen", "rate"), {}, "rate"),
])  # fmt: skip
async def test_every_loss_of_the_connection_has_its_kind_and_is_got_over(
    monkeypatch: pytest.MonkeyPatch, fault: Fault | None, options: dict[str, Any], kind: str
) -> None:
    if kind == "silent":
        monkeypatch.setattr("pynelive.producers.massive.wire._ANSWER_S", 2)
    faults = [fault] if fault else []
    async with (
        living(monkeypatch, "AAPL", speed=600, faults=faults, options=options) as venue,
        served(venue, str(KEY)) as provider,
    ):
        with pytest.raises(Disconnected) as lost:
            await watched(provider, lambda all_: len(closes(all_, KEY)) >= 4)
        assert (lost.value.kind, len(venue.fired())) == (kind, 1 if fault else 0)
        assert closes(await watched(provider, lambda all_: bool(closes(all_, KEY))), KEY)


async def test_a_line_that_is_dead_without_a_word_is_found_by_its_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynelive.producers.massive.provider._HEARTBEAT_S", 2)
    faults = [Fault("bar:AAPL", "halfopen")]
    async with living(monkeypatch, "AAPL", faults=faults) as venue, served(venue, "AAPL@1") as provider:
        with pytest.raises(Disconnected) as lost:
            await watched(provider, lambda _: False)
        assert lost.value.kind == "silent"


async def test_a_bad_row_costs_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [Fault("bar:AAPL", "hole"), Fault("bar:AAPL", "null", at=1)]
    async with living(monkeypatch, "AAPL", "MSFT", speed=240, faults=faults) as venue:
        other = Key("MSFT", "1")
        async with served(venue, str(KEY), str(other), forming=False) as provider:
            updates = await watched(provider, lambda all_: len(closes(all_, KEY)) >= 2)
            assert provider.counters["malformed"] == 2
        assert len(closes(updates, other)) >= 3


async def test_a_second_program_on_the_account_ends_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        living(monkeypatch, "AAPL") as venue, served(venue, "AAPL@1") as first, served(venue, "AAPL@1") as second,
        aclosing(first.watch()) as watch,  # type: ignore[type-var]
    ):  # fmt: skip
        await first.connect()
        await second.connect()
        with pytest.raises(Disconnected, match="max_connections") as lost:
            await anext(watch)
        assert (lost.value.kind, lost.value.retry_after) == ("rate", 30)
        assert first.account == second.account
        assert "key" not in first.account


async def test_keys_and_plans_that_do_not_do_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"live": ["stocks"], "history": ["stocks"], "seconds": False}
    async with living(monkeypatch, "AAPL", "BTC/USD", speed=240, options=options) as venue:
        async with served(venue, "AAPL@1", api_key="wrong") as provider:
            with pytest.raises(ConfigError, match="'api_key' is not accepted"):
                await provider.get_symbol_info(KEY)
            with pytest.raises(ConfigError, match="authentication failed"):
                await provider.connect()
        crypto = Key("X:BTCUSD", "1")
        async with served(venue, str(crypto)) as provider:
            with pytest.raises(Refused, match=r"the plan does not include .*X:BTCUSD.* change the plan"):
                await provider.backfill_closed_bars(crypto, 0)
            with pytest.raises(ConfigError, match="websocket access"):
                await provider.connect()
        async with served(venue, "AAPL@1", "NONE@1") as provider:
            with pytest.raises(Refused, match="Ticker not found"):
                await provider.get_symbol_info(Key("NONE", "1"))
        async with served(venue, "AAPL@1") as provider:  # no seconds in the plan: minutes do
            assert closes(await watched(provider, lambda all_: bool(closes(all_, KEY))), KEY)
            assert provider.counters["refused channels"] == 1
        venue.arm("wssub", "reject")
        async with served(venue, "AAPL@1") as provider:
            with pytest.raises(ConfigError, match=r"channel AM\.AAPL is not in the plan"):
                await watched(provider, bool)


async def test_history_comes_in_pages_and_the_key_stays_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(monkeypatch, "AAPL", "BTC/USD", speed=1) as venue:
        monkeypatch.setattr("pynelive.producers.massive.provider._PAGE", 150)
        since_ms = venue.spec.epoch_ms - 400 * MINUTE_MS
        async with served(venue) as provider:
            for key in (Key("X:BTCUSD", "1"), Key("X:BTCUSD", "5"), Key("X:BTCUSD", "60")):
                before = venue.counters()["requests"]
                bars = await provider.download_ohlcv(key, since_ms, venue.spec.epoch_ms)
                truth = true_bars(venue, key.symbol, key.timeframe, since_ms)
                wanted = [true for true in truth.values() if since_ms <= true[0] < venue.spec.epoch_ms]
                assert [values(bar)[:5] for bar in bars] == [true[:5] for true in wanted]
                assert [bar.volume for bar in bars] == pytest.approx([true[5] for true in wanted])
                assert venue.counters()["requests"] - before >= 3
                page = await provider.backfill_closed_bars(key, since_ms - 1)
                assert [values(bar) for bar in page] == [values(bar) for bar in bars[: len(page)]]
            assert await provider.get_list_of_symbols() == ["X:BTCUSD", "AAPL"]


async def test_the_free_plan_is_never_overdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living(monkeypatch, "AAPL", speed=30, limits={}) as venue:
        since_ms = venue.spec.epoch_ms - 5 * MINUTE_MS
        async with served(venue, str(KEY), requests_per_min=5) as provider:
            await asyncio.gather(*(provider.latest(KEY, since_ms) for _ in range(9)))
        assert (venue.counters()["requests"], venue.counters()["refused:429"]) == (9, 0)
        async with served(venue, str(KEY)) as provider:
            answers = await asyncio.gather(*(provider.latest(KEY, since_ms) for _ in range(9)), return_exceptions=True)
            assert {answer.kind for answer in answers if isinstance(answer, Disconnected)} == {"rate"}


@pytest.mark.parametrize(("kind", "meaning"), [
    ("html", "protocol"), ("null", "protocol"), ("badjson", "protocol"), ("maintenance", "maintenance"),
])  # fmt: skip
async def test_a_bad_answer_has_its_kind(monkeypatch: pytest.MonkeyPatch, kind: str, meaning: str) -> None:
    async with living(monkeypatch, "AAPL", faults=[Fault(AGGREGATES, kind)]) as venue:
        since_ms = venue.spec.epoch_ms - 5 * MINUTE_MS
        async with served(venue, str(KEY)) as provider:
            with pytest.raises(Disconnected) as lost:
                await provider.latest(KEY, since_ms)
            assert lost.value.kind == meaning
            await clock.sleep(lost.value.retry_after or 5)
            assert await provider.latest(KEY, since_ms)


async def test_the_official_client_hears_and_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"keys": {"key": "ours", "other": "theirs"}}
    async with living(monkeypatch, "AAPL", speed=240, options=options) as venue:
        heard: list[Any] = []

        async def hear(messages: list[Any]) -> None:
            heard.extend(messages)

        theirs = WebSocketClient("other", feed=venue.ws.removeprefix("ws://"), market="stocks", secure=False,
                                 subscriptions=["AM.AAPL"])
        listening = asyncio.create_task(theirs.connect(hear))
        async with served(venue, str(KEY)) as provider:
            updates = await watched(provider, lambda all_: len(closes(all_, KEY)) >= 4 and len(heard) >= 4)
            await theirs.close()
            await asyncio.wait([listening])
            live = {a.start_timestamp: theirs_of(a, a.start_timestamp) for a in heard}
            common = [values(bar) for bar in closes(updates, KEY) if bar.time_ms in live]
            assert common == [live[bar[0]] for bar in common]
            assert len(common) >= 2
            start_ms = venue.spec.epoch_ms - 3 * 1440 * MINUTE_MS  # the session before
            end_ms = start_ms + 300 * MINUTE_MS - 1
            client = RESTClient("other", base=venue.http)
            read = await asyncio.to_thread(list, client.list_aggs("AAPL", 5, "minute", start_ms, end_ms, limit=100))
            client.client.clear()
            ours = await provider.download_ohlcv(Key("AAPL", "5"), start_ms, end_ms + 1)
            assert ours
            assert [values(bar) for bar in ours] == [theirs_of(a, a.timestamp) for a in read]
            assert [bar.extra for bar in ours] == [{"vwap": a.vwap, "trades": a.transactions} for a in read]


async def test_instruments_know_their_hours_and_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    names, markets = ("AAPL", "X:BTCUSD", "C:EURUSD"), ("AAPL", "BTC/USD", "EUR/USD")
    async with living(monkeypatch, *markets) as venue, served(venue, session="regular") as provider:
        stock, coin, pair = [await provider.get_symbol_info(Key(name, "1")) for name in names]
    assert (stock.timezone, stock.mintick, stock.currency, stock.kind) == ("America/New_York", 0.01, "USD", "stock")
    assert stock.opening_hours == tuple(Span(day, 34_200, 57_600) for day in range(5))
    assert (coin.timezone, coin.basecurrency, len(coin.opening_hours), coin.pricescale) == ("UTC", "BTC", 7, 10_000)
    assert (pair.mintick, pair.volumetype, pair.kind) == (1e-5, "tick", "forex")
    assert {span.day for span in pair.opening_hours} == {0, 1, 2, 3, 4, 6}


def test_faulty_options_are_told_all_at_once() -> None:
    keys = [parse_key(text) for text in ("O:SPY@1", "AAPL@7", "AAPL@60", "MSFT@1D", "X:BTCUSD@60")]
    assert (Massive.name, Polygon.name) == ("massive", "polygon")
    with pytest.raises(ConfigError) as wrong:
        Polygon(keys, Massive.Config(session="regular", requests_per_min=-1))
    told = [problem.split("'")[1] for problem in wrong.value.problems]
    assert told == ["api_key", "requests_per_min", "O:SPY@1", "AAPL@7", "AAPL@60"]
