"""What Capital.com's rows and frames say, in our words: bars from price rows, the instrument, and its trading hours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from datetime import time as Clock
from decimal import Decimal
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ...bus.messages import Bar, Instrument, Span
from ...bus.names import Key

RESOLUTIONS = {
    "1": "MINUTE", "5": "MINUTE_5", "15": "MINUTE_15", "30": "MINUTE_30", "60": "HOUR", "240": "HOUR_4",
    "1D": "DAY", "D": "DAY", "1W": "WEEK", "W": "WEEK",
}  # fmt: skip
"""The venue's names of the timeframes; it has no others."""

ZONE = "US/Eastern"
"""The zone in which PyneCore says this venue's hours, whatever zone the venue says them in."""

_KINDS = {"CURRENCIES": "forex", "CRYPTOCURRENCIES": "crypto", "CRYTOCURRENCIES": "crypto", "SHARES": "stock",
          "INDICES": "index"}  # fmt: skip
_SMALLEST = 1e-5  # where the venue names no smallest deal
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MIDNIGHT = Clock(0, 0)
_DAY_END = Clock(23, 59, 59)


def price_bar(row: Mapping[str, Any], closed: Callable[[int], bool]) -> Bar:
    """A row of ``prices/{epic}``; whether a bar that opens at a time has closed is asked, as the row does not say it.

    ::

        {"snapshotTime": "2025-01-06T17:00:00", "snapshotTimeUTC": "2025-01-06T15:00:00",
         "openPrice": {"bid": 244.1, "ask": 244.2}, "closePrice": {…}, "highPrice": {…}, "lowPrice": {…},
         "lastTradedVolume": 1204}

    The bid is the bar, as on TradingView; the ask stands in ``extra``, named as PyneCore names it.

    :raises KeyError, TypeError, ValueError: not such a row
    """
    time_ms = utc_ms(row["snapshotTimeUTC"])
    sides = [(row[name]["bid"], row[name]["ask"]) for name in ("openPrice", "highPrice", "lowPrice", "closePrice")]
    open_, high, low, close = (number(bid) for bid, _ in sides)
    asks = [number(ask) for _, ask in sides]
    extra: dict[str, float | str] = dict(zip(("ask_open", "ask_high", "ask_low", "ask_close"), asks, strict=True))
    return Bar(
        time_ms, open_, high, low, close, number(row["lastTradedVolume"]),
        closed=closed(time_ms), origin="backfill", received_ns=time.time_ns(),
        extra={**extra, "spread": abs(asks[3] - close)},
    )  # fmt: skip


def number(value: Any) -> float:
    """A finite number.

    :raises ValueError, TypeError: it is none
    """
    if isinstance(value, bool) or not isfinite(found := float(value)):
        raise ValueError(f"{value} is no price")
    return found


def utc_ms(text: str) -> int:
    """The venue's naive ISO time, which is UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def naive_iso(time_ms: int) -> str:
    """As the venue wants a time: UTC, to the second, and no zone (with one it sends other bars)."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def instrument_of(details: Mapping[str, Any], key: Key, now_ms: int) -> Instrument:
    """The instrument of ``markets/{epic}``, the same as PyneCore's plugin makes of it.

    ::

        {"instrument": {"epic": "AAPL", "symbol": "AAPL", "name": "Apple Inc", "lotSize": 1, "type": "SHARES",
                        "currency": "USD", "openingHours": {"mon": ["08:00 - 00:00"], …, "zone": "America/New_York"}},
         "dealingRules": {"minStepDistance": {"value": 0.01}, "minDealSize": {"value": 0.1}, …},
         "snapshot": {"marketStatus": "TRADEABLE", …}}

    :raises KeyError, TypeError, ValueError: not such an answer
    """
    told, rules = details["instrument"], details["dealingRules"]
    step = Decimal(str(rules["minStepDistance"]["value"]))
    pricescale = 10 ** max(0, -int(step.as_tuple().exponent))
    symbol = str(told["symbol"])
    plain = Instrument(
        ticker=told["epic"], timeframe=key.timeframe, prefix="CAPITALCOM", description=told["name"],
        kind=_KINDS.get(told["type"], "other"), currency=told["currency"],
        basecurrency=symbol.partition("/")[0] if "/" in symbol else None,
        mintick=float(step), pricescale=pricescale, minmove=int(step * pricescale),
        pointvalue=float(told["lotSize"]), timezone=ZONE,
        mincontract=float((rules.get("minDealSize") or {}).get("value") or _SMALLEST),
    )  # fmt: skip
    return _with_hours(plain, told["openingHours"], now_ms)


def _with_hours(plain: Instrument, hours: Mapping[str, Any], now_ms: int) -> Instrument:
    """The instrument with the venue's week in it, said in :data:`ZONE`.

    Midnight is where a day's line ends, not where a session does, so it makes no start and no end. The hours of
    another zone are those of the coming seven days: after a change of daylight saving they are read anew.
    """
    spans: list[Span] = []
    starts: list[Span] = []
    ends: list[Span] = []
    for day, (start, end) in _segments(hours):
        opened = _local(day, start, hours["zone"], now_ms)
        closed = _local(day, _DAY_END if end == _MIDNIGHT else end, hours["zone"], now_ms)
        if closed <= opened:
            closed += timedelta(days=1)
        spans += _cut_at_midnight(opened, closed)
        if start != _MIDNIGHT:
            starts.append(Span(opened.weekday(), _second(opened), 0))
        if end != _MIDNIGHT:
            ends.append(Span(closed.weekday(), _second(closed), 0))
    return replace(plain, opening_hours=tuple(spans), session_starts=tuple(starts), session_ends=tuple(ends))


def _segments(hours: Mapping[str, Any]) -> Iterator[tuple[int, tuple[Clock, Clock]]]:
    """``"08:00 - 00:00"`` by weekday; ``"-"`` and the like is a closed day."""
    for day, name in enumerate(_DAYS):
        for text in hours.get(name) or ():
            start, _, end = text.partition("-")
            try:
                yield day, (Clock.fromisoformat(start.strip()), Clock.fromisoformat(end.strip()))
            except ValueError:
                continue


def _local(day: int, at: Clock, zone: str, now_ms: int) -> datetime:
    """A clock time on the next such weekday in the venue's zone, in ours."""
    today = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(zone))
    date = (today + timedelta(days=(day - today.weekday()) % 7)).date()
    return datetime.combine(date, at, ZoneInfo(zone)).astimezone(ZoneInfo(ZONE))


def _cut_at_midnight(opened: datetime, closed: datetime) -> Iterator[Span]:
    if opened.date() == closed.date():
        yield Span(opened.weekday(), _second(opened), _second(closed))
        return
    yield Span(opened.weekday(), _second(opened), 86_399)
    if _second(closed):
        yield Span(closed.weekday(), 0, _second(closed))


def _second(local: datetime) -> int:
    return local.hour * 3600 + local.minute * 60 + local.second
