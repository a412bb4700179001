"""ccxt: the venues' own bars with their own flags, and every fault as the one word that the contract has for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support import wait_until
from venues.client import Lab, lab
from venues.faults import Fault

pytest.importorskip("ccxt")

from ccxt import RateLimitExceeded
from pynecore.providers.ccxt import CCXTProvider
from pynelive.bus.messages import Bar, State
from pynelive.bus.names import Key
from pynelive.bus.syminfo import from_syminfo
from pynelive.producers import clock
from pynelive.producers.ccxt import taps
from pynelive.producers.ccxt.errors import meaning
from pynelive.producers.ccxt.provider import Ccxt
from pynelive.producers.ccxt.venues import VENUES, Venue
from pynelive.producers.conformance import check
from pynelive.producers.contract import Disconnected, Refused, Update

BINANCE, BYBIT = "BTC/USDT", "BTC/USDT:USDT"
MINUTE_MS = 60_000


def key_of(venue: str, symbol: str, timeframe: str = "1") -> Key:
    """The stream of a symbol."""
    return Key(f"{venue.upper()}:{symbol}", timeframe)


def provider(at: Lab, *symbols: str, timeframe: str = "1") -> Ccxt:
    """The provider, pointed at the laboratory."""
    keys = [key_of(at.spec.venue, symbol, timeframe) for symbol in symbols]
    return Ccxt(keys, Ccxt.Config(url=at.http, ws_url=at.ws))


@asynccontextmanager
async def connected(at: Lab, *symbols: str) -> AsyncIterator[Ccxt]:
    """The provider while it is connected."""
    source = provider(at, *symbols)
    try:
        await source.connect()
        yield source
        await source.disconnect()
    finally:
        await source.close()


async def until(source: Ccxt, enough: Callable[[list[Update]], bool]) -> list[Update]:
    """Watch until it is enough."""
    seen: list[Update] = []
    async with asyncio.timeout(100):
        async for update in source.watch():
            seen.append(update)
            if enough(seen):
                break
    return seen


def bars(seen: Sequence[Update], key: Key | None = None) -> list[Bar]:
    """The bars of one stream, or of all."""
    return [item.message for item in seen if isinstance(item.message, Bar) and key in (None, item.key)]


def closed(seen: Sequence[Update], key: Key | None = None) -> list[tuple[float, ...]]:
    """The closed bars as the laboratory's truth tells them."""
    return [ohlcv(bar) for bar in bars(seen, key) if bar.closed]


def ohlcv(bar: Bar) -> tuple[float, ...]:
    """Time and values."""
    return bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume


def truth(at: Lab, symbol: str) -> dict[int, tuple[float, ...]]:
    """The true bars by time."""
    return {row.time_ms: tuple(row[1:]) for row in at.truth(symbol)}


@pytest.mark.parametrize(("venue", "symbol"), [("binance", BINANCE), ("bybit", BYBIT)])
async def test_flagged_bars_are_the_venues(venue: str, symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed on the venue's word, equal to its truth and to its history, with what it says beyond OHLCV."""
    async with lab(venue, symbol, speed=120) as at:
        at.follow(monkeypatch)
        async with connected(at, symbol) as source:
            assert source.capabilities.flagged
            seen = await until(source, lambda seen: len(closed(seen)) >= 4)
            key = source.keys[0]
            times = [bar[0] for bar in closed(seen)]
            past = await source.backfill_closed_bars(key, int(times[0]) - MINUTE_MS)
            true = await asyncio.to_thread(truth, at, symbol)
    assert times == sorted(set(times))
    assert closed(seen) == [true[int(time_ms)] for time_ms in times]
    live = {bar.time_ms: bar for bar in bars(seen) if bar.closed}
    for bar in past[: len(live)]:
        assert (ohlcv(bar), bar.extra) == (ohlcv(live[bar.time_ms]), live[bar.time_ms].extra)
        assert bar.origin == "backfill"
    assert all("quote_volume" in (bar.extra or {}) and bar.received_ns for bar in bars(seen))


@pytest.mark.parametrize(
    ("venue", "symbol", "origin"), [("kraken", "BTC/USD", "venue"), ("coinbase", "BTC/USD", "aggregated")]
)
async def test_unflagged_bars_only_form(
    venue: str, symbol: str, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that flags nothing closes nothing here; the last word on a bar is its truth, also from trades."""
    async with lab(venue, symbol, speed=60) as at:
        at.follow(monkeypatch)
        async with connected(at, symbol) as source:
            assert not source.capabilities.flagged
            seen = await until(source, lambda seen: len({bar.time_ms for bar in bars(seen)}) >= 4)
            true = await asyncio.to_thread(truth, at, symbol)
    last = {bar.time_ms: bar for bar in bars(seen)}
    assert not closed(seen)
    assert {bar.origin for bar in bars(seen)} == {origin}
    for time_ms in sorted(last)[:-1]:
        assert ohlcv(last[time_ms]) == pytest.approx(true[time_ms])


async def test_many_streams_on_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 symbols: a few frames, one connection, every one of them with closed bars."""
    symbols = [f"C{number}/USDT" for number in range(300)]
    async with lab("binance", *symbols, speed=20) as at:
        at.follow(monkeypatch)
        async with connected(at, *symbols) as source:
            seen = await until(source, lambda seen: len(seen) > 600 and len({u.key for u in seen if u.message.closed})
                               == len(symbols))  # fmt: skip
            counted = await asyncio.to_thread(at.counters)
    assert counted["subscriptions"] == len(symbols)
    assert source.counters["connections"] == 1
    assert {update.key for update in seen} == set(source.keys)


@pytest.mark.parametrize(
    ("where", "kind", "args", "word"),
    [
        ("ws:BTCUSDT", "abort", {}, "network"),
        ("ws:BTCUSDT", "midframe", {}, "network"),
        ("ws:BTCUSDT", "close", {"code": 1001}, "network"),
        ("ws:BTCUSDT", "badjson", {}, "protocol"),
    ],
)
@pytest.mark.parametrize(("venue", "symbol"), [("binance", BINANCE), ("bybit", BYBIT)])
async def test_a_lost_connection_is_said(
    venue: str, symbol: str, where: str, kind: str, args: dict[str, int], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it dies, ``watch`` raises; the next ``connect`` brings bars again on a second connection."""
    async with lab(venue, symbol, speed=120, faults=[Fault(where, kind, 3, 1, args)]) as at:
        at.follow(monkeypatch)
        source = provider(at, symbol)
        try:
            await source.connect()
            with pytest.raises(Disconnected) as lost:
                await until(source, lambda seen: len(seen) > 100)
            assert lost.value.kind == word
            await source.disconnect()
            await source.connect()
            assert closed(await until(source, lambda seen: bool(closed(seen))))
            await source.disconnect()
        finally:
            await source.close()
        assert [item[2] for item in await asyncio.to_thread(at.fired)] == [kind]
    assert source.counters["connections"] == 2


async def test_a_row_with_a_hole_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and stops nothing."""
    faults = [Fault("ws:BTCUSDT", "hole", 1), Fault("ws:BTCUSDT", "null", 2)]
    async with lab("binance", BINANCE, speed=120, faults=faults) as at:
        at.follow(monkeypatch)
        async with connected(at, BINANCE) as source:
            await until(source, lambda seen: len(closed(seen)) >= 2)
            assert len(await asyncio.to_thread(at.fired)) == 2
    assert source.counters["malformed"] == 2


async def test_a_subscription_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that never answers is not waited for."""
    monkeypatch.setattr(Ccxt, "answer_s", 1.0)
    async with lab("binance", BINANCE, speed=60, faults=[Fault("wssub", "noack")]) as at:
        at.follow(monkeypatch)
        with pytest.raises(Disconnected, match="not answered") as lost:
            async with connected(at, BINANCE) as source:
                await until(source, lambda seen: len(seen) > 1000)
    assert lost.value.kind == "protocol"


async def test_one_refused_symbol_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bybit refuses a whole frame for one symbol: it is found by halving, and told as down."""
    symbols = [f"C{number}/USDT:USDT" for number in range(9)]
    async with lab("bybit", *symbols, speed=60) as at:
        at.follow(monkeypatch)
        source = provider(at, *symbols)
        try:
            await source.get_symbol_info(source.keys[0])
            bad = source._ex.markets[symbols[4]]  # listed, so that the venue is asked, under a name that it has not
            bad["id"] = "GONEUSDT"
            await source.connect()
            others = set(source.keys) - {source.keys[4]}
            seen = await until(source, lambda seen: {item.key for item in seen} == set(source.keys))
            await source.disconnect()
        finally:
            await source.close()
    down = [item for item in seen if isinstance(item.message, State)]
    assert [(item.key, item.message.state) for item in down] == [(source.keys[4], "down")]
    assert {item.key for item in seen if isinstance(item.message, Bar)} == others


async def test_a_refused_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is down, with the venue's words."""
    async with lab("binance", BINANCE, speed=60, faults=[Fault("wssub", "reject")]) as at:
        at.follow(monkeypatch)
        async with connected(at, BINANCE) as source:
            (down,) = await until(source, bool)
    assert isinstance(down.message, State)
    assert (down.message.state, "Invalid request" in down.message.reason) == ("down", True)


@pytest.mark.parametrize(
    ("own", "way", "flagged"),
    [(Venue(taps.bybit, True), "tap", True), (Venue(), "candles", False), (None, "rest", False)],
)
async def test_venues_that_we_know_less_of(
    own: Venue | None, way: str, flagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, by ccxt's own candles, or by asking: every stream has bars, and one refused symbol is told."""
    symbols = [f"C{number}/USDT:USDT" for number in range(4)]
    monkeypatch.setitem(VENUES, "bybit", own or Venue())
    if own is None:
        monkeypatch.setattr("pynelive.producers.ccxt.provider.way_to_follow", lambda *_: "rest")
        monkeypatch.setattr("pynelive.producers.ccxt.provider._LOOK_MS", (500, 500))
    async with lab("bybit", *symbols, speed=60) as at:
        at.follow(monkeypatch)
        source = provider(at, *symbols)
        assert (source._way, source.capabilities.flagged) == (way, flagged)
        try:
            await source.get_symbol_info(source.keys[0])
            source._ex.markets[symbols[1]]["id"] = "GONEUSDT"
            await source.connect()
            seen = await until(source, lambda seen: len({(item.key, item.message.time_ms) for item in seen
                                                         if isinstance(item.message, Bar)}) > 8)  # fmt: skip
            await source.disconnect()
            true = await asyncio.to_thread(truth, at, symbols[0])
        finally:
            await source.close()
    assert {item.key for item in seen if isinstance(item.message, State)} == {source.keys[1]}
    assert {item.key for item in seen if isinstance(item.message, Bar)} == set(source.keys) - {source.keys[1]}
    assert bool(closed(seen)) == flagged
    for bar in bars(seen, source.keys[0]):
        if bar.time_ms in true:
            _, open_, high, low, _, volume = true[bar.time_ms]
            assert (bar.open, low <= bar.low, bar.high <= high) == (open_, True, True)
            assert bar.volume <= volume * (1 + 1e-9)


@pytest.mark.parametrize(
    ("kind", "args", "word", "wait_s"), [("rate", {"retry_after": 7}, "rate", 7), ("reset", {}, "network", None)]
)
async def test_a_handshake_that_fails(
    kind: str, args: dict[str, float], word: str, wait_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``connect`` says so, with the pause that the venue asks for; the next one is not delayed by ccxt."""
    async with lab("binance", BINANCE, speed=60, faults=[Fault("wsopen", kind, 0, 1 if wait_s else 3, args)]) as at:
        at.follow(monkeypatch)
        source = provider(at, BINANCE)
        try:
            with pytest.raises(Disconnected) as answer:
                await source.connect()
            await source.connect()
            assert bars(await until(source, lambda seen: bool(bars(seen))))
            await source.disconnect()
        finally:
            await source.close()
    assert (answer.value.kind, answer.value.retry_after) == (word, wait_s)


async def test_half_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings that nobody answers end the connection."""
    monkeypatch.setattr("pynelive.producers.ccxt.client.PING_S", 0.2)
    faults = [Fault("wsping", "halfopen", 1, 1000, {"seconds": 600})]
    async with lab("binance", BINANCE, speed=60, faults=faults) as at:
        at.follow(monkeypatch)
        async with connected(at, BINANCE) as source:
            with pytest.raises(Disconnected) as lost:
                await until(source, lambda seen: len(seen) > 1000)
    assert lost.value.kind == "silent"


@pytest.mark.parametrize(
    ("kind", "args", "word"),
    [
        ("rate", {"retry_after": 7}, "rate"), ("ban", {"retry_after": 9}, "banned"), ("maintenance", {}, "maintenance"),
        ("html", {}, "protocol"), ("badjson", {}, "protocol"), ("null", {}, "protocol"),
        ("truncate", {}, "network"), ("reset", {}, "network"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("venue", "symbol"), [("binance", BINANCE), ("bybit", BYBIT)])
async def test_what_rest_may_answer(
    venue: str, symbol: str, kind: str, args: dict[str, float], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No garbage becomes a bar: every such answer is a reason to come back later."""
    async with lab(venue, symbol, speed=1) as at:
        at.follow(monkeypatch)
        source = provider(at, symbol)
        key = source.keys[0]
        try:
            assert await source.latest(key, source.now_ms() - 5 * MINUTE_MS)
            await asyncio.to_thread(lambda: at.arm("rest:*", kind, count=3, **args))
            with pytest.raises(Disconnected) as answer:
                await source.latest(key, source.now_ms() - 5 * MINUTE_MS)
            assert (await asyncio.to_thread(at.fired))[0][2] == kind
        finally:
            await source.close()
    assert answer.value.kind == word
    if word == "rate":
        assert answer.value.retry_after == pytest.approx(7, abs=2)
    if word == "banned":
        assert answer.value.retry_after == pytest.approx(9 if venue == "binance" else 60, abs=2)


async def test_the_venues_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue ten minutes ahead has closed bars that are not over here; the one that forms there is not closed."""
    ahead_ms = 10 * MINUTE_MS
    async with lab("binance", BINANCE, speed=1, skew_ms=ahead_ms) as at:
        at.follow(monkeypatch)
        async with connected(at, BINANCE) as source:
            assert source.now_ms() - clock.now_ms() == pytest.approx(ahead_ms, abs=10_000)
            assert source.counters["skew_ms"] == pytest.approx(ahead_ms, abs=10_000)
            *past, forming = await source.latest(source.keys[0], clock.now_ms() - MINUTE_MS)
            newest = await source.latest(source.keys[0], 0)
    assert all(bar.closed for bar in past)
    assert (forming.closed, len(newest)) == (False, 2)


async def test_paging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any span, whole and without the forming bar; within the venue's weight."""
    async with lab("binance", BINANCE, speed=60) as at:
        at.follow(monkeypatch)
        source = provider(at, BINANCE)
        key = source.keys[0]
        source._rest.page_size = lambda _: 150  # type: ignore[method-assign]
        try:
            end_ms = source.now_ms() // MINUTE_MS * MINUTE_MS
            from_ms = end_ms - 400 * MINUTE_MS
            got = await source.download_ohlcv(key, from_ms, end_ms - 10 * MINUTE_MS)
            newest = await source.download_ohlcv(key, end_ms - 3 * MINUTE_MS, end_ms + 10**9)
        finally:
            await source.close()
    assert [bar.time_ms for bar in got] == list(range(from_ms, end_ms - 10 * MINUTE_MS, MINUTE_MS))
    assert all(bar.closed and bar.origin == "backfill" for bar in [*got, *newest])
    assert newest[-1].time_ms + MINUTE_MS <= source.now_ms()


@pytest.mark.parametrize("quiet", [(5, 190), (5, 205), (3, 420)], ids=["in a window", "a window", "two windows"])
async def test_quiet_windows(quiet: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that answers for a window of time, and leaves quiet bars out, has more after an empty answer."""
    async with lab("coinbase", "BTC/USD", speed=1) as at:
        at.follow(monkeypatch)
        source = provider(at, "BTC/USD")
        key, fetch = source.keys[0], source._ex.fetch_ohlcv
        monkeypatch.setattr(source._rest, "page_size", lambda _: 100)
        end_ms = source.now_ms() // MINUTE_MS * MINUTE_MS
        since_ms = end_ms - 450 * MINUTE_MS
        from_ms, to_ms = (since_ms + minutes * MINUTE_MS for minutes in quiet)

        async def thin(symbol: str, timeframe: str, since: int, limit: int) -> list[list[float]]:
            rows = await fetch(symbol, timeframe, since, limit)
            window = since, since + limit * MINUTE_MS
            return [row for row in rows if window[0] <= row[0] < window[1] and not from_ms <= row[0] < to_ms]

        monkeypatch.setattr(source._ex, "fetch_ohlcv", thin)
        got: list[Bar] = []
        try:
            while page := await source.latest(key, got[-1].time_ms if got else since_ms):
                assert len(page) >= 50 or page[-1].time_ms >= end_ms  # else the feed would take it for the end
                got += page
        finally:
            await source.close()
    wanted = [*range(since_ms + MINUTE_MS, from_ms, MINUTE_MS), *range(to_ms, end_ms, MINUTE_MS)]
    assert [bar.time_ms for bar in got if bar.time_ms < end_ms] == wanted


async def test_a_step_of_our_clock_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue's time goes on, and is asked for again while the connection lives."""
    async with lab("binance", BINANCE, speed=1) as at:
        at.follow(monkeypatch)
        async with connected(at, BINANCE) as source:
            asked, fetch, true_ms = asyncio.Event(), source._ex.fetch_time, clock.now_ms

            async def counted() -> int:
                told: int = await fetch()
                asked.set()
                return told

            monkeypatch.setattr(source._ex, "fetch_time", counted)
            monkeypatch.setattr(clock, "now_ms", lambda: true_ms() + 30_000)
            assert source.now_ms() == pytest.approx(true_ms(), abs=5_000)
            assert not (await source.latest(source.keys[0], true_ms() - 3 * MINUTE_MS))[-1].closed
            async with asyncio.timeout(100):
                await asked.wait()
            assert source.now_ms() == pytest.approx(true_ms(), abs=5_000)


@pytest.mark.parametrize("step_ms", [-40_000, 90_000])
async def test_a_step_of_the_venues_clock_is_followed(step_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of a connection, within minutes."""
    async with lab("binance", BINANCE, speed=60) as at:
        at.follow(monkeypatch)
        async with connected(at, BINANCE) as source:
            await asyncio.to_thread(lambda: at.arm("ws:BTCUSDT", "skew", ms=step_ms))
            await wait_until(lambda: source.now_ms() - clock.now_ms() == pytest.approx(step_ms, abs=15_000))
            assert source.counters["connections"] == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "nan"}, 5), ({"Retry-After": "inf"}, 5), ({"Retry-After": "soon"}, 5),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -9900"}, 5), ({"Retry-After": "-5"}, 5),
        ({"Retry-After": "7"}, 7), ({"Retry-After": "86400000"}, 86_400),
        ({"X-Bapi-Limit-Reset-Timestamp": "soon"}, 5), ({"X-Bapi-Limit-Reset-Timestamp": "1.5"}, 5),
        ({"X-Bapi-Limit-Reset-Timestamp": "9" * 20}, 86_400), ({"X-Bapi-Limit-Reset-Timestamp": "9" * 5_000}, 5),
    ],
)  # fmt: skip
def test_waits_that_make_no_sense(headers: dict[str, str], wait_s: float) -> None:
    """Whatever a venue writes there, the wait is a number of seconds, and not for ever."""
    error: Any = RateLimitExceeded("too often")
    error.status, error.headers = 429, headers
    meant = meaning(error, "bybit")
    assert isinstance(meant, Disconnected)
    assert (meant.kind, meant.retry_after) == ("rate", wait_s)


@pytest.mark.parametrize(
    ("venue", "symbol"), [("binance", BINANCE), ("bybit", BYBIT), ("kraken", "BTC/USD"), ("coinbase", "BTC/USD")]
)
async def test_the_instrument_is_pynecores(venue: str, symbol: str) -> None:
    """Field by field what PyneCore's own provider makes of the same market."""
    with lab(venue, symbol, epoch_ms=0, speed=1) as at:
        source = provider(at, symbol)
        try:
            ours = await source.get_symbol_info(source.keys[0])
            assert source.keys[0].symbol in await source.get_list_of_symbols()
        finally:
            await source.close()
        theirs = CCXTProvider(symbol=f"{venue}:{symbol}", timeframe="1")
        theirs._client.set_markets(list(source._ex.markets.values()), source._ex.currencies)
    assert ours == from_syminfo(theirs.update_symbol_info(), "1")


async def test_a_symbol_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by name with the nearest ones; beside others it is told as down, and they go on."""
    async with lab("binance", BINANCE, speed=60) as at:
        at.follow(monkeypatch)
        async with connected(at, "BTC/USTD", BINANCE) as source:
            with pytest.raises(Refused, match="did you mean BTC/USDT"):
                await source.get_symbol_info(source.keys[0])
            seen = await until(source, lambda seen: bool(bars(seen)))
    assert isinstance(seen[0].message, State)
    assert seen[0].key == source.keys[0]
    assert bars(seen, source.keys[1])


async def test_an_empty_table_of_markets() -> None:
    """What ccxt takes for a venue without markets is a venue that does not answer."""
    with lab("binance", BINANCE, epoch_ms=0, speed=1, faults=[Fault("rest:*", "html", 0, 9)]) as at:
        source = provider(at, BINANCE)
        try:
            with pytest.raises(Disconnected) as answer:
                await source.connect()
        finally:
            await source.close()
    assert answer.value.kind == "protocol"
    assert not source.is_connected


@pytest.mark.parametrize(("venue", "symbol"), [("binance", "BTC/USDT"), ("kraken", "BTC/USD")])
async def test_it_keeps_the_contract(venue: str, symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every provider promises, with a closed flag and without."""
    async with lab(venue, symbol, speed=30) as at:
        at.follow(monkeypatch)
        assert not await check(lambda: provider(at, symbol), bars=2)
