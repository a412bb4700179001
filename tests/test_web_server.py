"""The dashboard's server: browsers hold what was published, whatever happens to them; who may not ask is told why."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from dashboards import Browser, dashboard, decode_columns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from pynelive.bus.errors import Hopeless
from pynelive.bus.messages import Bar, End, Instrument, State
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.sinks.web import sink
from pynelive.sinks.web.bars import BarStore, row_of
from support import STREAM, make_bar, publishing, run_dir, wait_until
from topologies import Bench, running

STEP = st.one_of(
    st.tuples(st.just("bars"), st.integers(1, 40)), st.tuples(st.just("correct"), st.integers(1, 60)),
    st.tuples(st.just("form"), st.just(1)), st.tuples(st.just("turn"), st.just(1)),
    st.tuples(st.sampled_from(["lose", "join", "meet"]), st.integers(0, 2)),
)  # fmt: skip
"""What happens next: bars are published, an older one is corrected, a browser comes, leaves, or catches up."""


class Story:
    """A publisher, and all that it has said."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.bars: dict[int, Bar] = {}
        self.next = 1

    def say(self, kind: str, count: int) -> bool:
        """One step of a story, which is not its end."""
        if kind == "bars":
            self._publish(*(make_bar(self.next + at) for at in range(count)))
            self.next += count
        elif kind == "correct" and count < self.next:
            old = self.bars[(self.next - count) * 60_000]
            self._publish(structs.replace(old, close=old.close + 0.125, revision=old.revision + 1))
        elif kind == "form":
            self.publisher.forming(STREAM, make_bar(self.next, closed=False))
        elif kind == "turn":
            self.publisher.publish(STREAM, State("stale", self.next), State("live", self.next))
        return False

    def _publish(self, *bars: Bar) -> None:
        self.publisher.publish(STREAM, *bars)
        self.bars |= {bar.time_ms: bar for bar in bars}

    @property
    def rows(self) -> dict[float, tuple[float, ...]]:
        """What a browser should hold."""
        return {bar.time_ms: row_of(bar) for bar in self.bars.values()}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=25), kept=st.sampled_from([10, 1_000]))
def test_browsers_hold_what_was_published(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]],
                                          kept: int) -> None:
    """They come and go at any time, bars are corrected behind their backs: nothing is missing and nothing doubled."""
    asyncio.run(_browsed(run_dir(tmp_path_factory.mktemp("browsed")), steps, kept))


async def _browsed(run: RunDir, steps: list[tuple[str, int]], kept: int) -> None:
    async with publishing(run) as publisher, dashboard(run, bars=kept) as address:
        story, there = Story(publisher), set[int]()
        browsers = [Browser(address) for _ in range(3)]
        story.say("bars", 5)
        for kind, which in [*steps, *(("join", n) for n in range(3)), ("form", 1)]:
            story.say(kind, which)
            if kind == "join" and which not in there:
                there.add(which)
                browsers[which].connect()
            elif kind == "lose" and which in there:
                there.discard(which)
                await browsers[which].disconnect()
            elif kind == "meet" and which in there:
                await wait_until(lambda which=which: last_ms(browsers[which]) == last_ms(story))
            else:
                await asyncio.sleep(0)
        for browser in browsers:
            await wait_until(lambda browser=browser: browser.rows == story.rows)
            await browser.disconnect()


def last_ms(known: Browser | Story) -> float:
    return max(known.rows, default=0.0)


@given(st.lists(st.one_of(st.just(0), st.just(0), st.integers(1, 20)), min_size=30, max_size=60))
def test_what_has_changed_since_any_number(story: list[int]) -> None:
    """Whoever knows a stream as of any change has it whole with the answer, or is told to load it anew."""
    store, known, last = BarStore(STREAM, None, 10), [dict[float, float]()], 2
    for number, back in enumerate(story):
        minute = max(last - back, 0) if back else last + 2  # a correction, a bar that comes late, or the next one
        last = max(last, minute)
        store.take([structs.replace(make_bar(1), time_ms=minute * 60_000, close=number + 0.5)])
        known.append(known[-1] | {minute * 60_000: number + 0.5})
    assert store.n == len(story)
    for since_n, before in enumerate(known):
        page = store.page(since_n=since_n)
        told = dict(zip(page.columns[0], page.columns[4], strict=True))
        assert page.older or before | told == known[-1]
        assert known[-1] | told == known[-1]
    assert not store.page(since_n=store.n).older


async def pages(session: aiohttp.ClientSession, address: str, limit: int) -> list[tuple[float, ...]]:
    """All bars of the stream, asked for as the page does that scrolls back to the beginning."""
    rows: list[tuple[float, ...]] = []
    query = {"stream": STREAM, "limit": str(limit)}
    while True:
        async with session.get(f"{address}/api/bars", params=query) as answer:
            assert answer.status == 200, await answer.text()
            head, page = decode_columns(await answer.read())
        rows = page + rows
        if not head["older"]:
            return rows
        query["before_ms"] = str(rows[0][0])


async def test_pages_go_back_to_the_first_bar_of_the_venue(tmp_path: Path) -> None:
    """Beyond what the server keeps comes the journal, corrected as it is by now, and then the venue's history. Who is
    not up has left its journal."""
    run = run_dir(tmp_path)
    venue = [make_bar(number, origin="backfill") for number in range(1, 400)]

    async def history(stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        return [bar for bar in venue if after_ms < bar.time_ms < before_ms][-count:]

    publisher = Publisher(run, "demo", history=history)
    await publisher.open()
    story = Story(publisher)
    story.next = 300
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
    story.say("bars", 200)
    story.say("correct", 150)
    story.say("bars", 100)
    async with dashboard(run, bars=50) as address, aiohttp.ClientSession() as session:
        browser = Browser(address)
        browser.connect()
        await wait_until(lambda: last_ms(browser) == last_ms(story))
        expected = [row_of(bar) for bar in venue[:299]] + list(story.rows.values())
        assert await pages(session, address, 70) == expected
        await publisher.close()
        assert await pages(session, address, 70) == list(story.rows.values())
        await browser.disconnect()


async def test_a_slow_browser_harms_nobody_and_misses_nothing(tmp_path: Path) -> None:
    """It reads nothing while 16 MB go by; another one has them all, and it has them too once it reads again. One that
    never reads does not keep the server from its end."""
    run = run_dir(tmp_path)
    async with asyncio.timeout(300), publishing(run) as publisher:
        async with dashboard(run) as address:
            story, slow, deaf, other = Story(publisher), Browser(address), Browser(address), Browser(address)
            for browser in (slow, deaf):
                browser.awake.clear()
            for browser in (slow, deaf, other):
                browser.connect()
            for number in range(50):
                story.say("bars", 10)
                states = [State("stale", at, "x" * 16_000) for at in range(20)]
                publisher.publish(STREAM, *states, State("live", number))
                await wait_until(lambda: other.rows == story.rows and other.state == "live")
            assert not slow.rows
            slow.awake.set()
            await wait_until(lambda: slow.resets > 0 and slow.rows == story.rows)
            assert not other.resets
            for browser in (slow, other):
                await browser.disconnect()
        await deaf.disconnect()


async def test_what_streams_say_beside_their_bars(tmp_path: Path) -> None:
    """A dashboard that is there before the bus; states and ends; another source starts anew; recovery is not shown."""
    run = run_dir(tmp_path)
    async with dashboard(run) as address, aiohttp.ClientSession() as session:
        async def ask(path: str) -> dict[str, object]:
            async with session.get(address + path) as answer:
                found: dict[str, object] = await answer.json()
                return found

        assert (await ask("/api/streams"))["streams"] == []
        async with publishing(run) as publisher:
            publisher.publish("exec:ema", Instrument("BTC/USDT", "1"), make_bar(1))
            story, browser = Story(publisher), Browser(address)
            story.say("bars", 3)
            browser.connect()
            await wait_until(lambda: browser.rows == story.rows)
            publisher.publish(STREAM, State("down", 7, "no network"))
            await wait_until(lambda: browser.state == "down")
            assert (await ask("/api/health"))["out"] == [STREAM]
            (stream,) = (await ask("/api/streams"))["streams"]  # type: ignore[misc]
            assert (stream["stream"], stream["reason"], stream["closed_ms"]) == (STREAM, "no network", 180_000)
            publisher.publish("demo:ETH@1", Instrument("ETH", "1"), State("down", 7, "never up"))
            async with dashboard(run) as late:
                other = Browser(late, "demo:ETH@1")
                other.connect()
                await wait_until(lambda: other.state == "down")
                await other.disconnect()
        shutil.rmtree(run.journals / "demo")
        async with publishing(run) as publisher:
            publisher.publish(STREAM, Instrument("BTC/USDT", "1", source="another"))
            story.publisher = publisher
            story.bars.clear()
            story.say("bars", 2)
            await wait_until(lambda: browser.rows == story.rows)
            publisher.publish(STREAM, End("played"))
            await wait_until(lambda: browser.state == "ended")
            publisher.publish(STREAM, Instrument("BTC/USDT", "1", source="a third"), End("there was nothing"))
            await wait_until(lambda: browser.state == "ended" and not browser.rows)
            story.bars.clear()
            story.say("bars", 2)
            await wait_until(lambda: browser.state == "live" and browser.rows == story.rows)
            await browser.disconnect()


@pytest.mark.parametrize(("path", "headers", "status", "words"), [
    ("/api/streams", {"Host": "evil.example"}, 421, "not as 'evil.example'"),
    ("/api/streams", {"Origin": "http://evil.example"}, 403, "evil.example are refused"),
    ("/ws", {"Origin": "http://evil.example"}, 403, "evil.example are refused"),
    ("/ws", {"Origin": "http://["}, 403, "[ are refused"),
    ("/api/bars?stream=demo:ETH@1", {}, 404, f"'demo:ETH@1': there is {STREAM}"),
    ("/api/bars", {}, 400, "stream= is missing"), (f"/api/bars?stream={STREAM}&format=csv", {}, 400, "format=csv"),
    (f"/api/bars?stream={STREAM}&limit=20001", {}, 400, "at most 20,000"),
    (f"/api/bars?stream={STREAM}&limit=-1", {}, 400, "limit=-1"),
    (f"/api/bars?stream={STREAM}&before_ms=soon", {}, 400, "before_ms=soon"),
    (f"/api/bars?stream={STREAM}&before_ms=inf", {}, 400, "before_ms=inf"),
    (f"/api/bars?stream={STREAM}&before_ms=-1e99", {}, 400, "before_ms=-1e99"),
    (f"/api/bars?stream={STREAM}&since_n=1.5", {}, 400, "since_n=1.5"),
    ("/nothing", {}, 404, "/nothing"), ("/page/../sink.py", {}, 404, "Not Found"),
])  # fmt: skip
async def test_what_is_refused_is_refused_in_words(
    tmp_path: Path, path: str, headers: dict[str, str], status: int, words: str
) -> None:
    """Each with its status and one sentence, and with the headers that keep other pages out."""
    run = run_dir(tmp_path)
    async with publishing(run), dashboard(run) as address, aiohttp.ClientSession() as session:
        await streams_there(session, address)
        async with session.get(address + path, headers=headers) as answer:
            said = await answer.json()
            assert (answer.status, list(said)) == (status, ["error"])
            assert words in said["error"]
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with session.post(f"{address}/api/streams") as answer:
            assert answer.status == 405


async def streams_there(session: aiohttp.ClientSession, address: str) -> None:
    while True:
        async with session.get(f"{address}/api/streams") as answer:
            if (await answer.json())["streams"]:
                return


async def test_others_are_let_in_by_the_token_alone(tmp_path: Path) -> None:
    """In the address once, then in a cookie; or in a header."""
    run = run_dir(tmp_path)
    token = 's3;c"r\\é, %t!'
    jar = aiohttp.CookieJar(unsafe=True)
    async with dashboard(run, token=token) as address, dashboard(run, token="other") as other, \
            aiohttp.ClientSession(cookie_jar=jar) as session:
        for path in ("/", "/api/streams", "/ws", "/page/wire.js", "/api/streams?token=wrong"):
            async with session.get(address + path, headers={"Authorization": "Bearer wröng"}) as answer:
                assert answer.status == 401, path
        for path, words in (("/", "A token is needed"), ("/bus?token=wrong", "The token is wrong")):
            async with session.get(address + path, headers={"Accept": "text/html,*/*"}) as answer:
                page = await answer.text()
                assert (answer.status, answer.content_type, words in page) == (401, "text/html", True)
            for file in re.findall(r'(?:href|src)="(.*?)"', page):
                async with session.get(address + file) as answer:
                    assert answer.status == 200, file
        shown = {"Authorization": f"Bearer {token}", "Host": "desk.example"}
        async with session.get(f"{address}/api/streams", headers=shown) as answer:
            assert answer.status == 200
        query = {"token": token, "a": "b"}
        async with session.get(f"{address}/api/streams", params=query, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/api/streams?a=b")
            assert "HttpOnly" in answer.headers["Set-Cookie"]
        for here, shows in ((other, "?token=other"), (address, "")):  # to a browser they are one host
            async with session.get(f"{here}/api/streams{shows}") as answer:
                assert answer.status == 200


@pytest.mark.parametrize("text", [
    "", "no json", '["x"]', '["follow"]', '["follow", {"streams": 1}]', '["follow", {}, 1]', "[" * 100_000, b"bytes",
    f'["follow", {{"streams": {list(map(str, range(1_001)))}}}]'.replace("'", '"'),
])  # fmt: skip
async def test_a_message_that_is_not_understood(tmp_path: Path, text: str | bytes) -> None:
    """Its browser is told why and let go; another one stays."""
    run = run_dir(tmp_path)
    async with publishing(run) as publisher, dashboard(run) as address, aiohttp.ClientSession() as session:
        story, other = Story(publisher), Browser(address)
        other.connect()
        async with session.ws_connect(f"{address}/ws") as live:
            await (live.send_bytes(text) if isinstance(text, bytes) else live.send_str(text))
            told = [said async for frame in live for said in msgspec.json.decode(frame.data)]
            assert [said[1] for said in told if said[0] == "error" and "not understood" in said[1]]
            assert live.close_code == 1008
        story.say("bars", 5)
        await wait_until(lambda: other.rows == story.rows)
        assert other.boots == 1
        await other.disconnect()


async def test_a_port_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was chosen is refused in words; the default gives way, says so, and stays where it went. One that was
    any is the same after a kill."""
    run = run_dir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        free_port = free.getsockname()[1]
    (run.root / "web.port").write_text(str(free_port))  # as a killed server leaves it
    async with dashboard(run) as address:
        assert address.endswith(f":{free_port}")
    assert not (run.root / "web.port").exists()
    async with dashboard(run) as address:
        port = int(address.rpartition(":")[2])
        monkeypatch.setattr(sink, "PORT", port)
        async with dashboard(run, port=None) as given:
            here, _, said = given.partition("  ")
            assert said == f"({port} is in use)"
        async with dashboard(run, port=None) as again:
            assert again == here
        with pytest.raises(Hopeless, match=rf"127.0.0.1:{port} cannot be listened on"):
            async with dashboard(run, port=port):
                pass


PAGE = Path(__file__).parent.parent / "docs" / "dashboard.md"


def shape(value: Any) -> Any:
    """What a program can rely on: names, and kinds of values."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


async def test_the_page_says_what_is_answered(tmp_path: Path) -> None:
    """Every answer that docs/dashboard.md shows is of the shape of the real one, and its Python reads the columns."""
    page, run = PAGE.read_text(), run_dir(tmp_path)
    shown = re.findall(r"^`GET (/api/\S+)`\n\n```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert [path.partition("?")[0] for path, _ in shown] == ["/api/streams", "/api/bars", "/api/health"]
    async with publishing(run) as publisher, dashboard(run) as address, aiohttp.ClientSession() as session:
        story, browser = Story(publisher), Browser(address)
        browser.connect()
        story.say("bars", 3)
        await wait_until(lambda: browser.rows == story.rows)
        await wait_until(lambda: story.say("form", 1) or browser.forming is not None)  # only the latest counts
        for path, text in shown:
            async with session.get(address + path) as answer:
                found, written = await answer.json(), msgspec.json.decode(text)
            if "streams" in path:
                for one in (found, written):
                    one["streams"][0]["instrument"] |= {"basecurrency": "BTC", "opening_hours": [],
                                                        "session_starts": [], "session_ends": []}
            assert shape(found) | {"out": []} == shape(written) | {"out": []}, path
        code = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        assert code
        program = code[1].replace("http://127.0.0.1:8765", address)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0].decode().split() == [STREAM, "3", str(story.bars[180_000].close)]
        await browser.disconnect()


DEMO = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { seed = 7, speed = 6000, bars = 600 }

[[sink]]
name = "web"
type = "web"
streams = ["*"]
options = { port = PORT }
"""


async def test_a_killed_server_leaves_no_gap(tmp_path: Path) -> None:
    """The supervisor starts it again, the browser comes back by itself, and in the end holds what the journal holds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bench = Bench(tmp_path, DEMO.replace("PORT", str(port)))
    with running(bench):
        browser = Browser(f"http://127.0.0.1:{port}")
        browser.connect()
        await wait_until(lambda: len(browser.rows) >= 100, 200)
        os.kill(bench.ps()["web"]["pid"], signal.SIGKILL)
        await wait_until(lambda: browser.boots == 2 and browser.state == "ended", 200)
        await browser.disconnect()
    said = [row_of(m) for m in bench.published("demo", STREAM) if isinstance(m, Bar)]
    assert len(said) == 600
    assert [browser.rows[time_ms] for time_ms in sorted(browser.rows)][-600:] == said  # before them is the venue's past
