"""What a stream's symbol means at a ccxt exchange, in PyneCore's names, and the instrument that PyneCore would make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from math import gcd
from typing import Any

import ccxt

from ...bus.messages import Instrument, Span
from ...bus.names import Key
from ..contract import Refused

_WIDEST = 1 << 32
_DEFAULT_MINTICK = 1e-8
_DAY = range(7)
_END_S = 86_399


def split(symbol: str) -> tuple[str, str]:
    """The exchange's id and ccxt's symbol: ``BYBIT:BTC/USDT:USDT`` is ``bybit`` and ``BTC/USDT:USDT``."""
    exchange, colon, rest = symbol.partition(":")
    return (exchange.lower(), rest) if colon and "/" not in exchange else ("", symbol)


def timeframe_of(timeframe: str) -> str:
    """TradingView's notation as ccxt writes it: ``60`` is ``1h``, ``1D`` is ``1d``, ``30S`` is ``30s``."""
    count, unit = timeframe.rstrip("SDWM") or "1", timeframe.lstrip("0123456789")
    if unit:
        return f"{count}{unit if unit == 'M' else unit.lower()}"
    minutes = int(count)
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def tradingview(timeframe: str) -> str:
    """The other way: ``1h`` is ``60``.

    :raises ValueError: not a timeframe of ccxt
    """
    match = re.fullmatch(r"([1-9]\d*)([smhdwMy])", timeframe)
    if match is None or match[2] == "y":
        raise ValueError(f"'{timeframe}' is no timeframe of ccxt: 1m, 1h, 1d")
    count, unit = match[1], match[2]
    if unit in "mh":
        return str(int(count) * (60 if unit == "h" else 1))
    return f"{count}{unit.upper()}"


def exchange_problem(exchange: str, known: Sequence[str]) -> str:
    """Why there is no such exchange, with the nearest names; empty if there is."""
    if exchange in known:
        return ""
    near = [name.upper() for name in get_close_matches(exchange, known, 3, 0.6)]
    hint = f"did you mean {' or '.join(near)}?" if near else "its documentation lists what there is"
    return f"exchange '{exchange.upper()}' is unknown to ccxt; {hint}"


def kinds(symbols: Iterable[str]) -> set[str]:
    """What is traded under ccxt's symbols: ``spot``, ``linear``, ``inverse``."""
    return {_kind(symbol) for symbol in symbols}


def _kind(symbol: str) -> str:
    pair, _, settled = symbol.partition(":")
    if not settled:
        return "spot"
    return "inverse" if settled.partition("-")[0] == pair.partition("/")[0] else "linear"


def market_of(ex: Any, symbol: str) -> dict[str, Any]:
    """The market of a symbol.

    :raises Refused: there is none, or it is not traded any more
    """
    market: dict[str, Any] | None = ex.markets.get(symbol)
    if market is None:
        near = get_close_matches(symbol, ex.markets, 3, 0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise Refused(f"{ex.id.upper()} has no symbol '{symbol}'{hint}")
    if market.get("active") is False:
        raise Refused(f"{ex.id.upper()} does not trade {symbol} any more")
    return market


def instrument(ex: Any, key: Key, market: dict[str, Any]) -> Instrument:
    """What PyneCore's CCXT provider says of a market.

    :raises Refused: its tick is none that PyneCore's files can keep
    """
    mintick = _mintick(ex, market)
    try:
        minmove, pricescale = tick_grid(mintick)
    except ValueError as error:
        raise Refused(f"{ex.id.upper()}: {market['symbol']}: {error}") from None
    info = market["info"] if isinstance(market.get("info"), dict) else {}
    contract = re.sub(r"(?<!^)([A-Z])", r" \1", str(info.get("contractType", "Spot")))
    return Instrument(
        ticker=info.get("symbol") or market["symbol"],
        timeframe=key.timeframe,
        prefix=ex.id.upper(),
        description=f"{market['base']} / {market['quote']} {contract}",
        kind="crypto",
        currency=market["quote"],
        basecurrency=market["base"],
        mintick=mintick,
        pricescale=pricescale,
        minmove=minmove,
        pointvalue=float(market.get("contractSize") or 1.0),
        mincontract=_step(ex, market) or (1e-5 if market["base"] == "BTC" else 1e-4),
        opening_hours=tuple(Span(day, 0, _END_S) for day in _DAY),
        session_starts=tuple(Span(day, 0, 0) for day in _DAY),
        session_ends=tuple(Span(day, _END_S, 0) for day in _DAY),
    )


def tick_grid(mintick: float) -> tuple[int, int]:
    """``minmove`` and ``pricescale`` of a tick, as PyneCore writes them: 0.05 is 1/20, 2.5 is 25/10.

    :raises ValueError: there are none of 32 bits
    """
    if not mintick > 0:
        raise ValueError(f"a tick of {mintick!r} is none")
    minmove, pricescale = 1, round(1 / mintick)
    if pricescale < 1 or abs(mintick * pricescale - 1) > 1e-9:
        pricescale = 10 ** max(-int(Decimal(repr(mintick)).normalize().as_tuple().exponent), 0)
        minmove = round(mintick * pricescale)
        if pricescale >= _WIDEST and (divisor := gcd(minmove, pricescale)):
            minmove, pricescale = minmove // divisor, pricescale // divisor
    if not 0 < minmove < _WIDEST or pricescale >= _WIDEST:
        raise ValueError(f"a tick of {mintick!r} is finer than PyneCore's files can keep")
    return minmove, pricescale


def _mintick(ex: Any, market: dict[str, Any]) -> float:
    info = market["info"] if isinstance(market.get("info"), dict) else {}
    limits = (market.get("limits") or {}).get("price") or {}
    return (
        _precision(ex, market, "price") or _positive(info.get("tickSize")) or _positive(limits.get("min"))
        or _DEFAULT_MINTICK
    )  # fmt: skip


def _step(ex: Any, market: dict[str, Any]) -> float:
    limits = (market.get("limits") or {}).get("amount") or {}
    return _precision(ex, market, "amount") or _positive(limits.get("min"))


def _precision(ex: Any, market: dict[str, Any], of: str) -> float:
    """The venue's step; 0 where it counts significant digits or says nothing."""
    said = (market.get("precision") or {}).get(of)
    if said is None or ex.precisionMode == ccxt.SIGNIFICANT_DIGITS:
        return 0.0
    return 10.0 ** -int(said) if ex.precisionMode == ccxt.DECIMAL_PLACES else _positive(said)


def _positive(said: Any) -> float:
    try:
        return max(float(said), 0.0)
    except (TypeError, ValueError):
        return 0.0
