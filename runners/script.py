"""A Pine script that is pushed: one update in, what the script says out.

PyneCore pulls its bars from a generator for as long as the run lasts. Here that loop lives in a greenlet:
when its source is asked for the next update it switches back to the caller, and ``push`` switches in again
with one. So an update is executed exactly when it is pushed, on the caller's thread, and nothing waits.

PyneCore keeps a script's state in its modules, hence one script a process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from greenlet import getcurrent, greenlet
from msgspec import Struct, field, structs

from ..bus.errors import Fault, Hopeless
from ..bus.messages import Account, Alert, Bar, Drawing, Fill, Instrument, Log, Meta, Plot, Signal
from ..bus.ohlcv import to_syminfo
from . import book, pynecore
from .alerts import Alerts, clock
from .book import Book
from .contexts import Contexts, runner_of
from .contract import Allowed
from .faults import line_of, text_of
from .figures import Sides
from .looks import Looks

Plots = dict[str, pynecore.PlotValue]

_SHORT_RUN = 2_000
_hosted: Path | None = None


class Outputs(Struct):
    """What one execution of the script said; everything carries the time of its own bar."""

    meta: Meta | None = None
    plot: Plot | None = None
    drawings: tuple[Drawing, ...] = ()
    alerts: list[Alert] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    signal: Signal | None = None
    account: Account | None = None


class Script:
    """One PyneCore script in this process, fed by ``push``.

    PyneCore must know whether a history bar is the last one, so it executes it when the next item arrives:
    what a history bar says is returned by the ``push`` after it, by ``go_live`` or by ``close``. A live
    update is executed at once. In this order nothing is missing and nothing is said twice.
    """

    def __init__(
        self,
        path: Path,
        instrument: Instrument,
        *,
        inputs: Mapping[str, Any] | None = None,
        trade_history: bool = False,
        updates: Literal["auto", "all", "closed"] = "auto",
        warmup: int | None = None,
        output: Path | None = None,
    ) -> None:
        """Import the script; blocks, and runs none of its bars.

        :param inputs: by ``main()``'s parameter names
        :param trade_history: let a strategy trade before ``go_live`` too
        :param updates: which updates ``wants_forming`` asks for; ``auto`` is what the script's kind needs
        :param warmup: the number of history bars where it is known: Pine's ``last_bar_index`` on them
        :param output: the folder of ``plot.csv``, ``trades.csv`` and ``strategy.csv``, which are written anew
        :raises Hopeless: the file, its code or its inputs cannot run, or this process has a script already
        """
        _claim(path)
        self.path = path
        self.instrument = instrument
        self._trade_history = trade_history
        self._updates = updates
        self._output = output
        self.contexts: Contexts | None = None
        """What its ``request.security`` is fed with; set before the first bar."""
        self._runner = self._load(inputs or {}, warmup, output)
        # PyneCore would write the statistics anew after each live bar, at 2 ms instead of 50 us a bar.
        self._statistics, self._runner.strat_writer = self._runner.strat_writer, None
        self._loop: greenlet | None = None
        self._live = False
        self._allowed: Allowed = "all"
        self._halted = False
        self._waiting_ms: int | None = None
        self._said = Outputs()
        self._alerts = Alerts(instrument)
        self._looks = Looks()
        self._book = Book()
        self._account: Account | None = None
        self._is_strategy = self.kind == "strategy"
        self._counted = -1
        self._sides = Sides()
        self._measured = 0
        pynecore.listen(self)

    @property
    def kind(self) -> Literal["indicator", "strategy"]:
        """Which of Pine's two kinds the script declares."""
        return "strategy" if pynecore.is_strategy(self._runner) else "indicator"

    @property
    def title(self) -> str:
        """The title that the script declares, else the file's name."""
        return str(self._runner.script.title or self.path.stem)

    @property
    def overlay(self) -> bool:
        """Whether the script declares that its plots belong on the chart."""
        return bool(self._runner.script.overlay)

    @property
    def calc_on_every_tick(self) -> bool:
        """Whether the body runs on forming updates."""
        return self.kind == "indicator" or bool(self._runner.script.calc_on_every_tick)

    @property
    def wants_forming(self) -> bool:
        """Whether forming updates are to be pushed; a strategy that gets them fills within its bars."""
        return self._updates == "all" or (self._updates == "auto" and self.calc_on_every_tick)

    def push(self, bar: Bar) -> Outputs:
        """Execute one update: closed history bars before ``go_live``, forming and closed ones after it.

        PyneCore ignores an update that is older than what it has executed; it says nothing then.

        :raises Hopeless: the script has failed, and is closed
        """
        if not (bar.closed or self._live):
            raise ValueError(f"the bar at {clock(bar.time_ms)} is forming, but go_live() was not called yet")
        if self.contexts:
            self.contexts.before_bar()
        executed_ms = bar.time_ms if self._live else self._waiting_ms
        self._waiting_ms = bar.time_ms
        return self._resume(pynecore.to_ohlcv(bar), executed_ms)

    def go_live(self) -> Outputs:
        """End the history, exactly once; what the last history bar says.

        :raises Hopeless: the script has failed on that bar, and is closed
        """
        if self._live:
            raise ValueError(f"{self.path.name} is live already")
        said = self._resume(pynecore.LIVE_TRANSITION, self._waiting_ms)
        self._live = True
        if self._allowed != "all":
            self.allow(self._allowed)
        return said

    def close(self) -> Outputs:
        """End the run with its files complete; what a last history bar says. Closing twice does nothing."""
        if self._loop is None or self._loop.dead:
            return Outputs()
        self._runner.strat_writer = self._statistics
        return self._resume(None, self._waiting_ms)

    def allow(self, orders: Allowed) -> None:
        """Which orders the body may place from now on, once it is live; those that wait are filled as ever."""
        self._allowed = orders
        if self._live and self.kind == "strategy":
            self._halted = pynecore.let_order(self._runner, orders, self._halted)

    def on_alert(self, message: str, freq: str, site: object) -> None:
        """``alert()`` was called."""
        self._alerts.call(message, freq, site)

    def on_condition(self, title: str, message: str) -> None:
        """An ``alertcondition()`` holds."""
        self._alerts.condition(title, message)

    def on_order(self, order: Any) -> None:
        """The simulator is about to fill an order; what history has filled nobody is told."""
        if pynecore.is_realtime():
            self._book.on_order(order)

    def on_fill(self, order: Any, price: float) -> None:
        """It has done so."""
        if pynecore.is_realtime():
            self._book.on_fill(order)
            self._alerts.filled(book.to_order(order).id, book.alert_of(order, price))

    def on_log(self, level: str, text: str) -> None:
        """``log.*`` was called, on history too."""
        self._said.logs.append(Log(pynecore.time_ms(), level, text))

    def _load(
        self, inputs: Mapping[str, Any], warmup: int | None, output: Path | None
    ) -> pynecore.LiveRunner:
        if not self.path.is_file():
            raise Hopeless(f"there is no script {self.path}: correct the runner's 'script'")
        syminfo = to_syminfo(self.instrument)
        try:
            runner = pynecore.load(self.path, syminfo, inputs, warmup, output, runner_of(lambda: self.contexts))
        except (Exception, SystemExit) as error:
            raise self._fault(error, "cannot be loaded") from error
        if reason := pynecore.unfit(runner):
            raise Hopeless(f"the script {self.path} {reason}")
        if wrong := pynecore.wrong_inputs(runner, inputs):
            raise Hopeless(f"the script {self.path} cannot take its inputs: {'; '.join(wrong)}")
        return runner

    def _resume(self, item: pynecore.OHLCV | None, executed_ms: int | None) -> Outputs:
        """Hand PyneCore's loop the item; it executes the bar of ``executed_ms`` and asks for another."""
        if self._loop is None:
            self._loop = greenlet(self._run)
        if self._loop.dead:
            raise Hopeless(f"the script {self.path} is closed")
        self._said = Outputs()
        try:
            self._loop.switch(item)
        except Hopeless:
            raise
        except (Exception, SystemExit) as error:
            raise self._fault(error, "failed", executed_ms) from error
        self._said.alerts[:0] = self._alerts.take()
        return self._said

    def _run(self, first: pynecore.OHLCV | None) -> None:
        self._runner.ohlcv_iter = self._source(first)
        for candle, plots, *trades in self._runner.run_iter(on_tick=self._runner.trade_on, copy_results=False):
            self._executed(candle, pynecore.plot_values(plots), trades[0] if trades else ())

    def _source(self, item: pynecore.OHLCV | None) -> Iterator[pynecore.OHLCV]:
        """PyneCore's bars: each is pulled here, and control is back when it has been executed."""
        if self._trade_history:
            pynecore.keep_trade_history()
        caller = getcurrent().parent
        assert caller is not None
        while item is not None:
            yield item
            if not item.is_closed:
                self._executed_forming(item)
            item = caller.switch()

    def _executed(self, candle: pynecore.OHLCV, plots: Plots, trades: Sequence[Any]) -> None:
        said, time_ms = self._said, candle.timestamp
        said.meta = self._looks.metas(time_ms)
        styles = self._looks.styles(keep=True)
        said.plot = Plot(time_ms, plots, styles=styles) if plots or styles else None
        live = pynecore.is_realtime()
        if live or pynecore.is_last_of_history():  # what history has drawn and taken away nobody has seen
            said.drawings = self._looks.drawings(time_ms, keep=True)
        said.alerts += self._alerts.take_conditions(candle, plots)
        if self._is_strategy:
            said.fills = book.to_fills(trades, time_ms)
            for trade in trades:
                self._sides.add(float(trade.size), float(trade.profit), float(trade.profit_percent))
            if live:
                self._settle(candle)

    def _executed_forming(self, candle: pynecore.OHLCV) -> None:
        # An update that PyneCore dropped for its age has left the plots of another bar, or none.
        if pynecore.time_ms() == candle.timestamp:
            plots, styles = pynecore.forming_plots(), self._looks.styles(keep=False)
            drawings = self._looks.drawings(candle.timestamp, keep=False)
            if plots or styles or drawings:
                self._said.plot = Plot(candle.timestamp, plots, False, styles, drawings)
        pynecore.forget_forming()

    def _settle(self, candle: pynecore.OHLCV) -> None:
        """Say what the strategy wants and holds after a confirmed bar."""
        time_ms, position = candle.timestamp, self._runner.script.position
        held, equity = pynecore.position(self._runner)
        wanted, standing = self._book.turn(position)
        self._said.signal = Signal(
            time_ms, book.action(wanted), held, equity, price=candle.close, target=book.target(position), orders=wanted
        )
        account = book.account(position, equity, time_ms, standing, self._statistics_now(position.closed_trades_count))
        if self._account is None or account != structs.replace(self._account, time_ms=time_ms, statistics={}):
            self._said.account = self._account = account

    def _statistics_now(self, trades: int) -> dict[str, float | str | None]:
        """The figures where a trade was closed; two take 0.3 us a bar of the run, and are not said each time."""
        if trades == self._counted:
            return {}
        bars = len(self._runner.equity_curve)
        ratios = bars < _SHORT_RUN or bars > self._measured * 1.05
        self._counted, self._measured = trades, bars if ratios else self._measured
        return pynecore.statistics(self._runner, ratios) | self._sides.statistics()

    def _fault(self, error: BaseException, what: str, bar_ms: int | None = None) -> Fault:
        """Whatever the script raises, ``sys.exit`` included, as one sentence with its line and its bar."""
        if isinstance(error, OSError) and self._output and not line_of(error, self.path):  # not the script's doing
            return Fault(f"{self._output} cannot be written ({error.strerror or error}): mend that and start again")
        place = line_of(error, self.path) + ("" if bar_ms is None else f" on the bar of {clock(bar_ms)}")
        return Hopeless(f"the script {self.path} {what}{place}: {text_of(error)}")


def _claim(path: Path) -> None:
    global _hosted
    if _hosted is not None:
        raise Hopeless(f"this process runs the script {_hosted} already: start another process for {path}")
    _hosted = path


