# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a strategy can be trusted live: its decisions in a backtest beside those of a run without a future."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec import Struct

from ...bus.errors import Fault, Hopeless
from ...bus.messages import Bar
from ...bus.plugins import configure
from .compare import backtest, differing, frame, live
from .loading import faults, load
from .probe import probe
from .settings import Settings

_FEWEST = 100
_MOST = 2_000
"""Live bars to compare: each costs a run of ``init()``."""


class Report(Struct, frozen=True):
    """What was found; bars are counted, ``first`` is the time of the first decision that differs."""

    strategy: str
    bars: int
    compared: int
    differing: int
    first: str
    random: bool
    repaints: tuple[str, ...]
    scalars: tuple[str, ...]
    listed: tuple[str, ...]
    warmup: int
    lookback: int | None
    declared: int
    asked: int
    asked_differing: int
    asked_fault: str

    @property
    def looks_ahead(self) -> bool:
        """Whether the backtest knows what a live run cannot."""
        return bool(self.repaints or self.scalars or (self.differing and not self.random))

    @property
    def ok(self) -> bool:
        """Whether live is as the backtest says, and as many bars suffice as were asked about."""
        return not (self.looks_ahead or self.asked_differing or self.asked_fault)


def check(
    path: Path, bars: Sequence[Bar], lookback: int = 0, inputs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:  # fmt: skip
    """Compare a strategy's decisions on the bars.

    :param lookback: find out whether this many bars would do, too
    :raises Fault: the file cannot be run, or there are too few bars
    """
    if len(bars) < _FEWEST:
        raise Fault(f"{len(bars)} bars are too few to judge {path} by: give it {_FEWEST} or more")
    inputs, settings = inputs or {}, configure(Settings, options or {})
    found, data = load(path, settings.strategy, inputs), frame(bars)
    kind = found.kind
    with faults(path, "failed"):
        seen = probe(kind, inputs, settings, data.iloc[-_MOST:])
        history = _history(len(data), max(seen.lookback or 0, seen.warmup + 1))
        said, lived = backtest(kind, inputs, settings, data), live(kind, inputs, settings, data, history)
        wrong = differing(said, lived)
        again = backtest(kind, inputs, settings, data) if wrong else said
    other, fault = 0, ""
    if lookback:
        try:
            with faults(path, "fails"):
                small = live(kind, inputs, replace(settings, window=lookback), data, history)
                other = len(differing(lived, small))
        except Hopeless as hopeless:
            fault = str(hopeless)
    return Report(
        kind.__name__, len(data), len(said.keys() | lived.keys()), len(wrong), _time(data, wrong),
        bool(differing(said, again)), seen.repaints, seen.scalars, seen.listed, seen.warmup, seen.lookback,
        found.lookback, lookback, other, fault,
    )  # fmt: skip


def lines(report: Report) -> Iterator[str]:
    """The report for a person."""
    compared = f"of {report.compared:,} decisions"
    if report.random:
        yield "random: two backtests of it differ, so a live run cannot be compared with one"
    elif report.differing:
        yield f"look-ahead: {report.differing:,} {compared} are not those of the backtest, the first on {report.first}"
    elif report.looks_ahead:
        yield f"look-ahead: its values know the future, though none {compared} differs here"
    else:
        yield f"no look-ahead: all {compared} are those of the backtest"
    if report.repaints:
        yield f"  repainting: {', '.join(report.repaints)} (past values change with later bars)"
    if report.scalars:
        yield f"  over all bars: {', '.join(report.scalars)} (another number with fewer bars)"
    if report.listed:
        yield f"  in a list: {', '.join(report.listed)} (a backtest shows the last value of all bars)"
    yield from _lookback_lines(report)


def _lookback_lines(report: Report) -> Iterator[str]:
    needs = "all bars that there are" if report.lookback is None else f"{report.lookback:,} bars"
    yield f"lookback: its values depend on {needs}; a backtest decides from bar {report.warmup + 1:,} on"
    if report.declared and report.declared < (report.lookback or report.bars):
        yield f"  LOOKBACK = {report.declared:,} is too few"
    if report.asked_fault:
        yield f"  on {report.asked:,} bars: {report.asked_fault}"
    elif report.asked:
        others = f"{report.asked_differing:,} decisions differ" if report.asked_differing else "the same decisions"
        yield f"  on {report.asked:,} bars: {others}"


def _history(bars: int, needed: int) -> int:
    """How many bars come first: enough for the values, and so many that the rest does not take all day."""
    return max(bars - _MOST, min(max(needed, bars // 4), bars // 2))


def _time(data: pd.DataFrame, places: Sequence[int]) -> str:
    return f"{data.index[places[0]]:%Y-%m-%dT%H:%MZ}" if places else ""
