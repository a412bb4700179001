"""ccxt without a venue: frames, errors, names and options, by the venues' documentation, PyneCore and real frames.

ccxt's repository has recorded frames with what ccxt makes of them (``ts/src/test/static/ws/<exchange>.json``). They are
not part of this one: name a folder with such files in ``PYNELIVE_CCXT_FIXTURES``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ccxt")

import ccxt
from pynecore.core.syminfo import tick_grid
from pynecore.providers.ccxt import CCXTProvider
from pynelive.bus.messages import Bar
from pynelive.bus.names import Key
from pynelive.producers.ccxt import symbols as ccxt_symbols
from pynelive.producers.ccxt.errors import meaning
from pynelive.producers.ccxt.provider import Ccxt
from pynelive.producers.ccxt.taps import Row
from pynelive.producers.ccxt.venues import VENUES, venue_of
from pynelive.producers.contract import ConfigError, Disconnected, Update

FOLDER = os.environ.get("PYNELIVE_CCXT_FIXTURES", "")
FILES = sorted(Path(FOLDER).glob("*.json")) if FOLDER else []
BROKEN = (LookupError, TypeError, ValueError, AttributeError)

DOCUMENTED: list[tuple[str, str, Any, tuple[Any, ...], list[tuple[Any, ...]]]] = [
    (
        "binance", "wss://stream.binance.com:9443/ws/0",
        {"e": "kline", "E": 1579482921215, "s": "ETHBTC", "k": {
            "t": 1579482900000, "s": "ETHBTC", "i": "1m", "o": "0.5", "c": "0.6", "h": "0.7", "l": "0.4", "v": "5.084",
            "n": 16, "x": True, "q": "0.09", "V": "3.3", "Q": "0.06"}}, (),
        [("spot", "ETHBTC", "1m", 1579482900000, (0.5, 0.7, 0.4, 0.6, 5.084), True, 1579482921215)],
    ),
    (
        "bybit", "wss://stream.bybit.com/v5/public/linear",
        {"topic": "kline.5.BTCUSDT", "ts": 1672324988882, "data": [
            {"start": 1672324800000, "open": "10", "close": "12", "high": "13", "low": "9", "volume": "2",
             "turnover": "34", "confirm": False}]}, (),
        [("contract", "BTCUSDT", "5", 1672324800000, (10, 13, 9, 12, 2), False, 1672324988882)],
    ),
    (
        "okx", "wss://ws.okx.com:8443/ws/v5/business",
        {"arg": {"channel": "candle1m", "instId": "BTC-USDT"},
         "data": [["1626690720000", "10", "13", "9", "12", "2", "24", "24", "1"]]}, (),
        [("", "BTC-USDT", "1m", 1626690720000, (10, 13, 9, 12, 2), True, 0)],
    ),
    (
        "bitget", "wss://ws.bitget.com/v2/ws/public",
        {"arg": {"instType": "USDT-FUTURES", "channel": "candle1m", "instId": "BTCUSDT"}, "ts": 1701901610417,
         "data": [["1701871620000", "10", "13", "9", "12", "2", "24", "24"]]}, (),
        [("contract", "BTCUSDT", "1m", 1701871620000, (10, 13, 9, 12, 2), None, 1701901610417)],
    ),
    (
        "kucoin", "wss://ws-api-spot.kucoin.com/",
        {"topic": "/market/candles:BTC-USDT_1min", "data": {
            "symbol": "BTC-USDT", "candles": ["1624881240", "10", "12", "13", "9", "2", "24"],
            "time": 1624881284466023700}}, (),
        [("", "BTC-USDT", "1min", 1624881240000, (10, 13, 9, 12, 2), None, 1624881284466)],
    ),
    (
        "kucoin", "wss://ws-api-futures.kucoin.com/",
        {"topic": "/contractMarket/limitCandle:LTCUSDTM_1min", "data": {
            "symbol": "LTCUSDTM", "candles": ["1715470980", "10", "12", "13", "9", "61.0", "61"],
            "time": 1715470994801}}, (),
        [("", "LTCUSDTM", "1min", 1715470980000, (10, 13, 9, 12, 61), None, 1715470994801)],
    ),
    (
        "mexc", "wss://wbs-api.mexc.com/ws",
        {"symbol": "BTCUSDT", "createTime": "1754737941062", "publicSpotKline": {
            "interval": "Min1", "windowStart": "1754737920", "openingPrice": "10", "closingPrice": "12",
            "highestPrice": "13", "lowestPrice": "9", "volume": "2", "amount": "24"}}, (),
        [("", "BTCUSDT", "Min1", 1754737920000, (10, 13, 9, 12, 2), None, 1754737941062)],
    ),
    (
        "mexc", "wss://contract.mexc.com/edge",
        {"channel": "push.kline", "symbol": "BTC_USDT", "ts": 1651230713067, "data": {
            "a": 24, "c": 12, "h": 13, "interval": "Min1", "l": 9, "o": 10, "q": 2, "t": 1651230660}}, (),
        [("", "BTC_USDT", "Min1", 1651230660000, (10, 13, 9, 12, 2), None, 1651230713067)],
    ),
    (
        "bingx", "wss://open-api-ws.bingx.com/market",
        {"dataType": "BTC-USDT@kline_1min", "data": {"E": 1696687498608, "K": {
            "t": 1696687440000, "o": "10", "h": "13", "l": "9", "c": "12", "v": "2", "q": "24", "n": 3}}}, (),
        [("spot", "BTC-USDT", "1min", 1696687440000, (10, 13, 9, 12, 2), None, 1696687498608)],
    ),
    (
        "bingx", "wss://open-api-swap.bingx.com/swap-market",
        {"dataType": "BTC-USDT@kline_1m", "data": [
            {"T": 1690907580000, "o": "10", "h": "13", "l": "9", "c": "12", "v": "2"}]}, (),
        [("contract", "BTC-USDT", "1m", 1690907580000, (10, 13, 9, 12, 2), None, 0)],
    ),
    (
        "bitfinex", "wss://api-pub.bitfinex.com/ws/2",
        [1, [[1654705860000, 10, 12, 13, 9, 2], [1654705800000, 11, 10, 14, 8, 3]]],
        ({"key": "trade:1m:tBTCF0:USTF0"},),
        [("", "tBTCF0:USTF0", "1m", 1654705860000, (10, 13, 9, 12, 2), None, 0),
         ("", "tBTCF0:USTF0", "1m", 1654705800000, (11, 14, 8, 10, 3), None, 0)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("venue", "url", "frame", "more", "rows"), DOCUMENTED)
def test_documented_frames(
    venue: str, url: str, frame: Any, more: tuple[Any, ...], rows: list[tuple[Any, ...]]
) -> None:
    """The frames of the venues' documentation, field by field."""
    tap = venue_of(venue).tap
    assert tap is not None
    assert [tuple(row[:7]) for row in tap(url, frame, *more)] == rows


@pytest.mark.skipif(not FILES, reason="PYNELIVE_CCXT_FIXTURES names no folder with ccxt's recorded frames")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_frames(path: Path) -> None:
    """Every candle that ccxt made of a venue's real frames is among ours.

    Where ccxt takes the turnover for the volume (Gate's spot), its volume is our ``quote_volume``.
    """
    recorded = json.loads(path.read_text(encoding="utf-8"))
    venue = recorded["exchange"]
    cases = [case for method in ("watchOHLCV", "watchOHLCVForSymbols") for case in recorded["methods"].get(method, [])]
    if venue not in VENUES or not cases:
        pytest.skip(f"no tap for {venue}, or no candles recorded")
    for case in cases:
        ours = {(row.time_ms, *row.values[:4], volume)
                for frame in case["messages"] for row in _tapped(venue, case["url"], frame)
                for volume in (row.values[4], (row.extra or {}).get("quote_volume"))}  # fmt: skip
        theirs = {tuple(candle) for candle in _candles(case["parsedResponses"])}
        assert theirs
        assert theirs <= ours, case["description"]


def test_the_volume_of_inverse_contracts() -> None:
    """In coins, as in history: Binance's candles of them count contracts."""
    key = Key("BINANCE:BTC/USD:BTC", "1")
    source = Ccxt([key], Ccxt.Config())
    source._ex.set_markets([{
        "id": "BTCUSD_PERP", "symbol": "BTC/USD:BTC", "base": "BTC", "quote": "USD", "settle": "BTC", "type": "swap",
        "swap": True, "contract": True, "inverse": True, "linear": False, "spot": False, "active": True, "info": {},
    }])  # fmt: skip
    source._wanted()
    k = {"s": "BTCUSD_PERP", "i": "1m", "t": 60_000, "o": "9", "h": "9", "l": "9", "c": "9", "v": "450", "x": True,
         "q": "0.5", "n": 3, "V": "200", "Q": "0.2"}  # fmt: skip
    source.candles("wss://dstream.binance.com/ws/0", {"e": "kline", "E": 120_000, "s": "BTCUSD_PERP", "k": k})
    update = source._queue.get_nowait()
    assert isinstance(update, Update)
    assert isinstance(update.message, Bar)
    assert (update.message.volume, update.message.extra) == (0.5, {"contracts": 450.0})


def test_ticks_are_pynecores() -> None:
    """The same grid for every tick that it knows, and a refusal for the same ones."""
    for tick in (0.01, 0.05, 0.25, 2.5, 5.0, 0.03, 7.5e-5, 7.5e-9, 1e-8, 1.0, 1000.0, 1e-9, 0.1, 0.00005):
        assert ccxt_symbols.tick_grid(tick) == tick_grid(tick)
    for tick in (0.0, -1.0, 1e-12):
        with pytest.raises(ValueError, match="tick"):
            ccxt_symbols.tick_grid(tick)


def test_timeframes_are_pynecores() -> None:
    """Both ways, as PyneCore's provider translates them."""
    for text in ("1", "5", "60", "240", "1D", "1W", "1M"):
        assert Ccxt.to_exchange_timeframe(text) == CCXTProvider.to_exchange_timeframe(text)
        assert Ccxt.to_tradingview_timeframe(Ccxt.to_exchange_timeframe(text)) == text
    with pytest.raises(ValueError, match="no timeframe"):
        Ccxt.to_tradingview_timeframe("1y")


def test_all_faults_at_once() -> None:
    """Streams and options are judged before any request, and together."""
    streams = [Key("BINANCE:BTC/USDT", "7"), Key("BINANCE:ETH/USDT", "90")]
    with pytest.raises(ConfigError) as wrong:
        Ccxt(streams, Ccxt.Config(market="shop", url="ftp://x", ws_url="http://x"))
    assert len(wrong.value.problems) == 5
    assert "has no timeframe 7, but 1S, 1, 3, 5" in str(wrong.value)
    with pytest.raises(ConfigError, match="one producer for each"):
        Ccxt([Key("BINANCE:BTC/USDT", "1"), Key("BYBIT:BTC/USDT", "1")], Ccxt.Config())
    with pytest.raises(ConfigError, match="did you mean BINANCE"):
        Ccxt([Key("BINNANCE:BTC/USDT", "1")], Ccxt.Config())
    with pytest.raises(ConfigError, match="names no exchange"):
        Ccxt([Key("BTC/USDT", "1")], Ccxt.Config())
    with pytest.raises(ConfigError, match="such as ccxt:BINANCE"):
        Ccxt([], Ccxt.Config())
    with pytest.raises(ConfigError, match="more than the 1000"):
        Ccxt([Key(f"BINANCE:C{n}/USDT", "1") for n in range(1001)], Ccxt.Config())
    assert "BINANCE" in Ccxt.list_brokers()
    assert Ccxt([], Ccxt.Config(exchange="BINANCE")).account == "ccxt:BINANCE"


@pytest.mark.parametrize(
    ("venue", "said", "word"),
    [
        ("binance", ("ExchangeError", 503, '{"code":-1008,"msg":"Server is currently overloaded"}'), "maintenance"),
        ("binance", ("OperationFailed", 500, '{"code":-1001,"msg":"Internal error"}'), "network"),
        ("binance", ("RateLimitExceeded", 400, '{"code":-1003,"msg":"Too many requests"}'), "rate"),
        ("binance", ("InvalidNonce", 400, '{"code":-1021,"msg":"Timestamp"}'), "clock"),
        ("binance", ("BadSymbol", 400, '{"code":-1121,"msg":"Invalid symbol."}'), "Refused"),
        ("binance", ("BadRequest", 400, '{"code":-1120,"msg":"Invalid interval."}'), "Refused"),
        ("binance", ("AuthenticationError", 401, '{"code":-2014,"msg":"API-key format invalid."}'), "ConfigError"),
        ("binance", ("ExchangeNotAvailable", 451, "restricted"), "ConfigError"),
        ("binance", ("ExchangeNotAvailable", 403, "<html>"), "banned"),
        ("binance", ("RequestTimeout", 504, ""), "network"),
        ("bybit", ("ExchangeError", 200, '{"retCode":10016,"retMsg":"Server error"}'), "maintenance"),
        ("bybit", ("RateLimitExceeded", 200, '{"retCode":10006,"retMsg":"Too many visits"}'), "rate"),
        ("bybit", ("RateLimitExceeded", 403, "The Amazon CloudFront … block access from your country"), "ConfigError"),
        ("bybit", ("ExchangeError", 0, "something that nobody knows"), "network"),
        ("kraken", ("OnMaintenance", 200, "EService:Unavailable"), "maintenance"),
    ],
)  # fmt: skip
def test_the_table_of_errors(venue: str, said: tuple[str, int, str], word: str) -> None:
    """ccxt's class, the HTTP status and the venue's own code, and what they mean."""
    name, status, body = said
    error = getattr(ccxt, name)(f"{venue} {body}")
    error.status = status
    meant = meaning(error, venue)
    assert word == (meant.kind if isinstance(meant, Disconnected) else type(meant).__name__)


def _tapped(venue: str, url: str, frame: Any) -> Iterator[Row]:
    """The rows of a frame; of what is no candle there are none."""
    tap = venue_of(venue).tap
    assert tap is not None
    try:
        yield from tap(url, frame, {"key": "trade:1m:any"})
    except BROKEN:
        return


def _candles(parsed: Any) -> Iterator[list[float]]:
    """All lists of six numbers in what ccxt has parsed."""
    if isinstance(parsed, dict):
        parsed = list(parsed.values())
    if not isinstance(parsed, list):
        return
    if len(parsed) == 6 and all(isinstance(item, int | float) for item in parsed):
        yield parsed
        return
    for item in parsed:
        yield from _candles(item)
