"""What a file of bars tells about its instrument: a CSV has no other word on it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time

from ..bus.messages import Instrument
from ..bus.names import Key
from .series import Series
from .sessions import DAY_S, NEW_YORK, OPEN, RoundTheClock, StockExchange, with_hours

MAX_DIGITS = 9
"""PyneCore's files keep the scale of prices in 32 bits."""

_CLOSE = time(16)
_SATURDAY = 5


def infer(series: Series, key: Key) -> Instrument:
    """The instrument: its tick grid from the decimals of its prices, its hours from the times of its bars."""
    digits = decimals(price for column in series.columns[:4] for price in column)
    base, pair, quote = key.symbol.partition("/")
    plain = Instrument(
        ticker=base + quote.partition(":")[0] if pair else base.rpartition(":")[2],
        timeframe=key.timeframe,
        prefix="REPLAY",
        description=f"{key.symbol} ({series.path.name})",
        kind="crypto" if pair else "stock",
        currency=quote.partition(":")[0] or "USD",
        basecurrency=base if pair else None,
        mintick=1 / 10**digits,
        pricescale=10**digits,
    )
    return _with_hours(plain, series)


def decimals(prices: Iterable[float]) -> int:
    """How many decimals it takes to write all the prices, at most ``MAX_DIGITS``."""
    digits = 0
    for price in prices:
        while digits < MAX_DIGITS and round(price, digits) != price:
            digits += 1
    return digits


def hours_of(instrument: Instrument) -> str:
    """The inferred hours in words."""
    if len(instrument.opening_hours) == 7:
        return "round the clock"
    span = instrument.opening_hours[0]
    start, end = (f"{second // 3600:02}:{second % 3600 // 60:02}" for second in (span.start_s, span.end_s))
    return f"Monday to Friday {start} to {end} {instrument.timezone}"


def _with_hours(plain: Instrument, series: Series) -> Instrument:
    if plain.kind == "stock" and all(map(_in_session, series.times)):
        return StockExchange(plain.timeframe).describe(plain)
    if _weekend_is_free(series):
        return with_hours(plain, "UTC", range(5), 0, DAY_S - 1)
    return RoundTheClock(plain.timeframe).describe(plain)


def _in_session(time_ms: int) -> bool:
    local = datetime.fromtimestamp(time_ms / 1000, NEW_YORK)
    return local.weekday() < _SATURDAY and OPEN <= local.time() < _CLOSE


def _weekend_is_free(series: Series) -> bool:
    """Whether the file goes over a whole weekend (UTC) and has no bar on any."""
    days = [time_ms // (DAY_S * 1000) + 3 for time_ms in series.times]  # day 0 of Unix time was a Thursday
    saturday = days[0] + (_SATURDAY - days[0]) % 7
    return days[-1] >= saturday + 2 and all(day % 7 < _SATURDAY for day in days)
