"""One stream on its way from the provider to the bus: when a bar is closed, and when the venue has to be asked.

A forming bar never overtakes the close before it. Where something may be missing (after a connect, at a hole, at a
close that nothing has flagged) the lane is *shut*: what arrives waits until the venue was asked (``keeper.py``) and
what it says is published first. All times are the venue's (``Provider.now_ms``), in milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import isclose
from typing import Literal

from msgspec.structs import replace

from ..bus.messages import Bar
from ..bus.names import Key
from ..bus.specs import QualitySpec
from .calendar import Calendar
from .contract import Capabilities
from .ledger import Ledger
from .rechecks import Rechecks

Why = Literal["heal", "gap", "close", "silence", "poll", "recheck"]
"""Why a venue is asked: after a connect, at a hole, at a close without a flag; because a bar is due and nothing came;
because the connection is gone; because the venue may have corrected itself."""

_CALM = 3
_EARLY_MS = 2_000
_DAY_MS = 86_400_000
_PATIENCE = 4
_LONGEST_WAIT_MS = 1_800_000
_LOOK_AGAIN_S = (60, 1800)


class Lane:
    """The state of one stream.

    :param begins_ms: when the producer was started: nothing before the bar of then is asked for
    """

    def __init__(
        self, key: Key, ledger: Ledger, calendar: Calendar, can: Capabilities, spec: QualitySpec, begins_ms: int
    ) -> None:
        self.key = key
        self.ledger = ledger
        self.calendar = calendar
        self.heard_ms = 0
        """When the provider said something of it last."""
        self.asked_ms = 0
        """When the venue was asked of it last."""
        self.refused = ""
        """Why the source does not give this stream."""
        self.rested = False
        """Whether the source itself says that the market is closed: it knows holidays."""
        self._can = can
        self._grace_ms = int(spec.grace_s * 1000)
        self._hold_ms = int(spec.hold_s * 1000)
        self._recheck_s = spec.recheck_s or ()
        self._guarded = can.heals or not can.flagged  # else the source's own order is all there is
        self._begins_ms = begins_ms - begins_ms % calendar.length_ms
        self._whole_from_ms = 0
        self._forming: Bar | None = None
        self._next: Bar | None = None
        self._ends_ms = 0
        self._shut: Why | None = None
        self._shut_ms = 0
        self._closing_ms = 0
        self._held: list[Bar] = []
        self._ask_ms = 0
        self._asked = 0
        self._rechecks = Rechecks()
        self._empty_gaps = 0
        self._expect()
        if can.heals:
            self._look_for_holes(begins_ms)

    def _look_for_holes(self, now_ms: int) -> None:
        """Those that the journal ends with, and that nobody may have asked about."""
        bars = self.ledger.remembered()
        holes = [(a, b) for a, b in pairwise(bars) if self.calendar.missing(a.time_ms, b.time_ms)]
        if holes:
            from_ms, behind_ms = holes[0][0].time_ms, holes[-1][1].time_ms
            self.ledger.note_hole(from_ms, behind_ms)
            self._rechecks.add(now_ms, from_ms, behind_ms)

    # --- what the provider says ---------------------------------------------------------------------------------------

    def take(self, bar: Bar, now_ms: int) -> bool:
        """A bar, forming or closed, as the provider gives it; whether the rules let it pass."""
        self.heard_ms = now_ms
        if self.refused:
            self.refused = ""
            self.ledger.say("live", now_ms, "it is there again")
        passed = self.ledger.passed(bar, now_ms)
        if passed is None:
            return False
        if not bar.closed:
            self._form(passed, now_ms)
        elif self._shut is None:
            self._close(passed, now_ms)
        else:
            self._held.append(passed)
            if self._shut == "close" and self._forming and passed.time_ms == self._forming.time_ms:
                self._release(now_ms)  # the flag has come after all
        return True

    def _form(self, bar: Bar, now_ms: int) -> None:
        if not self.ledger.is_new(bar.time_ms):
            return
        if self._next is not None and bar.time_ms >= self._next.time_ms:
            self._next = bar
        elif (self._forming is None or bar.time_ms == self._forming.time_ms or not self._guarded
              or bar.time_ms < self._forming.time_ms > now_ms + _EARLY_MS):  # that one was of the future
            self._forming = bar
            self._show()
        elif bar.time_ms > self._forming.time_ms and self._shut is not None and not self._can.flagged:
            if self._is_whole(self._forming) and now_ms >= self.calendar.end_of(self._forming.time_ms) - _EARLY_MS:
                self._held.append(replace(self._forming, closed=True))
            self._forming = bar
        elif bar.time_ms > self._forming.time_ms:
            self._next, self._ends_ms = bar, now_ms + self._grace_ms

    def _show(self) -> None:
        if self._shut is None and self._forming is not None:
            self.ledger.forming(self._forming)

    def _close(self, bar: Bar, now_ms: int) -> None:
        if not self._is_behind_a_hole(bar):
            self._publish(bar, now_ms)
        elif self._empty_gaps >= _CALM:  # the venue says again and again that nothing was traded
            self.ledger.counters["gaps_quiet"] += 1
            self._look_again(bar, now_ms)
            self._publish(bar, now_ms)
        else:
            self._held.append(bar)
            self._shut_for("gap", now_ms)

    @property
    def _before_ms(self) -> int:
        """The bar after which everything is wanted: the last one, or the one before the beginning."""
        return self.ledger.last.time_ms if self.ledger.last else self._begins_ms - self.calendar.length_ms

    def _is_behind_a_hole(self, bar: Bar) -> bool:
        if not (self._can.heals and self.ledger.is_new(bar.time_ms)):
            return False
        if self.ledger.last is None and self.calendar.length_ms >= _DAY_MS:
            return False  # days and weeks begin where the venue says: what was before the first is not known
        return self.calendar.missing(self._before_ms, bar.time_ms)

    def _publish(self, bar: Bar, now_ms: int) -> None:
        if not self.ledger.publish(bar):
            return
        if self._can.heals:
            self._expect()
            for seconds in self._recheck_s:
                self._rechecks.add(now_ms + int(seconds * 1000), bar.time_ms)
        if self._forming is not None and self._forming.time_ms <= bar.time_ms:
            self._advance()

    def _advance(self) -> None:
        """The forming bar is done with: the next one takes its place."""
        self._forming, self._next, self._ends_ms = self._next, None, 0
        if self._forming is not None and not self.ledger.is_new(self._forming.time_ms):
            self._forming = None
        self._show()

    # --- what the time says -------------------------------------------------------------------------------------------

    def connected(self, now_ms: int) -> None:
        """A connection has begun; what was between it and the one before is asked for."""
        self._whole_from_ms = now_ms
        self.heard_ms, self.refused = 0, ""
        self._forming, self._next, self._ends_ms = None, None, 0
        if self._can.heals and self.ledger.last is not None:
            self._shut_for("heal", now_ms)

    def wants(self, now_ms: int, polled: bool) -> Why | None:
        """What the venue has to be asked now, if anything; called some times a second.

        :param polled: the connection is gone: asking is all there is
        """
        if self.refused:
            return None
        if self._shut is not None:
            if now_ms - self._shut_ms > self._hold_ms:
                self._give_up(now_ms, polled)
                return "recheck"
            return self._shut if now_ms >= self._ask_ms else None
        if self._forming is not None and self._guarded and (by := self._ended(now_ms)):
            return self._end(by, now_ms)
        if not self._can.heals:
            return None
        polled = polled and self.calendar.is_open(now_ms)
        if now_ms >= self._ask_ms and (polled or now_ms >= self._due_ms):
            return "poll" if polled else "silence"
        return "recheck" if self._rechecks.are_due(now_ms) else None

    def _ended(self, now_ms: int) -> str:
        """By what the forming bar is over: the next one and a grace, or the clock."""
        assert self._forming is not None
        end_ms = self.calendar.end_of(self._forming.time_ms)
        if self._ends_ms and now_ms >= max(self._ends_ms, end_ms):  # a next bar of the future ends nothing
            return "next"
        grace_ms = self._grace_ms if self._can.flagged else 2 * self._grace_ms
        return "clock" if now_ms >= end_ms + grace_ms else ""

    def _end(self, by: str, now_ms: int) -> Why | None:
        """Close the forming bar if it is as good as the venue's close; else ask, or give it up."""
        bar = self._forming
        assert bar is not None
        if not self._can.flagged and self._is_whole(bar) and (by == "next" or not self._can.heals):
            self._close(replace(bar, closed=True), now_ms)
        elif self._can.heals:
            self._closing_ms = bar.time_ms
            self._shut_for("close", now_ms)
        else:
            self.ledger.counters["partial"] += 1
            self._advance()
        return self._shut

    def _is_whole(self, bar: Bar) -> bool:
        """Whether this connection has seen all of the bar, or the venue makes it."""
        return bar.origin in ("venue", "replay") or bar.time_ms >= self._whole_from_ms

    def _shut_for(self, why: Why, now_ms: int) -> None:
        if self._shut is None:
            self._shut_ms = now_ms
        self._shut, self._ask_ms, self._asked = why, now_ms, 0

    def _expect(self) -> None:
        """When the next close must have been there, and nothing was asked about it yet."""
        next_ms = self.calendar.next_open(self.ledger.last.time_ms) if self.ledger.last else self._begins_ms
        self._due_ms = self.calendar.end_of(next_ms) + self._grace_ms
        self._ask_ms, self._asked = 0, 0

    def _look_again(self, bar: Bar, now_ms: int) -> None:
        """The hole before a bar is a fact when the venue has said so twice: ask later, and once more."""
        self.ledger.note_hole(self._before_ms, bar.time_ms)
        first, second = (now_ms + seconds * 1000 for seconds in _LOOK_AGAIN_S)
        self._rechecks.add(first, self._before_ms)
        self._rechecks.add(second, self._before_ms, bar.time_ms)

    def _give_up(self, now_ms: int, polled: bool) -> None:
        """The venue's history does not answer: what is live goes on, what is missing follows as soon as it does."""
        self.ledger.complain("hold", "the venue's history does not answer; live bars go on without what is missing")
        self.ledger.counters["gaps_open"] += 1
        self._rechecks.add(now_ms, self._before_ms)
        self._release(now_ms)
        if not polled:
            self.ledger.say("live", now_ms, "what was missed follows")

    # --- while the venue is down --------------------------------------------------------------------------------------

    def is_missed(self, now_ms: int) -> bool:
        """Whether a bar should have been there, and the venue is down."""
        return self.ledger.state in ("down", "stale") and not self._held and now_ms >= self._due_ms

    def stand_in(self, bar: Bar) -> None:
        """Publish a bar of another source; the venue's own will be asked for, and what was forming with it."""
        self._forming, self._next, self._ends_ms = None, None, 0
        self.ledger.counters["fallback"] += 1
        self.ledger.publish(bar)
        self._expect()

    # --- what the venue answers ---------------------------------------------------------------------------------------

    def since_ms(self, now_ms: int) -> int:
        """From where the venue is asked: a bar before the last one, or farther, so that corrections are seen."""
        self.asked_ms = now_ms
        if self.ledger.last is None:
            return min(self._begins_ms, self._forming.time_ms if self._forming else self._begins_ms) - 1
        wanted = [self.ledger.last.time_ms, *self._rechecks.begins(now_ms), *self.ledger.stand_ins()]
        return min(wanted) - self.calendar.length_ms - 1

    def answered(self, why: Why, bars: Sequence[Bar], now_ms: int) -> int:
        """Publish what the venue has said, and let go what was held back; the number of bars that were news."""
        before = self.ledger.last
        if why == "recheck":  # what is new is the connection's to say, or it would never be found to be deaf
            bars = [bar for bar in bars if not self.ledger.is_new(bar.time_ms)]
        fresh = self._absorb(bars, now_ms)
        for span in self._rechecks.settle(self.asked_ms):
            self.ledger.counters["missing"] += self.ledger.close_hole(*span, self.calendar.next_open)
        if why == "gap":
            self._judge_gap(self._before_ms if before is None else before.time_ms, bars)
        if why in ("silence", "poll"):
            self._wait(why, before is self.ledger.last, now_ms)
        if self._shut == why and not self._is_waited_for(now_ms):  # another question may be open by now
            self._release(now_ms)
        if bars and not bars[-1].closed:
            self._form(bars[-1], now_ms)
        return fresh

    def refuse(self, reason: str, now_ms: int) -> None:
        """The source does not give the stream any more, as far as it says now: ask no more, wait for nothing."""
        self.refused = reason
        if self._shut is not None:
            self._release(now_ms)

    def _absorb(self, bars: Sequence[Bar], now_ms: int) -> int:
        fresh = 0
        for bar in bars:
            passed = self.ledger.passed(bar, now_ms) if bar.closed else None
            if passed is not None:
                fresh += self.ledger.is_new(passed.time_ms) and not self._was_said(passed)
                self._publish_behind_holes(passed, now_ms)
        self.ledger.counters["backfilled"] += fresh
        return fresh

    def _was_said(self, bar: Bar) -> bool:
        """Whether the connection has said all of the bar, without a flag that it does not have."""
        seen = self._forming
        return (not self._can.flagged and seen is not None and seen.time_ms == bar.time_ms
                and seen.close == bar.close and isclose(seen.volume, bar.volume, rel_tol=1e-9))

    def _publish_behind_holes(self, bar: Bar, now_ms: int) -> None:
        """What the venue does not have now, between two of its bars, it may have later."""
        if self._is_behind_a_hole(bar):
            self._look_again(bar, now_ms)
        late = self.ledger.counters["late"]
        self._publish(bar, now_ms)
        if self.ledger.counters["late"] > late:
            self._empty_gaps = 0

    def _judge_gap(self, before_ms: int, bars: Sequence[Bar]) -> None:
        """Whether the venue had something in the hole, or nothing was traded."""
        behind_ms = min((bar.time_ms for bar in self._held), default=before_ms)
        healed = any(before_ms < bar.time_ms < behind_ms for bar in bars)
        self._empty_gaps = 0 if healed else self._empty_gaps + 1
        self.ledger.counters["gaps_healed" if healed else "gaps_none"] += 1

    def _wait(self, why: Why, in_vain: bool, now_ms: int) -> None:
        """When to ask again: a poll at a pace, a silent stream ever more rarely."""
        length_ms = self.calendar.length_ms
        if why == "poll":
            self._ask_ms = now_ms + min(max(length_ms // 10, 2_000), 30_000)
        elif in_vain:
            self._ask_ms = now_ms + min(length_ms << self._asked, _LONGEST_WAIT_MS)
            self._asked = min(self._asked + 1, 16)

    def _is_waited_for(self, now_ms: int) -> bool:
        """Whether the venue's history only lags: it does not have the bar yet that has just ended."""
        ended = self._forming
        if self._shut != "close" or ended is None or ended.time_ms != self._closing_ms:
            return False
        if self._asked < _PATIENCE:
            self._ask_ms = now_ms + (self._grace_ms << self._asked)
            self._asked += 1
            return True
        self.ledger.reject(ended, "unconfirmed", "it was forming, and the venue's history does not have it")
        self._advance()
        return False

    def _release(self, now_ms: int) -> None:
        self._shut = None
        held, self._held = sorted(self._held, key=lambda bar: bar.time_ms), []
        for bar in held:
            if self._can.flagged or self.ledger.is_new(bar.time_ms):  # else the venue's own word is here already
                self._publish_behind_holes(bar, now_ms)
        if self._forming is not None and not self.ledger.is_new(self._forming.time_ms):
            self._advance()
        else:
            self._show()

    @property
    def counters(self) -> Counter[str]:
        """What happened to its bars, and what the rules have found in them."""
        return self.ledger.counters + Counter({f"rule_{name}": n for name, n in self.ledger.quality.counters.items()})

    def rests(self, now_ms: int) -> bool:
        """Whether no bar is forming or due: of a closed market, nothing more is to come."""
        return self._forming is None and now_ms < self._due_ms

    @property
    def is_shut(self) -> bool:
        """Whether what arrives is held back."""
        return self._shut is not None
