"""The dashboard in a real browser: one Chromium a worker, and pages that fail their test when one has an error.

Tests that use these fixtures are coroutines with ``pytestmark = pytest.mark.asyncio(loop_scope="session")``, for the
browser lives in that loop.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from pynelive.sinks import web
from topologies import Bench, running, wait_for

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
CHART = Path(web.__file__).with_name("bundle") / "lightweight-charts.js"
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]  # fmt: skip
PATIENCE_MS = 120_000
"""How long anything in a page may take on a machine that is busy with something else."""

_INK = """([where, rgb, near]) => {
  let found = 0;
  for (const canvas of document.querySelectorAll(`${where} canvas`)) {
    if (!canvas.width || !canvas.height) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 200 && rgb.every((value, of) => Math.abs(data[i + of] - value) <= near)) found++;
    }
  }
  return found;
}"""


class Visits:
    """Opens pages, and knows at the end what went wrong in them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._forgiven: list[str] = []
        self._faults: list[str] = []

    async def __call__(self, url: str, width: int = 1280, height: int = 720, **context: Any) -> Page:
        """A page of a browser of its own that has loaded `url`; `context` is as in Playwright's new_context."""
        ours = await self._browser.new_context(viewport={"width": width, "height": height}, **context)
        ours.set_default_timeout(PATIENCE_MS)
        page = await ours.new_page()
        page.on("pageerror", lambda error: self._faults.append(f"page error: {error.stack or error}"))
        page.on("console", lambda said: self._faults.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("request", lambda request: self._look(request.url, url))
        await page.goto(url)
        return page

    def forgive(self, pattern: str) -> None:
        """Such faults are meant, as those of a server that the test has killed."""
        self._forgiven.append(pattern)

    def _look(self, asked: str, server: str) -> None:
        there = urlsplit(asked)
        if there.scheme not in ("data", "blob") and there.netloc != urlsplit(server).netloc:
            self._faults.append(f"a request beyond the server: {asked}")

    async def end(self) -> None:
        """Close all pages; fail when one had a fault."""
        for context in self._browser.contexts:
            await context.close()
        faults = [fault for fault in self._faults if not any(re.search(known, fault) for known in self._forgiven)]
        assert not faults, "\n".join(faults)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The worker's browser."""
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no Chromium on PATH: on Debian, apt-get install chromium")
    if not CHART.exists():
        pytest.skip("this pynelive was built without its chart library: npm's registry was out of reach")
    async with api.async_playwright() as playwright:
        # Root, as in a container, may not have Chromium's own sandbox.
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=os.geteuid() != 0, timeout=PATIENCE_MS
        )
        yield browser
        await browser.close()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[[str], Bench]]:
    """``bench = up(tables)``: a topology that is up until the pages of the test have been closed."""
    with ExitStack() as stack:

        def start(tables: str) -> Bench:
            bench = Bench(tmp_path, tables)
            stack.enter_context(running(bench))
            return bench

        yield start


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser, up: object) -> AsyncIterator[Visits]:
    """``page = await visit(url)``; the test fails when a page had an error, or asked anyone but the server."""
    visits = Visits(chromium)
    yield visits
    await visits.end()


def address(bench: Bench, sink: str = "web") -> str:
    """Where the dashboard of a topology that is up can be visited."""
    return str(wait_for(lambda: ((bench.ps().get(sink) or {}).get("status") or {}).get("address")))


async def until(page: Page, expression: str) -> Any:
    """What a JavaScript expression is in the page, as soon as that is true.

    Playwright's own wait_for_function has the page call eval, which the server's headers forbid.
    """
    wait = "await new Promise((next) => setTimeout(next, 20))"
    async with asyncio.timeout(PATIENCE_MS / 1000):
        return await page.evaluate(f"async () => {{ let it; while (!(it = ({expression}))) {wait}; return it; }}")


async def ink(page: Page, colour: str, where: str = "body", near: int = 6) -> int:
    """How many pixels of `colour` (``#rrggbb``) the canvases in an element have; each channel may be `near` off."""
    rgb = list(bytes.fromhex(colour.removeprefix("#")))
    found = await page.evaluate(_INK, [where, rgb, near])
    return int(found)
