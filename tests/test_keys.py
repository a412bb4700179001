"""Credentials: where they are looked for and in which order; taken anew on SIGHUP; never shown anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from aiohttp import web
from pynelive.bus.errors import TopologyError
from pynelive.bus.messages import Bar
from pynelive.bus.names import parse_key
from pynelive.bus.plugins import configure
from pynelive.bus.secrets import redacted
from pynelive.producers import clock
from pynelive.producers.contract import Provider
from pynelive.producers.keys import completed
from pynelive.producers.sessions import EPOCH_MS
from pynelive.producers.table import find_provider
from topologies import COMMAND, Bench, running, wait_for
from venues.capitalcom import API_KEY, IDENTIFIER, PASSWORD, CapitalCom
from venues.client import lab
from venues.spec import MarketSpec, Spec

CANARY = "canary7Kq2vXw9Zr4T"


class Venue(Provider):
    """Options of every type; PyneCore knows some of them by other names."""

    name: ClassVar[str] = "pyne:my-venue"
    pyne_names: ClassVar[Mapping[str, str]] = {
        "api_key": "apiKey", "demo": "demo", "grid": "grid", "symbol_map": "symbol_map", "depth": "depth",
    }  # fmt: skip

    @dataclass
    class Config:
        """Of every type."""

        api_key: str = ""
        password: str | None = None
        demo: bool = True
        depth: int = 1
        grid: float = 0.5
        feed: Literal["fast", "slow"] = "fast"
        symbol_map: dict[str, str] = field(default_factory=dict)
        made: int = field(init=False, default=3)


class Places:
    """The four places of one venue, in an empty folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYNE_WORK_DIR", raising=False)
        self.base, self.environment = folder / "home" / "topology", monkeypatch
        self.base.mkdir(parents=True)
        self.plugins = folder / "home" / "workdir" / "config" / "plugins"
        self.plugins.mkdir(parents=True)

    def dotenv(self, text: str) -> None:
        (self.base / ".env").write_text(text)

    def pynecore(self, text: str) -> None:
        (self.plugins / "my-venue.toml").write_text(text)

    def found(self, *keys: str, **options: object) -> dict[str, Any]:
        return completed(Venue, options, self.base, [parse_key(key) for key in keys])


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


def test_the_order_of_the_places(places: Places) -> None:
    """Each place that is added wins over those before; an empty value is none."""
    assert places.found() == {}
    places.pynecore('apiKey = "from PyneCore"\n')
    assert places.found() == {"api_key": "from PyneCore"}
    places.dotenv("PYNE_MY_VENUE_APIKEY='by its other name'\n")
    assert places.found() == {"api_key": "by its other name"}
    places.dotenv("PYNE_MY_VENUE_APIKEY='by its other name'\nPYNE_MY_VENUE_API_KEY='$dot {env}'\n")
    assert places.found() == {"api_key": "$dot {env}"}
    places.environment.setenv("PYNE_MY_VENUE_API_KEY", "")
    assert places.found() == {"api_key": "$dot {env}"}
    places.environment.setenv("PYNE_MY_VENUE_APIKEY", "exported")
    assert places.found() == {"api_key": "exported"}
    assert redacted(places.found()) == {"api_key": "***"}
    assert places.found(api_key="declared") == {"api_key": "declared"}


def test_values_have_their_options_type(places: Places) -> None:
    """Texts of the environment are read as what the option is; TOML's are what they are, false and 0 as well."""
    places.pynecore("demo = false\ngrid = 1\ndepth = 0\n[symbol_map]\n'FX:EURUSD' = 'EURUSD'\n")
    found = places.found()
    assert found == {"demo": False, "grid": 1.0, "depth": 0, "symbol_map": {"FX:EURUSD": "EURUSD"}}
    for name, text in {"demo": "TRUE", "depth": "12", "grid": "2.5", "feed": "slow", "password": "p", "made": "9",
                       "symbol_map": "x"}.items():  # fmt: skip
        places.environment.setenv(f"PYNE_MY_VENUE_{name.upper()}", text)
    config = configure(Venue.Config, places.found())
    assert (config.demo, config.depth, config.grid, config.feed, config.password) == (True, 12, 2.5, "slow", "p")
    assert (config.made, config.symbol_map) == (3, {"FX:EURUSD": "EURUSD"})


def test_the_section_of_an_exchange(places: Places) -> None:
    """Its texts replace all of those above it: one exchange's password never goes to another."""
    places.pynecore('apiKey = "of all"\ndepth = 7\n[bybit]\napiKey = "of Bybit"\n[other]\ndepth = 8\n')
    assert places.found("BINANCE:BTC/USDT@1") == {"api_key": "of all", "depth": 7}
    assert places.found("BYBIT:BTC/USDT:USDT@1", "BYBIT:ETH/USDT:USDT@1") == {"api_key": "of Bybit", "depth": 7}
    assert places.found(exchange="bybit")["api_key"] == "of Bybit"
    assert places.found("OTHER:X@1") == {"depth": 8}
    assert places.found("OTHER:X@1", "BYBIT:X@1")["api_key"] == "of all"


def test_where_pynecore_keeps_its_file(places: Places, tmp_path: Path) -> None:
    """In the first work folder upwards; a folder with `.pyne` is one itself; PYNE_WORK_DIR wins."""
    places.pynecore('apiKey = "above"\n')
    for folder, marked in (("nearer", False), ("marked", True)):
        base = places.base / folder
        plugins = (base if marked else base / "workdir") / "config" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "my-venue.toml").write_text(f'apiKey = "{folder}"\n')
        assert completed(Venue, {}, base) == {"api_key": "above" if marked else folder}
        (base / ".pyne").write_text('workdir_version = "1.0"\n')
    assert completed(Venue, {}, base) == {"api_key": "marked"}
    places.environment.setenv("PYNE_WORK_DIR", str(tmp_path / "elsewhere"))
    assert places.found() == {}
    places.environment.setenv("PYNE_WORK_DIR", str(tmp_path / "home" / "workdir"))
    assert places.found() == {"api_key": "above"}


def test_faults_name_place_and_option_and_no_value(places: Places) -> None:
    """One sentence each."""
    def fault() -> str:
        with pytest.raises(TopologyError) as caught:
            places.found()
        said = str(caught.value)
        assert CANARY not in said
        assert "\n" not in said
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        return said

    for name, wanted in {"demo": "true or false", "depth": "a whole number", "feed": "fast or slow"}.items():
        places.dotenv(f"PYNE_MY_VENUE_{name.upper()}={CANARY}\n")
        assert f"in {places.base / '.env'} is no value of option '{name}': it must be {wanted}" in fault()
    (places.base / ".env").write_bytes(b"PYNE_MY_VENUE_APIKEY=" + CANARY.encode() + b"\xff\n")
    assert ".env cannot be read" in fault()
    places.dotenv("")
    places.pynecore(f'apiKey = 5\npassword = "{CANARY}"\n')
    assert "apiKey in" in fault()
    assert "it must be a text" in fault()
    places.pynecore(f'apiKey = "{CANARY}\n')
    assert "my-venue.toml cannot be read as TOML" in fault()


@pytest.mark.parametrize(("provider", "text", "keys", "wanted"), [
    ("capitalcom", 'user_email = "a@b.c"\napi_key = "k"\napi_password = "p"\ndemo = true\nrest_url = "http://x"\n',
     ["EURUSD@1"], {"identifier": "a@b.c", "api_key": "k", "password": "p", "demo": True, "url": "http://x"}),
    ("ccxt", 'secret = "of all"\nsandbox = true\ndefault_type = "spot"\n[bybit]\napiKey = "k"\nsecret = "s"\n',
     ["BYBIT:BTC/USDT:USDT@1"], {"api_key": "k", "secret": "s", "sandbox": True}),
    ("pyne:ccxt", 'apiKey = "k"\n[binance]\napiKey = "b"\n', ["BYBIT:BTC/USDT:USDT@1"], {"apiKey": "k"}),
])  # fmt: skip
def test_a_user_of_pynecore_changes_nothing(
    provider: str, text: str, keys: list[str], wanted: dict[str, object], tmp_path: Path
) -> None:
    """The files as PyneCore's own plugins read them."""
    plugins = tmp_path / "workdir" / "config" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / f"{provider.rpartition(':')[2]}.toml").write_text(text)
    kind = find_provider(provider, tmp_path)
    found = completed(kind, {}, tmp_path, [parse_key(key) for key in keys])
    assert found == wanted
    configure(kind.Config, found)


class Changing:
    """The Capital.com laboratory in a thread of its own, so that the test can change who may log in."""

    def __init__(self, speed: float, monkeypatch: pytest.MonkeyPatch) -> None:
        started_s = time.time()
        self.env = {clock.VARIABLE: f"{EPOCH_MS},{started_s!r},{speed!r}"}
        for variable, number in (("_EPOCH_MS", EPOCH_MS), ("_STARTED_S", started_s), ("SPEED", speed)):
            monkeypatch.setattr(clock, variable, number)
        self.venue = CapitalCom(Spec("capitalcom", [MarketSpec("BTC/USD")], epoch_ms=EPOCH_MS))
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Changing:
        self._thread.start()
        assert self._ready.wait(100)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._pump.cancel)
        self._thread.join(100)

    def change(self, **options: str) -> None:
        """Other credentials from now on; the session of the old ones ends."""
        def changed() -> None:
            self.venue.spec.options.update(options)
            self.venue._end_session()

        self.loop.call_soon_threadsafe(changed)

    def truth(self) -> dict[int, tuple[float, ...]]:
        market = self.venue.markets["BTCUSD"]
        return {row.time_ms: tuple(row[1:6]) for _, row in market.truth("1", market.start_ms, self.venue.now_ms())}

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        runner = web.AppRunner(self.venue.app(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        self._pump = asyncio.create_task(self.venue.pump())
        self._ready.set()
        with suppress(asyncio.CancelledError):
            await self._pump
        await self.venue.send_away()
        await runner.cleanup()


@pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning")  # the laboratory's own
def test_renewed_credentials_on_sighup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer whose key the venue knows no longer says so and waits; a `.env` that cannot be read changes nothing;
    with the new ones it goes on, no bar is lost or doubled, and the process is the same."""
    with Changing(120, monkeypatch) as venue:
        bench = Bench(tmp_path, f"""
[[producer]]
name = "capital"
provider = "capitalcom"
streams = ["BTCUSD@1"]
options = {{ url = "{venue.url}", ws_url = "{venue.url.replace('http', 'ws')}/connect" }}
""")  # fmt: skip
        dotenv = tmp_path / ".env"
        said = (f"PYNE_CAPITALCOM_IDENTIFIER={IDENTIFIER}\nPYNE_CAPITALCOM_PASSWORD='{PASSWORD}'\n"
                f"PYNE_CAPITALCOM_API_KEY='{API_KEY}'\n")  # fmt: skip
        dotenv.write_text(said)

        def bars() -> list[Bar]:
            if not any((bench.run_dir / "journal").glob("capital/*")):
                return []
            return [m for m in bench.published("capital", "capitalcom:BTCUSD@1") if isinstance(m, Bar)]

        def more(count: int) -> None:
            have = len(bars())
            wait_for(lambda: len(bars()) >= have + count)

        with running(bench, **venue.env) as up:
            more(4)
            pid = bench.ps()["capital"]["status"]["pid"]
            logins = venue.venue.counters["logins"]
            os.kill(pid, signal.SIGHUP)  # the same ones again
            wait_for(lambda: venue.venue.counters["logins"] > logins)
            more(2)
            logins = venue.venue.counters["logins"]
            venue.change(api_key="renewed", password="renewed too")
            wait_for(lambda: f"then `kill -HUP {pid}`" in bench.log("capital"))
            dotenv.write_bytes(b"\xff")
            os.kill(pid, signal.SIGHUP)
            wait_for(lambda: "the old ones stay" in bench.log("capital"))
            dotenv.write_text(said.replace(f"'{API_KEY}'", "renewed").replace(f"'{PASSWORD}'", "renewed too"))
            os.kill(pid, signal.SIGHUP)
            more(6)
            assert venue.venue.counters["logins"] > logins
            assert bench.ps()["capital"]["status"]["pid"] == pid
            up.send_signal(signal.SIGINT)
            bench.end(up)
        truth, have = venue.truth(), bars()
    times = [bar.time_ms for bar in have]
    assert times == list(range(times[0], times[-1] + 1, 60_000))
    assert [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in have] == [truth[t] for t in times]


# --- never shown ------------------------------------------------------------------------------------------------------

SECRETS = {name: f"{CANARY}{name}" for name in ("identifier", "password", "capitalKey", "massive", "apiKey", "secret")}
PRODUCERS = """
[[producer]]
name = "capital"
provider = "capitalcom"
streams = ["BTCUSD@1"]
options = { identifier = { env = "MINE" }, password = { file = "secret" }, url = "CAPITAL_HTTP", ws_url = "CAPITAL_WS/connect" }

[[producer]]
name = "massive"
provider = "massive"
streams = ["X:BTCUSD@1"]
options = { rest_url = "MASSIVE_HTTP", ws_url = "MASSIVE_WS", requests_per_min = 0 }

[[producer]]
name = "bybit"
provider = "ccxt"
streams = ["BYBIT:BTC/USDT:USDT@1"]
options = { url = "BYBIT_HTTP", ws_url = "BYBIT_WS" }

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["*"]
options = { dir = "data" }
"""  # noqa: E501 - inline tables end with their line
TROUBLE = ("reset", "html", "badjson", "null", "rate", "maintenance", "nulls", "bounds")


def hide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """A credential in every place that there is; the files that may hold one."""
    monkeypatch.setenv("MINE", SECRETS["identifier"])
    monkeypatch.setenv("PYNE_MASSIVE_API_KEY", SECRETS["massive"])
    plugins = folder / "workdir" / "config" / "plugins"
    plugins.mkdir(parents=True)
    places = {
        folder / "secret": SECRETS["password"] + "\n",
        folder / ".env": f"PYNE_CAPITALCOM_API_KEY={SECRETS['capitalKey']}\n",
        plugins / "ccxt.toml": f'[bybit]\napiKey = "{SECRETS["apiKey"]}"\nsecret = "{SECRETS["secret"]}"\n',
    }
    for path, text in places.items():
        path.write_text(text)
    return set(places)


def leaks(folder: Path, hidden: set[Path]) -> list[str]:
    """The files that a credential has got into, as it is or in base64."""
    words = [word for value in SECRETS.values() for word in (value.encode(), b64encode(value.encode())[:16])]
    return [str(path) for path in folder.rglob("*") if path.is_file() and path not in hidden
            and any(word in path.read_bytes() for word in words)]  # fmt: skip


def asked(*words: str, folder: Path, **environment: str) -> str:
    """All that a command prints."""
    done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False,
                          timeout=200, env={**os.environ, **environment})  # fmt: skip
    return done.stdout + done.stderr


def test_no_credential_is_shown_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through failures of every kind, in no log, journal, recording, status, graph or answer; also if it is wrong, or
    the venue repeats it in what it says."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("PYNELIVE_CACHE", str(cache))
    hidden = hide(tmp_path, monkeypatch)
    monkeypatch.setenv(clock.VARIABLE, f"{EPOCH_MS},{time.time()!r},60")  # one time for all venues
    echoes = {
        "capitalcom": json.dumps({"errorCode": f"error of {SECRETS['capitalKey']}"}),
        "massive": json.dumps({"status": "ERROR", "error": f"unknown key {SECRETS['massive']}"}),
        "bybit": json.dumps({"retCode": 10003, "retMsg": f"bad key {SECRETS['apiKey']}"}),
    }
    options: dict[str, dict[str, Any]] = {
        "capitalcom": {"identifier": SECRETS["identifier"], "password": SECRETS["password"],
                       "api_key": SECRETS["capitalKey"]},
        "massive": {"keys": {SECRETS["massive"]: "account"}},
        "bybit": {},
    }
    pairs = {"capitalcom": "BTC/USD", "massive": "BTC/USD", "bybit": "BTC/USDT:USDT"}
    with ExitStack() as stack:
        venues = {name: stack.enter_context(lab(name, pair, epoch_ms=0, options=options[name],
                                                limits={"requests_per_min": 1000}))
                  for name, pair in pairs.items()}
        tables = PRODUCERS
        for word, name in (("CAPITAL", "capitalcom"), ("MASSIVE", "massive"), ("BYBIT", "bybit")):
            tables = tables.replace(f"{word}_HTTP", venues[name].http).replace(f"{word}_WS", venues[name].ws)
        bench = Bench(tmp_path, tables)
        with running(bench, PYNELIVE_DEBUG="1") as up:
            wait_for(lambda: bench.ps())
            streams = ("capitalcom:BTCUSD@1", "massive:X:BTCUSD@1", "ccxt:BYBIT:BTC/USDT:USDT@1")
            wait_for(lambda: len(list(tmp_path.glob("data/*.ohlcv"))) == len(streams))
            for venue in venues.values():
                for number, kind in enumerate(TROUBLE):
                    venue.arm("rest:*", kind, at=number)
                for number, kind in enumerate(("badjson", "abort", "close")):
                    venue.arm("ws:*", kind, at=2 + 3 * number)
            wait_for(lambda: all(len(venue.fired()) >= len(TROUBLE) for venue in venues.values()))
            for name, venue in venues.items():
                venue.arm("rest:*", "status", count=5, status=401, body=echoes[name])
            wait_for(lambda: all("***" in bench.log(name) for name in ("capital", "massive", "bybit")))
            said = "".join(asked(*words, folder=tmp_path) for words in (
                ("ps", "--json"), ("streams", "--json"), ("check", "--json"), ("check",), ("check", "--dot"),
                ("providers",), ("providers", "--json"), ("quarantine",), ("quarantine", "--json"),
                ("symbols", "capitalcom"), ("download", streams[2], "--from", "2025-01-06T13:00"), ("logs", "capital"),
            ))
            up.send_signal(signal.SIGINT)
            ended = bench.end(up)
        said += ended.output
        wrong = {"MINE": f"{CANARY}wrong", "PYNE_MASSIVE_API_KEY": f"{CANARY}wrong"}
        for words in (("run", "capital"), ("run", "massive"), ("symbols", "massive")):
            said += asked(*words, folder=tmp_path, **wrong)
    assert "are not accepted by Capital.com" in said
    assert CANARY not in said, [line for line in said.splitlines() if CANARY in line]
    assert leaks(tmp_path, hidden) == []
    assert {Path(path) for path in leaks(tmp_path, set())} == hidden  # so the search does find
