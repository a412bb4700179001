"""The seam between a venue's socket and its history, in simulated time: whatever happens, the truth comes out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from pynelive.bus.messages import Bar, Instrument, State
from pynelive.bus.names import Key
from pynelive.bus.specs import QualitySpec
from pynelive.producers.calendar import Calendar
from pynelive.producers.contract import Capabilities
from pynelive.producers.lane import Lane
from pynelive.producers.ledger import Ledger, same
from pynelive.producers.quality import Quality
from pynelive.producers.quarantine import Quarantine

KEY = Key("X", "1")
MINUTE = 60_000
T0 = 1_700_000_040_000
STEP = 500


class Said:
    """What a publisher was given."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self.outs = {"x:X@1": SimpleNamespace(ended=False, pending=[], state=None)}

    def publish(self, stream: str, message: Bar | State) -> None:
        if isinstance(message, Bar):
            self.bars.append(message)

    def forming(self, stream: str, bar: Bar) -> None:
        self.bars.append(bar)


class Venue:
    """A minute of simulated trading after the other; some have no trade, some are corrected a little later."""

    def __init__(self, luck: random.Random, count: int, quiet: float, flagged: bool) -> None:
        self.luck, self.flagged = luck, flagged
        self.truth: dict[int, Bar] = {}
        price = 100.0
        for number in range(count):
            if luck.random() < quiet:
                continue
            close = round(price + luck.uniform(-1, 1), 2)
            high, low = max(price, close) + 0.5, min(price, close) - 0.5
            self.truth[T0 + number * MINUTE] = Bar(T0 + number * MINUTE, price, high, low, close, 10.0 + number)
            price = close

    def forming(self, now_ms: int) -> Bar | None:
        bar = self.truth.get(now_ms - now_ms % MINUTE)
        if bar is None or now_ms == bar.time_ms:
            return None
        part = (now_ms - bar.time_ms) / MINUTE
        return replace(bar, closed=False, high=max(bar.open, bar.close), low=min(bar.open, bar.close),
                       volume=bar.volume * part)

    def closed_at(self, now_ms: int) -> Bar | None:
        return self.truth.get(now_ms - MINUTE) if now_ms % MINUTE == 0 else None

    def latest(self, since_ms: int, now_ms: int, lag_ms: int) -> list[Bar]:
        return [replace(bar, origin="backfill") for time_ms, bar in self.truth.items()
                if time_ms > since_ms and time_ms + MINUTE + lag_ms <= now_ms]


def lane_for(said: Said, tmp_path: Any, can: Capabilities, recheck: tuple[float, ...] = (5, 60)) -> Lane:
    spec = QualitySpec(recheck_s=recheck)
    calendar = Calendar(Instrument("X", "1"), "1")
    quality = Quality(spec, calendar, "crypto", live=can.heals)
    ledger = Ledger("x:X@1", said, quality, Quarantine(tmp_path / "q.jsonl"))  # type: ignore[arg-type]
    return Lane(KEY, ledger, calendar, can, spec, T0)


def run(venue: Venue, lane: Lane, minutes: int, faults: float) -> None:
    """Play it: the socket drops, repeats and delays, dies for a while; the history lags and fails."""
    luck, up_ms, restore_ms, asked = venue.luck, 0, 0, None
    delayed: list[tuple[int, Bar]] = []
    lane.connected(T0)
    for now in range(T0, T0 + (minutes + 60) * MINUTE, STEP):
        quiet_end = now > T0 + minutes * MINUTE
        if not quiet_end and luck.random() < faults / 200 and now >= up_ms:
            up_ms = now + luck.randrange(1_000, 200_000)  # the connection is gone until then
            restore_ms = up_ms if luck.random() < 0.7 else 0  # or it is only silent
        if restore_ms and now >= restore_ms:
            restore_ms = 0
            lane.connected(now)
        for bar in said_by(venue, now, up_ms, quiet_end, faults, delayed):
            lane.take(bar, now)
        if asked is not None and now >= asked[0]:
            if asked[2] is not None:
                lane.answered(asked[1], asked[2], now)
            asked = None
        if asked is None and (why := lane.wants(now, polled=bool(restore_ms))):
            since_ms, fails = lane.since_ms(now), not quiet_end and luck.random() < faults
            answer = None if fails else venue.latest(since_ms, now, luck.choice((0, 0, 4_000)))
            asked = now + luck.choice((STEP, 2_000, 20_000)), why, answer


def said_by(venue: Venue, now: int, up_ms: int, well: bool, faults: float,
            delayed: list[tuple[int, Bar]]) -> Iterator[Bar]:
    luck = venue.luck
    yield from (bar for when, bar in delayed if when == now)
    if now < up_ms:
        return
    closed = venue.closed_at(now) if venue.flagged else None
    if closed is not None:
        if well or luck.random() >= faults:
            yield closed
        if luck.random() < faults:
            yield closed
        if luck.random() < faults:
            delayed.append((now + luck.randrange(1, 400) * STEP, closed))
    if (bar := venue.forming(now)) and luck.random() < 0.2:
        yield bar


@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "unflagged"])
@pytest.mark.parametrize("seed", range(25))
def test_the_truth_comes_out(seed: int, flagged: bool, tmp_path: Any) -> None:
    """Each bar of the venue once, in order but for those said as revisions; no bar that the venue does not have; no
    forming bar before the close of an earlier one."""
    luck = random.Random(seed)
    venue = Venue(luck, 120, luck.choice((0.0, 0.02, 0.5)), flagged)
    said = Said()
    lane = lane_for(said, tmp_path, Capabilities(heals=True, flagged=flagged))
    run(venue, lane, 120, luck.choice((0.0, 0.1, 0.3)))

    closed = [bar for bar in said.bars if bar.closed]
    firsts = [bar.time_ms for bar in closed if not bar.revision]
    final = {bar.time_ms: bar for bar in closed}
    assert firsts == sorted(set(firsts))
    assert final.keys() == venue.truth.keys()
    assert all(same(bar, venue.truth[time_ms]) for time_ms, bar in final.items())
    latest = 0
    for bar in said.bars:
        assert bar.closed or bar.time_ms > latest
        latest = max(latest, bar.time_ms) if bar.closed else latest
    if flagged:
        assert all(same(bar, venue.truth[bar.time_ms]) for bar in closed)
