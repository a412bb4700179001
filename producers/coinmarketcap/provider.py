"""CoinMarketCap: quotes that are polled and made into bars here, and hourly or daily history where the plan has it.

The venue tells one price a minute or so, mixed from all exchanges, and no OHLC below an hour. So bars are *sampled*:
they are made of the prices that were seen, and their volume is 0, as nobody says what was traded within them. One
request serves all streams; how often it is sent follows from the credits that the key has left.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from time import time_ns
from typing import Any, ClassVar, Literal

import msgspec

from ...bus.messages import Bar, Instrument
from ...bus.names import Key, timeframe_ms
from .. import clock
from ..budget import Budget, Rate
from ..contract import Capabilities, ConfigError, Disconnected, Provider, Refused, Update
from .bars import Samples, exact, instrument, split
from .wire import Candle, CoinHttp, Quote

_DAY_S, _MONTH_S = 86_400, 30 * 86_400
_REFRESH_S = 60
"""How often the venue's own prices change."""
_COINS = 100
"""Coins that one credit shows."""
_BARS = 97
"""Bars of one request: a credit is 100, and both ends are asked for with some slack."""
_HISTORY = 10_000
"""How many bars back a stream without any begins."""


class CoinMarketCap(Provider):
    """Coins as ``BTC/USD`` or, where several share a symbol, ``id:1/USD``."""

    name: ClassVar[str] = "coinmarketcap"
    credentials = ("api_key",)
    capabilities = Capabilities(forming=True, symbols=True)

    @dataclass
    class Config:
        """The options of CoinMarketCap."""

        api_key: str = ""
        """The key of the account, from its dashboard."""
        poll_s: float = 60
        """Seconds between two looks at the prices, at least; more where the credits ask for it."""
        min_samples: int = 2
        """How many prices a closed bar is made of, at least."""
        history: Literal["none", "hourly", "daily"] = "none"
        """What the plan has: bars of these lengths are then the venue's own."""
        duplicates: Literal["refuse", "rank"] = "refuse"
        """Of several coins of one symbol take none, or the one with the best rank."""
        credits_per_day: int = 0
        """No more than so many credits in a day; 0 is what the plan says."""
        credits_per_month: int = 0
        """No more than so many credits in 30 days; 0 is what the plan says."""
        requests_per_min: int = 30
        """What the plan allows."""
        url: str = "https://pro-api.coinmarketcap.com"
        """Where the venue is."""

    config: Config

    def __init__(self, keys: Sequence[Key], config: Config, base: Path = Path()) -> None:
        super().__init__(keys, config, base)
        if problems := _faults(self.keys, config) or _too_short(self.keys, _pace_s(self._cost, config), config):
            raise ConfigError(problems)
        self.capabilities = _capabilities(self.keys, config.history)
        self.budget = Budget(Rate(config.requests_per_min, 60), *_allowances(config))
        self._http = CoinHttp(config.url, self.budget)
        self._period_s = _pace_s(self._cost, config)
        self._samples = {key: Samples(key, config.min_samples) for key in self.keys}
        self._ids: dict[str, int] | None = None
        self._quotes: dict[str, Any] = {}
        self._connected = False

    @property
    def account(self) -> str:
        """The account's key, hashed."""
        return f"coinmarketcap:{blake2b(self.config.api_key.encode(), digest_size=6).hexdigest()}"

    @property
    def _currencies(self) -> list[str]:
        return sorted({split(key)[1] for key in self.keys})

    @property
    def _cost(self) -> int:
        """The credits of one look at all streams."""
        return math.ceil(len({split(key)[0] for key in self.keys}) / _COINS) * len(self._currencies)

    async def get_symbol_info(self, key: Key) -> Instrument:
        """The coin's name, and a tick of seven digits of its price."""
        coin_id, (coin, currency) = await self._id(key), split(key)
        if not self._quotes:
            self._quotes = await self._look()
        said = self._quotes.get(coin_id, {})
        try:
            price = float(said["quote"][currency]["price"])
        except (KeyError, TypeError):
            raise Refused(f"CoinMarketCap has no price of '{coin}' in {currency}: remove stream '{key}'") from None
        return instrument(key, said, price, self.config.history)

    async def connect(self) -> None:
        """Ask what the key may do: the pace of the looks follows from the credits that are left."""
        said = await self._ask("/v1/key/info", {}, "the key", weight=0)
        plan = {**said.get("plan", {}), **said.get("usage", {}).get("current_month", {})}
        monthly = plan.get("credit_limit_monthly") or math.inf
        pace_s = max(_pace_s(self._cost, self.config), self._cost * _MONTH_S / monthly)
        if problems := _too_short(self.keys, pace_s, self.config):
            raise ConfigError(problems)
        self._period_s = max(pace_s, _left_pace_s(self._cost, plan))
        self._connected = True

    async def disconnect(self) -> None:
        """Nothing is kept open between two looks."""
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the key has been accepted."""
        return self._connected

    async def close(self) -> None:
        """Close the pool."""
        await self._http.close()

    async def watch(self) -> AsyncIterator[Update]:
        """Forming bars of every look, and a closed one when a price of the next bar is seen."""
        if self._ids is None:
            self._ids = await self._identified()
        due_s = clock.monotonic()
        while True:
            quotes, received_ns = await self._look(), time_ns()
            for key, samples in self._samples.items():
                for update in self._sampled(key, samples, quotes, received_ns):
                    yield update
            due_s = max(due_s + self._period_s, clock.monotonic())
            await clock.sleep(due_s - clock.monotonic())

    def _sampled(self, key: Key, samples: Samples, quotes: dict[str, Any], received_ns: int) -> Iterator[Update]:
        coin, currency = split(key)
        coin_id = (self._ids or {}).get(coin)
        if str(coin_id) not in quotes:
            return
        try:
            quote = msgspec.convert(quotes[str(coin_id)]["quote"][currency], Quote)
        except (KeyError, TypeError, msgspec.ValidationError):
            self.counters["malformed"] += 1
            return
        for bar in samples.take(quote, 3000 * self._period_s, received_ns):
            if not (bar.closed and exact(key, self.config.history)):
                yield Update(key, bar, quote.time_ms)
        self.counters["thin bars"] = sum(sampled.thin for sampled in self._samples.values())

    async def _look(self) -> dict[str, Any]:
        """The prices of all coins in one request, by the coins' numbers; one that is gone is left out."""
        asked = {"id": ",".join(map(str, sorted((self._ids or {}).values()))), "convert": ",".join(self._currencies),
                 "skip_invalid": "true"}
        try:
            quotes: dict[str, Any] = await self._ask("/v2/cryptocurrency/quotes/latest", asked, "prices", self._cost)
        except Refused as error:
            raise ConfigError([str(error)]) from error  # all streams hang on it
        return quotes

    async def backfill_closed_bars(self, key: Key, since_ms: int) -> list[Bar]:
        """The venue's own bars, where the plan has them at the stream's length; else none."""
        if not exact(key, self.config.history):
            return []
        length_ms = timeframe_ms(key.timeframe)
        since_ms = max(since_ms, clock.now_ms() - _HISTORY * length_ms)
        found: list[Bar] = []
        for start_ms in range(since_ms + 1, clock.now_ms() - length_ms + 1, _BARS * length_ms):
            found += await self._history(key, start_ms, start_ms + _BARS * length_ms)
            if len(found) >= _BARS // 2:
                break
        return found

    async def download_ohlcv(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """A span of the venue's own bars, a hundred (one credit) a request."""
        if not exact(key, self.config.history):
            return []
        step_ms = _BARS * timeframe_ms(key.timeframe)
        return [bar for start_ms in range(from_ms, min(to_ms, clock.now_ms()), step_ms)
                for bar in await self._history(key, start_ms, min(start_ms + step_ms, to_ms))]

    async def _history(self, key: Key, from_ms: int, to_ms: int) -> list[Bar]:
        """The bars that open from ``from_ms`` until before ``to_ms`` and have closed; both ends are checked here."""
        coin_id, currency, length_ms = await self._id(key), split(key)[1], timeframe_ms(key.timeframe)
        period = "daily" if key.timeframe == "1D" else "hourly"
        answer = await self._ask("/v2/cryptocurrency/ohlcv/historical", {
            "id": coin_id, "convert": currency, "time_period": period, "interval": period, "count": 100,
            "time_start": _iso(from_ms - 1 - length_ms), "time_end": _iso(to_ms - 1 + length_ms),
        }, f"history of {period} bars")  # fmt: skip
        bars = (self._row(row, currency) for row in answer.get(coin_id, answer).get("quotes", ()))
        end_ms = min(to_ms, clock.now_ms() - length_ms + 1)
        return [bar for bar in bars if bar and from_ms <= bar.time_ms < end_ms]

    def _row(self, row: Any, currency: str) -> Bar | None:
        """``{"time_open":"2019-01-02T00:00:00.000Z","time_close":…,"quote":{"USD":{"open":…,"high":…,…}}}``"""
        try:
            opened = datetime.fromisoformat(row["time_open"])
            return msgspec.convert(row["quote"][currency], Candle).bar(round(opened.timestamp() * 1000))
        except (KeyError, TypeError, ValueError):
            self.counters["malformed"] += 1
            return None

    async def get_list_of_symbols(self) -> list[str]:
        """The active coins by rank, in US dollars; a symbol that a better coin has is written by its id."""
        coins = await self._ask("/v1/cryptocurrency/map", {"sort": "cmc_rank", "limit": 5000}, "the list of coins")
        names: dict[str, None] = {}
        for coin in coins:
            name = f"{coin['symbol']}/USD"
            names[f"id:{coin['id']}/USD" if name in names else name] = None
        return list(names)

    async def _id(self, key: Key) -> str:
        """The number of a stream's coin."""
        coin = split(key)[0]
        if self._ids is None or coin not in self._ids:
            self._ids = {**(self._ids or {}), **await self._identified()}
        if coin not in self._ids:
            raise Refused(f"CoinMarketCap knows no active coin '{coin}': write another symbol, or id:NUMBER")
        return str(self._ids[coin])

    async def _identified(self) -> dict[str, int]:
        """The numbers of all coins: symbols are not unique.

        :raises ConfigError: every symbol that several coins have, with their numbers
        """
        coins = {split(key)[0] for key in self.keys}
        known = await self._mapped(sorted(coin for coin in coins if not coin.startswith("id:")))
        several = {symbol: found for symbol, found in known.items() if len(found) > 1}
        if several and self.config.duplicates == "refuse":
            raise ConfigError([_ambiguous(symbol, found) for symbol, found in several.items()])
        numbers = {coin: int(coin[3:]) for coin in coins if coin.startswith("id:")}
        return {**numbers, **{symbol: found[0]["id"] for symbol, found in known.items()}}

    async def _mapped(self, symbols: list[str]) -> dict[str, list[dict[str, Any]]]:
        """The active coins of each symbol, the best rank first; one bad symbol spoils the request for all.

        ``[{"id":1,"rank":1,"name":"Bitcoin","symbol":"BTC","slug":"bitcoin","is_active":1,…}]``
        """
        if not symbols:
            return {}
        try:
            rows = await self._ask("/v1/cryptocurrency/map", {"symbol": ",".join(symbols)}, "the symbols")
        except Refused:
            middle = len(symbols) // 2
            return {**await self._mapped(symbols[:middle]), **await self._mapped(symbols[middle:])} if middle else {}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row.get("rank") or math.inf):
            found.setdefault(row["symbol"], []).append(row)
        return found

    async def _ask(self, path: str, params: Mapping[str, str | int], what: str, weight: float = 1) -> Any:
        """The data of an answer; what it costs is counted as the venue says it."""
        answer = await self._http.get(path, params, headers={"X-CMC_PRO_API_KEY": self.config.api_key}, weight=weight)
        try:
            self.counters["credits"] += int(answer["status"].get("credit_count") or 0)
            return answer["data"]
        except (KeyError, TypeError, AttributeError):
            raise Disconnected(f"CoinMarketCap answers about {what}: {str(answer)[:200]}", kind="protocol") from None


def _capabilities(keys: Sequence[Key], history: str) -> Capabilities:
    own = [exact(key, history) for key in keys] or [history != "none"]
    return Capabilities(history=any(own), forming=True, symbols=True, heals=any(own), flagged=not all(own))


def _allowances(config: CoinMarketCap.Config) -> list[Rate]:
    spans = ((config.credits_per_day, _DAY_S), (config.credits_per_month, _MONTH_S))
    return [Rate(credits_, span_s, use=1) for credits_, span_s in spans if credits_]


def _pace_s(cost: int, config: CoinMarketCap.Config) -> float:
    """The seconds between two looks that the options' credits allow, spread evenly."""
    return max(config.poll_s, *(cost * rate.per_s / rate.weight for rate in _allowances(config)), _REFRESH_S)


def _left_pace_s(cost: int, plan: Mapping[str, Any]) -> float:
    """The seconds between two looks for the credits that are left to last until there are new ones.

    ``{"credit_limit_monthly":15000,"credit_limit_monthly_reset_timestamp":"2026-12-01T00:00:00.000Z",
    "rate_limit_minute":50,"credits_used":111,"credits_left":14889}``

    :raises Disconnected: none is left
    """
    left, reset = plan.get("credits_left"), plan.get("credit_limit_monthly_reset_timestamp")
    if left is None or not reset:
        return 0.0
    wait_s = max(datetime.fromisoformat(reset).timestamp() - clock.now_ms() / 1000, _REFRESH_S)
    if left < cost:
        raise Disconnected(f"CoinMarketCap: the credits of the month are used up until {reset}", wait_s, "rate")
    return cost * wait_s / float(left)


def _too_short(keys: Sequence[Key], pace_s: float, config: CoinMarketCap.Config) -> list[str]:
    need_s = config.min_samples * pace_s
    return [
        f"stream '{key}': there is a price every {pace_s:.0f} s, and a bar needs {config.min_samples}: use bars of "
        f"{math.ceil(need_s / 60)} minutes or more, fewer coins, or a plan with more credits"
        for key in keys if not exact(key, config.history) and timeframe_ms(key.timeframe) < need_s * 1000
    ]  # fmt: skip


def _ambiguous(symbol: str, coins: Sequence[Mapping[str, Any]]) -> str:
    known = ", ".join(f"id:{coin['id']} ({coin['name']}, rank {coin.get('rank') or 'none'})" for coin in coins)
    return f"symbol '{symbol}' has several coins: write one of {known}, or set duplicates = \"rank\" for the first"


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _faults(keys: Sequence[Key], config: CoinMarketCap.Config) -> list[str]:
    problems = [] if config.api_key else ["option 'api_key' is missing: take it from the account's dashboard"]
    if config.poll_s < _REFRESH_S:
        problems.append(f"option 'poll_s' is {config.poll_s:g}: prices change once a minute, so use 60 or more")
    problems += [f"option '{name}' is {value}: it must be more than 0"
                 for name in ("min_samples", "requests_per_min") if (value := getattr(config, name)) < 1]
    problems += [f"option '{name}' is {value}: it cannot be negative"
                 for name in ("credits_per_day", "credits_per_month") if (value := getattr(config, name)) < 0]
    problems += [f"stream '{key}': {fault}" for key in keys if (fault := _fault(key))]
    return problems


def _fault(key: Key) -> str:
    coin, currency = split(key)
    if not coin or not currency or (coin.startswith("id:") and not coin[3:].isdigit()):
        return "write COIN/CURRENCY, such as BTC/USD or id:1/USD"
    if key.timeframe != "1D" and not (key.timeframe.isdigit() and 1440 % int(key.timeframe) == 0):
        return "use minutes that divide a day (5, 15, 60), or 1D"
    return ""
