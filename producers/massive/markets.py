"""The classes of assets at Massive: how their tickers look, when they trade, and their instruments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ...bus.messages import Instrument, Span
from ...bus.names import Key

_NEW_YORK, _UTC = ZoneInfo("America/New_York"), ZoneInfo("UTC")
_DAY_END_S = 86_399
_REGULAR_S = 34_200, 57_600
_EXTENDED_S = 14_400, 72_000
_EVENING_S = 61_200
"""17:00 in New York, when a day of the currency markets ends."""


class Market(NamedTuple):
    """A class of assets: its address, its channels, and the zone in which its days begin."""

    path: str
    minutes: str
    seconds: str
    zone: ZoneInfo
    kind: str


MARKETS = {
    "": Market("stocks", "AM", "A", _NEW_YORK, "stock"),
    "X": Market("crypto", "XA", "XAS", _UTC, "crypto"),
    "C": Market("forex", "CA", "CAS", _UTC, "forex"),
}
"""By what stands before the colon of a ticker."""


def market_of(key: Key) -> Market:
    """The class of a stream's ticker."""
    return MARKETS[key.symbol.rpartition(":")[0]]


def in_regular_session(key: Key, time_ms: int) -> bool:
    """Whether a stock trades between opening and closing bell then; everything else always does."""
    if market_of(key).kind != "stock":
        return True
    local = datetime.fromtimestamp(time_ms // 1000, _NEW_YORK)
    return _REGULAR_S[0] <= local.hour * 3600 + local.minute * 60 < _REGULAR_S[1]


def instrument(key: Key, details: Mapping[str, Any], session: str, source: str) -> Instrument:
    """The instrument of a stream, from the venue's reference on its ticker.

    ``{"ticker":"AAPL","name":"Apple Inc.","market":"stocks","primary_exchange":"XNAS","type":"CS","active":true,
    "currency_name":"usd",…}``; of pairs ``{"ticker":"X:BTCUSD","name":"Bitcoin - United States dollar",
    "market":"crypto","currency_symbol":"USD","base_currency_symbol":"BTC",…}``
    """
    market = market_of(key)
    currency = str(details.get("currency_symbol") or details.get("currency_name") or "USD").upper()
    digits = 2 if market.kind == "stock" else details.get("digits", 3 if currency == "JPY" else 5)
    plain = Instrument(
        ticker=key.symbol.rpartition(":")[2],
        timeframe=key.timeframe,
        prefix=details.get("primary_exchange") or "MASSIVE",
        description=details.get("name") or key.symbol,
        kind="fund" if details.get("type") == "ETF" else market.kind,
        currency=currency,
        basecurrency=details.get("base_currency_symbol"),
        mintick=1 / 10**digits,
        pricescale=10**digits,
        mincontract=1.0 if market.kind == "stock" else 1e-5,
        volumetype="tick" if market.kind == "forex" else "base",
        source=source,
    )
    if market.kind == "forex":
        return _with_currency_hours(plain)
    if market.kind == "stock":
        return _with_hours(plain, _NEW_YORK, range(5), *(_REGULAR_S if session == "regular" else _EXTENDED_S))
    return _with_hours(plain, _UTC, range(7), 0, _DAY_END_S)


def _with_hours(plain: Instrument, zone: ZoneInfo, days: range, start_s: int, end_s: int) -> Instrument:
    return replace(
        plain,
        timezone=zone.key,
        opening_hours=tuple(Span(day, start_s, end_s) for day in days),
        session_starts=tuple(Span(day, start_s, 0) for day in days),
        session_ends=tuple(Span(day, end_s, 0) for day in days),
    )


def _with_currency_hours(plain: Instrument) -> Instrument:
    """From Sunday to Friday 17:00 in New York, a day each from 17:00 to 17:00."""
    return replace(
        plain,
        timezone=_NEW_YORK.key,
        opening_hours=(
            *(Span(day, 0, _DAY_END_S) for day in range(4)), Span(4, 0, _EVENING_S), Span(6, _EVENING_S, _DAY_END_S),
        ),
        session_starts=tuple(Span(day, _EVENING_S, 0) for day in (0, 1, 2, 3, 6)),
        session_ends=tuple(Span(day, _EVENING_S, 0) for day in range(5)),
    )  # fmt: skip


def decimals(prices: Iterable[float]) -> int:
    """How many decimals the prices have, 2 to 8."""
    return max([2, *(len(f"{price:.8f}".rstrip("0").partition(".")[2]) for price in prices)])
