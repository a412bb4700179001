"""The provider contract: where bars come from.

A provider speaks to one source in PyneCore's vocabulary, made async and many-symbol. It never loops on
errors, never sleeps for back-off and never touches the bus: the feed around it (``producers/feed.py``) does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from ..bus.messages import Bar, Instrument, State
from ..bus.names import Key
from ..bus.secrets import without_secrets
from . import clock
from .budget import Budget, Rate

Kind = Literal["network", "silent", "rate", "banned", "maintenance", "clock", "auth", "protocol"]
"""What was wrong when a source was gone; counted by kind."""


class Update(NamedTuple):
    """What happened on one stream: a forming or closed bar, or the market's state.

    ``event_ms`` is the source's own time of the event, if it says one.
    """

    key: Key
    message: Bar | State
    event_ms: int = 0


class Disconnected(Exception):
    """The source is gone; the feed connects again, not before ``retry_after`` seconds if that is given."""

    def __init__(self, reason: str, retry_after: float | None = None, kind: Kind = "network") -> None:
        super().__init__(without_secrets(reason))
        self.retry_after = retry_after
        self.kind = kind


class Refused(Exception):
    """The source does not give this one stream (unknown, delisted, not in the plan); the others go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(without_secrets(reason))


class EndOfData(Exception):
    """The source has played all it has; the feed publishes ``End`` on every stream."""


class ConfigError(Exception):
    """The options cannot work (a wrong key or plan too); carries all faults at once, each naming its key."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = [without_secrets(problem) for problem in problems]
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do, so that nobody has to try.

    ``paced`` says that the source follows a clock (a venue, the demo); else it waits for its consumers.
    ``heals`` says that it can be asked, beside ``watch``, for bars that have closed just now: the feed then fills
    gaps, confirms closes that were not flagged, and goes on by polling while ``watch`` is silent.
    ``flagged`` says that ``watch`` yields a closed bar on the source's own word; else it yields forming bars only,
    and the feed closes them (by the next bar, or by the clock and a question).
    """

    history: bool = False
    forming: bool = False
    symbols: bool = False
    paced: bool = True
    heals: bool = False
    flagged: bool = True


class Provider(ABC):
    """A source of bars for many symbols at once.

    The feed calls, in this order: the constructor with all keys and the checked options (faults:
    ``ConfigError``); ``get_symbol_info`` once a key; ``resume_after`` once a key that the bus has bars of;
    ``connect``; ``watch`` until it raises; ``disconnect``. After ``Disconnected`` it starts again at ``connect``;
    ``close`` ends it all. With ``capabilities.heals``, ``latest`` is called beside ``watch``: for every key after
    *every* connect, and whenever a bar is missing or a stream is silent, also between two connections; what
    ``watch`` yields of a key is held back until its answer is there. Every method but the constructor may raise
    ``Disconnected``; those with a key may raise ``Refused``. ``get_symbol_info``, ``download_ohlcv`` and
    ``get_list_of_symbols`` need no ``connect``, and no key of the producer's own. Nothing here may block the event
    loop: slow work goes to ``asyncio.to_thread``.

    Bars carry what the source says beyond OHLCV in ``extra`` and their own ``received_ns``; ``revision``,
    and flags of quality, are the feed's.
    """

    name: ClassVar[str]
    """The provider's prefix in stream names: ``demo`` in ``demo:AAPL@1``."""

    @dataclass
    class Config:
        """The options with their defaults; unknown keys and wrong types are refused before the start."""

    capabilities: Capabilities = Capabilities()
    """Of the class; an instance may narrow it to what its options allow."""

    rates: ClassVar[tuple[Rate, ...]] = ()
    """What the venue allows; every request has to ``await self.budget.spend(weight)`` first."""

    credentials: ClassVar[tuple[str, ...]] = ()
    """The options that are secret, and that a running producer can be given anew."""

    pyne_names: ClassVar[Mapping[str, str]] = {}
    """By option what PyneCore calls it in ``config/plugins/<name>.toml``; those options are read from there."""

    def __init__(self, keys: Sequence[Key], config: Any, base: Path = Path()) -> None:
        """:param base: the folder that relative paths of the options start from"""
        self.keys = tuple(keys)
        self.config = config
        self.base = base
        self.budget = Budget(*self.rates)
        self.counters: Counter[str] = Counter()
        """What happened how often (frames, malformed frames, …); shown with the producer's own."""

    @property
    def account(self) -> str:
        """Whose limits the requests count on, such as ``ccxt:BINANCE``: one producer of a host may have it.

        Empty where nobody counts. It is written to a lock file, so a key must not stand in it (a hash of one may).
        """
        return ""

    def now_ms(self) -> int:
        """The source's own time, as well as it is known."""
        return clock.now_ms()

    def rekey(self, config: Any) -> None:
        """Take credentials that were renewed; they hold from the next ``connect``, which follows at once."""
        self.config = config

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

    async def close(self) -> None:  # noqa: B027 - few keep more than ``disconnect`` gives back
        """Give back what outlives a connection, such as a pool for ``latest``; called once, at the end."""

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """The closed bars that open after ``since_ms``, oldest first, none that is still forming.

        Closed by the bar's time and the source's clock as it was before the question (an answer may be old when it
        is here), never by its place in the answer. Of many, the oldest
        come first: who asks goes on after the last one until nothing comes.
        """
        return []

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        """As :meth:`backfill_closed_bars`, and the forming bar last where the source tells it with them."""
        return await self.backfill_closed_bars(key, since_ms)

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The closed bars from ``from_ms`` until before ``to_ms``, oldest first; needs ``history``."""
        return []

    async def get_list_of_symbols(self) -> list[str]:
        """All symbols of the source; needs ``capabilities.symbols``."""
        return []

    @classmethod
    def list_brokers(cls) -> list[str]:
        """The venues of a provider that has several, as streams begin with them; its option ``exchange`` takes one."""
        return []

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        """The source's name of a timeframe, in TradingView's notation."""
        return timeframe

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        """A timeframe in TradingView's notation, as the source names it."""
        return timeframe
