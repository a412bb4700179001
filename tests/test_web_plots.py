"""A script on the chart: what the page holds and paints is what the script has said, whenever the page was opened."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Visits, address
from jobs import Run, looks_of, make_job
from pynelive.producers.contract import Key
from pynelive.producers.demo import expected_bars
from topologies import EXAMPLES, Bench

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

BARS = 150
TABLES = f"""
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = {{ seed = 7, speed = 2400, bars = {BARS}, history = 0 }}

[[runner]]
name = "showcase"
script = "EXAMPLES/showcase.py"
stream = "demo:BTC/USDT@1"
history = 0
output = "output"

[[sink]]
name = "web"
type = "web"
streams = ["demo:*", "run:*"]
options = {{ port = 0 }}
"""

STUDY = 'globalThis.dashboard?.scripts.studies.feeds.get("run:showcase")?.study'
THERE = f"""() => {{
  const {{ rows, ground: {{ bars }} = {{}} }} = {STUDY} ?? {{}};
  if (rows?.forming !== null || rows.times.length !== {BARS}) return false;
  return bars.indexOf(rows.times[0]) >= 0 && bars.time(bars.length - 1) === rows.times[{BARS} - 1];
}}"""
HELD = f"""() => {{
  const {{ rows, metas, drawn }} = {STUDY};
  const places = rows.times.map((_, row) => row);
  const by = (names, of) => Object.fromEntries([...names].map((name) => [name, of(name)]));
  return {{
    times: rows.times,
    values: by(rows.columns.keys(), (title) => rows.columns.get(title)),
    styles: by(rows.changes.keys(), (id) => {{
      const style = rows.styles(id, 0);
      return places.map((row) => style(row));
    }}),
    metas: by(metas.keys(), (id) => metas.get(id)),
    drawings: [...drawn.closed].flatMap(([kind, all]) => [...all.values()].map((fields) => [kind, fields])),
  }};
}}"""
FRAMED = f"""async () => {{
  const {{ bars, api }} = {STUDY}.ground;
  api.timeScale().setVisibleLogicalRange({{ from: bars.length - {BARS} - 3, to: bars.length + 10 }});
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
}}"""
PAINTED = f"""() => {{
  const study = {STUDY};
  const painted = {{}};
  for (const layer of [study.above, study.own]) {{
    const pane = study.ground.api.panes()[layer.pane?.paneIndex() ?? 0];
    const size = {{ width: study.ground.api.timeScale().width(), height: pane.getHeight() }};
    const canvas = new OffscreenCanvas(size.width, size.height).getContext("2d", {{ willReadFrequently: true }});
    const look = (name, paint) => {{
      canvas.clearRect(0, 0, size.width, size.height);
      paint(layer.scene(canvas, size));
      const {{ data }} = canvas.getImageData(0, 0, size.width, size.height);
      const colours = {{}};
      for (let i = 0; i < data.length; i += 4) {{
        if (data[i + 3] < 250) continue;
        const colour = "#" + [0, 1, 2].map((at) => data[i + at].toString(16).padStart(2, "0")).join("").toUpperCase();
        colours[colour] = (colours[colour] ?? 0) + 1;
      }}
      const ink = data.filter((value, at) => at % 4 === 3 && value > 0).length;
      painted[name] = [layer.isAbove, ink, colours];
    }};
    for (const meta of study.metasOf(layer.isAbove)) look(meta.id, (scene) => layer.paintPlot(scene, meta));
    for (const kind of ["line", "label", "box", "table", "polyline", "linefill"]) {{
      study.drawingsOf(kind, layer.isAbove).forEach((fields, number) =>
        look(`${{kind}} ${{number}} ${{layer.isAbove}}`, (scene) => layer.paintDrawing(scene, kind, fields)));
    }}
  }}
  return painted;
}}"""
FOUND = f"""(titles) => {{
  const study = {STUDY};
  const {{ api, main }} = study.ground;
  const near = (pixels, x, y, colour) => {{
    for (let left = x - 2; left <= x + 2; left++) for (let top = y - 2; top <= y + 2; top++) {{
      const at = (top * pixels.width + left) * 4;
      const part = (of) => parseInt(colour.slice(1 + of * 2, 3 + of * 2), 16);
      if ([0, 1, 2].every((of) => Math.abs(pixels.data[at + of] - part(of)) < 9)) return true;
    }}
    return false;
  }};
  return Object.fromEntries(titles.map((title) => {{
    const meta = study.metas.get(title);
    const layer = study.isAbove(meta) ? study.above : study.own;
    const pane = api.panes()[layer.pane?.paneIndex() ?? 0];
    const canvas = pane.getHTMLElement().querySelectorAll("td")[1].querySelector("canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const style = study.rows.styles(title, 0);
    const counts = [0, 0];
    study.rows.times.forEach((time, row) => {{
      const value = study.rows.value(title, row);
      const place = api.timeScale().timeToIndex(time / 1000) + (meta.offset ?? 0);
      const [x, y] = [api.timeScale().logicalToCoordinate(place), layer.series.priceToCoordinate(value)];
      const colour = style(row) ?? meta.color;
      if (Number.isNaN(value) || x < 3 || x > canvas.width - 3) return;
      counts[0]++;
      counts[1] += near(pixels, Math.round(x), Math.round(y), colour);
    }});
    return [title, counts];
  }}));
}}"""
OPAQUE = ("average", "while wide", "floor", "ceiling", "every tenth", "crosses", "rsi", "ticks")
"""Those whose colour is pure: a thin line that slopes is mixed with what is beneath it."""


async def test_the_chart_shows_what_the_script_has_said(visit: Visits, up: Callable[[str], Bench], run: Run) -> None:
    """A page that was there while the script ran and one that came late hold and paint what PyneCore itself says."""
    bench = up(TABLES)
    visit.forgive("503")  # bars before the first one are asked of a source that has ended
    url = address(bench) + "/?stream=demo:BTC/USDT@1&run=run:showcase"
    early = await visit(url)
    (oracle,) = await asyncio.to_thread(run, oracle_job())
    looks = looks_of(Path(oracle["output"]) / "viz.ndjson")
    await until(early, THERE)
    late = await visit(url)
    await until(late, THERE)
    for page in (early, late):
        check_held(await page.evaluate(HELD), looks)
    check_file(bench.folder / "output" / "showcase" / "plot.csv", looks)
    await late.evaluate(FRAMED)
    check_painted(await late.evaluate(PAINTED), looks[max(looks)])
    found = await late.evaluate(FOUND, list(OPAQUE))
    for title, (points, seen) in found.items():
        assert points >= 4, title
        # Boxes, labels and other plots lie over some of them.
        assert seen > points * 0.4, f"{title}: {seen} of {points} points are where they should be"


def oracle_job() -> dict[str, Any]:
    """What the runner did, for PyneCore's own loop: without the updates inside bars, which leave nothing behind."""
    rows = [[bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume]
            for bar in expected_bars(7, Key("BTC/USDT", "1"), 0, BARS)]  # fmt: skip
    instrument = {"ticker": "BTC/USDT", "timeframe": "1", "prefix": "demo", "currency": "USDT"}
    return make_job(str(EXAMPLES / "showcase.py"), rows, 0, mode="oracle", instrument=instrument)


async def until(page: Page, expression: str) -> None:
    """Wait until a page says so; the browser's own waiting is script made of text, which the page forbids."""
    async with asyncio.timeout(200):
        while not await page.evaluate(expression):  # noqa: ASYNC110 - a page tells nobody
            await asyncio.sleep(0.05)


def check_held(held: dict[str, Any], looks: dict[int, dict[str, Any]]) -> None:
    """The page has every value, every colour, every description and every drawing."""
    assert held["times"] == list(looks)
    for number, look in enumerate(looks.values()):
        values = {title: column[number] for title, column in held["values"].items()}
        assert {title: None if value != value else value for title, value in values.items()} == look["values"]
        styles = {name: styles[number] for name, styles in held["styles"].items()}
        assert {name: style for name, style in styles.items() if style is not None} == {
            name: style for name, style in look["styles"].items() if style is not None
        }
    last = looks[max(looks)]
    assert held["metas"] == last["metas"]
    drawings = [(name.split()[0], fields) for name, fields in last["drawings"].items()]
    assert nameless(held["drawings"]) == nameless(drawings)
    assert {kind for kind, _ in drawings} == {"line", "label", "box", "table", "polyline", "linefill"}


def nameless(drawings: list[Any]) -> list[str]:
    """Drawings without their ids: what a forming bar has drawn and taken back has had some of them."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("id", "line1", "line2")
            return {name: plain(part) for name, part in value.items() if name not in left_out and part is not None}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return float(value) if type(value) is int else value  # a browser knows one kind of number

    return sorted(json.dumps(plain(drawing), sort_keys=True) for drawing in drawings)


def check_file(path: Path, looks: dict[int, dict[str, Any]]) -> None:
    """The runner's own file says the same."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, (time_ms, look) in zip(rows, looks.items(), strict=True):
        assert int(datetime.fromisoformat(row["time"]).timestamp() * 1000) == time_ms
        for title, value in look["values"].items():
            assert float(row[title]) == pytest.approx(value, nan_ok=True) if value is not None else row[title] == "NaN"


def check_painted(painted: dict[str, Any], look: dict[str, Any]) -> None:
    """Each plot and each drawing has ink, on its pane, of its own colours where it is opaque."""
    shown = {name for name, meta in look["metas"].items() if meta["display"] != "none"}
    assert shown <= painted.keys()
    assert len(painted) == len(shown) + len(look["drawings"])
    for name, (above, ink, colours) in painted.items():
        assert ink > 0, f"{name} is not to be seen"
        if (meta := look["metas"].get(name)) and meta["kind"] in ("plot", "shape", "char", "arrow", "hline", "bar"):
            assert above is bool(meta.get("force_overlay"))
            own = {meta.get(part, "")[:7] for part in ("color", "colorup", "colordown")}
            opaque = {colour for colour in own if colour}
            if all(meta.get(part, "#FF")[-2:] == "FF" for part in ("color", "colorup", "colordown")):
                assert opaque & colours.keys() or meta.get("dynamic"), f"{name} is of the colours {colours}"
