"""``request.security`` inside PyneCore: its contexts are fed by us, a bar at a time, in the time of the bars.

PyneCore gives each context a process (``context_child.py``) that asks a provider for bars and waits for them by the
clock on the wall. Here the bars lie in a file before the chart's bar is executed that may need them, and both ends look
only there: which bars a context knows is a function of what was pushed before, live as in a replay, at any speed.

PyneCore's private names that this needs stand here and in ``context_child.py``; tests/test_pynecore_contract.py pins
them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..bus.errors import Hopeless
from ..bus.messages import Bar, Instrument
from ..bus.names import timeframe_ms
from ..bus.ohlcv import to_syminfo  # before PyneCore, behind which nobody could import zmq
from ..bus.symbols import stream_of, symbol_of

# isort: split
from zoneinfo import ZoneInfo

from pynecore.core import security, security_process
from pynecore.core.plugin.live_provider import PluginSymbol
from pynecore.core.resampler import grid_mode
from pynecore.lib.ticker import _split_chart_type

from . import context_child
from .pynecore import LiveRunner

_setup = security.setup_security_states


@dataclass(frozen=True)
class Source:
    """What a context's process is told of its bars."""

    path: str


class _Late(datetime):
    """PyneCore ends a forming bar where the clock on the wall is, if that is inside the bar: here it never is."""

    @classmethod
    def now(cls, tz: Any = None) -> _Late:
        return cls(2999, 1, 1, tzinfo=tz)


class Closes:
    """When the bars of an instrument are over, by the hours of its exchange."""

    def __init__(self, instrument: Instrument) -> None:
        self.syminfo = to_syminfo(instrument)
        self.length_ms = timeframe_ms(instrument.timeframe)
        hours = tuple(self.syminfo.opening_hours or ())
        self.calendar = security.BarCalendar(
            tz=ZoneInfo(instrument.timezone), opening_hours=hours,
            session_starts=tuple(self.syminfo.session_starts or ()), corrections=None,
            grid_mode=grid_mode(self.syminfo.type, self.syminfo.opening_hours, self.syminfo.prefix),
        )  # fmt: skip

    def at(self, open_ms: int, next_ms: int = 0) -> int:
        """When the bar is over that opens then, or was when the next one opened."""
        return int(security.actual_bar_close(open_ms, next_ms, self.calendar, self.syminfo.period))


    def after(self, open_ms: int) -> int:
        """When the bar is over that is the next one by those hours."""
        over_ms = self.at(open_ms)
        return self.at(int(security.break_end_after(over_ms, self.calendar)))


class _Feed:
    """The bars of one stream: in a file for the context's process, their times for the chart's."""

    def __init__(self, instrument: Instrument, path: Path) -> None:
        self.closing = Closes(instrument)
        self.path = path
        self.opens: list[int] = []
        self.closes: list[int] = []
        self._file = path.open("wb", buffering=0)

    def push(self, bar: Bar) -> None:
        if self.opens and bar.time_ms <= self.opens[-1]:
            return
        values = (bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)
        self._file.write(context_child.RECORD.pack(*values))
        if self.opens:
            self.closes[-1] = self.closing.at(self.opens[-1], bar.time_ms)
        self.opens.append(bar.time_ms)
        self.closes.append(self.closing.at(bar.time_ms))

    def close(self) -> None:
        self._file.close()


class Contexts:
    """The streams that one script may ask for.

    :param folder: where their bars lie while the script runs
    :param chart: the stream that the script is on, and what it trades
    :param instruments: the other streams
    """

    def __init__(self, folder: Path, chart: tuple[str, Instrument], instruments: Mapping[str, Instrument]) -> None:
        self._chart, self._own = chart
        self._instruments = instruments
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(parents=True)
        self._feeds = {
            stream: _Feed(instrument, folder / f"{number}.bars")
            for number, (stream, instrument) in enumerate(instruments.items())
        }
        self._states: dict[str, Any] = {}
        self._bound: dict[str, _Feed] = {}
        security.setup_security_states = self._set_up
        security.datetime = _Late
        security_process.security_process_main = context_child.main

    def push(self, stream: str, bar: Bar) -> None:
        """A closed bar of a context, before the chart's bar is pushed at whose close it is known."""
        self._feeds[stream].push(bar)

    def before_bar(self) -> None:
        """Higher timeframes of the chart's own symbol are read, not made of the chart's bars; but for lookahead."""
        for state in self._states.values():
            if state.lookahead is not security.Lookahead.ON:
                state.htf_aggregator = None

    def close(self) -> None:
        """Remove the files; twice does nothing."""
        for feed in self._feeds.values():
            feed.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, symbol: str, timeframe: str) -> str | None:
        """The stream that a script means."""
        if symbol in ("", self._own.ticker, f"{self._own.prefix}:{self._own.ticker}"):
            symbol = symbol_of(self._chart)
        return stream_of(symbol, timeframe or self._own.timeframe, self._instruments, self._own.prefix)

    def resolve(self, context: str, asked: Mapping[str, Any]) -> PluginSymbol | None:
        """What a context is fed with; None if it may be missing.

        :raises Hopeless: it is missing
        """
        symbol, _ = _split_chart_type(str(asked.get("symbol") or ""))
        timeframe = str(asked.get("timeframe") or self._own.timeframe)
        stream = self.find(symbol, timeframe)
        if stream is None:
            if asked.get("ignore_invalid_symbol"):
                return None
            raise Hopeless(f'it asks for request.security("{symbol}", "{timeframe}"), which could not be foreseen: '
                           "publish that stream, and let symbol and timeframe be constants or inputs")
        feed = self._bound[context] = self._feeds[stream]
        self._bind(context)
        return PluginSymbol("bus", stream, timeframe, config=Source(str(feed.path)), syminfo=feed.closing.syminfo)

    def _set_up(self, *args: Any, **options: Any) -> Any:
        made = _setup(*args, **options)
        self._states = made[0]
        for context in self._bound:
            self._bind(context)
        return made

    def _bind(self, context: str) -> None:
        """Let the chart know its context's bars as it knows those of a file: by their times."""
        if state := self._states.get(context):
            feed = self._bound[context]
            state.bar_opens, state.bar_closes, state.calendar = feed.opens, feed.closes, feed.closing.calendar
            state.is_dwm = feed.closing.syminfo.period[-1] in "DWM"


def runner_of(contexts: Callable[[], Contexts | None]) -> type[LiveRunner]:
    """PyneCore's runner, whose contexts are ours if there are some by the first bar."""

    class ContextRunner(LiveRunner):
        def _resolve_security_data(self, asked: Mapping[str, Any], *, defer_missing: bool = False) -> dict[str, Any]:
            if (ours := contexts()) is None:
                return dict(super()._resolve_security_data(asked, defer_missing=defer_missing))
            return {context: ours.resolve(context, what) for context, what in asked.items()}

    return ContextRunner
