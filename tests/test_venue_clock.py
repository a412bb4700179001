"""The venue's time survives what happens to ours: steps, sleep, and a venue that is stepped itself."""

from __future__ import annotations

import pytest
from pynelive.producers import clock
from pynelive.producers.venue_clock import VenueClock

T0 = 1_700_000_000_000


class World:
    """The three clocks, in simulated time."""

    def __init__(self, venue_ahead_ms: int = 0) -> None:
        self.wall_ms, self.monotonic_s, self.venue_ms = T0, 5_000.0, T0 + 7 + venue_ahead_ms

    def go(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_ms += int(seconds * 1000)
        self.venue_ms += int(seconds * 1000)

    def sleep(self, seconds: float) -> None:
        """As the machine does it: the monotonic clock stands."""
        self.go(seconds)
        self.monotonic_s -= seconds

    def ask(self, venue: VenueClock, there_s: float = 0.05, back_s: float = 0.05) -> None:
        sent_s = clock.monotonic()
        self.go(there_s)
        told_ms = self.venue_ms
        self.go(back_s)
        venue.told(told_ms, sent_s)

    def error_ms(self, venue: VenueClock) -> int:
        return venue.now_ms() - self.venue_ms


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(90_000)
    monkeypatch.setattr(clock, "now_ms", lambda: world.wall_ms)
    monkeypatch.setattr(clock, "monotonic", lambda: world.monotonic_s)
    return world


@pytest.mark.parametrize("step_ms", [-3_600_000, -30_000, 30_000, 3_600_000])
def test_a_step_of_our_clock_moves_nothing(world: World, step_ms: int) -> None:
    """The venue's time goes on, a little late at the most, and it is compared at once."""
    venue = VenueClock()
    assert venue.is_due()
    world.ask(venue)
    world.go(20)
    assert not venue.is_due()
    world.wall_ms += step_ms
    assert -51 <= world.error_ms(venue) <= 0
    assert venue.offset_ms == pytest.approx(90_000 - step_ms, abs=100)
    assert venue.is_due()
    assert not venue.is_due()  # it is being asked; without an answer again in half a minute
    world.go(31)
    assert venue.is_due()
    world.ask(venue)
    world.go(170)
    assert not venue.is_due()
    world.go(20)
    assert venue.is_due()


def test_the_shortest_way_is_kept(world: World) -> None:
    """A slow answer does not spoil a good one; a live message may only improve it; none makes the clock run ahead."""
    venue = VenueClock()
    world.ask(venue, back_s=2.0)
    assert world.error_ms(venue) == -2_000
    world.ask(venue, 0.3, 0.02)
    assert world.error_ms(venue) == -20
    world.go(200)
    world.ask(venue, 0.1, 5.0)
    assert world.error_ms(venue) == -20
    venue.heard(world.venue_ms - 5)
    assert world.error_ms(venue) == -5
    venue.heard(world.venue_ms - 400)
    venue.heard(world.venue_ms + 10_000_000)
    assert world.error_ms(venue) == -5


def test_a_venue_of_whole_seconds(world: World) -> None:
    """Its answers do not throw away what its messages tell to the millisecond."""
    venue = VenueClock()
    venue.told(world.venue_ms // 1000 * 1000, clock.monotonic())
    venue.heard(world.venue_ms)
    venue.told(world.venue_ms // 1000 * 1000, clock.monotonic())
    assert world.error_ms(venue) == 0


def test_a_step_of_the_venues_clock_is_followed(world: World) -> None:
    """Ahead by its messages or the next comparison, back by the next comparison."""
    venue = VenueClock()
    world.ask(venue)
    world.venue_ms += 30_000
    venue.heard(world.venue_ms)
    assert world.error_ms(venue) == 0
    world.venue_ms -= 60_000
    world.ask(venue)
    assert -51 <= world.error_ms(venue) <= 0
    world.venue_ms += 3_600_000
    world.ask(venue)
    assert -51 <= world.error_ms(venue) <= 0


def test_after_a_sleep(world: World) -> None:
    """The monotonic clock has stood: late until the venue is asked, which is due at once, or heard."""
    venue = VenueClock()
    world.ask(venue)
    world.go(10)
    world.sleep(7_200)
    assert world.error_ms(venue) < -7_000_000
    assert venue.is_due()
    venue.heard(world.venue_ms - 3)
    assert world.error_ms(venue) == -3
    world.sleep(7_200)
    world.ask(venue)
    assert -51 <= world.error_ms(venue) <= 0


def test_without_the_venues_word(world: World) -> None:
    """The wall clock is all there is, and is followed both ways."""
    venue = VenueClock()
    for step_ms in (30_000, -50_000, 0):
        world.wall_ms += step_ms
        world.go(1)
        assert (venue.now_ms(), venue.offset_ms) == (world.wall_ms, 0)


def test_a_venue_that_is_only_heard(world: World) -> None:
    """It begins with the wall clock's time: a step ahead of that is not believed, a step back is, until it is heard."""
    world.venue_ms = world.wall_ms + 40
    venue = VenueClock()
    venue.heard(world.venue_ms)
    world.wall_ms += 30_000
    assert world.error_ms(venue) == 0
    world.wall_ms -= 60_000
    assert world.error_ms(venue) == -60_000
    venue.heard(world.venue_ms)
    assert world.error_ms(venue) == 0
