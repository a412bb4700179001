"""The provider contract: where bars come from.

A provider speaks to one source in PyneCore's vocabulary, made async and many-symbol. It never loops on
errors, never sleeps for back-off and never touches the bus: the feed around it (``producers/feed.py``) does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..bus.messages import Bar, Instrument, State
from ..bus.names import Key


class Update(NamedTuple):
    """What happened on one stream: a forming or closed bar, or the market's state."""

    key: Key
    message: Bar | State


class Disconnected(Exception):
    """The source is gone; the feed connects again, not before ``retry_after`` seconds if that is given."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class EndOfData(Exception):
    """The source has played all it has; the feed publishes ``End`` on every stream."""


class ConfigError(Exception):
    """The options cannot work; carries all faults at once, each naming its key."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do, so that nobody has to try.

    ``paced`` says that the source follows a clock (a venue, the demo); else it waits for its consumers.
    """

    history: bool = False
    forming: bool = False
    symbols: bool = False
    paced: bool = True


class Provider(ABC):
    """A source of bars for many symbols at once.

    The feed calls, in this order: the constructor with all keys and the checked options (faults:
    ``ConfigError``); ``get_symbol_info`` once a key; ``resume_after`` once a key that the bus has bars of;
    ``connect``; ``backfill_closed_bars`` once a key that the bus has bars of, after *every* connect;
    ``watch`` until it raises; ``disconnect``. After ``Disconnected`` it starts again at ``connect``. Every
    method but the constructor may raise ``Disconnected``. Nothing here may block the event loop: slow work
    goes to ``asyncio.to_thread``.
    """

    name: ClassVar[str]
    """The provider's prefix in stream names: ``demo`` in ``demo:AAPL@1``."""

    @dataclass
    class Config:
        """The options with their defaults; unknown keys and wrong types are refused before the start."""

    capabilities: Capabilities = Capabilities()
    """Of the class; an instance may narrow it to what its options allow."""

    def __init__(self, keys: Sequence[Key], config: Any, base: Path = Path()) -> None:
        """:param base: the folder that relative paths of the options start from"""
        self.keys = tuple(keys)
        self.config = config
        self.base = base

    def check(self) -> None:  # noqa: B027 - a venue has nothing to read
        """Read what the streams are made of, for `pynelive check`; may take seconds, and asks no network.

        :raises ConfigError: what is wrong with it, all of it
        """

    @abstractmethod
    async def get_symbol_info(self, key: Key) -> Instrument:
        """The instrument of a stream; called once a stream, before ``connect``."""

    def resume_after(self, key: Key, time_ms: int) -> None:  # noqa: B027 - a venue needs nothing
        """Say which closed bar the bus has last; a source that plays (demo, replay) goes on after it."""

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection; called with back-off until it returns."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the connection; called once after every ``connect`` that returned, whatever came then."""

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """Whether updates can arrive now."""

    @abstractmethod
    def watch(self) -> AsyncIterator[Update]:
        """All updates of all streams, as they happen; raises ``EndOfData`` or ``Disconnected``.

        A closed bar is yielded once, in order of time within its stream; a forming one whenever it changes.
        """

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """The closed bars that open after ``since_ms``, oldest first, none that is still forming."""
        return []

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The closed bars from ``from_ms`` until before ``to_ms``, oldest first; needs ``history``."""
        return []

    async def get_list_of_symbols(self) -> list[str]:
        """All symbols of the source; needs ``capabilities.symbols``."""
        return []

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        """The source's name of a timeframe, in TradingView's notation."""
        return timeframe

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        """A timeframe in TradingView's notation, as the source names it."""
        return timeframe
