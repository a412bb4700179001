# SPDX-License-Identifier: AGPL-3.0-or-later
"""The runner for strategies of backtesting.py."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ...bus.errors import Hopeless, TopologyError
from ...bus.messages import Bar, Instrument, Log, Message, Plot
from ...bus.plugins import configure
from ...bus.specs import RunnerSpec
from ..contract import Allowed, Runner
from . import library  # first: it says what is not installed
from .engine import Engine
from .loading import faults, load
from .orders import Reporter
from .probe import Probe, probe
from .settings import Settings
from .trial import self_test

_ENOUGH = 100
"""Bars of history for the probe to say something."""
_PROBED = 2_000


class BacktestingRunner(Runner):
    """Runs one strategy, unmodified, on closed bars; its book is the library's own broker."""

    kind = "backtesting"
    many = True

    def __init__(self, spec: RunnerSpec, script: Path, instrument: Instrument, output: Path | None) -> None:
        self._path, self._inputs = script, spec.inputs
        self._settings = _settings(spec)
        found = load(script, self._settings.strategy, spec.inputs)
        self._kind, self._declared = found.kind, found.lookback
        self._settings.lookback = self._settings.lookback or found.lookback
        with faults(script, "cannot be run"):
            self._engine = Engine(found.kind, spec.inputs, self._settings)
        self._reporter = Reporter(self._engine, self._settings.cash)
        self._live = self._closed = False
        self._last_ms = 0
        self._logs: list[Message] = []
        self._warned: set[tuple[str, int]] = set()

    @classmethod
    def warm(cls) -> None:
        self_test()

    @property
    def describes(self) -> tuple[str, Literal["indicator", "strategy"]]:
        return self._kind.__name__, "strategy"

    @property
    def wants_forming(self) -> bool:
        return False

    def allow(self, orders: Allowed) -> None:
        self._engine.allowed = orders

    def push(self, bar: Bar) -> list[Message]:
        """A bar of history is only kept; on a live one the broker fills, and then the strategy decides."""
        self._last_ms = bar.time_ms
        values = {"Open": bar.open, "High": bar.high, "Low": bar.low, "Close": bar.close, "Volume": bar.volume}
        values |= {name: value for name, value in (bar.extra or {}).items() if not isinstance(value, str)}
        if not self._live:
            self._engine.push(bar.time_ms, values)
            return []
        with self._watched():
            step = self._engine.step(bar.time_ms, values)
            said = [*self._reporter.report(step), *self._reporter.account(bar.time_ms)]
        plots = self._engine.indicators()
        return [*([Plot(bar.time_ms, {**plots})] if plots else []), *self._taken_logs(), *said]

    def go_live(self) -> list[Message]:
        """Look at what ``init()`` makes of the history, then trade on it if that is wanted."""
        self._live = True
        if len(self._engine.data) >= _ENOUGH:
            with self._watched():
                found = probe(self._kind, self._inputs, self._settings, self._engine.data.df.iloc[-_PROBED:])
            self._judge(found)
        said: list[Message] = []
        if self._settings.start == "replay":
            with self._watched():
                for step in self._engine.replay():
                    said += self._reporter.report(step, "history")
            said += self._reporter.account(self._last_ms)
        return [*self._taken_logs(), *said]

    def close(self) -> list[Message]:
        """The end of the stream; a position stays open unless it is to be closed."""
        if self._closed or not self._live:
            return []
        self._closed = True
        return self._reporter.flatten(self._last_ms) if self._settings.on_stop == "flatten" else []

    # --- what is to be said about the strategy --------------------------------------------------------------

    def _judge(self, found: Probe) -> None:
        if found.looks_ahead and not self._settings.allow_lookahead:
            raise Hopeless(
                f"the strategy {self._path} looks ahead, {', '.join(found.looks_ahead)} of the past change with later "
                "bars: see `pynelive check-strategy`, or set option allow_lookahead = true"
            )
        if (found.lookback or 0) > self._settings.window:
            raise Hopeless(f"the values of the strategy {self._path} depend on {found.lookback} bars: "
                           "make option window at least so many")  # fmt: skip
        if found.lookback is None:
            self._warn("its values may depend on all bars of the history: with more of it they are others")
        elif self._declared and self._declared < found.lookback:
            self._warn(f"LOOKBACK is {self._declared}, but its values depend on {found.lookback} bars")
        if found.listed:
            self._warn(f"a backtest shows all of {', '.join(found.listed)}, the future included: it is in a list")
        if (price := float(self._engine.data.Close[-1])) > self._settings.cash:
            self._warn(f"the price {price:g} is more than option cash, and only whole units are traded: raise cash")
        if self._settings.trade_on_close:
            self._warn("trade_on_close fills at a close that is past when it is known, which no venue does")

    def _warn(self, text: str) -> None:
        self._logs.append(Log(self._last_ms, "warning", text))

    def _taken_logs(self) -> list[Message]:
        taken, self._logs = self._logs, []
        return taken

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A fault as a sentence, a warning as a log: the broker's each time, one of the code's own once."""
        when = f" on the bar of {datetime.fromtimestamp(self._last_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        with faults(self._path, "failed", when), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            place = (warning.filename, warning.lineno)
            if warning.filename == library.BROKER or place not in self._warned:
                self._warned.add(place)
                self._warn(str(warning.message))


def _settings(spec: RunnerSpec) -> Settings:
    try:
        return configure(Settings, spec.options)
    except TopologyError as error:
        raise TopologyError([f"runner '{spec.name}': {problem}" for problem in error.problems]) from None
