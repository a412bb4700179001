"""The questions to a venue in simulated time: what its history lacks, refuses or delays comes out all the same.

The real keeper, breaker, budget, lanes and ledgers run on an event loop whose time jumps to what is due next: nothing
here depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from pynelive.bus.messages import Bar, Instrument, State
from pynelive.bus.names import Key
from pynelive.bus.specs import QualitySpec
from pynelive.producers import clock
from pynelive.producers.budget import Budget, Rate
from pynelive.producers.calendar import Calendar
from pynelive.producers.contract import Capabilities, Disconnected, Refused
from pynelive.producers.keeper import Keeper
from pynelive.producers.lane import Lane
from pynelive.producers.ledger import Ledger, same
from pynelive.producers.meters import Meters
from pynelive.producers.quality import Quality
from pynelive.producers.quarantine import Quarantine

MINUTE, HOUR, DAY, WEEK = 60_000, 3_600_000, 86_400_000, 604_800_000
T0, MONDAY = 1_700_000_040_000, 1_699_833_600_000
WEIGHT, PAGE = 2, 60
FLAGGED = pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "unflagged"])
Make = Callable[..., "World"]


class Jump(selectors.DefaultSelector):
    """Where nothing is ready, it is at once as late as the next thing that is due."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing would ever happen"
        self.now_s += max(timeout, 0)
        return super().select(0)


def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.SelectorEventLoop(jump := Jump())
    made.time = lambda: jump.now_s  # type: ignore[method-assign]
    return made


class World:
    """A venue, its connection and what is published of it: all is well but for what a test takes away.

    :param speed: market seconds a second of the loop: the keeper looks every hundredth of the latter
    """

    def __init__(
        self, runner: asyncio.Runner, folder: Path, patch: pytest.MonkeyPatch, streams: int = 1, flagged: bool = True,
        weight: float = 6_000, rtt_s: float = 0.1, recheck: tuple[float, ...] = (), speed: float = 20, begins: int = T0,
        tf: str = "1", length: int = MINUTE, anchor: int = T0, step: int = 2_000, journal: Sequence[Bar] = (),
    ) -> None:  # fmt: skip
        self.runner, self.speed, self.flagged, self.rtt_s, self.step = runner, speed, flagged, rtt_s, step
        self.begins, self.length, self.anchor, self.journal, self.now = begins, length, anchor, journal, begins
        self.began_s = self.monotonic()
        for name, value in (("SPEED", speed), ("now_ms", self.now_ms), ("monotonic", self.monotonic)):
            patch.setattr(clock, name, value)
        self.is_silent = self.lacks = self.fails = self.is_down = lambda *of: None  # type: Callable[..., object]
        self.mute, self.counters, self.budget = False, Counter[str](), Budget(Rate(weight, 60))
        self.asked: list[tuple[int, Key, int]] = []
        self.said: list[tuple[int, str, Bar]] = []
        self.breaks: list[tuple[int, BaseException | None]] = []
        self.keys = [Key(f"S{number}", tf) for number in range(streams)]
        self.outs = {str(key): SimpleNamespace(ended=False, pending=[], state=None) for key in self.keys}
        spec, quarantine = QualitySpec(recheck_s=recheck), Quarantine(folder / "q.jsonl")
        self.lanes = dict[Key, Lane]()
        for key in self.keys:
            calendar = Calendar(Instrument(key.symbol, tf), tf)
            quality = Quality(spec, calendar, "crypto", live=True)
            ledger = Ledger(str(key), self, quality, quarantine, journal)  # type: ignore[arg-type]
            self.lanes[key] = Lane(key, ledger, calendar, Capabilities(heals=True, flagged=flagged), spec, begins)
        self.keeper = Keeper(self, self.lanes, Meters(self))  # type: ignore[arg-type]
        self.asking = runner.get_loop().create_task(self.keeper.run())
        self.broken: asyncio.Future[None] | None = None

    def publish(self, stream: str, message: Bar | State) -> None:
        if isinstance(message, Bar):
            self.said.append((self.now_ms(), stream, message))
        else:
            self.outs[stream].state = message

    def forming(self, stream: str, bar: Bar) -> None:
        """That is tested with the lane."""

    def monotonic(self) -> float:
        return self.runner.get_loop().time() * self.speed

    def now_ms(self) -> int:
        return self.begins + round((self.monotonic() - self.began_s) * 1000)

    async def latest(self, key: Key, since_ms: int) -> list[Bar]:
        await self.budget.spend(WEIGHT)
        now, error = self.now_ms(), self.fails(key, self.now_ms())
        self.asked.append((now, key, since_ms))
        opens = range(self.anchor - 10 * self.length, now - self.length + 1, self.length)
        bars = [self.truth(t) for t in opens if t > since_ms and not self.lacks(t, now)]
        await clock.sleep(self.rtt_s)
        if error is not None:
            raise error
        return [replace(bar, origin="backfill") for bar in bars[:PAGE]]

    def truth(self, open_ms: int) -> Bar:
        return Bar(open_ms, 100.0, 101.0, 99.0, 100.5, 10.0 + open_ms // self.length % 50)

    def says(self, now: int) -> Iterator[Bar]:
        """The close, where the venue flags it, and a forming bar that grows for ten seconds."""
        open_ms = now - (now - self.anchor) % self.length
        if self.flagged and now == open_ms > self.begins:
            yield self.truth(open_ms - self.length)
        bar = self.truth(open_ms)
        part = min((now - open_ms + 2_000) / 10_000, 1.0)
        yield replace(bar, closed=False, volume=bar.volume * part, origin="aggregated")

    def play(self, minutes: float) -> Counter[str]:
        """Go on until so long after the beginning; what was counted until then."""
        self.runner.run(self._play(self.begins + int(minutes * MINUTE)))
        return sum((lane.counters for lane in self.lanes.values()), self.keeper._meters.counters + Counter())

    async def _play(self, until_ms: int) -> None:
        while self.now < until_ms:
            await clock.sleep((self.now - self.now_ms()) / 1000)
            assert not self.asking.done(), self.asking.exception()
            heard = self.keys if self._is_connected() else []
            for key, bar in [(k, bar) for k in heard if not self.is_silent(k, self.now) for bar in self.says(self.now)]:
                if self.lanes[key].take(bar, self.now) and (bar.closed or not self.flagged):  # as the feed does
                    self.keeper.heard(key)
            self.now += self.step

    def _is_connected(self) -> bool:
        up = not self.is_down(self.now)
        if self.broken is None and up:
            self.keeper.connected()
            self.broken = asyncio.ensure_future(self.keeper.broken())
        elif self.broken is not None and (self.broken.done() or not up):
            self.breaks += [(self.now, self.broken.exception())] if self.broken.done() else []
            self.broken.cancel()
            self.broken = None
            self.keeper.disconnected("the line is cut", self.mute)
        return self.broken is not None

    def delays_s(self, key: Key, from_min: float = -1e9) -> list[float]:
        """How long after its end each bar was said, of those that began after some time."""
        return [(when - bar.time_ms - self.length) / 1000 for when, stream, bar in self.said
                if stream == str(key) and bar.time_ms >= self.begins + from_min * MINUTE]  # fmt: skip

    def assert_true(self, without: Sequence[int] = ()) -> None:
        """Each bar that is over was said once, not before its end, and as the venue has it."""
        first = self.journal[0].time_ms if self.journal else self.begins - (self.begins - self.anchor) % self.length
        over = [t for t in range(first, self.now - self.length + 1, self.length) if t not in without]
        for key in self.keys:
            said = [*self.journal, *(bar for _, stream, bar in self.said if stream == str(key))]
            assert sorted(bar.time_ms for bar in said) == over
            assert all(same(bar, self.truth(bar.time_ms)) for bar in said)
            assert min(self.delays_s(key)) >= 0


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    random.seed(1)  # the breaker's
    with asyncio.Runner(loop_factory=loop) as runner:
        yield partial(World, runner, tmp_path, monkeypatch)


def at(minutes: float) -> int:
    return T0 + int(minutes * MINUTE)


@pytest.mark.parametrize("how", ["muted", "polled", "dropped"])
@pytest.mark.parametrize(("rtt_s", "recheck"), [(0.5, ()), (5.0, (3,))], ids=str)
@pytest.mark.parametrize("until_min", [12.5, 30, 1_000])
def test_what_the_history_lacks_is_found_or_missing(make: Make, how: str, rtt_s: float, recheck, until_min) -> None:
    """It is asked for twice more, a minute later and half an hour later, whatever else is asked just then."""
    world = make(rtt_s=rtt_s, recheck=recheck)
    hole, never, world.mute = at(10), until_min == 1_000, how == "muted"
    world.is_down = lambda now: how != "dropped" and at(10.05) <= now < at(12.05)
    world.is_silent = lambda key, now: how == "dropped" and now == hole + MINUTE
    world.lacks = lambda open_ms, now: open_ms == hole and now < at(until_min)
    assert world.play(40)["missing"] == 0
    assert world.play(46.5)["missing"] == never
    world.assert_true([hole] * never)
    again = [round((now - at(12)) / MINUTE) for now, _, since in world.asked if since < hole and now > at(12.5)]
    assert again == [1, 30] or recheck or not never


@pytest.mark.parametrize(("until_min", "recheck"), [(15, ()), (15, (5, 60)), (95, ())])
def test_a_hole_older_than_what_is_remembered_is_filled(make: Make, until_min: int, recheck: Sequence[float]) -> None:
    world = make(recheck=recheck)
    world.is_down = lambda now: at(5) <= now < at(until_min)
    world.fails = lambda key, now: Disconnected("500") if at(5) <= now < at(105) else None
    counted = world.play(140.5)
    assert counted["gaps_open"] > 0 == counted["missing"] == counted["rejected"]
    world.assert_true()


def test_a_hole_in_the_journal_is_filled_after_a_restart(make: Make) -> None:
    before = make()
    before.is_down = lambda now: at(5) <= now < at(10)
    before.fails = lambda key, now: Disconnected("500") if now >= at(5) else None
    assert before.play(20.5)["gaps_open"] > 0
    after = make(begins=at(20.5), journal=[bar for _, _, bar in before.said])
    after.fails = lambda key, now: Disconnected("500") if now < at(30) else None
    assert len(after.journal) == 15
    assert after.play(45)["missing"] == 0
    after.assert_true()


@FLAGGED
@pytest.mark.parametrize(("bad", "good"), [(1, 0), (40, 0), (1, 19)])
@pytest.mark.parametrize("gone", [Disconnected("418", 3600.0, "banned"), Disconnected("500")], ids=str)
def test_live_bars_go_on_without_a_history(make: Make, gone: Disconnected, bad: int, good: int, flagged: bool) -> None:
    """From minute 5 on it fails, and the connection flaps: after ``hold_s`` all is live again, the others soon."""
    world = make(bad + good, flagged=flagged)
    world.is_down = lambda now: at(5.5) <= now < at(5.55)
    world.fails = lambda key, now: gone if key in world.keys[:bad] and now > at(5) else None
    world.play(14.5)
    for key in world.keys:
        held = key in world.keys[:bad] or gone.retry_after
        assert len(delays := world.delays_s(key, 8 if held else 0)) == (6 if held else 14)
        assert max(delays) < 30  # they share a breaker
    assert 0 < sum(now > at(5) and key in world.keys[:bad] for now, key, _ in world.asked) < 60
    assert world.breaks == []


@FLAGGED
def test_nobody_starves_when_the_connection_flaps(make: Make, flagged: bool) -> None:
    """200 streams that heal every ten seconds would spend 2,400 a minute; 960 is all there is."""
    world = make(200, flagged=flagged, weight=1_200)
    world.is_down = lambda now: at(1) <= now < at(3) and now % 10_000 == 0
    world.play(5.5)
    world.assert_true()
    asked = [now for now, *_ in world.asked]
    assert 900 < max(WEIGHT * sum(now - MINUTE < then <= now for then in asked) for now in asked[::10]) <= 960
    turns = Counter(key for now, key, _ in world.asked if at(1) <= now < at(3))
    assert min(turns[key] for key in world.keys) >= max(turns.values()) - 2 > 0


@pytest.mark.parametrize("every_s", [10, 30, 60])
@pytest.mark.parametrize("busy", [0, 5])
def test_a_thin_stream_is_no_dead_connection(make: Make, busy: int, every_s: int) -> None:
    world = make(busy + 1, flagged=False)
    world.is_silent = lambda key, now: key == world.keys[0] and (now - T0) // 1000 % every_s != 20 % every_s
    world.play(20.5)
    world.assert_true()
    assert world.breaks == []


@FLAGGED
@pytest.mark.parametrize("streams", [1, 10])
def test_a_dead_connection_is_found_within_a_bar(make: Make, streams: int, flagged: bool) -> None:
    """Of minute 5 it says a part."""
    world = make(streams, flagged=flagged)
    world.is_silent = lambda key, now: now > at(5) + 4_000 and not world.breaks
    world.play(9.5)
    (when, gone), = world.breaks
    assert gone.kind == "silent"
    assert at(6) <= when < at(6.5)
    world.assert_true()


@pytest.mark.parametrize("speaks", [True, False], ids=["spoken of", "silent"])
def test_a_refused_stream_is_left_alone_until_the_connection_speaks_of_it(make: Make, speaks: bool) -> None:
    world = make(3)
    gone = world.keys[0]
    world.is_down = lambda now: at(6.5) <= now < at(6.55)
    world.is_silent = lambda key, now: key == gone and at(5) < now < at(20) and not speaks
    world.fails = lambda key, now: Refused("delisted") if key == gone and at(5) < now < at(20) else None
    refused = world.play(19.9)["refused"]
    assert refused == sum(key == gone and now > at(5) for now, key, _ in world.asked)
    assert 0 < refused <= (15 if speaks else 2)
    assert speaks or world.outs[str(gone)].state.state == "down"
    world.play(25.5)
    assert world.outs[str(gone)].state.state == "live"
    world.assert_true()
    assert world.breaks == []


@FLAGGED
@pytest.mark.parametrize("ahead", [1, 60, 1000])
def test_a_frame_of_the_future_closes_nothing_early(make: Make, ahead: int, flagged: bool) -> None:
    world = make(flagged=flagged)
    world.play(3.1)
    world.lanes[world.keys[0]].take(replace(world.truth(at(3 + ahead)), closed=False), world.now)
    world.play(8.5)
    world.assert_true()
    assert max(world.delays_s(world.keys[0])) < 10


@FLAGGED
@pytest.mark.parametrize(("tf", "anchor", "length", "hours"), [
    ("1D", MONDAY - 2 * HOUR, DAY, 7), ("1W", MONDAY, WEEK, 30), ("1W", MONDAY, WEEK, 100), ("1W", MONDAY, WEEK, 150),
])  # fmt: skip
def test_the_first_bar_is_published(make: Make, tf: str, anchor: int, length: int, hours: int, flagged: bool) -> None:
    begins = anchor + hours * HOUR + 5  # so that no step is at the close, and no flag is said
    world = make(flagged=flagged, tf=tf, anchor=anchor, length=length, begins=begins, step=600_000, speed=6_000)
    world.play((anchor + length - begins + HOUR) / MINUTE)
    world.assert_true()
