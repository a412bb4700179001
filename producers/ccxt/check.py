"""What can be wrong with the streams and options of a ccxt producer, all of it at once and before any request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import ccxt

from ...bus.names import Key
from ..contract import ConfigError
from . import symbols
from .venues import Venue, venue_of

_MARKETS = ("", "spot", "margin", "swap", "future", "option")


class Options(Protocol):
    """The options that are looked at here."""

    exchange: str
    market: str
    api_key: str
    secret: str
    password: str
    sandbox: bool
    url: str
    ws_url: str


def one_exchange(keys: Sequence[Key], config: Options) -> str:
    """The exchange that all streams name, as ccxt calls it.

    :raises ConfigError: there is none, or several
    """
    problems, found = [], {}
    for key in keys:
        exchange, symbol = symbols.split(key.symbol)
        if not exchange or not symbol:
            problems.append(f"stream '{key}' names no exchange: write EXCHANGE:SYMBOL, such as BINANCE:{key}")
            continue
        found[exchange] = symbols.exchange_problem(exchange, ccxt.exchanges)
        if not found[exchange] and not key.symbol.startswith(right := f"{exchange.upper()}:"):
            problems.append(f"stream '{key}': write the exchange in capitals, {right}{symbol}@{key.timeframe}")
    if config.exchange and (exchange := config.exchange.lower()) not in found:
        found[exchange] = symbols.exchange_problem(exchange, ccxt.exchanges)
    problems += filter(None, found.values())
    if len(found) > 1:
        names = ", ".join(sorted(name.upper() for name in found))
        problems.append(f"the streams are of several exchanges ({names}): make one producer for each")
    if not found and not problems:
        problems.append("no exchange is named: write it behind, such as ccxt:BINANCE (--list-brokers lists them)")
    if problems:
        raise ConfigError([*problems, *_wrong_options(config), *_without_candles(keys, found)])
    return next(iter(found))


def settings_of(exchange: str, keys: Sequence[Key], config: Options) -> dict[str, Any]:
    """What ccxt's constructor is given."""
    options = {"fetchMargins": False, **_fewer_markets(exchange, sorted(_kinds(keys)))}
    if config.market:
        options["defaultType"] = config.market
    return {"apiKey": config.api_key, "secret": config.secret, "password": config.password, "options": options}


def checked(ex: Any, venue: Venue, keys: Sequence[Key], config: Options) -> None:
    """Look at everything that needs no request, and switch to the test network if that is wanted.

    :raises ConfigError: all that is wrong
    """
    problems = [*_wrong_options(config), *_wrong_streams(ex, venue, keys)]
    if config.sandbox:
        try:
            ex.set_sandbox_mode(True)
        except ccxt.NotSupported:
            problems.append(f"option 'sandbox': {ex.id.upper()} has no test network")
    if ex.id == "mexc" and "spot" in _kinds(keys) and not _has_protobuf():
        problems.append("MEXC's spot market speaks protobuf: pip install 'protobuf==5.29.5'")
    if problems:
        raise ConfigError(problems)


def way_to_follow(ex: Any, venue: Venue) -> str:
    """``tap`` (raw frames), ``candles`` (as ccxt parses them), ``trades``, or ``rest`` where there is nothing live."""
    if venue.tap is not None:
        return "tap"
    if ex.has.get("watchOHLCV") is True:
        return "candles"
    return "trades" if ex.has.get("watchTrades") is True else "rest"


def _wrong_options(config: Options) -> list[str]:
    problems = []
    if config.market not in _MARKETS:
        problems.append(f"option 'market' must be one of {', '.join(_MARKETS[1:])}, not '{config.market}'")
    for name, schemes in (("url", ("http://", "https://")), ("ws_url", ("ws://", "wss://"))):
        said = getattr(config, name)
        if said and not said.startswith(schemes):
            problems.append(f"option '{name}' must begin with {' or '.join(schemes)}, not '{said}'")
    return problems


def _without_candles(keys: Sequence[Key], found: Mapping[str, str]) -> Iterator[str]:
    """What else is wrong with streams that name an exchange, although the producer as a whole has none."""
    for exchange in (name for name, problem in found.items() if not problem):
        mine = [key for key in keys if symbols.split(key.symbol)[0] == exchange]
        yield from _wrong_streams(getattr(ccxt, exchange)(), venue_of(exchange), mine)


def _wrong_streams(ex: Any, venue: Venue, keys: Sequence[Key]) -> list[str]:
    problems, name = [], ex.id.upper()
    timeframes = ex.timeframes or {}
    if not timeframes or not ex.has.get("fetchOHLCV"):
        return [f"{name} has no candles: take another exchange"]
    told = ", ".join(symbols.tradingview(item) for item in timeframes if item[-1] in "smhdw")
    for key in keys:
        if symbols.timeframe_of(key.timeframe) not in timeframes:
            problems.append(f"stream '{key}': {name} has no timeframe {key.timeframe}, but {told}")
    if venue.most and len(keys) > venue.most:
        problems.append(
            f"{len(keys)} streams are more than the {venue.most} that one connection to {name} may have: "
            "split them over several hosts, or take fewer"
        )
    return problems


def _kinds(keys: Sequence[Key]) -> set[str]:
    return symbols.kinds(symbols.split(key.symbol)[1] for key in keys)


def _has_protobuf() -> bool:
    return find_spec("google") is not None and find_spec("google.protobuf") is not None


def _fewer_markets(exchange: str, kinds: list[str]) -> dict[str, Any]:
    """The options by which only the tables of these kinds are loaded; none where ccxt has no such option."""
    if exchange in ("binance", "bybit") and kinds:
        return {"fetchMarkets": {"types": kinds}}
    if exchange in ("okx", "gate") and kinds == ["spot"]:
        return {"fetchMarkets": {"types": ["spot"]}}
    return {}
