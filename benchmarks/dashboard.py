"""P12: the dashboard: how soon a chart is there, how smooth it is, and what its server takes."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import psutil
from dashboard_ends import STREAM, follow, serve
from figures import Figures, Row, compare, rounds, shown
from harness import call, folder, server, together, until
from pynelive.sinks import web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TITLE = "Dashboard"
ABOUT = """
The server with 500,000 bars of a stream and 20 updates a second of it, a bar closing each second; headless Chromium at
1280 × 720 with software rendering, on the same machine. *Ready* is from navigation to the frame after the one in which
the candles were drawn. *The usual way* is a page on the same server with the same library, which gets the same columns,
sets all bars at once and updates its one series with each message; ours has a window of 5,000 bars, gets older ones as
one scrolls to them, and has the forming bar in a series of its own. *An hour* is one of a 1-minute chart with 20
updates a second, sent in a minute.
"""
BARS = 500_000
RATE = 20
SECONDS = 5.0
CLIENTS = 50
READY_MS = 400
FRAMES = 55
_FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_PAGES = {
    "ours": (f"/?stream={STREAM}", "window.dashboard?.engine.drawn > 0"),
    "usual": (f"/naive?{STREAM}", "window.painted"),
}
_LOOK = """
const frame = () => new Promise(requestAnimationFrame);
const pause = (ms) => new Promise((over) => setTimeout(over, ms));
(async () => {
  do await frame(); while (!(READY));
  window.readyMs = await frame();
  await pause(1000); // what loading leaves behind
  const begun = await frame();
  let count = 0, passed;
  do { passed = (await frame()) - begun; count++; } while (passed < LENGTH);
  window.framesPerSecond = (count / passed) * 1000;
})();
"""
"""Runs in the page from its begin: one that is busy for long answers to nobody meanwhile."""


class Seen(NamedTuple):
    """What a page came to: ready after ms, frames a second, ms of processor time a second, MB of its heap."""

    ready_ms: float
    frames: float
    busy_ms: float
    heap_mb: float


# --- what is measured -------------------------------------------------------------------------------------------------


@contextmanager
def serving(bars: int, rate: float = RATE, each: int = RATE) -> Iterator[tuple[int, psutil.Process]]:
    """A dashboard of its own process, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with folder() as at, server(*call(serve, at, port, bars, rate, each)) as process:
        until(lambda: _bars(port) >= bars)
        yield port, psutil.Process(process.pid)


def _bars(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/streams") as answer:
            return sum(stream["bars"] for stream in json.load(answer)["streams"])
    except OSError:
        return 0


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def page(chromium: Browser, port: int, which: str) -> Iterator[Page]:
    """A page in a browser of its own, from when it is ready."""
    path, ready = _PAGES[which]
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    context.add_init_script(_LOOK.replace("READY", ready).replace("LENGTH", str(SECONDS * 1000)))
    opened = context.new_page()
    opened.goto(f"http://127.0.0.1:{port}{path}")
    until(lambda: opened.evaluate("window.readyMs"))
    yield opened
    context.close()


def look(chromium: Browser, port: int, which: str) -> Seen:
    """One visit."""
    with page(chromium, port, which) as opened:
        opened.wait_for_timeout(1000)
        before, begun = _renderers(), time.monotonic()
        opened.wait_for_timeout(SECONDS * 1000)
        busy = (_renderers() - before) / (time.monotonic() - begun)
        frames = until(lambda: opened.evaluate("window.framesPerSecond"))
        return Seen(opened.evaluate("window.readyMs"), frames, busy * 1000, heap_mb(opened))


def _renderers() -> float:
    """Processor time of what draws the pages."""
    found = [child for child in psutil.Process().children(recursive=True) if "--type=renderer" in child.cmdline()]
    return sum(sum(child.cpu_times()[:2]) for child in found)


def heap_mb(opened: Page) -> float:
    """What the page's own objects take, without what nobody refers to."""
    session = opened.context.new_cdp_session(opened)
    session.send("HeapProfiler.collectGarbage")
    found: float = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    session.detach()
    return found


def processor(clients: int, port: int, process: psutil.Process) -> tuple[float, float]:
    """Percent of a core that the server takes with so many clients, and bytes an update.

    :raises SystemExit: a client has missed updates
    """
    ((percent, fewest, size),) = together(call(follow, port, process.pid, clients, SECONDS))
    if fewest < SECONDS * RATE / 2:
        raise SystemExit(f"a client got {fewest} updates in {SECONDS:g} s, of {RATE} a second")
    return percent, size


def sizes(port: int) -> tuple[float, float]:
    """MB of 100,000 bars: in columns, and as JSON."""
    ask = f"http://127.0.0.1:{port}/api/bars?stream={STREAM}&limit=20000"
    found = []
    for form in ("", "&format=json"):
        with urllib.request.urlopen(ask + form) as answer:
            found.append(len(answer.read()) * 5 / 1e6)
    return found[0], found[1]


def hour(chromium: Browser) -> dict[str, tuple[float, float]]:
    """MB after a tenth of an hour and after all of it: of the server, and of the page."""
    kept, a_bar = 10_000, 60 * RATE
    found = []
    with serving(kept, RATE * 60, a_bar) as (port, process), page(chromium, port, "ours") as opened:
        for minute in (6, 60):
            until(partial(opened.evaluate, f"dashboard.feed.window.n >= {kept + minute}"))
            found.append((process.memory_full_info().uss / 2**20, heap_mb(opened)))
    return {"server": (found[0][0], found[1][0]), "page": (found[0][1], found[1][1])}


# --- the rows ---------------------------------------------------------------------------------------------------------


def measure(count: int) -> list[Row]:
    """P12."""
    if absent := _absent():
        return [Row("P12", "ready and frames a second", f"skipped: {absent}", goal=1.0)]
    with browser() as chromium:
        with serving(BARS) as (port, process):
            seen = rounds(count, {which: partial(look, chromium, port, which) for which in _PAGES})
            alone = {clients: partial(processor, clients, port, process) for clients in (1, CLIENTS)}
            taken = rounds(count, {str(clients): case for clients, case in alone.items()})
            columns, rows = sizes(port)
        grown = hour(chromium)
    return [*_of_pages(seen), *_of_server(taken, columns, rows), *_of_hour(grown)]


def _absent() -> str:
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    if not shutil.which("chromium"):
        return "there is no chromium on PATH"
    return "" if Path(web.__file__).with_name("bundle").exists() else "built without the chart library"


def _of_pages(seen: dict[str, list[Seen]]) -> list[Row]:
    def of(figure: Callable[[Seen], float], asked: float) -> Figures:
        return {**{name: [figure(each) for each in found] for name, found in seen.items()},
                "asked": [asked] * len(seen["ours"])}  # fmt: skip

    ready, frames = of(lambda s: s.ready_ms, READY_MS), of(lambda s: s.frames, FRAMES)
    busy, heap = of(lambda s: s.busy_ms, 0), of(lambda s: s.heap_mb, 0)
    return [
        compare("P12-ready", "page ready ÷ what was asked for", ready, "ours", "asked", "ms", 1.0, at_most=True),
        compare("P12-ready-usual", "page ready ÷ the usual way", ready, "ours", "usual", "ms"),
        compare("P12-frames", "frames a second ÷ what was asked for", frames, "ours", "asked", "fps", 1.0),
        compare("P12-frames-usual", "frames a second ÷ the usual way", frames, "ours", "usual", "fps"),
        compare("P12-busy", "the page's processor time ÷ the usual way", busy, "ours", "usual", "ms/s"),
        compare("P12-heap", "the page's heap ÷ the usual way", heap, "ours", "usual", "MB"),
    ]


def _of_server(taken: dict[str, list[tuple[float, float]]], columns: float, rows: float) -> list[Row]:
    figures = {name: [percent for percent, _ in found] for name, found in taken.items()}
    an_update = median(size for found in taken.values() for _, size in found)
    what = f"the server's processor time, {CLIENTS} clients ÷ one"
    return [
        compare("P12-clients", what, figures, str(CLIENTS), "1", "% of a core"),
        Row("P12-update", "an update to a client", f"{an_update:.0f} B"),
        Row("P12-history", "100,000 bars in columns ÷ as JSON", f"{shown(columns)} MB", f"{shown(rows)} MB",
            round(columns / rows, 3)),
    ]  # fmt: skip


def _of_hour(grown: dict[str, tuple[float, float]]) -> list[Row]:
    return [
        Row(f"P12-hour-{name}", f"memory of the {name} after an hour ÷ after six minutes", f"{after:.1f} MB",
            f"{before:.1f} MB", round(after / before, 3), 1.1, at_most=True)
        for name, (before, after) in grown.items()
    ]  # fmt: skip
