"""What the dashboard's server holds of a script's stream: all that was said, the same for who comes late."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import isnan
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from dashboards import dashboard
from hypothesis import given
from hypothesis import strategies as st
from jobs import EXAMPLES, Bars, Result, daily_bars, make_job, with_forming
from jobs import Run as RunJobs
from pynelive.bus.messages import (
    Account,
    Alert,
    Bar,
    Drawing,
    Executed,
    Fill,
    Log,
    Message,
    Meta,
    Plot,
    Run,
    Signal,
    State,
    is_forming,
)
from pynelive.bus.picture import Picture
from pynelive.runners.figures import Figures
from pynelive.sinks.web.runs import RunStore
from pynelive.sinks.web.runs_api import whole_run
from support import publishing, run_dir
from topologies import rows

OPENING = Run("script.py", "demo:BTC/USDT@1", "f", "Script", "strategy")
_MOST = 1_000


def stored(messages: list[Message], most: int = _MOST) -> RunStore:
    store = RunStore("run:script", most)
    store.take(messages)
    return store


def look(store: RunStore, from_ms: float, since: dict[str, int]) -> dict[str, Any]:
    """All that the pages can ask, from one bar on; and of lists what came after so many."""
    at, _ = store.plots.rows(from_ms=from_ms, limit=_MOST)
    columns = {title: [None if isnan(v) else v for v in column] for title, column in store.plots.columns(at).items()}
    lists = {name: list(said)[since.get(name, 0):] for name, said in store.lists.items()}
    columns["times"] = list(store.plots.times[at.start:at.stop])
    plotted = {title: values for title, values in columns.items() if any(value is not None for value in values)}
    whole = {key: value for key, value in whole_run(store).items() if key not in ("n", "logs")}
    return {
        "plots": plotted, "styles": store.plots.styles(at), "lists": lists, "forming": store.forming, "whole": whole,
        "texts": {title: texts for title, texts in store.plots.texts(at).items() if texts},
        "equity": [point[:2] for point in store.curve.points(_MOST) if point[0] >= from_ms],
        "first": store.first_index is not None and store.first_index + at.start,
    }  # fmt: skip


_VALUES = st.none() | st.booleans() | st.integers(-5, 5).map(float) | st.sampled_from(["up", "down"])
_COLOURS = st.dictionaries(st.sampled_from(["a", "fill"]), st.sampled_from(["#FF0000FF", "#00FF00FF", None]))


@st.composite
def bar_records(draw: st.DrawFn) -> list[list[Message]]:
    """A run, a record a bar: what a script may say on it, and what is latest-wins between two bars."""
    records: list[list[Message]] = [[OPENING]]
    for number in range(1, draw(st.integers(2, 9)) + 1):
        time_ms = number * 60_000
        bar = Bar(time_ms, 1.0, 2.0, 0.5, 1.5, 10.0)
        optional: list[Message] = [
            Meta(time_ms, ({"id": draw(st.sampled_from(["a", "fill"])), "kind": "plot", "t": number},)),
            Drawing(time_ms, draw(st.sampled_from(["create", "update", "delete"])), "line",  # type: ignore[arg-type]
                    draw(st.integers(1, 3)), {"x": number}),
            State("live", time_ms, "the script is live"), Alert(time_ms, "alert"), Log(time_ms, "info", "word"),
            Fill(time_ms, "in", "out", 1.0, time_ms - 60_000, 1.0, time_ms, 1.5, 0.5),
        ]  # fmt: skip
        equity = float(draw(st.integers(90, 110)))
        profit = float(draw(st.integers(-5, 5)))
        record: list[Message] = [
            Executed(bar, 1, number), Plot(time_ms, draw(st.dictionaries(st.sampled_from("abc"), _VALUES)),
                                           styles=draw(_COLOURS)),
            *(said for said in optional if draw(st.booleans())),
            Signal(time_ms, draw(st.sampled_from(["buy", "hold"])), 1.0, equity),  # type: ignore[arg-type]
            Account(time_ms, 1.0, 1.0, equity, profit, 0.0, statistics={draw(st.sampled_from("xy")): equity}),
        ]  # fmt: skip
        records.append(record)
        if draw(st.booleans()):
            records.append([Plot(time_ms + 60_000, {"a": 1.0}, False)])
    return records


@given(bar_records(), st.data())
def test_who_comes_late_holds_the_same(records: list[list[Message]], data: st.DataObject) -> None:
    """The picture, and what follows it, are what an early reader has from there on; also after a second run."""
    begin = data.draw(st.integers(1, len(records) - 1))
    before = [message for record in records[:begin] for message in record]
    after = [message for record in records[begin:] for message in record]
    picture = Picture()
    picture.take([message for message in before if not is_forming(message)])
    early = stored(before)
    count = {name: len(said) for name, said in early.lists.items()}
    early.take(after)
    late = stored(picture.messages() + after)
    from_ms = next((m.bar.time_ms for m in after if isinstance(m, Executed)), 0)
    if from_ms:
        assert look(late, from_ms, {}) == look(early, from_ms, count)
    early.take([OPENING, *after])  # a new run: nothing of the last one stands
    assert look(early, 0, {}) == look(stored([OPENING, *after]), 0, {})


def test_who_was_away_gets_what_has_changed() -> None:
    """Rows by change number: none is missing, and a reader whose rows are gone hears of it."""
    store = RunStore("run:script", 16)
    store.take([OPENING])
    seen: dict[float, float] = {}
    known = store.n
    for number in range(1, 200):
        store.take([Executed(Bar(number, 1, 1, 1, 1, 1), 1, 1), Plot(number - number % 2, {"a": float(number)})])
        if number % 5 == 0:
            at, older = store.plots.rows(since_n=known)
            assert not older
            columns = store.plots.columns(at)
            seen |= dict(zip(store.plots.times[at.start:at.stop], columns["a"], strict=True))
            known = store.n
    assert list(seen) == list(range(1, 196))
    assert store.plots.rows(since_n=1).older
    assert len(store.plots.times) <= 18
    assert store.first_index == 199 - len(store.plots.times)
    assert store.plots.rows(limit=3) == (range(len(store.plots.times) - 3, len(store.plots.times)), True)
    again = store.take([OPENING])
    assert (again, store.plots.rows()) == ([["r", "run:script", store.n]], (range(0), False))
    assert store.plots.rows(since_n=store.n - 1).older  # who has missed that it began knows another run
    assert not store.plots.rows(since_n=store.n).older


def stream_of(host: Result, bars: Bars, transition: int) -> list[Message]:
    """A job as its runner would have published it."""
    said = [msgspec.convert(each, list[Message]) for each in host["said"]]
    messages: list[Message] = [OPENING]
    for number, values in enumerate(bars):
        if number == transition:
            messages += [State("live", values[0]), *said.pop(0)]
        bar = Bar(*values[:6], closed=values[6] if len(values) > 6 else True)
        messages += [Executed(bar, 1, number, number < transition), *said.pop(0)]
    return messages


def assert_statistics(said: dict[str, Any], trades: Collection[Fill]) -> None:
    """All, long and short are counted from the trades by one rule: what has earned nothing has not lost."""
    for prefix, sign in (("", 0), ("Long ", 1), ("Short ", -1)):
        some = [each for each in trades if each.size * sign >= 0]
        earned = [each.profit for each in some]
        shares = [100 * each.profit / (abs(each.size) * each.entry_price) for each in some]
        assert some
        assert said[f"{prefix}Losing Trades"] == sum(profit < 0 for profit in earned)
        assert said[f"{prefix}Winning Trades"] == sum(profit > 0 for profit in earned)
        assert said[f"{prefix}Avg Trade"] == pytest.approx(sum(earned) / len(earned))
        assert said[f"{prefix}Avg Trade %"] == pytest.approx(sum(shares) / len(shares))


def test_what_has_earned_nothing_is_neither_won_nor_lost() -> None:
    """On either side, and with a point that is worth more than one."""
    ours = Figures(1_000.0, point=50.0)
    for size, profit in ((1.0, 10.0), (1.0, 0.0), (-2.0, -20.0), (-2.0, 0.0)):
        ours.add(Fill(2, "in", "out", size, 1, 100.0, 2, 100.0, profit))
    said = ours.statistics(-10.0)
    names = ("Losing Trades", "Winning Trades", "Avg Trade", "Avg Trade %")
    assert [said[name] for name in names] == [1, 1, -2.5, 0.0]
    assert [said[f"Long {name}"] for name in names] == [0, 1, 5.0, 0.1]
    assert [said[f"Short {name}"] for name in names] == [1, 0, -10.0, -0.1]


@pytest.mark.parametrize("name", ["ema_cross", "stops"])
def test_the_store_is_what_the_runner_wrote(run: RunJobs, name: str) -> None:
    """Plots, trades and statistics equal the runner's own CSV files; the drawdown stays below PyneCore's maximum."""
    bars, transition = with_forming(daily_bars(300), 20)
    (host,) = run(make_job(str(EXAMPLES / f"{name}.py"), bars, transition))
    store = stored(stream_of(host, bars, transition))
    at, _ = store.plots.rows(limit=_MOST)
    columns = store.plots.columns(at)
    written = rows(Path(host["output"]) / "plot.csv")
    for title in columns:
        assert list(columns[title]) == pytest.approx([float(row[title]) for row in written], nan_ok=True)
    exits = [row for row in rows(Path(host["output"]) / "trades.csv") if row["Type"].startswith("Exit")]
    trades = [row for row in exits if row["Signal"] != "Open"]
    fills = store.lists["fills"]
    assert len(fills) > 3
    key = next(name for name in trades[0] if name.startswith("Profit") and "%" not in name)
    assert [float(row[key]) for row in trades] == pytest.approx([fill.profit for fill in fills])
    account = store.picture.account
    assert account
    assert len(account.open_trades) == len(exits) - len(trades)
    statistics = store.picture.statistics
    assert statistics["Total Trades"] == len(fills)
    assert statistics["Net Profit"] == pytest.approx(sum(fill.profit for fill in fills))
    assert_statistics(statistics, fills)
    points = store.curve.points(_MOST)
    known = [below for time_ms, _, below in points if time_ms <= fills[-1].time_ms]
    assert 0 < max(known) <= float(statistics["Max Equity Drawdown"] or 0)
    ours = Figures(100_000.0)
    for fill in fills:
        ours.add(fill)
    assert_statistics(ours.statistics(float(statistics["Net Profit"] or 0)), fills)
    known_by_both = ours.statistics(float(statistics["Net Profit"] or 0))
    left_out = {"Max Equity Drawdown", "Max Equity Drawdown %"}  # of which the trades do not tell
    assert known_by_both.keys() - left_out <= statistics.keys()
    for figure in known_by_both.keys() - left_out:
        assert known_by_both[figure] == pytest.approx(statistics[figure]), figure
    thinned = store.curve.points(40)
    assert len(thinned) <= 40
    for column in (1, 2):
        assert max(point[column] for point in thinned) == max(point[column] for point in points)
    assert min(point[1] for point in thinned) == min(point[1] for point in points)


PAGE = Path(__file__).parent.parent / "docs" / "strategy-page.md"
_NAMED_FREELY = {"statistics", "plots", "texts", "inputs", "fields", "metas"}


def examples() -> dict[str, dict[str, Any]]:
    """What the page says that each path answers."""
    blocks = re.findall(r"^`GET /api/(\w+).*?^```json\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return {path: msgspec.json.decode(text) for path, text in blocks}


def differ(said: Any, answer: Any, where: str, free: bool = False) -> list[str]:
    """Where an answer is not made as an example is; what is null or empty in one of them may be anything."""
    if isinstance(said, dict) and isinstance(answer, dict):
        names = said.keys() - answer.keys() if free else said.keys() ^ answer.keys()
        wrong = [f"{where}.{name}" for name in names if not free]
        return wrong + [each for name in said.keys() & answer.keys()
                        for each in differ(said[name], answer[name], f"{where}.{name}", name in _NAMED_FREELY)]
    if isinstance(said, list) and isinstance(answer, list):
        return differ(said[0], answer[0], f"{where}[0]", free) if said and answer else []
    same = isinstance(answer, type(said)) or (isinstance(said, int | float) and isinstance(answer, int | float))
    return [] if same or None in (said, answer) else [f"{where} is {answer!r}"]


async def heard(http: aiohttp.ClientSession, address: str, n: int) -> None:
    """Wait until a dashboard has told so many changes of the run."""
    async with http.ws_connect(f"{address}/ws") as socket:
        await socket.send_str('["follow", {"streams": ["run:stops"]}]')
        async for frame in socket:
            for message in msgspec.json.decode(frame.data):
                if len(message) > 2 and message[1] == "run:stops" and message[2] >= n:
                    return


async def test_the_api_answers_as_its_page_says_early_and_late(run: RunJobs, tmp_path: Path) -> None:
    """Who was there from the beginning and who has come in the middle are told the same; an unknown run is refused."""
    bars = daily_bars(200)
    (host,) = run(make_job(str(EXAMPLES / "stops.py"), bars, 20))
    said = [message for message in stream_of(host, bars, 20) if not is_forming(message)]
    said += [Alert(bars[-1][0], "over"), Log(bars[-1][0], "info", "a word"), Drawing(bars[-1][0], "create", "line", 1)]
    bus, asked = run_dir(tmp_path), examples()
    half = len(said) // 2
    async with publishing(bus) as publisher, aiohttp.ClientSession() as http, dashboard(bus) as early:
        publisher.publish("run:stops", *said[:half])
        await heard(http, early, stored(said[:half]).n)
        async with dashboard(bus) as late:
            await heard(http, late, 1)
            publisher.publish("run:stops", *said[half:])
            for address in (early, late):
                await heard(http, address, stored(said).n)
            for path, example in asked.items():
                answers = []
                for address in (early, late):
                    url, query = f"{address}/api/{path}", {"run": "stops", "format": "json"}
                    async with http.get(url, params=query) as answer:
                        assert answer.status == 200
                        answers.append({**msgspec.json.decode(await answer.read()), "boot": ""})
                assert answers[0] == answers[1], path
                assert not differ(example, answers[0], path)
            async with http.get(f"{late}/api/trades", params={"run": "nothing"}) as refused:
                assert (refused.status, await refused.json()) == (
                    404, {"error": "there is no run 'nothing': there is run:stops"},
                )  # fmt: skip
    assert set(asked) == {"runs", "run", "trades", "signals", "alerts", "positions", "pnl", "plots"}
