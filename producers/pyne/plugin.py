"""Any installed live provider plugin of PyneCore as a provider, unmodified: ``pyne:capitalcom``, ``pyne:ccxt``, ….

A plugin instance is one symbol at one timeframe, with a connection of its own. Its coroutines may block (PyneCore
itself gives every feed a thread), so each instance lives in a thread of its own (``seat.py``). History is asked
of a copy, so that it can neither hold up the live one nor write into its state. Nothing of PyneCore's own
live loop is used: it invents bars for quiet minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import MISSING, Field, field, fields, make_dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from inspect import isclass
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from ...bus.errors import TopologyError
from ...bus.messages import Bar, Instrument
from ...bus.names import Key, timeframe_ms
from ...bus.ohlcv import from_syminfo  # before PyneCore, behind which nobody could import zmq
from ...bus.plugins import nearest

# isort: split
from pynecore.core.plugin import (
    LiveProviderPlugin,
    PluginNameConflictError,
    PluginNotFoundError,
    ProviderError,
    discover_plugins,
    load_plugin,
)
from pynecore.core.syminfo import default_mincontract

from ..calendar import Calendar
from ..contract import Capabilities, ConfigError, Provider, Update
from .seat import ANSWER_S, Home, Seat, judged

PREFIX = "pyne:"
_SNAPSHOTS = frozenset({"ccxt"})
"""Plugins whose closed bars are the last snapshot before the next bar and may lack its last trades."""
_MAKING_FAULTS = (
    ImportError, TypeError, ValueError, AttributeError, LookupError, AssertionError, OSError, ProviderError,
)  # fmt: skip
_ROOM = 256  # updates that wait for their reader; then the plugin waits
_CHUNK = 1000  # bars; a question for a missed bar never waits longer than one such download takes


def plugin_names() -> list[str]:
    """The providers that the installed plugins make, such as ``pyne:ccxt``."""
    return sorted(f"{PREFIX}{name}" for name in discover_plugins())


@lru_cache
def plugin_provider(name: str) -> type[Provider]:
    """The provider class of ``pyne:<plugin>``.

    :raises TopologyError: no such plugin, several, one that cannot be imported, or one without live bars
    """
    plugin_name = name.removeprefix(PREFIX)
    try:
        plugin = load_plugin(plugin_name)
    except PluginNotFoundError:
        known = plugin_names()
        raise TopologyError([f"provider '{name}' is no installed plugin of PyneCore{nearest(name, known)} "
                             f"(installed: {', '.join(known)}); pip install its package"]) from None
    except PluginNameConflictError as error:
        raise TopologyError([f"provider '{name}': {' '.join(str(error).split())}"]) from None
    except (ImportError, SyntaxError, AttributeError, TypeError, ValueError, OSError) as error:
        raise TopologyError([f"provider '{name}' cannot be imported: {type(error).__name__}: {error}"]) from error
    if not (isclass(plugin) and issubclass(plugin, LiveProviderPlugin)):
        raise TopologyError([f"provider '{name}' has no live bars: use a plugin that is a LiveProviderPlugin"])
    if missing := getattr(plugin, "__abstractmethods__", ()):
        raise TopologyError([f"provider '{name}' lacks {', '.join(sorted(missing))}: update its package"])
    config = _options(plugin, plugin_name in _SNAPSHOTS)
    return type(f"Pyne_{plugin_name}", (PynePlugin,), {
        "__doc__": f"PyneCore's plugin `{plugin_name}`, hosted as it is.", "__module__": __name__,
        "credentials": tuple(item for item, hint in get_type_hints(config).items() if hint is str),
        "name": name, "plugin": plugin, "plugin_name": plugin_name, "Config": config,
        "pyne_names": {item: item for item in get_type_hints(config) if item != "confirm"},
    })  # fmt: skip


def _options(plugin: Any, confirm: bool) -> type:
    """The plugin's own ``Config`` fields, to be checked as strictly as everybody's, and the one of this adapter."""
    hints = get_type_hints(plugin.Config) if plugin.Config else {}
    theirs = [(item.name, str if _is_text(hints[item.name]) else hints[item.name], _copied(item))
              for item in (fields(plugin.Config) if plugin.Config else ()) if item.init]
    own: list[tuple[str, Any, Any]] = [("confirm", bool, field(default=confirm))]
    return make_dataclass("Config", own + theirs, kw_only=True, namespace={"__module__": __name__})


class PynePlugin(Provider):
    """The plugin's instances, one a stream, as one provider."""

    plugin: ClassVar[Any]
    plugin_name: ClassVar[str]
    capabilities = Capabilities(history=True, forming=True, symbols=True, heals=True)

    def __init__(self, keys: Sequence[Key], config: Any, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        problems = [f"stream '{key}': the plugin has no timeframe '{key.timeframe}': {error}"
                    for key in self.keys if (error := _timeframe_fault(self.plugin, key.timeframe))]
        if problems:
            raise ConfigError(problems)
        self.capabilities = Capabilities(history=True, forming=True, symbols=True, heals=True,
                                         flagged=not config.confirm)
        settings = self._settings()
        self._seats = {
            key: Seat(key, self._made, settings, self.counters, confirm=config.confirm) for key in self.keys
        }

    @property
    def account(self) -> str:
        """A hash of the settings, which name the account."""
        told = repr(sorted((name, str(value)) for name, value in vars(self.config).items()))
        return f"{self.name}:{blake2b(told.encode(), digest_size=6).hexdigest()}"

    def rekey(self, config: Any) -> None:
        """The next ``connect`` makes new instances with these options."""
        super().rekey(config)
        settings = self._settings()
        for seat in self._seats.values():
            seat.settings = settings

    def check(self) -> None:
        """Make an instance of every stream; plugins check their settings there."""
        settings, problems = self._settings(), []
        for key in self.keys:
            try:
                self._made(key, settings)
            except _MAKING_FAULTS as error:
                problems.append(f"stream '{key}': {type(error).__name__}: {error}")
        if problems:
            raise ConfigError(problems)

    async def get_symbol_info(self, key: Key) -> Instrument:
        """What the plugin's live instance says; it needs to know its hours itself."""
        seat = self._seats[key]
        syminfo = await seat.syminfo()
        if syminfo.mincontract <= 0:
            syminfo.mincontract = default_mincontract(syminfo.type, syminfo.basecurrency)
        syminfo.minmove, syminfo.pricescale = int(syminfo.minmove), int(syminfo.pricescale)
        instrument = from_syminfo(syminfo, key.timeframe)
        seat.calendar = Calendar(instrument, key.timeframe)
        return instrument

    def resume_after(self, key: Key, time_ms: int) -> None:
        """The plugin is asked for what has closed since."""
        self._seats[key].last_ms = time_ms

    async def connect(self) -> None:
        """Connect all instances at once; one that cannot takes the others down with it."""
        seats = [seat for seat in self._seats.values() if not seat.refused]
        tried = await asyncio.gather(*(seat.connect() for seat in seats), return_exceptions=True)
        if failed := [error for error in tried if isinstance(error, BaseException)]:
            await self.disconnect()
            raise failed[0]

    async def disconnect(self) -> None:
        """Disconnect all that are connected."""
        await asyncio.gather(*(seat.disconnect() for seat in self._seats.values()))

    @property
    def is_connected(self) -> bool:
        """Whether every instance says so."""
        seats = [seat for seat in self._seats.values() if not seat.refused]
        return bool(seats) and all(seat.is_connected for seat in seats)

    async def watch(self) -> AsyncIterator[Update]:
        """What the instances say, merged; the first that is gone ends it."""
        updates: asyncio.Queue[Update] = asyncio.Queue(_ROOM)
        work = [asyncio.create_task(self._follow(seat, updates)) for seat in self._seats.values() if not seat.refused]
        turn = asyncio.create_task(updates.get())
        try:
            while True:
                done, _ = await asyncio.wait([turn, *work], return_when=asyncio.FIRST_COMPLETED)
                if turn not in done:
                    done.pop().result()
                yield turn.result()
                turn = asyncio.create_task(updates.get())
        finally:
            for task in (turn, *work):
                task.cancel()
            await asyncio.gather(turn, *work, return_exceptions=True)

    async def close(self) -> None:
        """End the threads."""
        await asyncio.gather(*(seat.close() for seat in self._seats.values()))

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """From the plugin's history: its own backfill may be empty, or end at any number of bars."""
        return await self.download_ohlcv(key, since_ms + 1, self.now_ms())

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """In pieces, since a plugin's download cannot be interrupted."""
        seat, length_ms = self._seats[key], timeframe_ms(key.timeframe)
        found: dict[int, Bar] = {}
        now_ms = self.now_ms()  # what forms while it answers is not closed
        at_ms, span_ms, to_ms = from_ms, _CHUNK * length_ms, min(to_ms, now_ms)
        while at_ms < to_ms:
            await self.budget.spend()
            bars = await seat.history(at_ms, min(at_ms + span_ms, to_ms))
            found |= {bar.time_ms: bar for bar in bars}
            at_ms += span_ms
            span_ms = _CHUNK * length_ms if bars else span_ms * 2  # years without a bar are passed quickly
        return [bar for time_ms, bar in sorted(found.items())
                if from_ms <= time_ms < to_ms and seat.end_of(time_ms) <= now_ms]

    async def get_list_of_symbols(self) -> list[str]:
        """All symbols; of a plugin for many brokers, those of the brokers that the streams name."""
        brokers = sorted({key.symbol.partition(":")[0] for key in self.keys}) if self.plugin.multi_broker else [None]
        found: list[str] = []
        for broker in brokers:
            home = Home(self.name, partial(judged, self.name))
            try:
                instance = await home.call(partial(self.plugin, symbol=broker, config=self._settings()), ANSWER_S)
                symbols = await home.call(instance.get_list_of_symbols, ANSWER_S)
            finally:
                await home.close()
            found += [f"{broker}:{symbol}" for symbol in symbols] if broker else symbols
        return found

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        """As the plugin says."""
        return str(cls.plugin.to_tradingview_timeframe(timeframe))

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        """As the plugin says."""
        return str(cls.plugin.to_exchange_timeframe(timeframe))

    def _made(self, key: Key, settings: Any) -> Any:
        found = self.plugin(symbol=key.symbol, timeframe=key.timeframe, config=settings)
        found.provider_name = self.plugin_name
        return found

    def _settings(self) -> Any:
        """The plugin's ``Config``."""
        kind = self.plugin.Config
        if kind is None:
            return None
        hints, given = get_type_hints(kind), vars(self.config)
        return kind(**{item.name: hints[item.name](given[item.name]) if _is_text(hints[item.name])
                       else given[item.name] for item in fields(kind) if item.init})  # fmt: skip

    async def _follow(self, seat: Seat, updates: asyncio.Queue[Update]) -> None:
        async with aclosing(seat.bars(self.now_ms() - 2 * timeframe_ms(seat.key.timeframe))) as bars:
            async for bar in bars:
                if bar.time_ms <= seat.last_ms:
                    self.counters["repeated"] += 1
                    continue
                if bar.closed:
                    seat.last_ms = bar.time_ms
                await updates.put(Update(seat.key, bar))


def _timeframe_fault(plugin: Any, timeframe: str) -> str:
    try:
        plugin.to_exchange_timeframe(timeframe)
    except (ValueError, LookupError) as error:
        return str(error)
    return ""


def _is_text(hint: Any) -> bool:
    """Whether a field holds a string, such as PyneCore's ``mlstr``."""
    return isclass(hint) and issubclass(hint, str)


def _copied(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return field(default_factory=item.default_factory)
    return field(default=item.default) if item.default is not MISSING else field()
