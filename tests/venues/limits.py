"""What a venue allows: so much in a window, or at a steady rate; by the laboratory's clock."""

from __future__ import annotations

from pynelive.producers import clock

_JITTER_S = 0.05
"""How much later (real time) a message may be read than it was sent: this machine's fault and not the client's."""


class Window:
    """So much weight in each window of so many seconds, counted from full windows on as most venues do."""

    def __init__(self, limit: float, per_s: float) -> None:
        self.limit, self.per_s, self.used = limit, per_s, 0.0
        self._number = -1

    def take(self, weight: float = 1.0) -> bool:
        """Count a request; whether it is still allowed."""
        number = int(clock.now_ms() / 1000 // self.per_s)
        if number != self._number:
            self._number, self.used = number, 0.0
        self.used += weight
        return self.used <= self.limit

    @property
    def left_s(self) -> float:
        """How long until the next window begins."""
        return self.per_s - clock.now_ms() / 1000 % self.per_s


class Bucket:
    """A steady rate with a small burst: for messages on a connection."""

    def __init__(self, burst: float, per_s: float) -> None:
        """:param per_s: allowed in a second"""
        self._rate = per_s
        self._size = burst + per_s * _JITTER_S * clock.SPEED
        self._level, self._at = self._size, clock.monotonic()

    def take(self) -> bool:
        """Count a message; whether it is still allowed."""
        now = clock.monotonic()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        self._level -= 1
        return self._level >= 0
