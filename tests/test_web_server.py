"""The dashboard's server: what browsers hold is what was published, whatever happens to them; who may not ask is told why."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from dashboards import Browser, dashboard, decode_columns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from pynelive.bus.messages import Bar, End, Instrument, State
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.sinks.web.bars import row_of
from support import STREAM, make_bar, publishing, run_dir, wait_until

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

    def say(self, kind: str, count: int) -> None:
        """One step of a story."""
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
            await wait_until(lambda browser=browser: tail(browser.rows) == tail(story.rows))
            assert sorted(browser.rows) == list(range(int(min(browser.rows)), int(max(browser.rows)) + 1, 60_000))
            await browser.disconnect()


def last_ms(known: Browser | Story) -> float:
    return max(known.rows, default=0.0)


def tail(rows: dict[float, tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The rows that are surely kept by a server that keeps few."""
    return [rows[time_ms] for time_ms in sorted(rows)[-10:]]
