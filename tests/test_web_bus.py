"""What the dashboard says of the bus itself, in a real browser and to Prometheus, is what the bus says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browser import Visits, until
from dashboards import dashboard
from prometheus_client.parser import text_string_to_metric_families
from pynelive.bus.census import Census, Registrar
from pynelive.bus.logs import LogFile, LogReader
from pynelive.bus.reports import program
from pynelive.bus.secrets import Secret
from pynelive.commands.app import main
from pynelive.sinks.web.metrics import Seen
from support import STREAM, Taken, make_bar, publishing, run_dir, wait_until
from topologies import COMMAND, Bench, running, wait_for

DEMO = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "AAPL@1"]
options = { speed = 60 }

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:AAPL@1"

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = { dir = "data" }
"""


# --- to programs ------------------------------------------------------------------------------------------------------


async def test_metrics_are_what_streams_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prometheus' own parser reads them; each number is that of `pynelive streams --json`, counters are counters."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, dashboard(run) as address, aiohttp.ClientSession() as session:
        reader = Taken(run, [STREAM])
        await wait_until(reader.subscriber.ready)
        send = publisher._send
        publisher._send = lambda data: None  # type: ignore[assignment]
        publisher.publish(STREAM, *map(make_bar, range(1, 11)))
        publisher.flush()
        publisher._send = send
        publisher.publish(STREAM, make_bar(11))
        await wait_until(lambda: reader.closed() == [*range(1, 12)])

        async with asyncio.timeout(60):
            said, counted = dict[str, float](), {"": -1.0}
            while {name: said.get(name) for name in counted} != counted or not said.get(f"repaired {program()}"):
                async with session.get(f"{address}/metrics") as answer:
                    said = metrics(await answer.text())
                assert await asyncio.to_thread(main, ["streams", "--json", "--bus", str(run.root)]) == 0
                counted = figures([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        assert said["bars"] == 11
        assert said["age"] >= 0
        await reader.subscriber.close()


def test_every_metric_is_documented() -> None:
    """docs/bus-page.md names exactly those that there are."""
    table = (Path(__file__).parent.parent / "docs" / "bus-page.md").read_text().partition("## Metrics")[2]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", table, re.MULTILINE))))
    there = set[str]()
    for family in Seen(Census(1, "", [], [], []), 0).collect():
        there.add(family.name.removeprefix("pynelive_") + "_total" * (family.type == "counter"))
    assert named == there


def metrics(text: str) -> dict[str, float]:
    """The numbers of one stream and of its subscribers, by their names here."""
    found = dict[str, float]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample
            name = sample.name.removeprefix("pynelive_").removesuffix("_total")
            short = NAMES.get(name)
            if short and sample.labels.get("stream", STREAM) == STREAM:
                found[" ".join(filter(None, (short, sample.labels.get("subscriber"))))] = sample.value
    return found


NAMES = {
    "stream_bars": "bars", "stream_bars_per_second": "rate", "stream_lag_messages": "lag", "stream_subscribers": "here",
    "stream_last_bar_age_seconds": "age", "subscriber_lag_messages": "behind", "subscriber_gaps": "gaps",
    "subscriber_repaired": "repaired", "subscriber_lost": "lost", "bus_up": "up",
}  # fmt: skip


def figures(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The same of what `pynelive streams --json` prints."""
    found: dict[str, float] = {"up": 0}  # there is no supervisor
    for line in lines:
        if line["stream"] == STREAM:
            found |= {"bars": line["bars"], "rate": line["rate"], "lag": line["lag"], "here": line["subscribers"]}
        elif "subscriber" in line:
            for name, field in (("behind", "lag"), ("gaps", "gaps"), ("repaired", "repairs"), ("lost", "truncated")):
                found[f"{name} {line['subscriber']}"] = line[field]
    return found


async def test_many_lookers_share_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks at the same time gets the same answer; a log never shows a secret; what cannot be asked is said."""
    run, asked, take = run_dir(tmp_path), list[object](), Registrar.take

    def counted(registrar: Registrar) -> Any:
        asked.append(registrar)
        return take(registrar)

    monkeypatch.setattr(Registrar, "take", counted)
    Secret("a-very-secret-key")
    log = LogFile(run.logs, "demo")
    log.write("WARNING the venue does not like a-very-secret-key")
    log.close()
    async with publishing(run), dashboard(run) as address, aiohttp.ClientSession() as session:

        async def get(path: str) -> Any:
            async with session.get(address + path) as answer:
                return await answer.json()

        answers = await asyncio.gather(*(get("/api/bus") for _ in range(20)))
        assert len(asked) < 10
        assert {row["stream"] for row in answers[0]["streams"]} == {STREAM}
        assert "is not up" in answers[0]["fault"]
        lines = (await get("/api/logs?level=warning"))["lines"]
        assert [line[2:] for line in lines] == [["demo", "warning", "WARNING the venue does not like ***"]]
        assert (await get("/api/logs?level=error"))["lines"] == []
        assert "write debug, info, warning, error" in (await get("/api/logs?level=loud"))["error"]


async def test_a_dead_publisher_is_silent_at_once(tmp_path: Path) -> None:
    """Its streams stay known as they were; one of which nothing is known is named by its place."""
    run = run_dir(tmp_path)
    registrar = Registrar(run)
    async with publishing(run) as publisher:
        publisher.publish(STREAM, make_bar(1))
        publisher.flush()
        async with asyncio.timeout(60):
            while not [row for row in (await registrar.take()).streams if row.state == "live" and row.bars]:
                pass
        announced = (run.actors / "demo.json").read_bytes()
    (run.actors / "demo.json").write_bytes(announced)  # as if it had been killed
    (run.actors / "other.json").write_bytes(announced.replace(b'"demo"', b'"other"'))
    rows = (await registrar.take()).streams
    assert [(row.publisher, row.stream, row.state, row.bars) for row in rows] == [
        ("demo", STREAM, "silent", 1), ("other", "", "silent", 0)
    ]  # fmt: skip
    assert rows[1].place.startswith("'other' (pid ")
    registrar.close()


def test_the_end_of_a_log_is_enough(tmp_path: Path) -> None:
    """Only whole lines of the last bytes are read, and then what comes; each says how grave it is."""
    log = LogFile(tmp_path, "rsi")
    for number in range(1_000):
        log.write(f"INFO line {number}")
    reader = LogReader(tmp_path, last_bytes=200)
    lines = reader.fresh()
    assert [line.text for line in lines] == [f"INFO line {number}" for number in range(1_000 - len(lines), 1_000)]
    assert 2 < len(lines) < 6
    for text in ("ERROR no", "ValueError: bad", "rsi was killed by SIGKILL, again in 0.1 s", "CRITICAL", "DEBUG x", ""):
        log.write(text)
    log.close()
    assert [line.level for line in reader.fresh()] == ["error", "error", "warning", "error", "debug", "info"]
    reader.close()


# --- to people --------------------------------------------------------------------------------------------------------


def actor(name: str, role: str, host: str, *publishes: str) -> dict[str, object]:
    return {"name": name, "role": role, "kind": role, "host": host, "publishes": publishes}


def reads(consumer: str, publisher: str, *streams: str) -> dict[str, object]:
    return {"publisher": publisher, "consumer": consumer, "streams": streams}


RUNNERS = [f"runner-{number}" for number in range(54)]
STREAMS = [f"p:S{number}@1" for number in range(30)]
LARGE = {
    "bus": "large", "hosts": ["venues", "scripts", "office"],
    "nodes": [
        actor("p", "producer", "venues", *STREAMS), actor("idle", "producer", "venues", "idle:X@1"),
        *(actor(name, "runner", "scripts", f"run:{name}") for name in RUNNERS),
        *(actor(name, "sink", "office") for name in ("recorder", "web", "mail")),
    ],
    "edges": [
        *(reads(name, "p", STREAMS[number % 12]) for number, name in enumerate(RUNNERS)),
        *(reads("web", name, f"run:{name}") for name in RUNNERS), reads("recorder", "p", *STREAMS),
        reads("runner-1", "runner-0", "run:runner-0"), reads("mail", "runner-1", "run:runner-1"),
    ],
}  # fmt: skip
"""59 actors on three hosts; one script reads another."""
PLAN = """async (outline) => {
  const { layout } = await import("/page/plan.js");
  const { boxes, lines, lanes } = layout(outline);
  const shown = boxes.filter(({ kind }) => kind !== "pass");
  const apart = (a, b) => a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
  const lane = ({ host }) => lanes.find(({ name }) => name === host);
  return {
    actors: shown.filter(({ actor }) => actor).map(({ actor }) => actor.name),
    streams: shown.filter(({ actor }) => !actor).flatMap(({ streams }) => streams),
    overlaps: shown.flatMap((a, at) => shown.slice(at + 1).filter((b) => !apart(a, b))).length,
    outside: shown.filter((box) => box.y < lane(box).y || box.y + box.height > lane(box).y + lane(box).height).length,
    backwards: lines.filter(({ from, to }) => from.end >= to.begin).length,
    tall: Math.max(...lanes.map(({ height }) => height)),
  };
}"""


def judge(plan: dict[str, Any]) -> None:
    """Each actor and stream has a place of its own in its host's lane, and every line goes to the right."""
    assert sorted(plan["actors"]) == sorted(["p", "idle", *RUNNERS, "recorder", "web", "mail"])
    assert sorted(plan["streams"]) == sorted([*STREAMS, "idle:X@1"])
    assert (plan["overlaps"], plan["outside"], plan["backwards"]) == (0, 0, 0)
    assert plan["tall"] < 900


def rows(table: str, state: str, count: int) -> str:
    """What is in the cells of a table, if all of its so many rows are in that state."""
    cells = "all.map((row) => [...row.children].map((cell) => cell.textContent))"
    right = f"all.length === {count} && all.every((row) => row.querySelector('.badge').textContent === '{state}')"
    return f"((all) => {right} && {cells})([...document.querySelectorAll('#{table} tbody tr')])"


@contextmanager
def attached(bench: Bench) -> Iterator[str]:
    """`pynelive web` beside the bus, which survives it; its address."""
    command = [*COMMAND, "web", "--port", "0", "--bus", str(bench.run_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="session")
async def test_the_bus_page(tmp_path: Path, visit: Visits) -> None:
    """Every actor is in the table and in the graph; one that is killed is seen as started again, and in the log, which
    can be searched; a bus that goes is said, and one that comes back is shown without a reload."""
    bench = Bench(tmp_path, DEMO)
    with running(bench) as process:
        wait_for(lambda: {view["phase"] for view in bench.ps().values()} == {"running"} and len(bench.ps()) == 3)
        with attached(bench) as address:
            page = await visit(f"{address}/bus", width=1280, height=900)
            actors = {row[0]: row for row in await until(page, rows("actors", "running", 3))}
            assert list(actors) == ["demo", "rsi", "recorder"]
            assert all(row[4].endswith(" MB") and row[5].endswith(" %") for row in actors.values())
            streams = await until(page, rows("streams", "live", 3))
            assert {row[0] for row in streams} == {"demo:BTC/USDT@1", "demo:AAPL@1", "run:rsi"}
            await until(page, "document.querySelectorAll('#subscribers tbody tr').length >= 3")
            boxes = await page.locator("#graph [data-actor]").all()
            assert sorted([await box.get_attribute("data-actor") for box in boxes]) == ["demo", "recorder", "rsi"]
            assert await page.locator("#graph [data-streams]").count() == 2
            await page.locator("#graph [data-actor=rsi]").focus()
            assert await page.locator("#graph .node.off").count() == 2  # the recorder, and what rsi does not read
            judge(await page.evaluate(PLAN, LARGE))

            os.kill(bench.ps()["rsi"]["pid"], signal.SIGKILL)
            await until(page, "document.querySelector('[data-key=rsi]').children[3].textContent === '1'")
            await until(page, rows("actors", "running", 3))
            await page.get_by_test_id("words").fill("sigkill")
            await until(page, "document.querySelectorAll('#log .entry').length === 1")
            assert "rsi was killed by SIGKILL" in await page.locator("#log .entry").inner_text()
            await page.get_by_test_id("level").select_option("error")
            assert await page.locator("#log .entry").count() == 0

            process.send_signal(signal.SIGINT)
            await until(page, "document.getElementById('banner').textContent.includes('is not up')")
            await asyncio.to_thread(bench.end, process)
            with running(bench):
                await until(page, f"document.getElementById('banner').hidden && {rows('actors', 'running', 3)}")
            await page.context.close()
