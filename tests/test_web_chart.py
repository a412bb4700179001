"""The chart page in a browser: what is seen of a stream is what its publisher said, and stays where one looks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import PATIENCE_MS, Visits, address, ink
from dashboards import dashboard
from msgspec import structs
from pynelive.bus.messages import Bar, End, Instrument, State
from pynelive.bus.publisher import Publisher
from support import STREAM, publishing, run_dir
from topologies import Bench, candles, wait_for

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

UP, WARN, BAD = "#16a58d", "#f0b04a", "#ff7482"
"""Of the dark theme, as in page/style.css."""
OTHER = "demo:AAPL@5"
FIRST = 30_000_000
"""The number of a minute in 2027: on that day New York's clocks are 5 hours behind."""

WINDOW = "dashboard.feed.window"
SEEN = f"""(() => {{
  const {{ from, to }} = dashboard.engine.range();
  const time = (i) => {WINDOW}.at(Math.min(Math.max(Math.round(i), 0), {WINDOW}.length - 1)).time;
  return [time(from), time(to), Math.round(to - from)];
}})()"""
"""The first and the last bar that are seen, and how many are."""


async def until(page: Page, condition: str) -> Any:
    """What the expression gives, as soon as that is true: the page forbids what Playwright's own waiting needs."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not (found := await page.evaluate(f"window.dashboard ? ({condition}) : 0")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def text(values: list[int]) -> str:
    """As JavaScript writes an array."""
    return ",".join(map(str, values))


async def says(page: Page, part: str, *words: str) -> None:
    """Wait until a part of the page says all of this."""
    for word in words:
        await page.get_by_test_id(part).filter(has_text=word).first.wait_for()


async def inked(page: Page, colour: str) -> None:
    """Wait until the chart has so much of a colour."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while await ink(page, colour, "#chart") < 200:  # noqa: ASYNC110 - the canvas tells nobody
            await asyncio.sleep(0.02)


def bar(number: int, **changes: Any) -> Bar:
    """A minute's bar of a price that goes up and down."""
    level = 100 + number % 40 if number // 40 % 2 else 140 - number % 40
    made = Bar((FIRST + number) * 60_000, level, level + 3.0, level - 3.0, level + 2.0 - number % 4, 5.0 + number % 7)
    return structs.replace(made, **changes)


def say(publisher: Publisher, numbers: range, **changes: Any) -> list[Bar]:
    """Publish closed bars."""
    bars = [bar(number, **changes) for number in numbers]
    publisher.publish(STREAM, *bars)
    return bars


async def test_a_chart_is_what_its_stream_says(visit: Visits, tmp_path: Path) -> None:
    """Bars that form, close, are corrected and were not the venue's; paged, and never moved from where one looks."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, dashboard(run) as url:
        bars = {said.time_ms: said for said in say(publisher, range(8_000))}
        page = await visit(f"{url}/?stream={STREAM}", color_scheme="dark")
        await until(page, f"{WINDOW}.length >= 5000 && {WINDOW}.last.time === {max(bars)}")
        await inked(page, UP)

        publisher.forming(STREAM, bar(8_000, closed=False, close=107.125))
        await says(page, "legend", "C107.13")
        await until(page, "dashboard.engine.forming.data()[0].close === 107.125")

        await page.keyboard.press("Home")
        await until(page, f"{WINDOW}.closed.length === 8000")
        assert await until(page, f"{WINDOW}.closed[0].time") == min(bars)
        seen = await page.evaluate(SEEN)
        for key in ("ArrowRight", "-", "+", "ArrowUp"):
            await page.keyboard.press(key)
            seen = await until(page, f"((now) => String(now) !== '{text(seen)}' && now)({SEEN})")
        await page.get_by_test_id("go-live").wait_for()

        wrong = structs.replace(bars[max(bars) - 60_000 * 5], close=99.5, low=50.0, revision=1)
        publisher.publish(STREAM, wrong)
        bars[wrong.time_ms] = wrong
        bars |= {said.time_ms: said for said in say(publisher, range(8_000, 8_030), origin="fallback")}
        await until(page, f"{WINDOW}.closed.length === {len(bars)}")
        await until(page, f"dashboard.engine.closed.data().length === {len(bars)}")
        assert await page.evaluate(SEEN) == seen
        assert await page.evaluate(f"{WINDOW}.closed.map((bar) => [bar.time, bar.close])") == [
            [said.time_ms, said.close] for said in bars.values()
        ]

        await page.keyboard.press("l")
        await page.get_by_test_id("go-live").wait_for(state="hidden")
        await says(page, "origin", "fallback")
        await inked(page, BAD)
        await page.context.close()


async def test_how_a_stream_is_can_be_seen(visit: Visits, tmp_path: Path) -> None:
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, dashboard(run) as url:
        page = await visit(f"{url}/?stream={STREAM}")
        await says(page, "empty", "No bar of")
        say(publisher, range(50))
        await says(page, "state", "live")
        await page.get_by_test_id("banner").wait_for(state="hidden")
        for state, badge in (("stale", "stale"), ("down", "down"), ("healing", "healing")):
            publisher.publish(STREAM, State(state, 0, f"it is {state} for a reason"))  # type: ignore[arg-type]
            await says(page, "state", badge)
            await says(page, "banner", f"it is {state} for a reason")
        publisher.publish(STREAM, State("closed", 0))
        await says(page, "state", "market closed")
        await page.get_by_test_id("banner").wait_for(state="hidden")
        publisher.publish(STREAM, State("live", 0))
        await says(page, "state", "live")
        publisher.publish(STREAM, End("all was played"))
        await says(page, "state", "ended")
        await page.context.close()


async def test_a_chart_of_what_is_not_there_says_so_and_recovers(visit: Visits, tmp_path: Path) -> None:
    run = run_dir(tmp_path)
    async with dashboard(run) as url:
        page = await visit(url)
        await says(page, "empty", "No stream yet")
        linked = await visit(f"{url}/?stream={OTHER}")
        await says(linked, "empty", OTHER)
        async with publishing(run) as publisher:
            say(publisher, range(20))
            await until(page, f"dashboard.stream === '{STREAM}' && {WINDOW}.closed.length === 20")
            await page.get_by_test_id("empty").wait_for(state="hidden")
            await says(linked, "empty", f"There is no stream “{OTHER}”")
            publisher.publish(OTHER, Instrument("AAPL", "5"), bar(0))
            await until(linked, f"{WINDOW}.closed.length === 1")
            await linked.get_by_test_id("empty").wait_for(state="hidden")
        await page.context.close()
        await linked.context.close()


async def test_all_is_done_by_keys_links_and_in_a_narrow_window(visit: Visits, tmp_path: Path) -> None:
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, dashboard(run) as url:
        bars = say(publisher, range(6_000))
        publisher.publish(OTHER, Instrument("AAPL", "5", timezone="America/New_York"), bar(0))
        there = bars[40].time_ms
        link = f"{url}/?stream={STREAM}&at={there}&scale=log"
        page = await visit(link, width=360, height=640, timezone_id="Asia/Kolkata")
        await until(page, f"{WINDOW}.length > 0 && dashboard.engine.spot.time === {there}")
        await until(page, f"(([first, last]) => first <= {there} && {there} <= last)({SEEN})")
        await until(page, f"dashboard.streams.get('{OTHER}')")
        assert await page.get_by_test_id("log").get_attribute("aria-pressed") == "true"
        assert await page.evaluate("document.documentElement.scrollWidth") == 360

        await page.keyboard.press("?")
        await page.get_by_test_id("help-panel").wait_for()
        await page.keyboard.press("Escape")
        await page.keyboard.press("w")
        await page.get_by_test_id("watch").first.wait_for()
        await page.keyboard.press("w")
        await page.get_by_test_id("side").wait_for(state="hidden")
        await page.keyboard.press("g")
        await until(page, "dashboard.engine.api.priceScale('right').options().mode === 0")
        await page.get_by_test_id("zone").click()
        await page.get_by_test_id("zone-local").click()
        await says(page, "zone", "UTC+5:30")

        await page.keyboard.press("/")
        await page.keyboard.type("aapl")
        await page.keyboard.press("Enter")
        await until(page, f"dashboard.stream === '{OTHER}' && {WINDOW}.closed.length === 1")
        assert page.url == f"{url}/?stream={OTHER}&tz=local"
        await page.keyboard.press("]")
        await until(page, f"dashboard.stream === '{STREAM}' && {WINDOW}.live && {WINDOW}.closed.length >= 5000")
        await page.reload()
        await until(page, f"dashboard.stream === '{STREAM}' && {WINDOW}.closed.length >= 5000")
        await says(page, "zone", "UTC+5:30")
        await page.context.close()


TABLES = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { seed = 7, speed = 1200 }

[[sink]]
name = "web"
type = "web"
streams = ["demo:*"]
options = { port = 0 }

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = { dir = "data" }
"""


async def test_a_killed_server_leaves_no_gap(visit: Visits, up: Callable[[str], Bench]) -> None:
    """The page says that it is cut off, comes back by itself, and holds then what the recorder has."""
    bench = up(TABLES)
    page = await visit(address(bench))
    visit.forgive("WebSocket|ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET")
    await until(page, f"{WINDOW}.closed.length > 20")
    boot = await until(page, "dashboard.feed.boot")
    os.kill(bench.ps()["web"]["pid"], signal.SIGKILL)
    await says(page, "connection", "lost")
    await says(page, "banner", "The connection is lost")
    await until(page, f"dashboard.live.state === 'live' && dashboard.feed.boot !== '{boot}'")
    after = await until(page, f"!dashboard.feed.asking && {WINDOW}.last.time")
    await until(page, f"{WINDOW}.closed.at(-1).time > {after} + 60000 * 20")
    rows = await page.evaluate(f"{WINDOW}.closed.map((b) => [b.time, b.open, b.high, b.low, b.close, b.volume])")
    await page.get_by_test_id("banner").wait_for(state="hidden")
    assert [row[0] for row in rows] == list(range(rows[0][0], rows[-1][0] + 1, 60_000))
    (path,) = bench.folder.glob("data/*.ohlcv")
    recorded = wait_for(lambda: (found := candles(path))[-1][0] >= rows[-1][0] and found)
    kept = [list(row) for row in recorded if row[0] <= rows[-1][0]]
    assert len(kept) > 40
    assert rows[-len(kept) :] == kept
