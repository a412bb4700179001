"""PyneCore's plugins as providers: found by name, set as strictly as ours, and hosted without harm."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pynelive.bus.errors import TopologyError
from pynelive.bus.messages import Bar
from pynelive.bus.names import Key
from pynelive.bus.plugins import configure
from pynelive.producers.conformance import check
from pynelive.producers.contract import ConfigError, Disconnected, Provider, Refused, Update
from pynelive.producers.keys import completed
from pynelive.producers.pyne.plugin import plugin_names, plugin_provider
from venues.capitalcom import API_KEY, IDENTIFIER, PASSWORD
from venues.client import lab
from venues.spec import MarketSpec

KEY = Key("BTC", "1S")
SECOND_MS = 1000

VENUE = '''
"""A plugin of somebody else's: it blocks where PyneCore lets it, and does what its symbol says."""
import asyncio, threading, time
from dataclasses import dataclass
from datetime import UTC, time as clock
from pynecore.core.plugin import LiveProviderConfig, LiveProviderPlugin, ProviderError
from pynecore.core.syminfo import SymInfo, SymInfoInterval
from pynecore.types.ohlcv import OHLCV

@dataclass
class VenueConfig(LiveProviderConfig):
    key: str = ""
    """The account's key."""
    depth: int = 500
    spread: float = 0.5

THREADS = set()

def bar(at_s, closed=True):
    price = 100.27 + at_s % 10
    return OHLCV(at_s * 1000, price, price + 1, price - 1, price + 0.5, 3.0, {"bid": price}, closed)

class Venue(LiveProviderPlugin[VenueConfig]):
    Config = VenueConfig
    instances = 0

    def __init__(self, **given):
        super().__init__(**given)
        if self.config.key == "wrong":
            raise ValueError("the key is wrong")
        self.said, self.up = None, False
        type(self).instances += 1

    @classmethod
    def to_tradingview_timeframe(cls, timeframe): return timeframe
    @classmethod
    def to_exchange_timeframe(cls, timeframe):
        if timeframe == "7":
            raise ValueError("not with us")
        return timeframe
    def get_list_of_symbols(self, *args, **more): return ["BTC", "ETH"]

    def update_symbol_info(self):
        time.sleep(0.3)
        if self.symbol == "GONE":
            raise ProviderError("there is no GONE")
        return SymInfo(prefix="VENUE", description="", ticker=self.symbol, currency="USD", period=self.timeframe,
            type="crypto", mintick=0.01, pricescale=100, minmove=1, pointvalue=1, mincontract=0.0, timezone="UTC",
            opening_hours=[SymInfoInterval(day, clock(0), clock(23, 59, 59)) for day in range(7)],
            session_starts=[], session_ends=[])

    def download_ohlcv(self, time_from, time_to, on_progress=None, limit=None, with_extra=False):
        time.sleep(0.05)
        first, last = (int(at.replace(tzinfo=UTC).timestamp()) for at in (time_from, time_to))
        for at_s in range(max(first, int(time.time()) - self.config.depth), last + 1):
            self.save_ohlcv_data(bar(at_s))

    async def connect(self):
        THREADS.add(threading.current_thread().name)
        time.sleep(0.3)
        self.up, self.at_s = True, int(time.time())
        self.beat = asyncio.create_task(asyncio.sleep(3600))
    async def disconnect(self):
        self.up = False
    @property
    def is_connected(self): return self.up

    async def watch_ohlcv(self, symbol, timeframe):
        if symbol == "BAD":
            raise KeyError("token")
        if symbol == "QUIET":
            self.up = False
            await asyncio.Event().wait()
        if symbol == "QUITS":
            raise asyncio.CancelledError
        if symbol == "ODD" and self.said is None:
            self.said = bar(self.at_s)._replace(open=None)
            return self.said
        if self.said != self.at_s:
            self.said = self.at_s
            return bar(self.at_s, closed=False)
        while time.time() < self.at_s + 1:
            await asyncio.sleep(0.02)
        self.at_s += 1
        return bar(self.at_s - 1)
'''


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package `venue`, as pip would have installed it, and one without live bars."""
    site = tmp_path_factory.mktemp("site")
    info = site / "venue-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: venue\nVersion: 1\n")
    points = "[pyne.plugin]\nvenue = venue_plugin:Venue\ntool = venue_plugin:VenueConfig\ngone = not_there:Gone\n"
    (info / "entry_points.txt").write_text(points)
    (site / "venue_plugin.py").write_text(VENUE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield


def venue(*symbols: str, **options: Any) -> Provider:
    """The hosted plugin, made as the feed makes it."""
    found = plugin_provider("pyne:venue")
    return found([Key(symbol, "1S") for symbol in symbols], configure(found.Config, options))


async def until_gone(provider: Provider) -> Disconnected:
    """Connect and watch until there is no connection any more."""
    await provider.connect()
    with pytest.raises(Disconnected) as caught:
        async for _ in provider.watch():
            pass
    await provider.disconnect()
    await provider.close()
    return caught.value


async def test_a_blocking_plugin_keeps_the_contract() -> None:
    """Two symbols of a plugin that sleeps in its coroutines: the loop goes on, and every promise is kept."""
    def make() -> Provider:
        return venue("BTC", "ETH", key="k")

    def faulty() -> Provider:
        found = plugin_provider("pyne:venue")
        return found([Key("BTC", "7"), Key("ETH", "7")], configure(found.Config, {}))

    assert await check(make, bars=2, seconds=20, faulty=faulty, blocked_ms=250) == []
    import venue_plugin  # type: ignore[import-not-found]
    assert {name for name in venue_plugin.THREADS if "live" in name} == {"BTC@1S (live)", "ETH@1S (live)"}
    assert not {thread.name for thread in threading.enumerate()} & venue_plugin.THREADS


async def test_prices_are_exact_and_extras_stay() -> None:
    """Nothing goes through PyneCore's single-precision file on its way."""
    provider = venue("BTC")
    info = await provider.get_symbol_info(KEY)
    assert (info.prefix, info.mintick, info.mincontract > 0) == ("VENUE", 0.01, True)
    now_ms = provider.now_ms() // SECOND_MS * SECOND_MS
    bars = await provider.backfill_closed_bars(KEY, now_ms - 10 * SECOND_MS)
    assert [bar.open for bar in bars] == [100.27 + bar.time_ms // SECOND_MS % 10 for bar in bars]
    assert bars[0].time_ms == now_ms - 9 * SECOND_MS
    assert bars[0].extra == {"bid": bars[0].open}
    assert {bar.origin for bar in bars} == {"backfill"}
    await provider.close()


async def test_years_are_downloaded_in_few_questions() -> None:
    """An empty past is passed in growing steps, and nothing of it is missing at its end."""
    provider = venue("BTC", depth=100)
    now_ms = provider.now_ms()
    async with asyncio.timeout(60):
        bars = await provider.download_ohlcv(KEY, 0, now_ms)
    passed_s = (provider.now_ms() - now_ms) // SECOND_MS  # the venue's past has moved on by as much
    await provider.close()
    assert len(bars) >= 98 - passed_s
    assert {after.time_ms - before.time_ms for before, after in pairwise(bars)} == {SECOND_MS}


async def test_only_the_refused_stream_is_left_out() -> None:
    """A symbol that the venue does not know is refused; the other one lives."""
    provider = venue("GONE", "BTC")
    with pytest.raises(Refused, match="there is no GONE"):
        await provider.get_symbol_info(Key("GONE", "1S"))
    await provider.get_symbol_info(KEY)
    await provider.connect()
    assert provider.is_connected
    updates = provider.watch()
    assert (await anext(updates)).key == KEY
    await updates.aclose()  # type: ignore[attr-defined]
    await provider.disconnect()
    await provider.close()


@pytest.mark.parametrize(("symbol", "said", "kind"), [
    ("BAD", "KeyError: 'token'", "protocol"),
    ("QUIET", "not connected", "network"),
    ("QUITS", "given up by itself", "network"),
])
async def test_what_a_plugin_raises_is_an_outage(symbol: str, said: str, kind: str) -> None:
    """Whatever it is, even silence or CancelledError, the feed can begin again."""
    gone = await until_gone(venue(symbol))
    assert (said in str(gone), gone.kind) == (True, kind)


async def test_a_bad_row_is_skipped_and_counted() -> None:
    """A candle without a price is none; the next one comes."""
    provider = venue("ODD")
    await provider.connect()
    updates = provider.watch()
    assert (await anext(updates)).key.symbol == "ODD"
    assert provider.counters["malformed"] == 1
    await updates.aclose()  # type: ignore[attr-defined]
    await provider.disconnect()
    await provider.close()


async def test_renewed_credentials_make_new_instances() -> None:
    """From the next connect on, and the old instance is disconnected before."""
    provider = venue("BTC", key="old")
    await provider.connect()
    old = provider._seats[KEY]._instance  # type: ignore[attr-defined]
    provider.rekey(configure(type(provider).Config, {"key": "new"}))
    await provider.disconnect()
    await provider.connect()
    new = provider._seats[KEY]._instance  # type: ignore[attr-defined]
    assert (old.config.key, old.up, new.config.key, new.up) == ("old", False, "new", True)
    await provider.disconnect()
    await provider.close()


def test_options_are_the_plugins_own_and_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topology wins over the environment, and that over PyneCore's file and the default; faults are all said."""
    folder = tmp_path / "workdir" / "config" / "plugins"
    folder.mkdir(parents=True)
    (folder / "venue.toml").write_text('key = "from the file"\ndepth = 9\n[other]\nmore = 1\n')
    monkeypatch.setenv("PYNE_VENUE_DEPTH", "8")
    found = plugin_provider("pyne:venue")
    made = venue("BTC", **completed(found, {"spread": 2}, tmp_path))._settings()  # type: ignore[attr-defined]
    assert (made.key, made.depth, made.spread, made.symbol_map) == ("from the file", 8, 2.0, {})
    with pytest.raises(TopologyError) as caught:
        venue("BTC", dept=1, spread="wide")
    assert caught.value.problems == ["option 'dept' is unknown: did you mean 'depth'?",
                                     "option 'spread' must be float, not string"]


def test_check_makes_the_instances() -> None:
    """What a plugin refuses in its constructor is known before the start."""
    with pytest.raises(ConfigError, match=r"BTC@1S.*the key is wrong"):
        venue("BTC", key="wrong").check()
    venue("BTC").check()


@pytest.mark.parametrize(("name", "said"), [
    ("pyne:venu", "did you mean 'pyne:venue'"),
    ("pyne:zzz", "installed: *pyne:ccxt*pyne:replay*pyne:venue"),
    ("pyne:tool", "has no live bars"),
    ("pyne:gone", "cannot be imported: ModuleNotFoundError"),
])
def test_a_plugin_that_cannot_be_hosted_is_one_sentence(name: str, said: str) -> None:
    """And the installed ones are listed."""
    with pytest.raises(TopologyError) as caught:
        plugin_provider(name)
    [sentence] = caught.value.problems
    assert all(part in sentence for part in said.split("*"))


async def test_symbols_and_accounts() -> None:
    """Symbols are the plugin's; the account is told apart without being said."""
    provider = venue("BTC", key="secret")
    assert await provider.get_list_of_symbols() == ["BTC", "ETH"]
    assert provider.account.startswith("pyne:venue:")
    assert "secret" not in provider.account
    assert provider.account != venue("BTC", key="other").account
    assert "pyne:venue" in plugin_names()


async def test_pynecores_replay_plugin_is_hosted(tmp_path: Path) -> None:
    """PyneCore's own plugin, unmodified: every bar of its fixture once and in order, and its history."""
    start_ms = 1_700_000_040_000
    rows = [[start_ms + at * 60_000, 10.1, 12.3, 9.7, 11.9, 5.0] for at in range(20)]
    fixture = tmp_path / "fixture.json"
    forming = [*rows[12][:5], 1.0, False]
    fixture.write_text(json.dumps({"warmup": rows[:10], "live": [*rows[10:12], forming, *rows[12:]]}))
    found = plugin_provider("pyne:replay")
    key = Key("BTC", "1")
    provider = found([key], configure(found.Config, {"fixture_path": str(fixture)}))
    provider.check()
    assert (await provider.get_symbol_info(key)).prefix == "REPLAY"
    history = await provider.download_ohlcv(key, rows[2][0], rows[8][0])
    assert [bar.time_ms for bar in history] == [row[0] for row in rows[2:8]]
    await provider.connect()
    updates = await first(provider.watch(), 11)
    assert [bar.time_ms for bar in updates if bar.closed] == [row[0] for row in rows[10:]]
    assert [bar.time_ms for bar in updates if not bar.closed] == [rows[12][0]]
    assert (updates[0].high, updates[0].origin, updates[0].received_ns > 0) == (12.3, "venue", True)
    await provider.disconnect()
    await provider.close()


async def test_a_close_that_is_a_snapshot_is_left_to_the_feed(tmp_path: Path) -> None:
    """With `confirm`, which ccxt's plugin has by default, nothing is closed on the plugin's word."""
    row = [1_700_000_040_000, 10.1, 12.3, 9.7, 11.9, 5.0]
    (tmp_path / "fixture.json").write_text(json.dumps({"live": [row]}))
    found = plugin_provider("pyne:replay")
    options = {"fixture_path": str(tmp_path / "fixture.json"), "confirm": True}
    provider = found([Key("BTC", "1")], configure(found.Config, options))
    assert not provider.capabilities.flagged
    await provider.connect()
    [bar] = await first(provider.watch(), 1)
    assert not bar.closed
    await provider.disconnect()
    await provider.close()
    assert plugin_provider("pyne:ccxt").Config.__dataclass_fields__["confirm"].default is True


async def test_the_real_capitalcom_plugin_is_hosted() -> None:
    """Against a local venue that allows one session: history and live bars of one login, and true."""
    pytest.importorskip("pynecore_capitalcom")
    key = Key("BTCUSDT", "1")
    market = MarketSpec("BTC/USDT", history=4_000, trades=120)  # the plugin wants a whole day of it, whatever the hour
    async with lab("capitalcom", market, speed=1, epoch_ms=0, ticks=120) as local:
        found = plugin_provider("pyne:capitalcom")
        provider = found([key], configure(found.Config, {
            "user_email": IDENTIFIER, "api_key": API_KEY, "api_password": PASSWORD, "rest_url": local.http,
            "ws_url": f"{local.ws}/connect",
        }))  # fmt: skip
        assert (await provider.get_symbol_info(key)).prefix == "CAPITALCOM"
        await provider.connect()
        async with asyncio.timeout(60), aclosing(provider.watch()) as updates:  # type: ignore[type-var]
            forming = await anext(bar async for _, bar, _ in updates if isinstance(bar, Bar) and not bar.closed)
        assert forming.extra
        assert forming.extra["ask_close"] > forming.extra["bid_close"]
        since_ms = provider.now_ms() - 20 * 60_000
        bars = await provider.backfill_closed_bars(key, since_ms)
        true = [bar[1:] for bar in local.truth("BTC/USDT", "1", since_ms + 1) if bar.time_ms <= bars[-1].time_ms]
        assert [(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars] == true
        assert local.counters()["logins"] == 1
        await provider.disconnect()
        await provider.close()


async def first(updates: AsyncIterator[Update], count: int) -> list[Bar]:
    """The first bars, in time."""
    found: list[Bar] = []
    async with asyncio.timeout(100):
        async for update in updates:
            assert isinstance(update.message, Bar)
            found.append(update.message)
            if len(found) == count:
                break
    await updates.aclose()  # type: ignore[attr-defined]
    return found
