"""The venue laboratory is a fair judge: real clients understand it, its limits hold, its faults happen and are told."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pynelive.producers import clock
from pynelive.producers.sessions import EPOCH_MS
from support import wait_until
from venues.bars import bars_of
from venues.client import DATA, Lab, lab
from venues.faults import LINE_KINDS, OPEN_KINDS, PING_KINDS, REST_KINDS, STREAM_KINDS, SUBSCRIBE_KINDS, Fault, Plan
from venues.market import Market
from venues.probe import Heard, asked, exchange, listening
from venues.spec import MarketSpec

MINUTE_MS = 60_000
FAST = 240.0
"""A minute in a quarter of a second."""


# Real clients ------------------------------------------------------------------------------------------------------


REAL = [
    ("binance", "BTC/USDT", "BTC/USDT", "/stream", {"fetchMarkets": {"types": ["spot"]}}),
    ("bybit", "BTC/USDT", "BTC/USDT:USDT", "", {"fetchMarkets": {"types": ["linear"]}}),
    ("kraken", "BTC/USD", "BTC/USD", "", {}),
]


@pytest.mark.parametrize(("name", "symbol", "unified", "suffix", "options"), REAL, ids=[case[0] for case in REAL])
async def test_ccxt_reads_what_is_true(name: str, symbol: str, unified: str, suffix: str, options: Any) -> None:
    async with lab(name, symbol, "ETH/USD", speed=FAST) as venue, exchange(venue, suffix, **options) as client:
        assert unified in await client.load_markets()
        before = [list(bar[1:]) for bar in venue.truth(symbol, since_ms=EPOCH_MS - 50 * MINUTE_MS)[:40]]
        got = await client.fetch_ohlcv(unified, "1m", since=EPOCH_MS - 50 * MINUTE_MS, limit=40)
        assert got[:40] == before
        coarse = {bar.time_ms: list(bar[1:]) for bar in venue.truth(symbol, "5", EPOCH_MS - 60 * MINUTE_MS)}
        got = await client.fetch_ohlcv(unified, "5m", since=EPOCH_MS - 60 * MINUTE_MS, limit=10)
        assert len(got) == 10
        assert all(row == coarse[row[0]] for row in got)
        await client.watch_ohlcv(unified, "1m")
        first_ms = client.ohlcvs[unified]["1m"][-1][0]
        while client.ohlcvs[unified]["1m"][-1][0] < first_ms + 5 * MINUTE_MS:
            await client.watch_ohlcv(unified, "1m")
        heard = {row[0]: list(row) for row in client.ohlcvs[unified]["1m"][:-1]}
        true = {bar.time_ms: list(bar[1:]) for bar in venue.truth(symbol) if bar.time_ms >= first_ms}
        assert len(heard.keys() & true.keys()) >= 5
        assert {time_ms: heard[time_ms] for time_ms in heard.keys() & true.keys()} == {
            time_ms: true[time_ms] for time_ms in heard.keys() & true.keys()
        }


async def test_ccxt_makes_coinbases_bars_from_trades() -> None:
    async with lab("coinbase", "BTC/USD", speed=FAST) as venue, exchange(venue) as client:
        await client.load_markets()
        got = await client.fetch_ohlcv("BTC/USD", "1m", since=EPOCH_MS - 20 * MINUTE_MS, limit=20)
        assert got == [list(bar[1:]) for bar in venue.truth("BTC/USD", since_ms=EPOCH_MS - 20 * MINUTE_MS)[:20]]
        trades = []
        client.newUpdates = True
        while not trades or trades[-1]["timestamp"] < trades[0]["timestamp"] + 5 * MINUTE_MS:
            trades += await client.watch_trades("BTC/USD")
        first_ms = trades[0]["timestamp"] // MINUTE_MS * MINUTE_MS + MINUTE_MS
        true = {bar.time_ms: bar for bar in venue.truth("BTC/USD", since_ms=first_ms)}
        seen = {trade["id"]: trade for trade in client.trades["BTC/USD"]}.values()
        for minute in (first_ms, first_ms + MINUTE_MS, first_ms + 2 * MINUTE_MS):
            within = [t for t in seen if minute <= t["timestamp"] < minute + MINUTE_MS]
            prices = [trade["price"] for trade in within]
            assert [prices[0], max(prices), min(prices), prices[-1]] == list(true[minute][2:6])
            assert sum(trade["amount"] for trade in within) == pytest.approx(true[minute].volume)


# The truth ---------------------------------------------------------------------------------------------------------

SOURCES = [
    ("walk", "BTC/USDT", "1", EPOCH_MS), ("walk", "AAPL", "5", EPOCH_MS), ("aapl", "AAPL", "1D", 1_300_000_000_000),
    (str(DATA / "BTCUSDT_5m.csv"), "BTC/USDT", "5", 1_735_600_000_000),
]  # fmt: skip


@pytest.mark.parametrize(("source", "symbol", "timeframe", "start_ms"), SOURCES, ids=["walk", "stock", "aapl", "csv"])
def test_trades_and_forming_bars_end_in_the_bar(source: str, symbol: str, timeframe: str, start_ms: int) -> None:
    if source.endswith(".csv") and not Path(source).exists():
        pytest.skip(f"no real bars at {source}")
    bars = bars_of(source, 7, symbol, timeframe)
    market = Market(symbol, timeframe, bars, start_ms, history=200)
    rows = market.history(timeframe, start_ms, limit=150)[:-1]
    assert len(rows) == 149
    for row in rows:
        assert row[1:6] == bars.bar(bars.index_at(row.time_ms))
        close_ms = market.closes_ms(timeframe, row.time_ms)
        trades = market.trades(row.time_ms - 1, close_ms - 1)
        prices = [trade.price for trade in trades]
        assert (prices[0], max(prices), min(prices), prices[-1]) == row[1:5]
        assert sum(trade.quantity for trade in trades) == pytest.approx(row.volume)
        assert sorted({trade.id for trade in trades}) == [trade.id for trade in trades]
        forming = market.forming(timeframe, (row.time_ms + close_ms) // 2)
        assert forming is not None
        assert forming.open == row.open
        assert row.low <= forming.low <= forming.close <= forming.high <= row.high
        assert forming.volume <= row.volume


def test_quiet_bars_have_no_trades_and_stay_where_they_were() -> None:
    market = Market("BTC/USDT", "1", bars_of("walk", 7, "BTC/USDT", "1"), EPOCH_MS, quiet=0.3)
    rows = market.history("1", EPOCH_MS, limit=400)[:-1]
    quiet = [(before, row) for before, row in pairwise(rows) if not row.volume]
    assert 60 < len(quiet) < 180
    assert all(row.open == row.high == row.low == row.close == before.close for before, row in quiet)
    assert not market.trades(quiet[0][1].time_ms - 1, quiet[0][1].time_ms + MINUTE_MS - 1)


def test_random_plans_are_the_same_every_time() -> None:
    plans = [Plan.random(3, 12, ["BTCUSDT", "ETHUSDT"]) for _ in range(2)]
    assert plans[0].faults == plans[1].faults != Plan.random(4, 12, ["BTCUSDT", "ETHUSDT"]).faults
    assert len(plans[0].faults) == 12
    with pytest.raises(ValueError, match="no fault 'revise' at 'rest:/x'"):
        Fault("rest:/x", "revise")


async def test_the_log_holds_the_truth_and_the_faults(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    faults = [Fault("bar:BTCUSDT", "revise", at=1)]
    async with lab("binance", "BTC/USDT", speed=FAST, faults=faults, log=str(log)) as venue:
        async with listening(venue) as frames:
            await wait_until(lambda: sum(frame["k"]["x"] for frame in frames) >= 5)
        true = venue.truth("BTC/USDT")
    assert venue.returncode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    bars = [line for line in lines if line["kind"] == "bar"]
    assert [(bar["revision"], bar["time_ms"], bar["close"]) for bar in bars][: len(true)] == [
        (bar.revision, bar.time_ms, bar.close) for bar in true
    ]
    [revised] = [bar for bar in true if bar.revision]
    assert [line["fault"] for line in lines if line["kind"] == "fault"] == ["revise"]
    said = [float(f["k"]["c"]) for f in frames if f["k"]["x"] and f["k"]["t"] == revised.time_ms]
    assert said == [bar.close for bar in true if bar.time_ms == revised.time_ms]


# Limits ------------------------------------------------------------------------------------------------------------

KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3"


async def test_binance_refuses_and_then_bans_who_asks_too_much() -> None:
    limits = {"weight": 10.0}
    async with lab("binance", "BTC/USDT", speed=1, limits=limits) as venue, aiohttp.ClientSession() as session:
        answers = [await session.get(venue.http + KLINES) for _ in range(20)]
        assert [answer.status for answer in answers][:5] == [200] * 5
        assert answers[-1].status == 418
        assert int(answers[-1].headers["Retry-After"]) > 60
        assert "banned until" in (await answers[-1].json())["msg"]
        assert venue.counters()["early"] >= 10


async def test_binance_ends_a_connection_that_talks_too_much_and_counts_its_streams() -> None:
    async with lab("binance", "BTC/USDT", speed=1.0) as venue, aiohttp.ClientSession() as session:
        async with session.ws_connect(venue.ws + "/ws/0") as socket:
            names = [f"s{i}usdt@trade" for i in range(1025)]
            await socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
            assert (await socket.receive_json())["error"]["msg"].endswith("too many streams")
            for number in range(30):
                await socket.send_json({"method": "UNSUBSCRIBE", "params": [], "id": number})
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.data == 1008
        counters = venue.counters()
        assert (counters["refused:streams"], counters["refused:messages"]) == (1, 1)


async def test_one_unknown_topic_refuses_bybits_whole_subscription() -> None:
    async with lab("bybit", "BTC/USDT") as venue, aiohttp.ClientSession() as session:
        async with session.ws_connect(venue.ws + "/v5/public/linear") as socket:
            await socket.send_json({"op": "subscribe", "req_id": "1", "args": ["kline.1.BTCUSDT", "kline.1.NONE"]})
            answer = await socket.receive_json()
            assert not answer["success"]
            assert "kline.1.NONE" in answer["ret_msg"]
            await socket.send_json({"op": "ping", "req_id": "2"})
            assert (await socket.receive_json())["ret_msg"] == "pong"
        assert venue.counters()["subscriptions"] == 0


# Faults ------------------------------------------------------------------------------------------------------------


REST: dict[str, Callable[[Any], bool]] = {
    "status": lambda got: got == (500, {"a": 1}),
    "rate": lambda got: got[0] == 429 and got[1]["code"] == -1003,
    "ban": lambda got: got[0] == 418,
    "maintenance": lambda got: got[0] == 503,
    "html": lambda got: got == "JSONDecodeError",
    "badjson": lambda got: got == "JSONDecodeError",
    "empty": lambda got: got == "JSONDecodeError",
    "null": lambda got: got == (200, None),
    "truncate": lambda got: got == "ClientPayloadError",
    "reset": lambda got: got in ("ServerDisconnectedError", "ClientOSError"),
    "hang": lambda got: got == "TimeoutError",
    "absent": lambda got: len(got[1]) == 9,
    "outdated": lambda got: len(got[1]) == 7,
    "gap": lambda got: len(got[1]) == 8,
    "nulls": lambda got: [None] * 12 in got[1],
    "partial": lambda got: len(got[1]) == 10,
    "offgrid": lambda got: any(row[0] % MINUTE_MS for row in got[1]),
    "microseconds": lambda got: max(row[0] for row in got[1]) > 10**15,
    "bounds": lambda got: any(float(row[2]) < float(row[3]) for row in got[1]),
    "zero": lambda got: any(float(row[4]) == 0 for row in got[1]),
    "negative": lambda got: any(float(row[3]) < 0 for row in got[1]),
    "spike": lambda got: any(float(row[2]) > 20 * float(row[3]) for row in got[1]),
    "skew": lambda got: len(got[1]) == 10,
    "delist": lambda got: got[0] == 400,
}
_ARGS: dict[str, dict[str, Any]] = {"status": {"body": '{"a": 1}'}, "hang": {"seconds": 3}, "rate": {"retry_after": 0}}
_ARGS |= {"ban": {"retry_after": 0}, "maintenance": {"retry_after": 0}}


def _count(kind: str) -> int:
    """How often a fault has to happen to be felt: aiohttp's client asks once more after a reset, unasked."""
    return 2 if kind == "reset" else 1


async def test_every_fault_of_an_answer_happens_and_is_told() -> None:
    assert REST.keys() == REST_KINDS
    async with lab("binance", "BTC/USDT") as venue, aiohttp.ClientSession() as session:
        for kind, is_so in REST.items():
            venue.arm("rest:/api/v3/klines", kind, count=_count(kind), **_ARGS.get(kind, {}))
            url = venue.http + "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=10"
            got = await asked(session, url, 1 if kind == "hang" else 60)
            assert is_so(got), (kind, got)
        assert list(dict.fromkeys(kind for _, _, kind in venue.fired())) == list(REST)


async def test_a_test_can_live_by_the_venues_clock_which_can_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab("binance", "BTC/USDT", skew_ms=3_600_000) as venue:
        venue.follow(monkeypatch)
        assert EPOCH_MS < clock.now_ms() <= venue.counters()["now_ms"] - 3_600_000 <= clock.now_ms()
        assert len(venue.truth("BTC/USDT")) >= 60


def _gap(heard: Heard) -> bool:
    return any(later - earlier > MINUTE_MS for earlier, later in pairwise(heard.times()))


def _backwards(heard: Heard) -> bool:
    return any(later < earlier for earlier, later in pairwise(heard.times()))


def _twice(heard: Heard) -> bool:
    return any(later == earlier for earlier, later in pairwise(heard.times()))


def _any(wrong: Callable[[Any], bool]) -> Callable[[Heard], bool]:
    return lambda heard: any(wrong(k) for k in heard.klines() if k["x"])


STREAM: dict[str, Callable[[Heard], bool]] = {
    "abort": lambda heard: heard.end in ("1006", "ClientOSError", "ClientConnectionResetError"),
    "midframe": lambda heard: heard.end in ("1006", "ClientOSError", "ClientConnectionResetError"),
    "close": lambda heard: heard.end == "1012",
    "shutdown": lambda heard: heard.end == "1001" and {"serverShutdown", "kline"} == {f["e"] for f in heard.frames},
    "silence": lambda heard: heard.end == "TimeoutError",
    "halfopen": lambda heard: heard.end == "TimeoutError",
    "badjson": lambda heard: "bad" in heard.frames,
    "drop": _gap,
    "dup": _twice,
    "late": _backwards,
    "mute": lambda heard: heard.end == "TimeoutError",
    "hole": lambda heard: any("c" not in k for k in heard.klines()),
    "null": _any(lambda k: "c" in k and k["c"] is None),
    "revise": _twice,
    "revise_rest": lambda heard: len(heard.times()) > 4 and not _twice(heard),
    "older": _backwards,
    "partial": lambda heard: len(heard.times()) > 4,
    "offgrid": _any(lambda k: bool(k["t"] % MINUTE_MS)),
    "microseconds": _any(lambda k: k["t"] > 10**15),
    "bounds": _any(lambda k: float(k["h"]) < float(k["l"])),
    "zero": _any(lambda k: float(k["c"]) == 0),
    "negative": _any(lambda k: float(k["l"]) < 0),
    "spike": _any(lambda k: float(k["h"]) > 20 * float(k["l"])),
    "skew": lambda heard: len(heard.times()) > 2,
    "delist": lambda heard: heard.end == "TimeoutError",
}


def told(venue: Lab, hook: str = "bar:BTCUSDT") -> list[str]:
    """The faults that have happened there, as the venue tells it."""
    return [kind for where, _, kind in venue.fired() if where == hook]


SILENT = ("silence", "halfopen", "mute", "delist")


async def test_every_fault_of_a_stream_happens_and_is_told() -> None:
    assert STREAM.keys() == STREAM_KINDS
    async with lab("binance", "BTC/USDT", speed=960) as venue, aiohttp.ClientSession() as session:
        for kind, is_so in STREAM.items():
            args = {"code": 1012} if kind == "close" else {"seconds": 2400, "frames": 6}
            venue.arm("bar:BTCUSDT", kind, at=1, **args)
            while kind not in told(venue):  # a busy venue is silent, too
                heard = Heard()
                await heard.listen(venue, session, is_so, 1 if kind in SILENT else 60)
            assert is_so(heard), (kind, heard.end, heard.times())
            assert told(venue)[-1] == kind
        revised = [bar for bar in venue.truth("BTC/USDT") if bar.revision]
        assert len(revised) == 2
        assert len(LINE_KINDS & STREAM.keys()) == len(LINE_KINDS)


async def test_every_fault_of_a_subscription_happens_and_is_told() -> None:
    async with lab("binance", "BTC/USDT", speed=FAST) as venue, aiohttp.ClientSession() as session:
        kinds = {"wsopen": sorted(OPEN_KINDS), "wssub": sorted(SUBSCRIBE_KINDS)}
        for hook, kind in [(name, kind) for name in kinds for kind in kinds[name]]:
            venue.arm(hook, kind, count=_count(kind), seconds=0.01, status=503)
            while kind not in told(venue, hook):
                heard = Heard()
                await heard.listen(venue, session, lambda heard: bool(heard.acks), 1 if kind == "noack" else 60)
            assert heard.end or kind == "slow" or "error" in heard.acks[0], (hook, kind)
            assert (venue.fired()[-1][0], venue.fired()[-1][2]) == (hook, kind)
            fine = Heard()
            await fine.listen(venue, session, lambda heard: bool(heard.klines()))
            assert fine.klines(), (hook, kind)


async def test_pings_can_stay_without_an_answer() -> None:
    async with lab("binance", "BTC/USDT", speed=FAST) as venue, aiohttp.ClientSession() as session:
        for kind in sorted(PING_KINDS):
            venue.arm("wsping", kind)
            async with session.ws_connect(venue.ws + "/ws/0", autoping=False) as socket:
                await socket.ping()
                if kind == "abort":
                    assert (await socket.receive(60)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
                    continue
                await socket.ping(b"2")
                if kind == "swallow":
                    assert (await socket.receive(60)).data == b"2"
                await wait_until(lambda: len(venue.fired()) > 0)
        assert sorted(kind for _, _, kind in venue.fired()) == sorted(PING_KINDS)


async def test_a_real_day_can_be_played(tmp_path: Path) -> None:
    source = DATA / "BTCUSDT_5m.csv"
    if not source.exists():
        pytest.skip(f"no real bars at {source}")
    market = MarketSpec("BTC/USDT", "5", str(source), history=300)
    async with lab("binance", market, speed=1200) as venue, listening(venue, "btcusdt@kline_15m") as frames:
        await wait_until(lambda: sum(frame["k"]["x"] for frame in frames) >= 3)
        said = {frame["k"]["t"]: float(frame["k"]["c"]) for frame in frames if frame["k"]["x"]}
        true = {bar.time_ms: bar.close for bar in venue.truth("BTC/USDT", "15")}
        assert said.items() <= true.items()
