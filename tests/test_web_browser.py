"""The dashboard's own modules in a real browser, under the headers that the server sends."""

from collections.abc import Callable

import pytest
from browser import Visits, address
from topologies import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLES = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { seed = 7, speed = 600 }

[[sink]]
name = "web"
type = "web"
streams = ["demo:*"]
options = { port = 0 }
"""

HEARD = """async () => {
  const { Live, getColumns, getJson } = await import("/page/wire.js");
  const stream = "demo:BTC/USDT@1";
  const live = new Live();
  const bars = [];
  await new Promise((enough) => {
    live.on("b", (name, n, time, o, h, l, c, v, closed) => {
      if (closed) bars.push([n, time, o, h, l, c, v]);
      if (bars.length === 5) enough();
    });
    live.follow({ streams: [stream] });
  });
  const { head, columns } = await getColumns("/api/bars", { stream, from_ms: bars[0][1] });
  const refused = await getJson("/api/bars", { stream: "demo:NOTHING@1" }).catch((error) => error.message);
  const read = Object.values(columns).map((column) => [...column.slice(0, 5)]);
  return { bars: bars.slice(0, 5), count: head.count, columns: read, refused };
}"""


async def test_what_is_heard_live_is_what_is_read_as_columns(visit: Visits, up: Callable[[str], Bench]) -> None:
    page = await visit(address(up(TABLES)) + "/page/no-chart.html")
    visit.forgive("404")    # of the stream that does not exist
    heard = await page.evaluate(HEARD)
    bars = heard["bars"]
    assert [bar[0] for bar in bars] == list(range(bars[0][0], bars[0][0] + 5)), "a change is missing"
    assert heard["count"] >= 5
    assert heard["columns"][:6] == [list(column) for column in zip(*(bar[1:] for bar in bars), strict=True)]
    assert "demo:NOTHING@1" in heard["refused"]
