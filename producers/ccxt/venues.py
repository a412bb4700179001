"""What we know of single venues: their frames, limits, and how they answer a subscription."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..budget import Rate
from . import taps


class Answer(NamedTuple):
    """What a venue says to a subscription; about all that was asked, if it names no symbols."""

    ok: bool
    symbols: tuple[str, ...] = ()
    """In the venue's notation."""
    text: str = ""


Pairs = Sequence[tuple[str, str]]
"""ccxt's symbols, each with ccxt's timeframe; in one call of one kind of market and one timeframe."""


def _for_symbols(ex: Any, pairs: Pairs) -> Awaitable[Any]:
    asked: Awaitable[Any] = ex.watch_ohlcv_for_symbols([list(pair) for pair in pairs])
    return asked


def _kraken_asks(ex: Any, pairs: Pairs) -> Awaitable[Any]:
    """Kraken takes a list, which ccxt does not use."""
    (first, timeframe), symbols = pairs[0], [symbol for symbol, _ in pairs]
    asked: Awaitable[Any] = ex.watch_ohlcv(first, timeframe, params={"params": {"symbol": symbols}})
    return asked


def _binance_says(frame: dict[str, Any]) -> Answer | None:
    """``{"result":null,"id":1}``, or ``{"error":{"code":2,"msg"},"id":1}``."""
    if "result" in frame and "id" in frame:
        return Answer(True)
    error = frame.get("error")
    return Answer(False, (), str(error.get("msg"))) if isinstance(error, dict) else None


def _bybit_says(frame: dict[str, Any]) -> Answer | None:
    """``{"op":"subscribe","success":true,"ret_msg":""}``."""
    if frame.get("op") != "subscribe":
        return None
    return Answer(frame.get("success") is True, (), str(frame.get("ret_msg", "")))


def _okx_says(frame: dict[str, Any]) -> Answer | None:
    """``{"event":"subscribe","arg":{"instId"}}`` for each; ``{"event":"error","code","msg"}`` names none."""
    if frame.get("event") == "subscribe":
        return Answer(True, (frame["arg"]["instId"],))
    return Answer(False, (), str(frame.get("msg"))) if frame.get("event") == "error" else None


def _kraken_says(frame: dict[str, Any]) -> Answer | None:
    """``{"method":"subscribe","success":true,"result":{"symbol"}}``; refused: ``{"error":…,"symbol"}``."""
    if frame.get("method") != "subscribe":
        return None
    symbol = (frame.get("result") or {}).get("symbol") or frame.get("symbol")
    return Answer(frame.get("success") is True, (symbol,) if symbol else (), str(frame.get("error", "")))


@dataclass(frozen=True)
class Venue:
    """One venue's own few lines."""

    tap: taps.Tap | None = None
    flagged: bool = False
    """Its frames say which bar is closed."""
    says: Callable[[dict[str, Any]], Answer | None] | None = None
    asks: Callable[[Any, Pairs], Awaitable[Any]] | None = None
    """Subscribes many at once; without it, one by one."""
    batch: int = 200
    spot_batch: int = 0
    """If another number of spot symbols fits into one frame."""
    most: int = 0
    """Streams that one connection may have; 0 is unknown."""
    rates: tuple[Rate, ...] = ()
    weight: float = 1.0
    """The venue's weight of a request that costs 1 in ccxt's table."""
    turnover_is_volume: bool = False
    """Of inverse contracts: ``volume`` counts contracts, the turnover coins, and ccxt's history has the coins."""
    beyond: Callable[[Any], dict[str, float | str]] | None = None
    """What a row of its history says beyond ccxt's six numbers."""
    page: int = 0
    """Candles in one answer, where ccxt does not know it."""


_BINANCE = Venue(
    taps.binance, True, _binance_says, _for_symbols, most=1000, rates=(Rate(6000, 60),), weight=5,
    turnover_is_volume=True, beyond=taps.binance_beyond, page=1000,
)  # fmt: skip
_FUTURES = Venue(
    taps.binance, True, _binance_says, _for_symbols, most=1000, rates=(Rate(2400, 60),),
    turnover_is_volume=True, beyond=taps.binance_beyond, page=1000,
)  # fmt: skip
_BYBIT = Venue(
    taps.bybit, True, _bybit_says, _for_symbols, spot_batch=10, rates=(Rate(600, 5),), weight=0.2,
    turnover_is_volume=True, beyond=taps.bybit_beyond, page=1000,
)  # fmt: skip
_OKX = Venue(taps.okx, True, _okx_says, _for_symbols, batch=100, rates=(Rate(20, 2),), beyond=taps.okx_beyond, page=300)
_GATE = Venue(taps.gate, rates=(Rate(200, 10),), page=1000)
_KUCOIN = Venue(taps.kucoin, page=1500)

VENUES: dict[str, Venue] = {
    "binance": _BINANCE, "binanceus": _BINANCE, "binanceusdm": _FUTURES, "binancecoinm": _FUTURES,
    "bybit": _BYBIT, "bybiteu": _BYBIT, "bybitid": _BYBIT,
    "okx": _OKX, "okxus": _OKX, "myokx": _OKX,
    "kraken": Venue(taps.kraken, False, _kraken_says, _kraken_asks, beyond=taps.kraken_beyond, page=720),
    "bitget": Venue(taps.bitget, turnover_is_volume=True, rates=(Rate(20, 1),), page=200),
    "kucoin": _KUCOIN, "kucoinfutures": _KUCOIN,
    "gate": _GATE, "gateeu": _GATE,
    "mexc": Venue(taps.mexc, most=30, page=1000),
    "htx": Venue(taps.htx, page=1000),
    "bingx": Venue(taps.bingx, most=200, page=1440),
    "bitfinex": Venue(taps.bitfinex, most=30, page=10_000),
}  # fmt: skip
"""By ccxt's id; of others we know what ccxt knows."""


def venue_of(name: str) -> Venue:
    """What we know of an exchange."""
    return VENUES.get(name, Venue())


def rates_of(ex: Any, venue: Venue) -> tuple[Rate, ...]:
    """What may be asked of it: the venue's own numbers, else ccxt's pause between two requests of cost 1."""
    return venue.rates or (Rate(max(10_000 / ex.rateLimit, 2.0), 10.0),)


def intervals_of(ex: Any, market: dict[str, Any]) -> dict[str, Any]:
    """How the candle frames of a market name ccxt's timeframes."""
    kind = "spot" if market.get("spot") else "swap"
    if ex.id == "bingx":
        found: dict[str, Any] = ex.options[kind]["timeframes"]
    elif ex.id in ("mexc", "bitget"):
        found = ex.options["timeframes"]
    else:
        found = ex.timeframes
    return found
