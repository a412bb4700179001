"""What P12 measures with: the dashboard's server under a made stream, its clients, and a page that does it as usual."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import aiohttp
import msgspec
import psutil
from aiohttp import web
from harness import precise_sleep
from pynelive.bus.messages import Bar, Instrument
from pynelive.bus.rundir import RunDir
from pynelive.bus.topology import load
from pynelive.sinks.contract import Delivery
from pynelive.sinks.web import server
from pynelive.sinks.web.api import as_columns
from pynelive.sinks.web.bars import COLUMNS
from pynelive.sinks.web.sink import WebSink
from pynelive.sinks.web.state import Web

STREAM = "bench:BTC/USDT@1"
_MINUTE_MS = 60_000
_AT_ONCE = 10_000
_TOPOLOGY = """[bus]
name = "bench"
run_dir = "run"
[[producer]]
name = "bench"
provider = "demo"
streams = ["BTC/USDT@1"]
"""

# --- the stream -------------------------------------------------------------------------------------------------------


def updates(first: int, each: int) -> Iterator[Bar]:
    """A market without end: `each` updates a bar, the last one closes it."""
    chance, price = random.Random(7), 60_000.0
    for number in range(first, sys.maxsize):
        start = high = low = price
        for update in range(each):
            price = max(1.0, round(price + chance.gauss(0, 8), 2))
            high, low = max(high, price), min(low, price)
            closed = update == each - 1
            yield Bar(number * _MINUTE_MS, start, high, low, price, update * 0.5, closed, update, 0, "venue", 0, None)


def history(count: int) -> Iterator[Bar]:
    """So many closed bars."""
    chance, price = random.Random(1), 60_000.0
    for number in range(count):
        start, price = price, max(1.0, round(price + chance.gauss(0, 30), 2))
        yield Bar(number * _MINUTE_MS, start, max(start, price) + 5, min(start, price) - 5, price, 10.0, True, 0, 0,
                  "venue", 0, None)  # fmt: skip


def serve(place: str, port: int, bars: int, rate: float, each: int) -> None:
    """The dashboard with so many bars, and from then on so many updates a second, until it is ended."""
    server.PARTS += (sys.modules[__name__],)
    at = Path(place)
    (at / "topology.toml").write_text(_TOPOLOGY)
    sink = WebSink(WebSink.Config(port=port, bars=bars), at)
    sink.attach(RunDir(at / "run"), load(at / "topology.toml"), "web")
    sink.open(STREAM, Instrument("BTC/USDT", "1"))
    coming = history(bars)
    while batch := [Delivery(STREAM, bar) for bar in islice(coming, _AT_ONCE)]:
        sink.write(batch)
    precise_sleep()
    begun = time.monotonic()
    for number, bar in enumerate(updates(bars, each)):
        if (wait := begun + number / rate - time.monotonic()) > 0:
            time.sleep(wait)
        sink.write([Delivery(STREAM, bar)])


# --- the page that sets all bars at once and updates one series -------------------------------------------------------

_NAIVE = """
import { CandlestickSeries, HistogramSeries, createChart } from "/bundle/lightweight-charts.js";
import { Live, getColumns } from "/page/wire.js";
document.documentElement.style.height = document.body.style.height = "100%";
document.body.style.margin = "0";
const chart = createChart(document.body, { autoSize: true });
const candles = chart.addSeries(CandlestickSeries);
const volume = chart.addSeries(HistogramSeries, { priceScaleId: "" });
const { columns: c } = await getColumns("/naive/bars");
const all = Array.from(c.time_ms, (ms, i) => ({ time: ms / 1000, open: c.open[i], high: c.high[i], low: c.low[i], close: c.close[i] }));
candles.setData(all);
volume.setData(Array.from(c.time_ms, (ms, i) => ({ time: ms / 1000, value: c.volume[i] })));
window.painted = true;
const end = performance.now() + 10_000; // what waits by then is more than it will ever draw
const live = new Live();
live.on("b", (stream, n, ms, open, high, low, close, value) => {
  if (performance.now() > end) return;
  candles.update({ time: ms / 1000, open, high, low, close });
  volume.update({ time: ms / 1000, value });
});
live.follow({ streams: [decodeURIComponent(location.search.slice(1))] });
"""  # noqa: E501 - a page is as wide as it is


def routes(site: Web) -> list[web.RouteDef]:
    """Served beside the dashboard's own pages: the usual page, and all bars at once for it."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text='<!doctype html><script type="module" src="/naive.js"></script>',
                            content_type="text/html")  # fmt: skip

    async def script(_: web.Request) -> web.Response:
        return web.Response(text=_NAIVE, content_type="text/javascript")

    async def bars(_: web.Request) -> web.Response:
        (store,) = site.desk.bars
        return as_columns({}, COLUMNS, store.page(limit=1 << 30).columns)

    return [web.get("/naive", page), web.get("/naive.js", script), web.get("/naive/bars", bars)]


# --- those who look ---------------------------------------------------------------------------------------------------


def follow(port: int, pid: int, count: int, seconds: float) -> list[float]:
    """So many clients for so long: percent of a core that the server takes meanwhile, how many updates the client has
    that got fewest, and bytes an update."""
    server_process = psutil.Process(pid)

    async def one(session: aiohttp.ClientSession, until: float) -> tuple[int, int]:
        messages = size = 0
        async with session.ws_connect(f"http://127.0.0.1:{port}/ws") as socket:
            await socket.send_json(["follow", {"streams": [STREAM]}])
            while (left := until - time.monotonic()) > 0:
                try:
                    frame = await socket.receive_str(timeout=left)
                except TimeoutError:
                    break
                said = [message for message in msgspec.json.decode(frame) if message[0] == "b"]
                messages += len(said)
                size += len(frame) if said else 0
        return messages, size

    async def all_of_them() -> list[float]:
        begun, before = time.monotonic(), sum(server_process.cpu_times()[:2])
        async with aiohttp.ClientSession() as session:
            found = await asyncio.gather(*(one(session, begun + seconds) for _ in range(count)))
        percent = 100 * (sum(server_process.cpu_times()[:2]) - before) / (time.monotonic() - begun)
        fewest = min(messages for messages, _ in found)
        return [percent, fewest, sum(size for _, size in found) / max(1, sum(messages for messages, _ in found))]

    return asyncio.run(all_of_them())
