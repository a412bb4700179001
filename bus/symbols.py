"""Which stream a script means that asks for a symbol at a timeframe: by the bus's own name, or by TradingView's."""

from __future__ import annotations

from collections.abc import Mapping

from .messages import Instrument
from .names import timeframe_ms

_PERPETUAL = ".P"


def same_timeframe(one: str, other: str) -> bool:
    """Whether the two are one, however they are written: ``D`` and ``1D``."""
    try:
        return timeframe_ms(one) == timeframe_ms(other)
    except ValueError:
        return one == other


def stream_of(
    symbol: str, timeframe: str, instruments: Mapping[str, Instrument | None], prefix: str = ""
) -> str | None:
    """The stream of a symbol at a timeframe; None if there is none, or it is not clear which of several.

    :param symbol: ``ccxt:BYBIT:BTC/USDT:USDT``, the same without what stands in front, ``BYBIT:BTCUSDT.P``, ``BTCUSDT``
    :param instruments: what each stream trades, by its name
    :param prefix: whose symbol it is, if it names no exchange and several have it
    """
    fit = {name: known for name, known in instruments.items() if same_timeframe(name.rpartition("@")[2], timeframe)}
    exact = [name for name in fit if symbol_of(name) == symbol] or [
        name for name in fit if symbol_of(name).endswith(f":{symbol}")
    ]
    found = exact or [name for name, known in fit.items() if known and _means(symbol, name, known)]
    own = [name for name in found if (known := fit[name]) and known.prefix == prefix]
    for choice in (found, own, [name for name in found if not _is_perpetual(name)]):
        if len(choice) == 1:
            return choice[0]
    return None


def symbol_of(stream: str) -> str:
    """The stream's name without its timeframe."""
    return stream.rpartition("@")[0]


def _means(symbol: str, stream: str, instrument: Instrument) -> bool:
    """Whether TradingView's name is this instrument's; a perpetual may have it in common with the spot market."""
    plain = symbol.removesuffix(_PERPETUAL)
    if plain != symbol and not (_is_perpetual(stream) or instrument.ticker.endswith(_PERPETUAL)):
        return False
    ticker = instrument.ticker.removesuffix(_PERPETUAL)
    return plain.upper() in (ticker.upper(), f"{instrument.prefix}:{ticker}".upper())


def _is_perpetual(stream: str) -> bool:
    """As ccxt writes it: ``BTC/USDT:USDT``."""
    return ":" in symbol_of(stream).partition("/")[2]
