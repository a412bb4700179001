"""Take the pictures that docs show, of a demo with a fixed seed: `python -m pictures FOLDER` (or `make pictures`)."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from browser import CHROMIUM, FLAGS, PATIENCE_MS, address
from playwright.sync_api import Browser, sync_playwright
from topologies import Bench, running, wait_for

LARGEST = 300_000
BARS = 600
PATIENCE_S = 900.0
TABLES = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "BTC/USDT@5", "ETH/USDT@1", "AAPL@1"]
options = { seed = 7, speed = 300, forming = 8 }

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]

[[runner]]
name = "ema-cross"
script = "EXAMPLES/ema_cross.py"
stream = "demo:BTC/USDT@1"

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:ETH/USDT@1"

[[runner]]
name = "showcase"
script = "EXAMPLES/showcase.py"
stream = "demo:AAPL@1"

[[sink]]
name = "web"
type = "web"
streams = ["demo:*", "run:*"]
options = { port = 0 }
"""
PICTURES: dict[str, tuple[str, str, int, int]] = {
    "chart": ("/?stream=demo:BTC/USDT@1&run=ema-cross", "dark", 1440, 820),
    "panes": ("/?stream=demo:ETH/USDT@1&run=rsi", "light", 1440, 820),
    "showcase": ("/?stream=demo:AAPL@1&run=showcase", "light", 1440, 820),
    "strategy": ("/strategy?run=ema-cross", "light", 1440, 900),
    "bus": ("/bus", "dark", 1440, 900),
    "phone": ("/?stream=demo:BTC/USDT@1&run=ema-cross", "dark", 390, 780),
}
"""By name: what is shown, in which colours, how wide and how high."""
SEEN = {
    "/": "window.dashboard?.engine.drawn > 0",
    "/strategy": "document.querySelector('canvas') && document.querySelector('tbody tr')",
    "/bus": "document.querySelector('tbody tr')",
}
SETTLED_MS = 4000
"""After it is seen: plots, trades and what else is asked for."""


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        bench = Bench(Path(place), TABLES)
        bench.path.write_text(bench.path.read_text().replace('name = "bench"', 'name = "demo"'))
        with running(bench):
            server = address(bench)
            wait_for(lambda: _is_told(server), PATIENCE_S)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name in PICTURES:
                take(browser, server, name, folder / f"{name}.png")
            browser.close()


def _is_told(server: str) -> bool:
    """Whether there is something to see: bars, and trades of the strategy."""
    bars = {row["stream"]: row.get("bars", 0) for row in _asked(server, "streams")["streams"]}
    return bars.get("demo:BTC/USDT@1", 0) >= BARS and len(_asked(server, "trades?run=ema-cross")["trades"]) > 10


def _asked(server: str, what: str) -> Any:
    with urllib.request.urlopen(f"{server}/api/{what}") as answer:
        return json.load(answer)


def take(browser: Browser, server: str, name: str, path: Path) -> None:
    """One picture, when the page has had time for all that it asks for."""
    there, colours, width, height = PICTURES[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
    page.goto(server + there)
    wait_for(lambda: page.evaluate(f"Boolean({SEEN[there.partition('?')[0]]})"))
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=path, timeout=PATIENCE_MS)
    page.close()
    print(f"{path}  {path.stat().st_size:,} bytes")
    assert path.stat().st_size < LARGEST, f"{path} is larger than {LARGEST} bytes"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
