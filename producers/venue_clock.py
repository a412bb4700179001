"""What time it is at a venue, at least: a bar is closed by it, and a clock that runs ahead closes bars that still form.

It goes by the monotonic clock, which nobody steps, and not by the wall clock: NTP, or a machine that wakes, moves that
by seconds or hours. Only where a venue has never told its time in any way, the wall clock is all there is.
"""

from __future__ import annotations

from . import clock

_BELIEVED_MS = 60_000
"""How far ahead a live message may set the clock: what is further in the future is no time."""
_EVERY_S = 180.0
"""Between two comparisons with the venue."""
_AGAIN_S = 30.0
"""After one without an answer."""
_JUMP_MS = 1_000


class VenueClock:
    """The venue's time by its answers (:meth:`told`) and by its live messages (:meth:`heard`)."""

    def __init__(self) -> None:
        self._ahead_ms = 0.0  # of the monotonic clock
        self._is_known = self._is_told = False
        self._wall_ahead_ms = _wall_ahead_ms()
        self._leap_ms = 0.0  # of the wall clock: if the machine has slept, so long the monotonic clock has stood
        self._due_s = 0.0

    @property
    def offset_ms(self) -> int:
        """The venue's time less the wall clock's."""
        return self.now_ms() - clock.now_ms()

    def now_ms(self) -> int:
        """The venue's time."""
        self._look()
        return int(_monotonic_ms() + self._ahead_ms) if self._is_known else clock.now_ms()

    def is_due(self) -> bool:
        """Whether the venue should be asked now: every few minutes, and at once when the wall clock has jumped."""
        self._look()
        now_s = clock.monotonic()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + _AGAIN_S
        return True

    def told(self, venue_ms: int, sent_s: float) -> None:
        """Take the answer that has just come.

        It was written between the question and now, so it bounds the offset on both sides; what is known better (by a
        shorter way) stays as long as it is within.

        :param sent_s: when it was asked for, by ``clock.monotonic``
        """
        least_ms = venue_ms - _monotonic_ms()
        grain_ms = 1 if venue_ms % 1000 else 1000  # some venues tell whole seconds
        if not (self._is_known and least_ms <= self._ahead_ms <= venue_ms + grain_ms - sent_s * 1000):
            self._ahead_ms = least_ms
        self._is_known, self._is_told, self._leap_ms = True, True, 0.0
        self._due_s = clock.monotonic() + _EVERY_S

    def heard(self, event_ms: int) -> None:
        """Nothing can be heard before it has happened."""
        if 0 < event_ms - self.now_ms() < _BELIEVED_MS + self._leap_ms:
            self._ahead_ms, self._leap_ms = event_ms - _monotonic_ms(), 0.0
            self._is_known = True

    def _look(self) -> None:
        """Find out whether the wall clock has been stepped, or the machine has slept, since the last look."""
        before_ms, self._wall_ahead_ms = self._wall_ahead_ms, _wall_ahead_ms()
        jump_ms = self._wall_ahead_ms - before_ms
        if abs(jump_ms) <= _JUMP_MS * clock.SPEED:
            return
        self._due_s = 0.0
        self._leap_ms += max(jump_ms, 0.0)
        if jump_ms < 0 and not self._is_told:  # it began with the wall clock's time, which was ahead
            self._ahead_ms += jump_ms


def _monotonic_ms() -> float:
    return clock.monotonic() * 1000


def _wall_ahead_ms() -> float:
    return clock.now_ms() - _monotonic_ms()
