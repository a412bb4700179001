"""The runner for strategies in Python (``runners/strategy.py``), with a simulated book."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from msgspec.structs import replace

from ..bus.errors import Fault, Hopeless, TopologyError
from ..bus.messages import Account, Bar, Instrument, Message, Order, Plot, Signal
from ..bus.plugins import configure, find
from ..bus.specs import RunnerSpec
from .contract import Allowed, Runner
from .faults import line_of, text_of
from .figures import Figures
from .paper import Book
from .strategy import Strategy


@dataclass
class Options:
    """What a runner of type ``python`` takes.

    :param cash: the equity at the start
    :param commission: of each fill's value
    """

    cash: float = 100_000.0
    commission: float = 0.0


class PythonRunner(Runner):
    """One strategy of a Python file on one stream."""

    kind: ClassVar[str] = "python"
    many: ClassVar[bool] = True
    reads_scripts: ClassVar[bool] = True

    def __init__(self, spec: RunnerSpec, script: Path, instrument: Instrument, output: Path | None) -> None:
        options = configure(Options, spec.options)
        self._path = script
        self._book = Book(options.cash, options.commission, instrument.pointvalue)
        self._cash = options.cash
        self._figures = Figures(options.cash, instrument.pointvalue)
        self._trade_history = spec.trade_history
        self._updates = spec.updates
        self._live = self._stopped = False
        self._allowed: Allowed = "all"
        self._time_ms = 0
        self._account: Account | None = None
        with self._faults():
            kind = find(script.name, {}, "pynelive.strategy", script.parent, Strategy)  # type: ignore[type-abstract]
            self._strategy = kind(_inputs(kind, spec, script), instrument)
            self._strategy.equity = options.cash
            self._strategy.on_start()

    @property
    def describes(self) -> tuple[str, Literal["indicator", "strategy"]]:
        kind = type(self._strategy)
        trades = kind.generate_signals is not Strategy.generate_signals
        return kind.title or kind.__name__, "strategy" if trades else "indicator"

    @property
    def wants_forming(self) -> bool:
        return self._updates == "all"

    def allow(self, orders: Allowed) -> None:
        self._allowed = orders

    def tell(self, stream: str, message: Message) -> list[Message]:
        with self._faults():
            self._strategy.on_message(stream, message)
        return self._spoken()

    def push(self, bar: Bar) -> list[Message]:
        self._time_ms = self._strategy.time_ms = bar.time_ms
        trades = bar.closed and self.describes[1] == "strategy"
        said = self._book.fill(bar) if trades else []
        for fill in said:
            self._figures.add(fill)
        self._know(bar.close)
        with self._faults():
            self._strategy.on_data(bar)
        plots, self._strategy.plots = self._strategy.plots, {}
        plotted = [Plot(bar.time_ms, plots, bar.closed)] if plots else []
        return [*plotted, *self._spoken(), *said, *(self._trade(bar) if trades else ())]

    def go_live(self) -> list[Message]:
        self._live = True
        return []

    def close(self) -> list[Message]:
        if self._stopped:
            return []
        self._stopped = True
        with self._faults():
            self._strategy.on_stop()
        return self._spoken()

    def _know(self, price: float) -> None:
        """Let the strategy see its book."""
        book = self._book
        self._strategy.position, self._strategy.average_price = book.position, book.average_price
        self._strategy.equity = book.equity(price)

    def _spoken(self) -> list[Message]:
        said, self._strategy.said = self._strategy.said, []
        return said

    def _trade(self, bar: Bar) -> Iterator[Message]:
        """Ask for what is wanted, and let the book have it."""
        if not (self._live or self._trade_history):
            return
        with self._faults():
            wanted = list(self._strategy.generate_signals())
        orders = self._permitted(wanted)
        with self._faults():
            self._book.place(orders)
        reasons = [order.comment for order in orders if order.comment]
        if len(orders) < len(wanted):
            reasons.append(f"{len(wanted) - len(orders)} withheld: the stream is out")
        yield Signal(
            bar.time_ms, action_of(orders), self._book.position, self._book.equity(bar.close), "; ".join(reasons),
            bar.close, self._book.target(bar.close), orders, self._strategy.confidence,
            "live" if self._live else "history",
        )  # fmt: skip
        account = self._book.account(bar.time_ms, bar.close)
        worst = min(self._book.equity(bar.low), self._book.equity(bar.high))
        self._figures.mark(self._cash + account.net_profit, worst)
        if self._account is None or replace(account, time_ms=self._account.time_ms) != self._account:
            self._account = account
            yield replace(account, statistics=self._figures.news(account.net_profit))

    def _permitted(self, orders: Iterable[Order]) -> tuple[Order, ...]:
        """What may be ordered now; what has the id of an order that waits replaces it."""
        may = [order for order in orders if self._allowed == "all" or (
            self._allowed == "exits" and (order.closes or order.op == "cancel"))]
        return tuple(
            replace(order, op="replace") if order.op == "place" and order.id in self._book.waiting else order
            for order in may
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Whatever the strategy raises as one sentence with its line and its bar."""
        try:
            yield
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            bar = datetime.fromtimestamp(self._time_ms / 1000, UTC).strftime(" on the bar of %Y-%m-%dT%H:%M:%SZ")
            place = line_of(error, self._path) + (bar if self._time_ms else "")
            raise Hopeless(f"the script {self._path} failed{place}: {text_of(error)}") from error


def _inputs(kind: type[Strategy], spec: RunnerSpec, script: Path) -> object:
    try:
        return configure(kind.Config, spec.inputs, "input")
    except TopologyError as error:
        raise Hopeless(f"runner '{spec.name}': the script {script} cannot take its inputs: "
                       f"{'; '.join(error.problems)}") from None  # fmt: skip


def action_of(orders: Iterable[Order]) -> Literal["buy", "sell", "close", "hold"]:
    """What orders come to: the side that the last new one opens, else whether one closes."""
    action: Literal["buy", "sell", "close", "hold"] = "hold"
    for order in orders:
        if order.op == "place" and not order.closes:
            action = order.side
        elif order.op == "place" and action == "hold":
            action = "close"
    return action
