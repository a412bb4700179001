"""Capital.com: bars of its CFDs, live and from history, with one login and one process for all symbols of an account.

Market data only; nothing here can send an order. Capital.com says that a bar is over without its volume, so a closed
bar is published as the venue's own history has it, asked for right after the close (docs/providers/capitalcom.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from ...bus.messages import Bar, Instrument
from ...bus.names import Key
from ..budget import Rate
from ..calendar import Calendar
from ..contract import Capabilities, ConfigError, Disconnected, Provider, Refused, Update
from .live import Live
from .prices import Prices
from .rows import RESOLUTIONS, instrument_of
from .session import Login, Session

_LIVE = "https://api-capital.backend-capital.com"
_DEMO = "https://demo-api-capital.backend-capital.com"
_STREAM = "wss://api-streaming-capital.backend-capital.com/connect"


class CapitalCom(Provider):
    """All streams of one account."""

    name: ClassVar[str] = "capitalcom"
    credentials = ("identifier", "password", "api_key")
    pyne_names: ClassVar[Mapping[str, str]] = {
        "identifier": "user_email", "password": "api_password", "api_key": "api_key", "demo": "demo",
        "url": "rest_url", "ws_url": "ws_url",
    }  # fmt: skip
    capabilities = Capabilities(history=True, forming=True, symbols=True, heals=True, flagged=True)
    rates = (Rate(10, 1.0),)

    @dataclass
    class Config:
        """The options of Capital.com."""

        identifier: str = field(repr=False)
        """The e-mail of the account."""
        password: str = field(repr=False)
        """The password that was set for the API key; not the account's."""
        api_key: str = field(repr=False)
        """Made in the settings of the account, under API integrations."""
        demo: bool = True
        """Ask the demo host, whose prices are the same; false for the host of live accounts."""
        url: str = ""
        """Another REST host, such as a proxy."""
        ws_url: str = ""
        """Another WebSocket address."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        if problems := _faults(self.keys, config):
            raise ConfigError(problems)
        self._session = Session(config.url or (_DEMO if config.demo else _LIVE), _login(config), self.budget)
        self._prices = Prices(self._session, self.counters)
        self._live: Live | None = None
        self._refused: set[Key] = set()
        self._closed: set[str] = set()

    @property
    def account(self) -> str:
        """The account, as a hash: Capital.com counts requests by user and keeps one session of one key."""
        user = blake2b(self.config.identifier.encode(), digest_size=6).hexdigest()
        return f"capitalcom:{user}" + (f"@{self.config.url}" if self.config.url else "")

    def now_ms(self) -> int:
        """The venue's own time."""
        return self._session.now_ms()

    def rekey(self, config: Config) -> None:
        """Log in with these from the next ``connect`` on."""
        super().rekey(config)
        self._session.rekey(_login(config))

    async def get_symbol_info(self, key: Key) -> Instrument:
        """The instrument, with the trading hours in New York's time."""
        try:
            details = await self._session.get(f"/markets/{quote(key.symbol, safe='')}")
            if details is None:
                raise Refused(f"Capital.com has no market '{key.symbol}'")
            instrument = instrument_of(details, key, self.now_ms())
        except Refused:
            self._refused.add(key)
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise Disconnected(f"Capital.com describes {key.symbol} in a way that is not understood: {error!r}",
                               kind="protocol") from error  # fmt: skip
        self._prices.calendars[key] = Calendar(instrument, key.timeframe)
        return instrument

    async def connect(self) -> None:
        """Log in if that is needed, and subscribe to all streams."""
        await self._session.get("/ping")  # whether the venue still knows the session
        if self._session.is_old():
            await self._session.renewed(self._session.tokens)
        self._session.lost.clear()
        keys = [key for key in self.keys if key not in self._refused]
        live = Live(self._session, self._prices, keys, self.config.ws_url or _STREAM, self.counters)
        await live.open()
        self._live = live

    async def disconnect(self) -> None:
        """Close the sockets; the session is kept for the next ``connect``."""
        if self._live is not None:
            live, self._live = self._live, None
            await live.close()

    @property
    def is_connected(self) -> bool:
        """Whether the sockets are open."""
        return self._live is not None

    async def watch(self) -> AsyncIterator[Update]:
        """Closed bars as the history has them, forming bars of the quotes, and when markets close and open."""
        if self._live is None:
            raise Disconnected("Capital.com is not connected")
        async for update in self._live.updates(self._closed):
            yield update

    async def close(self) -> None:
        """Close the connections of the history."""
        await self._session.close()

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        """A page of bars after ``since_ms``, the forming one last if it reaches so far."""
        bars = await self._prices.since(key, since_ms)
        if self._live is not None and key in self._live.forming:
            self._live.forming[key].learn(bars)
        return bars

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """As :meth:`latest`, without the forming bar."""
        return [bar for bar in await self._prices.since(key, since_ms) if bar.closed]

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The history, in windows of 1000 bars."""
        return await self._prices.between(key, from_ms, to_ms)

    async def get_list_of_symbols(self) -> list[str]:
        """The epics of all markets that the account may see."""
        told = await self._session.get("/markets")
        try:
            return sorted(str(market["epic"]) for market in told["markets"])
        except (KeyError, TypeError):
            raise Disconnected("Capital.com lists no markets", kind="protocol") from None

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        """``MINUTE_5`` of ``5``."""
        return RESOLUTIONS[timeframe]

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        """``5`` of ``MINUTE_5``."""
        return next(ours for ours, theirs in RESOLUTIONS.items() if theirs == timeframe)


def _login(config: CapitalCom.Config) -> Login:
    return Login(config.identifier, config.password, config.api_key)


def _faults(keys: Sequence[Key], config: CapitalCom.Config) -> list[str]:
    problems = [f"option '{name}' is empty: give it as {{ env = \"CAPITALCOM_{name.upper()}\" }}"
                for name in ("identifier", "password", "api_key") if not getattr(config, name)]
    problems += [f"stream '{key}': Capital.com has no such timeframe; use one of {', '.join(RESOLUTIONS)}"
                 for key in keys if key.timeframe not in RESOLUTIONS]
    for name, schemes in (("url", ("http://", "https://")), ("ws_url", ("ws://", "wss://"))):
        if (value := getattr(config, name)) and not value.startswith(schemes):
            problems.append(f"option '{name}' must begin with {' or '.join(schemes)}")
    return problems
