"""Whether a bar can be true: the rules that every bar passes before it is public, a constant cost a bar.

Each rule fixes, flags or rejects, has a counter of its name and a sentence. A rejected bar goes to the quarantine; a
flagged one is published as it is, its flags in ``extra["flags"]``. What needs more than the bar itself (duplicates,
revisions, gaps, silence) is the lane's (``lane.py``). docs/quality.md lists all anomalies and where each is met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import NamedTuple

from msgspec.structs import replace

from ..bus.messages import Bar
from ..bus.specs import QualitySpec
from .calendar import Calendar

_FIRST_MS, _LAST_MS = 0, 253_402_300_800_000  # 1970 … 9999; before and after it, seconds or microseconds were meant
_RECENT_MS = 946_684_800_000  # 2000: what a venue says to be live is not older
_AHEAD_MS = 2_000
_WARM = 30
_MEMORY = 0.05


class Verdict(NamedTuple):
    """What became of a bar: itself, fixed or flagged; or None, the rule that it broke, and how."""

    bar: Bar | None
    rule: str = ""
    reason: str = ""


class Quality:
    """The rules for one stream and what they remember of it.

    :param live: the bars come from a venue that lives by the clock, not from a file or a generator
    """

    def __init__(self, spec: QualitySpec, calendar: Calendar, kind: str, live: bool) -> None:
        self._spec = spec
        self._calendar = calendar
        self._signed = kind not in ("crypto", "stock", "forex", "fund", "index")  # oil was traded below zero
        self._live = live
        self.counters: Counter[str] = Counter()
        self._last: Bar | None = None
        self._seen = 0
        self._range = 0.0
        self._volume = 0.0

    def judge(self, bar: Bar, now_ms: int) -> Verdict:
        """Let the bar pass, mended or flagged where the rules say so, or reject it."""
        if fault := self._impossible(bar) or self._misplaced(bar, now_ms):
            self.counters[fault[0]] += 1
            return Verdict(None, *fault)
        bar = self._snapped(bar)
        if _is_broken(bar):
            self.counters["bounds"] += 1
            if self._spec.bounds == "reject":
                return Verdict(None, "bounds", "its high or low is not the highest or lowest of its prices")
            bar = replace(_flagged(bar, ["bounds"]), high=max(_prices(bar)), low=min(_prices(bar)))
        if bar.closed and (flags := list(self._doubts(bar))):
            self.counters.update(flags)
            bar = _flagged(bar, flags)
        return Verdict(bar)

    def learn(self, bar: Bar) -> None:
        """Remember a closed bar that was published as the latest."""
        if self._last is not None:
            self._seen += 1
            weight = max(_MEMORY, 1 / self._seen)
            self._range += weight * (max(bar.high, self._last.close) - min(bar.low, self._last.close) - self._range)
            self._volume += weight * (bar.volume - self._volume) if isfinite(bar.volume) else 0.0
        self._last = bar

    # --- rejected -----------------------------------------------------------------------------------------------------

    def _impossible(self, bar: Bar) -> tuple[str, str] | None:
        if not all(map(isfinite, _prices(bar))) or bar.volume in (float("inf"), float("-inf")):
            return "garbage", "a price is missing or is no number"
        if not self._signed and min(_prices(bar)) <= 0:
            return "price", "a price is zero or less"
        if bar.volume < 0:
            return "volume", "its volume is negative"
        return None

    def _misplaced(self, bar: Bar, now_ms: int) -> tuple[str, str] | None:
        """Not where a bar of this stream can be, in time."""
        if not _FIRST_MS < bar.time_ms < _LAST_MS:
            return "unit", "its time is in another unit than milliseconds"
        if not self._live:
            return None
        if not _RECENT_MS < bar.time_ms <= now_ms + max(self._calendar.length_ms, 86_400_000):
            return "unit", "its time is in another unit than milliseconds, or far from now"
        intraday = self._calendar.length_ms < 86_400_000  # a daily bar may be over with its session
        if bar.closed and intraday and self._calendar.end_of(bar.time_ms) > now_ms + _AHEAD_MS:
            return "early", "it is said to be closed and its time is not over"
        off_ms = abs(self._calendar.off_grid(bar.time_ms))
        if off_ms > self._calendar.length_ms * self._spec.snap:
            return "grid", f"it opens {off_ms / 1000:g} s off the grid of its timeframe"
        return None

    # --- fixed --------------------------------------------------------------------------------------------------------

    def _snapped(self, bar: Bar) -> Bar:
        off_ms = self._calendar.off_grid(bar.time_ms) if self._live else 0
        if not off_ms:
            return bar
        self.counters["grid"] += 1
        return replace(_flagged(bar, ["grid"]), time_ms=bar.time_ms - off_ms)

    # --- flagged ------------------------------------------------------------------------------------------------------

    def _doubts(self, bar: Bar) -> Iterator[str]:
        before = self._last
        if before is None or bar.time_ms <= before.time_ms:
            return
        if bar.volume == 0 and self._volume and bar.close != before.close and bar.origin != "sampled":
            yield "move_without_volume"
        if self._seen < _WARM:
            return
        if self._spec.outlier and self._is_outlier(bar, before):
            yield "outlier"
        if self._spec.volume_outlier and self._volume and bar.volume > self._spec.volume_outlier * self._volume:
            yield "volume_outlier"

    def _is_outlier(self, bar: Bar, before: Bar) -> bool:
        """Farther from the last close than so many usual ranges; a gap before it makes room for more."""
        bars = max((bar.time_ms - before.time_ms) / self._calendar.length_ms, 1.0)
        move = max(abs(bar.high - before.close), abs(bar.low - before.close))
        return self._range > 0 and move > self._spec.outlier * self._range * bars**0.5


def flags_of(bar: Bar) -> list[str]:
    """What the rules have said of a bar."""
    said = (bar.extra or {}).get("flags", "")
    return str(said).split(",") if said else []


def _flagged(bar: Bar, flags: list[str]) -> Bar:
    return replace(bar, extra={**(bar.extra or {}), "flags": ",".join([*flags_of(bar), *flags])})


def _prices(bar: Bar) -> tuple[float, float, float, float]:
    return bar.open, bar.high, bar.low, bar.close


def _is_broken(bar: Bar) -> bool:
    return not (bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high)
