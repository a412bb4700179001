"""What one stream's venue is to be asked again later: for corrections, and whether a hole is one for good."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import NamedTuple

_MOST = 128


class Recheck(NamedTuple):
    """A question for later: the bars from a time on; with ``behind_ms``, whether the hole until then is a fact."""

    when_ms: int
    from_ms: int
    behind_ms: int = 0


class Rechecks:
    """The questions of one stream, the earliest first."""

    def __init__(self) -> None:
        self._items: list[Recheck] = []

    def add(self, when_ms: int, from_ms: int, behind_ms: int = 0) -> None:
        """Ask then; two become one where there are too many, as a venue may not answer for days."""
        insort(self._items, Recheck(when_ms, from_ms, behind_ms))
        if len(self._items) > _MOST:
            one, other = self._items[:2]
            merged = Recheck(one.when_ms, min(one.from_ms, other.from_ms), max(one.behind_ms, other.behind_ms))
            self._items[:2] = [merged]

    def are_due(self, now_ms: int) -> bool:
        """Whether there is something to ask now."""
        return bool(self._items) and self._items[0].when_ms <= now_ms

    def begins(self, now_ms: int) -> Iterator[int]:
        """From where what is due wants to be asked."""
        return (item.from_ms for item in self._items if item.when_ms <= now_ms)

    def settle(self, asked_ms: int) -> list[tuple[int, int]]:
        """What was due when the question was put is answered; the holes that are facts now."""
        holes = [(item.from_ms, item.behind_ms) for item in self._items if item.when_ms <= asked_ms and item.behind_ms]
        self._items = [item for item in self._items if item.when_ms > asked_ms]
        return holes
