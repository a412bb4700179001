"""The strategy page in a real browser: what it shows is what the runner wrote, and it goes on as the script does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from browser import Visits, address, ink, until
from topologies import Bench, rows, wait_for

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLES = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { seed = 7, speed = 1200 }

[[sink]]
name = "web"
type = "web"
streams = ["demo:*", "run:*"]
options = { port = 0 }

[[runner]]
name = "ema-cross"
script = "EXAMPLES/ema_cross.py"
stream = "demo:BTC/USDT@1"
history = 400
trade_history = true
output = "output"

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:BTC/USDT@1"
"""

TRADES = """() => [...document.querySelectorAll('[data-testid="trades"] tbody tr')]
  .map((row) => [...row.cells].map((cell) => cell.textContent))"""
ASK = """() => {
  window.asked = 0;
  window.shown = [];
  let permission = "default";
  window.Notification = class {
    static get permission() { return permission; }
    static async requestPermission() { window.asked++; return (permission = "granted"); }
    constructor(title, { body }) { window.shown.push([title, body]); }
  };
}"""


def written(bench: Bench) -> list[list[str]]:
    """The closed trades of the runner's own file, as the page writes them: number, side, signals, profit."""
    lines = rows(bench.folder / "output" / "ema-cross" / "trades.csv")
    exits = [line for line in lines if line["Type"].startswith("Exit") and line["Signal"] != "Open"]
    entries = [line for line in lines if line["Type"].startswith("Entry")]
    return [
        [line["Trade #"], line["Type"].removeprefix("Exit ").capitalize(), entry["Signal"], line["Signal"],
         _signed(float(line["Profit USDT"]))]
        for entry, line in zip(entries, exits, strict=False)
    ]  # fmt: skip


def _signed(profit: float) -> str:
    text = f"{abs(profit):,.2f}"
    return text if text == "0.00" and profit == 0 else f"{'+' if profit > 0 else '−'}{text}"


async def test_the_strategy_page_shows_what_the_runners_say(visit: Visits, up: Callable[[str], Bench]) -> None:
    """A card leads to its run; trades are the file's, the curve has ink, a trade leads to the chart; alerts notify."""
    bench = up(TABLES)
    server = address(bench)
    page = await visit(f"{server}/strategy", color_scheme="dark")
    await page.get_by_test_id("run-run:ema-cross").click()
    await check_trades(page, bench)
    await check_figures(page)
    await check_alerts(await visit(f"{server}/strategy?run=rsi", width=360, height=740, color_scheme="light"))
    await check_jump(page)
    await check_pane(await visit(f"{server}/?stream=demo:BTC/USDT@1&run=rsi"))


async def check_trades(page: Page, bench: Bench) -> None:
    """The rows of the page are those of the runner's file, the newest first."""
    await page.wait_for_function("() => document.querySelectorAll('[data-testid=trades] tbody tr').length > 4")
    shown = [[row[0], row[1], row[4], row[7], row[9]] for row in await page.evaluate(TRADES)]
    newest = int(shown[0][0])
    known = wait_for(lambda: (found := written(bench)) and len(found) >= newest and found)
    assert shown == known[:newest][::-1]


async def check_figures(page: Page) -> None:
    """They move; the curve is drawn, and the tester's names are there."""
    before = await page.get_by_test_id("tiles").text_content()
    changed = "(before) => document.querySelector('[data-testid=tiles]').textContent !== before"
    await page.wait_for_function(changed, arg=before)
    drawn = [await ink(page, colour, "[data-testid=curve]") for colour in ("#16a58d", "#f2495a")]
    assert sum(drawn) > 200
    await page.get_by_test_id("tab-Statistics").click()
    assert "Profit factor" in (await page.get_by_test_id("statistics").text_content() or "")


async def check_alerts(page: Page) -> None:
    """In a narrow window: asked for by the button, and shown for what comes, not for what has been."""
    await page.evaluate(ASK)
    await page.get_by_test_id("alert").first.wait_for()
    assert await page.evaluate("[window.asked, window.shown.length]") == [0, 0]
    await page.get_by_test_id("notify").click()
    await page.wait_for_function("() => window.shown.length > 0")
    asked, title, text = await page.evaluate("[window.asked, ...window.shown[0]]")
    assert asked == 1
    assert title == "rsi" or title.endswith(" alerts")
    assert "RSI" in text
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def check_jump(page: Page) -> None:
    """From a trade to the chart at its time, by the keyboard; there it has its line."""
    await page.get_by_test_id("tab-Trades").click()
    link = page.locator("[data-testid=trades] tbody a").last  # no newer trade moves it
    there = await link.get_attribute("href")
    assert there
    await link.press("Enter")
    await page.wait_for_url(f"**{there}")
    chosen = "window.dashboard?.scripts.trades.get('run:ema-cross')?.markers.chosen"
    assert there.endswith(f"at={await until(page, f'{chosen}?.entry_ms')}")


async def check_pane(page: Page) -> None:
    """A script's own pane has a scale, without which it is blank, when all bars that it began with are out of sight."""
    own = "window.dashboard?.scripts.studies.feeds.get('run:rsi')?.study?.own"
    await until(page, own)
    last = await page.evaluate("dashboard.engine.zoom(0.1) ?? dashboard.feed.window.last.time")
    first_seen = "dashboard.feed.window.at(Math.ceil(dashboard.engine.range().from))?.time"
    await until(page, f"{first_seen} > {last} + 60000 * 5")
    assert await page.evaluate(f"{own}.series.priceToCoordinate(50)") is not None
