"""Capital.com against a venue of the laboratory, which holds its real limits: one session, 40 epics, 10 requests."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pynelive.bus.messages import Bar, Instrument, Span, State
from pynelive.bus.names import Key, parse_key
from pynelive.producers import clock
from pynelive.producers.capitalcom import live as capitalcom_live
from pynelive.producers.capitalcom import session as capitalcom_session
from pynelive.producers.capitalcom import socket as capitalcom_socket
from pynelive.producers.capitalcom.provider import CapitalCom
from pynelive.producers.capitalcom.rows import instrument_of
from pynelive.producers.conformance import check
from pynelive.producers.contract import ConfigError, Disconnected, Refused
from pynelive.producers.sessions import EPOCH_MS
from venues.capitalcom import API_KEY, IDENTIFIER, PASSWORD
from venues.client import Lab, lab
from venues.faults import Fault
from venues.spec import MarketSpec

MINUTE_MS, DAY_MS = 60_000, 86_400_000


def provider_of(venue: Lab, *streams: str, **changes: Any) -> CapitalCom:
    """The provider of some streams, with the venue's own login unless it is changed."""
    options = {"identifier": IDENTIFIER, "password": PASSWORD, "api_key": API_KEY, **changes}
    config = CapitalCom.Config(**options, url=venue.http, ws_url=f"{venue.ws}/connect")
    return CapitalCom([parse_key(stream) for stream in streams], config)


@asynccontextmanager
async def connected(provider: CapitalCom) -> AsyncIterator[CapitalCom]:
    """Introduced and connected, as the feed does it."""
    try:
        for key in provider.keys:
            await provider.get_symbol_info(key)
        await provider.connect()
        yield provider
    finally:
        await provider.disconnect()
        await provider.close()


class Seen:
    """What ``watch`` has said, by stream."""

    def __init__(self, provider: CapitalCom) -> None:
        self.provider = provider
        self.closed: dict[str, list[Bar]] = {str(key): [] for key in provider.keys}
        self.forming: dict[str, list[Bar]] = {str(key): [] for key in provider.keys}
        self.states: list[tuple[str, str, int]] = []
        """Stream, state, and how many bars had closed by then."""

    async def until(self, enough: Callable[[], bool], timeout_s: float = 100) -> None:
        """Watch until it is enough."""
        async with asyncio.timeout(timeout_s):
            async for key, message, _ in self.provider.watch():
                stream = str(key)
                if isinstance(message, State):
                    self.states.append((stream, message.state, len(self.closed[stream])))
                else:
                    (self.closed if message.closed else self.forming)[stream].append(message)
                if enough():
                    return

    def least(self) -> int:
        """How many bars every stream has at least."""
        return min(map(len, self.closed.values()))


def values(bar: Any) -> tuple[float, ...]:
    return bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume


def assert_true(venue: Lab, seen: Seen) -> None:
    """Every bar is the venue's, with its volume, and none is left out or there twice."""
    for stream, bars in seen.closed.items():
        key = parse_key(stream)
        truth = venue.truth(key.symbol, key.timeframe, bars[0].time_ms)
        assert [values(bar) for bar in bars] == [values(bar) for bar in truth][: len(bars)], stream
        assert {bar.origin for bar in bars} == {"venue"}


@pytest.mark.parametrize("options", [{"rotate": 3}, {"early": 5}], ids=["tokens rotate", "closes come early"])
async def test_live_bars_are_the_truth(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed bars equal the venue's history with their volume; between them the quotes make forming ones."""
    async with lab("capitalcom", "AAPL", "BTC/USDT", options=options, ticks=20, speed=60) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, "AAPL@1", "BTCUSDT@1", "BTCUSDT@5")) as provider:
            seen = Seen(provider)
            await seen.until(lambda: len(seen.closed["AAPL@1"]) >= 5 and seen.least() >= 1)
        assert_true(venue, seen)
        assert venue.counters()["refused:429"] == 0
        truth = {bar.time_ms: bar for bar in venue.truth("AAPL")}
        forming = [bar for bar in seen.forming["AAPL@1"] if bar.time_ms in truth]
        assert forming
        for bar in forming:
            assert truth[bar.time_ms].low <= bar.low <= bar.close <= bar.high <= truth[bar.time_ms].high
            assert bar.extra is not None
            assert bar.extra["estimated"] == "volume"
            assert bar.extra["bid"] == bar.close < float(bar.extra["ask"])


async def test_a_session_is_renewed_without_a_lost_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the venue ends the session the provider logs in anew, and dials when no bar closes."""
    monkeypatch.setattr(capitalcom_live, "_PING_S", 30.0)
    monkeypatch.setattr(capitalcom_session, "RENEW_AFTER_S", 60.0)
    limits = {"session_s": 150.0, "idle_s": 120.0}
    async with lab("capitalcom", "BTC/USDT", limits=limits, speed=30) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, "BTCUSDT@1")) as provider:
            seen = Seen(provider)
            await seen.until(lambda: provider.counters["renewals"] >= 2 and seen.least() >= 3)
        assert_true(venue, seen)
        assert venue.counters()["logins"] >= 3


async def test_history_comes_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for comes whole: over pages and weekends, without the forming bar, and nothing of nothing."""
    markets = MarketSpec("AAPL", history=1500), MarketSpec("BTC/USDT", history=2500)
    async with lab("capitalcom", *markets, speed=60) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, "AAPL@1", "BTCUSDT@1", "BTCUSDT@15")) as provider:
            for key in provider.keys:
                truth = venue.truth(key.symbol, key.timeframe, EPOCH_MS - 6 * DAY_MS)
                bars = await provider.download_ohlcv(key, EPOCH_MS - 6 * DAY_MS, provider.now_ms() + DAY_MS)
                assert [values(bar) for bar in bars][: len(truth)] == [values(bar) for bar in truth]
                assert all(bar.origin == "backfill" and bar.closed for bar in bars)
                page = await provider.latest(key, truth[-5].time_ms)  # of minutes, there is a weekend in it
                assert [bar.time_ms for bar in page[:4]] == [bar.time_ms for bar in truth[-4:]]
                assert not page[-1].closed
            assert await provider.download_ohlcv(Key("AAPL", "1"), 0, 60_000) == []
            assert await provider.backfill_closed_bars(Key("AAPL", "1"), provider.now_ms() + DAY_MS) == []
            assert await provider.get_list_of_symbols() == ["AAPL", "BTCUSDT"]
            with pytest.raises(Refused):
                await provider.get_symbol_info(Key("NOSUCH", "1"))
            venue.arm("rest:/api/v1/prices/{epic}", "nulls")
            assert await provider.latest(Key("AAPL", "1"), EPOCH_MS - 1)
            assert provider.counters["malformed"] == 1
        assert venue.counters()["refused:429"] == 0


async def test_more_than_forty_epics_take_two_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 45 streams that close at the same moment are confirmed, within the venue's ten requests a second."""
    symbols = [f"C{number:02}/USDT" for number in range(45)]
    async with lab("capitalcom", *symbols, speed=30) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, *(symbol.replace("/", "") + "@1" for symbol in symbols))) as provider:
            seen = Seen(provider)
            await seen.until(lambda: seen.least() >= 2)
            counters = venue.counters()
        assert_true(venue, seen)
        assert counters["open"] == 2
        assert counters["refused:429"] + counters["refused:epics"] + counters["refused:messages"] == 0


@pytest.mark.parametrize(
    ("begins_ms", "said"), [(6 * 3_600_000 + 27 * 60_000, ["closed"]), (-90_000, ["closed", "live"])]
)
async def test_a_market_closes_and_opens(begins_ms: int, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream says so, after the last bar of the session; half an hour is the whole last bar of 60 minutes."""
    for earlier_ms in (0, 15 * MINUTE_MS, 60 * MINUTE_MS):
        async with lab("capitalcom", "AAPL", epoch_ms=EPOCH_MS + begins_ms - earlier_ms, speed=60) as venue:
            venue.follow(monkeypatch)
            async with connected(provider_of(venue, "AAPL@1", "AAPL@60")) as provider:
                if provider.now_ms() > EPOCH_MS + begins_ms + MINUTE_MS:
                    continue  # a busy machine has come too late to see it
                seen = Seen(provider)
                await seen.until(lambda seen=seen: len(seen.states) == 2 * len(said)
                                 and len(seen.closed["AAPL@1"]) >= 2)  # fmt: skip
                assert [state for stream, state, _ in seen.states if stream == "AAPL@1"] == said
            if said == ["closed"]:
                assert_true(venue, seen)
                assert [len(seen.closed[stream]) for stream, _, _ in seen.states] == [n for _, _, n in seen.states]
                assert seen.closed["AAPL@60"][-1].time_ms == EPOCH_MS + 6 * 3_600_000
            return
    pytest.fail("not even an hour is enough to begin in")


@pytest.mark.parametrize(("fault", "kind"), [("close", "network"), ("midframe", "network"), ("badjson", "protocol")])
async def test_a_broken_socket_is_said_and_mended(fault: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``watch`` ends by ``Disconnected`` with its kind; the next connection needs no login and goes on."""
    async with lab("capitalcom", "BTC/USDT", speed=60) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, "BTCUSDT@1")) as provider:
            venue.arm("ws:BTCUSDT", fault)
            seen = Seen(provider)
            with pytest.raises(Disconnected) as gone:
                await seen.until(lambda: False)
            assert gone.value.kind == kind
            await provider.disconnect()
            await provider.connect()
            await seen.until(lambda: seen.least() >= 2)
        assert venue.fired()
        assert venue.counters()["logins"] == 1


async def test_it_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every provider promises, tried on this one."""
    async with lab("capitalcom", "AAPL", "BTC/USDT", speed=30) as venue:
        venue.follow(monkeypatch)
        assert not await check(
            lambda: provider_of(venue, "AAPL@1", "BTCUSDT@1"), bars=2,
            faulty=lambda: provider_of(venue, "AAPL@1", identifier="", password=""),
        )  # fmt: skip


async def test_a_subscription_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that opens the socket and then says nothing is not connected."""
    monkeypatch.setattr(capitalcom_socket, "_ANSWER_S", 0.5)
    async with lab("capitalcom", "BTC/USDT", faults=[Fault("wssub", "noack")], speed=60) as venue:
        venue.follow(monkeypatch)
        provider = provider_of(venue, "BTCUSDT@1")
        with pytest.raises(Disconnected) as gone:
            await provider.connect()
        assert gone.value.kind == "silent"
        await provider.connect()
        await provider.disconnect()
        await provider.close()


async def test_another_login_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue falls silent and says nothing: the next sign of life finds out, and the next connection is whole."""
    monkeypatch.setattr(capitalcom_live, "_PING_S", 30.0)
    async with lab("capitalcom", "BTC/USDT", speed=60) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, "BTCUSDT@1")) as provider:
            seen, other = Seen(provider), provider_of(venue, "BTCUSDT@1")
            await other.get_list_of_symbols()
            await other.close()
            with pytest.raises(Disconnected) as gone:
                await seen.until(lambda: False)
            assert gone.value.kind == "auth"
            await provider.disconnect()
            await provider.connect()
            await seen.until(lambda: seen.least() >= 2)


async def test_wrong_credentials_are_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One sentence names the options; neither it nor a log, a counter or a hash shows what stood in them."""
    caplog.set_level(logging.DEBUG)
    canary, shown = "canary-4711", []
    async with lab("capitalcom", "BTC/USDT", speed=60) as venue:
        venue.follow(monkeypatch)
        for name, named in (("api_key", "'api_key'"), ("password", "'password'"), ("identifier", "'identifier'")):
            provider = provider_of(venue, "BTCUSDT@1", **{name: canary})
            with pytest.raises(ConfigError, match=named) as wrong:
                await provider.get_symbol_info(Key("BTCUSDT", "1"))
            await provider.close()
            shown += [str(wrong.value), str(provider.counters), repr(provider.config), provider.account]
        venue.arm("rest:*", "rate")
        provider = provider_of(venue, "BTCUSDT@1", password=canary)
        with pytest.raises(Disconnected) as slow:
            await provider.connect()
        await provider.close()
        assert slow.value.kind == "rate"
        assert canary not in "".join([*shown, str(slow.value), caplog.text])
    with pytest.raises(ConfigError) as faults:
        CapitalCom([Key("AAPL", "7")], CapitalCom.Config("", "", ""))
    assert len(faults.value.problems) == 4


def test_trading_hours() -> None:
    """Pre-market, an hour's break, an end at midnight and a closed day, in summer and in winter."""
    hours = {"mon": ["04:00 - 16:00", "17:00 - 00:00"], "tue": ["-"], "wed": ["00:00 - 00:00"],
             "zone": "America/New_York"}  # fmt: skip
    utc = {"mon": ["08:00 - 00:00"], "zone": "UTC"}

    def spans(openings: dict[str, Any], now_ms: int) -> Instrument:
        told = {"epic": "AAPL", "symbol": "AAPL", "name": "Apple", "lotSize": 1, "type": "SHARES", "currency": "USD",
                "openingHours": openings}  # fmt: skip
        rules = {"minStepDistance": {"value": 0.05}, "minDealSize": {"value": 0.1}}
        return instrument_of({"instrument": told, "dealingRules": rules}, Key("AAPL", "60"), now_ms)

    made = spans(hours, EPOCH_MS)
    assert made.opening_hours == (Span(0, 14_400, 57_600), Span(0, 61_200, 86_399), Span(2, 0, 86_399))
    assert made.session_starts == (Span(0, 14_400, 0), Span(0, 61_200, 0))
    assert made.session_ends == (Span(0, 57_600, 0),)
    assert (made.mintick, made.pricescale, made.minmove) == (0.05, 100, 5)
    assert spans(utc, EPOCH_MS).opening_hours == (Span(0, 3 * 3600, 19 * 3600 - 1),)
    assert spans(utc, EPOCH_MS + 180 * DAY_MS).opening_hours == (Span(0, 4 * 3600, 20 * 3600 - 1),)


ORACLE = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from pynelive.bus.syminfo import from_syminfo
import msgspec
from pynecore_capitalcom import CapitalCom
from pynecore_capitalcom.config import CapitalComConfig

url, ws, user, password, key, epic, timeframe, since_ms, folder = sys.argv[1:]
config = CapitalComConfig(user_email=user, api_password=password, api_key=key, rest_url=url, ws_url=ws)
plugin = CapitalCom(symbol=epic, timeframe=timeframe, ohlcv_dir=Path(folder), config=config)
syminfo = plugin.get_symbol_info()
since, now = (datetime.fromtimestamp(s, UTC).replace(tzinfo=None) for s in
              (int(since_ms) / 1000, datetime.now(UTC).timestamp()))
with plugin:
    plugin.download_ohlcv(since, now)
with plugin.load_ohlcv_data() as reader:
    bars = [[bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume] for bar in reader]
print(json.dumps({"instrument": msgspec.to_builtins(from_syminfo(syminfo, timeframe)), "bars": bars}))
"""


@pytest.fixture
def now_venue() -> Iterator[Lab]:
    """A venue that lives now, as PyneCore's plugin knows no other time."""
    hours = {"AAPL": {"mon": ["08:00 - 00:00"], "tue": ["00:00 - 01:00", "08:00 - 22:00"], "zone": "UTC"}}
    markets = MarketSpec("AAPL", history=1500), MarketSpec("EUR/USD", history=1500)
    with lab("capitalcom", *markets, epoch_ms=0, options={"hours": hours}, speed=1) as venue:
        yield venue


@pytest.mark.parametrize("stream", ["AAPL@1", "EURUSD@15"])
async def test_pynecores_own_plugin_sees_the_same(now_venue: Lab, stream: str, tmp_path: Path) -> None:
    """The oracle: the same bars and the same instrument as PyneCore's Capital.com plugin, unmodified."""
    key = parse_key(stream)
    since_ms = now_venue.truth(key.symbol, key.timeframe, 0)[10].time_ms
    async with connected(provider_of(now_venue, stream)) as provider:
        instrument = await provider.get_symbol_info(key)
        asked_ms = provider.now_ms()
        ours = await provider.download_ohlcv(key, since_ms, asked_ms)
    venue = [now_venue.http, f"{now_venue.ws}/connect", IDENTIFIER, PASSWORD, API_KEY]
    arguments = [*venue, *key, str(since_ms), str(tmp_path)]
    said = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", ORACLE, *arguments], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    theirs = json.loads(said.stdout)
    for bar, row in zip(ours, theirs["bars"], strict=False):
        assert values(bar) == pytest.approx(row, rel=1e-9)  # its file keeps prices as changes in single precision
    passed = (clock.now_ms() - asked_ms) // MINUTE_MS + 1  # bars that may have closed between
    assert len(theirs["bars"]) - len(ours) <= passed
    assert msgspec.convert(theirs["instrument"], Instrument) == instrument


async def test_a_step_of_our_clock_is_none_of_the_venues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time goes on, and is asked for again with the next question; without an answer the old one holds."""
    async with lab("capitalcom", "BTC/USDT", speed=1) as venue:
        venue.follow(monkeypatch)
        async with connected(provider_of(venue, "BTCUSDT@1")) as provider:
            true_ms = clock.now_ms
            for step_ms in (30_000, -30_000):
                monkeypatch.setattr(clock, "now_ms", lambda step_ms=step_ms: true_ms() + step_ms)
                assert provider.now_ms() == pytest.approx(true_ms(), abs=5_000)
            before = (await asyncio.to_thread(venue.counters))["requests:/api/v1/time"]
            bars = await provider.latest(provider.keys[0], true_ms() - 5 * 60_000)
            assert [bar.closed for bar in bars][-2:] == [True, False]
            assert (await asyncio.to_thread(venue.counters))["requests:/api/v1/time"] == before + 1
            assert provider.now_ms() == pytest.approx(true_ms(), abs=5_000)
