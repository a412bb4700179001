"""What is public of one stream: a closed bar once and in order of time, everything else as what it is.

The same time with other values is a revision, never a second bar; a bar that was missing and comes after later ones is
said as a revision too, so that whoever only appends is not disturbed; what cannot be placed goes to the quarantine.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from math import isnan
from typing import Protocol

from msgspec.structs import replace

from ..bus.messages import Bar, State, StreamState
from ..bus.publisher import Publisher
from .quality import Quality
from .quarantine import Quarantine

log = logging.getLogger("pynelive")
REMEMBERED = 64
_STAND_INS = 10_000


class Follower(Protocol):
    """Something that is made from what a ledger holds."""

    def follow(self, time_ms: int) -> None:
        """The bar of a time is new or has changed."""

    def say(self, state: StreamState, since_ms: int, reason: str) -> None:
        """The state has changed."""


class Ledger:
    """The closed bars of one stream that were said, the last 64 (or ``most``) of them by heart.

    :param recent: the closed bars that the journal ends with, oldest first
    """

    def __init__(
        self, stream: str, publisher: Publisher, quality: Quality, quarantine: Quarantine, recent: Iterable[Bar] = (),
        most: int = REMEMBERED,
    ) -> None:  # fmt: skip
        self.stream = stream
        self.quality = quality
        self.counters: Counter[str] = Counter()
        self.last: Bar | None = None
        """The latest closed bar that is public."""
        self.followers: list[Follower] = []
        self._publisher = publisher
        self._quarantine = quarantine
        self._recent: dict[int, Bar] = {}
        self._most = most
        self._complained: set[str] = set()
        self._rejected: deque[tuple[str, int]] = deque(maxlen=1024)
        self._holes: dict[int, int] = {}
        self.floor_ms = 0
        """Up to here it is not known by heart what was said."""
        for bar in recent:
            self._remember(bar)

    def passed(self, bar: Bar, now_ms: int) -> Bar | None:
        """The bar as the rules let it through; None if it is in quarantine now."""
        verdict = self.quality.judge(bar, now_ms)
        if verdict.bar is None:
            self.reject(bar, verdict.rule, verdict.reason)
        return verdict.bar

    def is_new(self, time_ms: int) -> bool:
        """Whether a bar of that time would be the latest."""
        return self.last is None or time_ms > self.last.time_ms

    def remembered(self) -> list[Bar]:
        """The last closed bars, oldest first."""
        return sorted(self._recent.values(), key=lambda bar: bar.time_ms)

    def stand_ins(self) -> list[int]:
        """When the bars open for which the venue's own have not come yet."""
        return [time_ms for time_ms, bar in self._recent.items() if bar.origin == "fallback"]

    def note_hole(self, from_ms: int, behind_ms: int) -> None:
        """Bars between these two are wanted, however late they come."""
        self._holes[from_ms] = max(behind_ms, self._holes.get(from_ms, 0))

    def close_hole(self, from_ms: int, behind_ms: int, next_open: Callable[[int], int]) -> int:
        """They are wanted no more: the venue has said twice that there is nothing. How many are missing for good."""
        missing = self.missing(from_ms, behind_ms, next_open)
        self._holes = {a: b for a, b in self._holes.items() if not (from_ms <= a and b <= behind_ms)}
        return missing

    def missing(self, from_ms: int, behind_ms: int, next_open: Callable[[int], int]) -> int:
        """How many bars between two times are not public, as far as one remembers."""
        missing, time_ms = 0, next_open(from_ms)
        while time_ms < behind_ms:
            missing += time_ms not in self._recent
            time_ms = next_open(time_ms)
        return missing

    def publish(self, bar: Bar) -> bool:
        """Say a closed bar; whether it is the latest now."""
        if self.is_new(bar.time_ms):
            self._publisher.publish(self.stream, bar)
            self._remember(bar)
            self._tell(bar)
            return True
        known = self._recent.get(bar.time_ms)
        if known is None:
            self._belated(bar)
        elif bar.origin == "fallback" or (known.origin != "fallback" and same(known, bar)):
            self.counters["duplicates"] += 1
        else:
            self.counters["revisions"] += 1
            self._correct(replace(bar, revision=known.revision + 1))
        return False

    def forming(self, bar: Bar) -> None:
        """Say how the forming bar stands."""
        self._publisher.forming(self.stream, bar)

    def say(self, state: StreamState, since_ms: int, reason: str = "") -> None:
        """Publish how the stream is, if that is news."""
        out = self._publisher.outs.get(self.stream)
        if out is None or out.ended:
            return
        if self.state != state:
            self._publisher.publish(self.stream, State(state, since_ms, reason))
            for follower in self.followers:
                follower.say(state, since_ms, reason)

    @property
    def state(self) -> StreamState:
        """How the stream is, as it was said last."""
        out = self._publisher.outs[self.stream]
        said = next((m for m in reversed(out.pending) if type(m) is State), out.state)
        return said.state if said else "live"

    def reject(self, bar: Bar, rule: str, reason: str) -> None:
        """Put a bar where only a person looks for it, once: a history repeats what it has."""
        if (rule, bar.time_ms) in self._rejected:
            return
        self._rejected.append((rule, bar.time_ms))
        self.counters["rejected"] += 1
        self._quarantine.keep(self.stream, rule, reason, bar)
        self.complain(rule, f"a bar of {bar.time_ms} was put into quarantine: {reason}")

    def complain(self, rule: str, sentence: str) -> None:
        """Log it once a rule; the counters go on."""
        if rule not in self._complained:
            self._complained.add(rule)
            log.warning("%s: %s", self.stream, sentence)

    def _belated(self, bar: Bar) -> None:
        """A bar that is not the latest and was not said, as far as one remembers."""
        if self._is_in_hole(bar.time_ms) or bar.time_ms > self.floor_ms:
            self.counters["late"] += 1
            self.complain("late", f"the bar of {bar.time_ms} came after later ones; it is said as a revision")
            self._correct(replace(bar, revision=1))
        elif bar.origin != "backfill":  # a venue's answer may begin before what is remembered
            self.reject(bar, "late", "it came long after later bars")

    def _is_in_hole(self, time_ms: int) -> bool:
        return any(from_ms < time_ms < behind_ms for from_ms, behind_ms in self._holes.items())

    def _correct(self, bar: Bar) -> None:
        self._publisher.publish(self.stream, bar)
        self._recent[bar.time_ms] = bar
        if self.last is not None and bar.time_ms == self.last.time_ms:
            self.last = bar
        self._tell(bar)

    def _tell(self, bar: Bar) -> None:
        for follower in self.followers:
            follower.follow(bar.time_ms)

    def _remember(self, bar: Bar) -> None:
        if self.is_new(bar.time_ms):
            self.quality.learn(bar)
            self.last = bar
        elif self.last is not None and bar.time_ms == self.last.time_ms:
            self.last = bar
        self._recent[bar.time_ms] = bar
        self.floor_ms = self.floor_ms or bar.time_ms
        while len(self._recent) > self._most and self._forget():
            pass

    def _forget(self) -> bool:
        """The oldest bar, unless it is a stand-in's or in a hole: the venue's own may still come, or come again."""
        oldest = next((time_ms for time_ms, bar in self._recent.items()
                       if bar.origin != "fallback" and not self._is_in_hole(time_ms)), None)
        if len(self._recent) > _STAND_INS:
            oldest = next(iter(self._recent))
        if oldest is not None:
            del self._recent[oldest]
            self.floor_ms = max(self.floor_ms, oldest)
        return oldest is not None


def same(a: Bar, b: Bar) -> bool:
    """Whether two bars say the same prices and volume; what is no number is equal to itself here."""
    pairs = ((a.open, b.open), (a.high, b.high), (a.low, b.low), (a.close, b.close), (a.volume, b.volume))
    return all(x == y or (isnan(x) and isnan(y)) for x, y in pairs)
