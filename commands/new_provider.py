"""`pynelive new-provider`: a provider that works and a test that tries it, to begin with."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ..bus.errors import Fault
from ..producers import template
from ..producers.table import PROVIDERS

_TEST = '''"""Does NAME keep the contract of a provider? It is tried with a service of its own, on this machine."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from pynelive.bus.names import Key
from pynelive.bus.plugins import configure
from pynelive.producers.conformance import check
from pynelive.producers.contract import ConfigError, Disconnected
from pynelive.producers.table import find_provider

FOUND = find_provider("FILE", Path(__file__).parent)
KEYS = [Key("BTC/USDT", "1S"), Key("ETH/USDT", "1S")]


class Service(BaseHTTPRequestHandler):
    """Answers as your source does: make it say what its documentation shows."""

    def do_GET(self):
        since_ms = int(parse_qs(urlparse(self.path).query)["since_ms"][0])
        first, last = since_ms // 1000 + 1, time.time_ns() // 1_000_000_000
        rows = [[at * 1000, at, at + 2, at - 2, at + 1, 5] for at in range(max(first, last - 500), last + 1)]
        body = json.dumps(rows).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quietly."""


@pytest.fixture
def url():
    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{service.server_port}/?symbol={{symbol}}&timeframe={{timeframe}}&since_ms={{since_ms}}"
    service.shutdown()
    thread.join()
    service.server_close()


def provider(**options):
    return FOUND(KEYS, configure(FOUND.Config, options))


def test_it_keeps_the_contract(url):
    """Bars, order, history, cancellation: every finding is one sentence that says what to mend."""
    assert not asyncio.run(check(lambda: provider(url=url, poll_s=0.1), faulty=lambda: provider(url="", poll_s=-1)))


def test_wrong_options_are_all_named():
    """Nobody has to start it twice to find two mistakes."""
    with pytest.raises(ConfigError, match="'url'.*'poll_s'"):
        provider(poll_s=0.0)


def test_without_its_source_it_is_disconnected():
    """It says so and leaves the rest to the feed."""
    gone = provider(url="http://127.0.0.1:1/?since_ms={since_ms}")
    with pytest.raises(Disconnected):
        asyncio.run(gone.connect())
'''


@click.command("new-provider")
@click.argument("name")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path())
def new_provider(name: str, folder: Path) -> None:
    """Write a provider called NAME that works, and its test, into DIR, by default here."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise click.UsageError(f"'{name}' is no name for streams: use small letters, digits and '-', such as acme")
    if name in (*PROVIDERS, "run", "pyne"):
        raise click.UsageError(f"'{name}' is taken: its streams could not be told from those of the built-in one")
    stem = f"{name.replace('-', '_')}_provider"
    files = {folder / f"{stem}.py": _provider(name), folder / f"test_{stem}.py": _test(name, stem)}
    if taken := [path for path in files if path.exists()]:
        raise Fault(f"{taken[0]} exists and is left as it is: take another name or another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
            click.echo(f"wrote {path}")
    except OSError as error:
        raise Fault(f"{error.filename} cannot be written: {error.strerror}") from None
    click.echo(_next(name, folder, stem))


def _provider(name: str) -> str:
    source = Path(template.__file__).read_text(encoding="utf-8")
    title = "".join(part.capitalize() for part in name.split("-"))
    changes = {
        "MyProvider": f"{title}Provider", '"mine"': f'"{name}"', '"MINE"': f'"{name.upper()}"',
        "A provider to copy: it asks": f"The provider {name}: it asks",
    }  # fmt: skip
    for text, other in changes.items():
        source = source.replace(text, other)
    return source


def _test(name: str, stem: str) -> str:
    return _TEST.replace("NAME", name).replace("FILE", f"{stem}.py")


def _next(name: str, folder: Path, stem: str) -> str:
    return f"""
Say in _fetch how your source is asked, then try it:

  pip install pytest
  pytest {folder / f'test_{stem}.py'}

and use it, in a topology.toml beside it:

  [[producer]]
  name = "{name}"
  provider = "{stem}.py"
  streams = ["BTC/USDT@1"]
  options = {{ url = "https://…/candles?symbol={{symbol}}&timeframe={{timeframe}}&since={{since_ms}}" }}

Its streams are then {name}:BTC/USDT@1 and so on; `pynelive check` says what is missing."""
