"""The runner for PyneCore scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..bus.messages import Bar, Instrument, Message
from ..bus.specs import RunnerSpec
from . import pynecore
from .contexts import Contexts
from .contract import Allowed, Runner
from .requests import Asked, chart_of, requests_of
from .script import Outputs, Script


class PyneRunner(Runner):
    """Feeds one Pine script in Python to PyneCore; its files are those that ``pyne run`` writes."""

    kind = "pyne"
    by_time = True

    def __init__(self, spec: RunnerSpec, script: Path, instrument: Instrument, output: Path | None) -> None:
        self._file, self._inputs, self._instrument = script, spec.inputs, instrument
        self._script = Script(
            script, instrument, inputs=spec.inputs, trade_history=spec.trade_history, updates=spec.updates,
            output=output,
        )  # fmt: skip

    @classmethod
    def warm(cls) -> None:
        pynecore.warm()

    @property
    def describes(self) -> tuple[str, Literal["indicator", "strategy"]]:
        return self._script.title, self._script.kind

    @property
    def overlay(self) -> bool:
        return self._script.overlay

    @property
    def wants_forming(self) -> bool:
        return self._script.wants_forming

    def asks(self) -> list[Asked]:
        return requests_of(self._file, self._inputs, chart_of(self._instrument))

    def provide(self, chart: str, instruments: Mapping[str, Instrument], folder: Path) -> None:
        self._script.contexts = Contexts(folder, (chart, self._instrument), instruments)

    def context(self, stream: str, bar: Bar) -> None:
        assert self._script.contexts
        self._script.contexts.push(stream, bar)

    def push(self, bar: Bar) -> list[Message]:
        return messages(self._script.push(bar))

    def allow(self, orders: Allowed) -> None:
        self._script.allow(orders)

    def go_live(self) -> list[Message]:
        return messages(self._script.go_live())

    def close(self) -> list[Message]:
        said = messages(self._script.close())
        if self._script.contexts:
            self._script.contexts.close()
        return said


def messages(said: Outputs) -> list[Message]:
    """What is said on an update, in this order: how it looks, what it shows, what it tells, what it trades."""
    first = [message for message in (said.meta, said.plot) if message is not None]
    last = [message for message in (said.signal, said.account) if message is not None]
    return [*first, *said.drawings, *said.alerts, *said.logs, *said.fills, *last]
