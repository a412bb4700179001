"""Actors find their classes by name, package or file, and what goes wrong is one sentence."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from pynelive.bus.errors import TopologyError
from pynelive.bus.messages import Bar
from pynelive.bus.names import Key
from pynelive.bus.plugins import configure, find, names
from pynelive.producers import template
from pynelive.producers.contract import Disconnected, Provider
from pynelive.producers.demo import Demo
from pynelive.producers.table import GROUP, PROVIDERS, find_provider

IMPORTS = "from pynelive.producers.contract import Provider\n"
DERIVED = "from pynelive.producers.demo import Demo\n"
KEY = Key("BTC/USDT", "1")

LAZY = """
import pathlib, sys
from pynelive.bus.plugins import names
from pynelive.producers import table

demo, replay = "pynelive.producers.demo", "pynelive.producers.replay"
assert "demo" in names(table.PROVIDERS, table.GROUP)
assert demo not in sys.modules
table.find_provider("demo", pathlib.Path())
assert demo in sys.modules
assert replay not in sys.modules
"""


def test_a_name_of_the_table_is_imported_only_when_asked_for() -> None:
    """Listing the providers imports none of them."""
    subprocess.run([sys.executable, "-c", LAZY], check=True)
    assert find_provider("demo", Path()) is Demo


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_name_of_the_table_is_a_provider_of_that_name(name: str) -> None:
    """The table and the classes agree, so `provider = "x"` makes streams that begin with `x:`."""
    assert find_provider(name, Path()).name == name


def test_an_installed_package_offers_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry-point group is looked at after the table."""
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nacme = acme_feed:Acme\n")
    (tmp_path / "acme_feed.py").write_text(DERIVED + "class Acme(Demo): name = 'acme'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_provider("acme", Path()).name == "acme"
    assert names(PROVIDERS, GROUP) == sorted([*PROVIDERS, "acme"])


@pytest.mark.parametrize(("name", "source", "said"), [
    ("demmo", "", "provider 'demmo' is unknown: did you mean 'demo'"),
    ("gone.py", "", "no file"),
    ("x.py", "import nothing_like_this", "cannot be imported: ModuleNotFoundError: *'nothing_like_this'"),
    ("x.py", "class (", "cannot be imported: SyntaxError"),
    ("x.py", "a = 1\nb = c", "NameError: name 'c' is not defined (*x.py, line 2)"),
    ("x.py", "a = 1", "must define one Provider but defines none"),
    ("x.py", IMPORTS + "class A(Provider): ...\nclass B(Provider): ...", "defines several (A, B)"),
    ("x.py:Providr", IMPORTS + "class Mine(Provider): ...", "has no class 'Providr'"),
    ("x.py:A", "class A: ...", "is no Provider"),
    ("x.py:A", "A = 1", "is no Provider"),
    ("x.py", IMPORTS + "class A(Provider): ...", "lacks connect, disconnect, get_symbol_info, *watch"),
    ("x.py:A", DERIVED + "class A(Demo): name = ''", "has no name"),
])
def test_what_cannot_be_found_is_one_sentence(name: str, source: str, said: str, tmp_path: Path) -> None:
    """Whoever wrote the name reads what is wrong with it, and no traceback."""
    (tmp_path / "x.py").write_text(source)
    with pytest.raises(TopologyError) as caught:
        find_provider(name, tmp_path)
    [sentence] = caught.value.problems
    assert all(part in sentence for part in said.split("*"))


def test_options_become_the_config_or_all_their_faults() -> None:
    """Unknown, missing and mistyped options are said at once, each with its key."""

    @dataclass
    class Config:
        path: str
        speed: float = 1.0
        tags: dict[str, list[int]] = field(default_factory=dict)
        often: Literal["daily", "hourly"] = "daily"
        names: list[str] | None = None

    assert configure(Config, {"path": "a", "speed": 60}) == Config("a", 60.0)
    with pytest.raises(TopologyError) as caught:
        configure(Config, {"sped": 2, "speed": "fast", "tags": {"a": ["b"]}, "often": "weekly", "names": 3})
    assert caught.value.problems == [
        "option 'names' must be list, not int",
        "option 'often' must be 'daily' or 'hourly', not 'weekly'",
        "option 'path' is missing",
        "option 'sped' is unknown: did you mean 'speed'?",
        "option 'speed' must be float, not string",
        "option 'tags' must be int, not string, in item 1 of it",
    ]


def test_any_kind_of_actor_is_found_so(tmp_path: Path) -> None:
    """Sinks and runners use the same function with their own table and contract."""
    table = {"abstract": "pynelive.producers.contract:Provider", "demo": "pynelive.producers.demo:Demo"}
    assert find("demo", table, "pynelive.sinks", tmp_path, Demo) is Demo
    with pytest.raises(TopologyError, match="sink 'abstract' is no Demo"):
        find("abstract", table, "pynelive.sinks", tmp_path, Demo)


async def test_the_template_works_where_it_is_copied_to(tmp_path: Path) -> None:
    """A copy of the template, with another name, polls a source, tells forming from closed, and backfills."""
    text = inspect.getsource(template).replace('"mine"', '"acme"').replace("MyProvider", "Acme")
    (tmp_path / "acme.py").write_text(text)
    now_ms = time.time_ns() // 1_000_000
    times = [now_ms - 150_000, now_ms - 90_000, now_ms - 30_000]
    (tmp_path / "candles.json").write_text(json.dumps([[at, 1, 2, 0.5, 1.5, 10] for at in times]))

    found = find_provider("acme.py", tmp_path)
    options = {"url": (tmp_path / "candles.json").as_uri(), "poll_s": 0.01}
    provider: Provider = found([KEY], configure(found.Config, options), tmp_path)
    assert (found.name, (await provider.get_symbol_info(KEY)).ticker) == ("acme", KEY.symbol)
    await provider.connect()
    assert [bar.time_ms for bar in await provider.backfill_closed_bars(KEY, times[0])] == [times[1]]
    assert [bar.time_ms for bar in await provider.download_ohlcv(KEY, times[0], times[1])] == [times[0]]
    assert [(bar.time_ms, bar.closed) for bar in await provider.latest(KEY, times[0])] == [
        (times[1], True), (times[2], False)]
    updates = provider.watch()
    for _ in range(2):
        key, bar, _ = await anext(updates)
        assert (key, isinstance(bar, Bar) and (bar.time_ms, bar.closed)) == (KEY, (times[2], False))
    (tmp_path / "candles.json").unlink()
    with pytest.raises(Disconnected, match="gives no candles"):
        await anext(updates)
    assert not provider.is_connected


def test_the_page_shows_the_template() -> None:
    """What docs/write-a-provider.md shows is the file that is tested here."""
    page = Path(template.__file__).parents[1] / "docs" / "write-a-provider.md"
    if not page.exists():
        pytest.skip("the documentation is not installed")
    assert inspect.getsource(template) in page.read_text()
