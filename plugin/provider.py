"""PyneCore's provider ``bus``: ``pyne run script.py bus:demo:BTC/USDT@1 --live`` is fed by a bus that is up.

Every start of ``pyne`` imports this file; the bus itself is imported when something is asked of it. No
``from __future__ import annotations`` here: PyneCore reads the types of ``Config``.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pynecore.core.plugin import ProviderError
from pynecore.core.plugin.live_provider import LiveProviderConfig, LiveProviderPlugin
from pynecore.core.syminfo import SymInfo
from pynecore.types.ohlcv import OHLCV

if TYPE_CHECKING:
    from ..bus.messages import Bar
    from ..bus.rundir import RunDir
    from .feed import LiveFeed

_T = TypeVar("_T")


@dataclass
class Config(LiveProviderConfig):  # type: ignore[misc]  # PyneCore has no types
    """Where the bus is."""

    bus: str = ""
    """The bus: its name, its folder or its topology file. Else ``PYNELIVE_BUS``, ``./topology.toml``, or the
    only bus that is up."""


class BusError(ProviderError):  # type: ignore[misc]
    """What the bus has to say, in one sentence; asking again may help if it is ``retryable``."""

    def __init__(self, sentence: str, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.retryable = retryable


class BusProvider(LiveProviderPlugin[Config]):  # type: ignore[misc]
    """One stream of the bus; a symbol is a stream's name without its timeframe, or TradingView's name for it."""

    plugin_name = "pynelive bus"
    Config = Config
    feed_timeout_bars = None  # the bus says itself when a stream is stale

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._feed: LiveFeed | None = None
        self._made_ms = int(time.time() * 1000)
        self._after_ms = 0
        self.handed_ms = 0
        """The last closed bar that PyneCore has taken."""

    # --- before the run -------------------------------------------------------------------------------------

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        """The bus writes timeframes as TradingView does."""
        return timeframe

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        """The bus writes timeframes as TradingView does."""
        return timeframe

    def get_list_of_symbols(self, *_: object, **__: object) -> list[str]:
        """What there is: the symbols of all streams of bars."""
        from ..bus.symbols import symbol_of
        from .past import streams

        return sorted({symbol_of(stream) for stream in _ask(streams(self._bus()))})

    def resolve_symbol(self, pine_key: str) -> str:
        """A script's symbol as the plugin's map has it, else as it is: the bus knows TradingView's names."""
        return str(super().resolve_symbol(pine_key))

    def update_symbol_info(self) -> SymInfo:
        """What is traded.

        :raises BusError: nobody publishes it, or it does not follow the clock on the wall
        """
        self.syminfo = _ask(self._info())
        return self.syminfo

    def download_ohlcv(
        self,
        time_from: datetime,
        time_to: datetime,
        on_progress: Callable[[datetime], None] | None = None,
        limit: int | None = None,
        with_extra: bool = False,
    ) -> None:
        """Closed bars: of the stream's journal, and of the history behind it."""

        def told(time_ms: int) -> None:
            if on_progress:
                on_progress(datetime.fromtimestamp(time_ms / 1000, UTC).replace(tzinfo=None))

        bars = _ask(self._past(_milliseconds(time_from), _milliseconds(time_to), told))
        self.handed_ms = bars[-1].time_ms if bars else 0
        self.save_ohlcv_data([_ohlcv(bar) for bar in bars])

    # --- live -----------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Follow the stream, from the last bar that was handed over if there was one.

        The past of a context is asked for until a time before it connects: what closes between comes with the stream.

        :raises BusError: it is not there now
        """
        from ..bus.names import timeframe_ms
        from . import patience
        from .feed import LiveFeed

        patience.install()
        await self.disconnect()
        found = await _awaited(self._found())
        known_ms = max(self.handed_ms, self._made_ms - timeframe_ms(str(self.timeframe)))
        self._feed = LiveFeed(self._bus(), found.info.name, self._after_ms or known_ms)
        await _awaited(self._feed.open())

    async def disconnect(self) -> None:
        """Leave the bus."""
        if self._feed:
            feed, self._feed = self._feed, None
            self._after_ms = feed.last_ms
            await feed.close()

    @property
    def is_connected(self) -> bool:
        """Whether the stream is followed, and is neither stale nor down."""
        return self._feed is not None and self._feed.well

    def is_due(self, forming_ms: int) -> bool:
        """Whether a bar after the last one must have closed by now, and may only be late.

        :param forming_ms: the bar that is forming, which may have passed it
        """
        from ..bus.names import timeframe_ms

        length_ms = timeframe_ms(str(self.timeframe))
        due_ms = self.handed_ms + 2 * length_ms
        is_open = self.is_connected and self._feed is not None and self._feed.open_market
        return is_open and forming_ms < due_ms <= time.time() * 1000 + length_ms / 2  # clocks differ a little

    async def watch_ohlcv(self, symbol: str, timeframe: str) -> OHLCV:
        """The next update; safe to be cancelled. A stream that ends ends the run.

        :raises BusError: the stream cannot be followed any more
        """
        assert self._feed is not None
        bar = await _awaited(self._feed.next())
        if bar is None:
            raise asyncio.CancelledError("the stream has ended")
        return _ohlcv(bar)

    async def backfill_closed_bars(self, symbol: str, timeframe: str, since_ms: int) -> list[OHLCV]:
        """The bars that have closed since the warm-up was downloaded."""
        bars = await _awaited(self._past(since_ms + 1, int(time.time() * 1000), lambda _: None))
        return [_ohlcv(bar) for bar in bars]

    # --- the bus --------------------------------------------------------------------------------------------

    def _bus(self) -> "RunDir":
        from ..bus.discovery import find_bus
        from ..bus.errors import Fault

        try:
            return find_bus(self.config.bus if self.config else None)
        except Fault as fault:
            raise BusError(str(fault)) from None

    async def _found(self) -> Any:
        from .past import find, off_the_clock

        found = await find(self._bus(), str(self.symbol), str(self.timeframe))
        if reason := off_the_clock(found):
            raise BusError(reason)
        return found

    async def _info(self) -> SymInfo:
        from ..bus.syminfo import to_syminfo

        return to_syminfo((await self._found()).instrument)

    async def _past(self, from_ms: int, to_ms: int, told: Callable[[int], None]) -> "list[Bar]":
        from .past import past

        return await past(self._bus(), await self._found(), from_ms, to_ms, told)


async def _awaited(asked: Coroutine[Any, Any, _T]) -> _T:
    """The answer, or PyneCore's error."""
    from ..bus.errors import Fault, Hopeless

    try:
        return await asked
    except Fault as fault:
        raise BusError(str(fault), retryable=not isinstance(fault, Hopeless)) from None


def _ask(asked: Coroutine[Any, Any, _T]) -> _T:
    """The answer, for callers that have no event loop."""
    return asyncio.run(_awaited(asked))


def _milliseconds(when: datetime) -> int:
    """Of PyneCore's times, which are UTC without saying so."""
    return max(int(when.replace(tzinfo=when.tzinfo or UTC).timestamp() * 1000), 0)


def _ohlcv(bar: "Bar") -> OHLCV:
    return OHLCV(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, None, bar.closed)
