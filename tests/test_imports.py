"""The house's walls: who may import whom, and which file is the only one to touch the outside."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pynelive
import pytest
from topologies import Bench

ROOT = Path(pynelive.__file__).parent
MAY_IMPORT = {
    "bus": {"bus"},
    "producers": {"bus", "producers"},
    "sinks": {"bus", "sinks"},
    "runners": {"bus", "runners"},
    "plugin": {"bus", "plugin"},
    "commands": {"bus", "producers", "sinks", "runners", "commands"},
}
ONLY = {
    "backtesting": ("runners/backtesting_py/library.py",),
    "pandas": ("runners/backtesting_py/",),
    "zmq": ("bus/sockets.py",),
    "tomllib": ("bus/topology.py", "bus/syminfo.py", "producers/keys.py"),
    "pynecore": ("bus/ohlcv.py", "bus/syminfo.py", "runners/", "producers/pyne/", "plugin/"),
}
FILES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports anywhere in it, by its full name."""
    package = ".".join(("pynelive", *path.relative_to(ROOT).parent.parts))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    """Producers, sinks and runners import the bus and never each other; only a command may know them all."""
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    folders = {module.split(".")[1] for module in imported(path) if module.startswith("pynelive.")}
    assert folders & MAY_IMPORT.keys() <= allowed


@pytest.mark.parametrize("library", ONLY)
def test_one_edge_one_file(library: str) -> None:
    """What is outside of Python is touched in one place, so that another place replaces it."""
    users = {name(path) for path in FILES if library in {module.split(".")[0] for module in imported(path)}}
    assert {user for user in users if not user.startswith(ONLY[library])} == set()


def test_only_the_dashboard_serves() -> None:
    """Nothing else lets anybody in over HTTP."""
    servers = {"aiohttp.web", "http.server", "prometheus_client"}
    users = {name(path) for path in FILES for module in imported(path) if module.startswith(tuple(servers))}
    assert users
    assert {user for user in users if not user.startswith("sinks/web/")} == set()


def test_zmq_can_be_imported_behind_pynecore() -> None:
    """PyneCore's import hook breaks a pyzmq that comes after it, whoever has imported PyneCore."""
    theirs = ("plugin/", "runners/context_child.py", "runners/loop.py")  # behind others
    files = [path for path in FILES if not name(path).startswith(theirs)]
    edges = [path for path in files if "pynecore" in {module.split(".")[0] for module in imported(path)}]
    modules = [".".join(("pynelive", *path.relative_to(ROOT).with_suffix("").parts)) for path in edges]
    for first, then in (("pynecore", "pynelive.bus.sockets"), *((module, "zmq") for module in modules)):
        subprocess.run([sys.executable, "-c", f"import {first}, {then}"], check=True)


BLOCKED = """
import sys
from importlib import import_module
from pkgutil import walk_packages
sys.modules["backtesting"] = None
import pynelive
names = [module.name for module in walk_packages(pynelive.__path__, "pynelive.")]
for name in names:
    if name.startswith(FOLDERS) and "backtesting_py" not in name:
        import_module(name)
"""
WITH_BOTH = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { speed = 0, bars = 200 }

[[runner]]
name = "pine"
script = "EXAMPLES/rsi.py"
stream = "demo:BTC/USDT@1"

[[runner]]
name = "other"
type = "backtesting"
script = "EXAMPLES/backtesting/sma_cross.py"
stream = "demo:BTC/USDT@1"
"""


@pytest.mark.timeout(300)
def test_without_backtesting_all_else_runs(tmp_path: Path) -> None:
    """Nothing outside of its own folder needs the library; who asks for it is told how to get it."""
    folders = tuple(f"pynelive.{folder}" for folder in MAY_IMPORT)
    subprocess.run([sys.executable, "-c", BLOCKED.replace("FOLDERS", repr(folders))], check=True)
    (tmp_path / "backtesting.py").write_text("raise ModuleNotFoundError('it is blocked', name='backtesting')\n")
    bench = Bench(tmp_path / "bench", WITH_BOTH)
    ended = bench.up(PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    assert ended.code == 1, ended.output
    assert re.search(r"pine +done +700 bars", ended.output), ended.output
    assert re.search(r"other .*pip install 'pynelive\[backtesting\]'", ended.output), ended.output


def test_each_file_with_the_library_names_its_licence() -> None:
    """What is under another licence than the rest says so, file by file."""
    files = [path for path in FILES if "backtesting_py" in path.parts]
    lacking = [path.name for path in files if "SPDX-License-Identifier: AGPL-3.0-or-later" not in path.read_text()]
    assert files
    assert lacking == []
    assert "AGPL-3.0-or-later" in (ROOT / "runners" / "backtesting_py" / "LICENSE").read_text()


def test_the_walls_are_watched() -> None:
    """The walk really finds files and imports: an empty walk would pass everything."""
    assert ROOT / "bus" / "topology.py" in FILES
    assert "tomllib" in set(imported(ROOT / "bus" / "topology.py"))
    assert "pynelive.bus.errors.TopologyError" in set(imported(ROOT / "bus" / "topology.py"))
