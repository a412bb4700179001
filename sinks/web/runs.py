"""What one script's stream (``run:…``) adds up to, for those who look at it.

Each message is folded in, and becomes at most one short array that the pages are told at once. What stands is
``bus/picture.py``'s; beside it are kept the plots of every bar, the equity, and the last trades, signals, alerts and
words. Whoever begins late gets the picture first and holds the same from there on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...bus.messages import (
    Account,
    Alert,
    Drawing,
    End,
    Executed,
    Fill,
    Log,
    Message,
    Meta,
    Plot,
    Run,
    Signal,
    State,
    fields_of,
)
from ...bus.picture import Picture
from .bars import Short
from .curve import Curve
from .plots import Plots

Fields = dict[str, Any]

_KEPT: Final = {"fills": 20_000, "signals": 20_000, "alerts": 5_000, "logs": 2_000}
"""So many of the last ones."""
_LETTER: Final = {"fills": "f", "signals": "g", "alerts": "a", "logs": "l"}


class RunStore:
    """One script's stream.

    ``n`` counts what the pages are told; what is forming goes by the number that stands.

    :param stream: its name, ``run:…``
    :param most: so many bars of plots and of equity are kept
    """

    kind = "run"

    def __init__(self, stream: str, most: int) -> None:
        self.stream = stream
        self.n = 0
        self._most = most
        self._begin(self.n)

    def _begin(self, begun: int) -> None:
        self.picture = Picture()
        self.plots = Plots(self._most, begun)
        self.curve = Curve(self._most)
        self.forming: Plot | None = None
        self.end: End | None = None
        self.counts: Counter[str] = Counter()
        """How many there were, also of those that are kept no more."""
        self.lists: dict[str, deque[Any]] = {name: deque(maxlen=most) for name, most in _KEPT.items()}

    # --- what the stream says, a kind each ----------------------------------------------------------------------------

    def take(self, messages: Sequence[Message]) -> list[Short]:
        """Keep what is said next; what the browsers are to be told of it."""
        said = []
        for message in messages:
            if type(message) is Run:  # another one: nothing of the last one stands
                self._begin(self.n + 1)
            if not (type(message) is Plot and not message.closed):
                self.picture.take((message,))
            taker = _TAKERS.get(type(message))
            if taker and (told := taker(self, message)):
                said.append(told)
        return said

    def _tell(self, letter: str, *words: Any) -> Short:
        self.n += 1
        return [letter, self.stream, self.n, *words]

    def _on_run(self, _: Run) -> Short:
        return self._tell("r")

    def _on_state(self, state: State) -> Short:
        return self._tell("s", state.state, state.since_ms, state.reason)

    def _on_end(self, end: End) -> Short:
        self.end = end
        return self._tell("s", self.shown, self.last_ms, end.reason)

    def _on_executed(self, executed: Executed) -> None:
        if executed.bar.closed:
            self.forming = self.end = None
            self.plots.add_bar(executed.bar.time_ms, self.n + 1)  # what is told next is of it

    def _on_meta(self, meta: Meta) -> Short:
        return self._tell("m", meta.plots)

    def _on_plot(self, plot: Plot) -> Short:
        if plot.closed:
            self.n += 1
            self.forming = None
            self.plots.put(plot, self.n)
        else:
            self.forming = plot
        drawn = [drawing_of(drawing) for drawing in plot.drawings] or None
        return ["p", self.stream, self.n, plot.time_ms, int(plot.closed), plot.values, plot.styles or None, drawn]

    def _on_drawing(self, drawing: Drawing) -> Short:
        return self._tell("d", drawing.time_ms, *drawing_of(drawing))

    def _on_signal(self, signal: Signal) -> Short | None:
        self.curve.add(signal)
        return None if signal.action == "hold" else self._keep("signals", signal)

    def _on_account(self, account: Account) -> Short:
        self.curve.settle(account)
        return self._tell("o", fields_of(account))

    def _on_fill(self, fill: Fill) -> Short:
        return self._keep("fills", fill)

    def _on_alert(self, alert: Alert) -> Short:
        return self._keep("alerts", alert)

    def _on_log(self, log: Log) -> Short:
        return self._keep("logs", log)

    def _keep(self, name: str, message: Message) -> Short:
        self.counts[name] += 1
        self.lists[name].append(message)
        return self._tell(_LETTER[name], fields_of(message))

    # --- how it stands ------------------------------------------------------------------------------------------------

    @property
    def last_ms(self) -> int:
        """When the last bar opens that was executed; 0 if there is none."""
        return int(self.plots.times[-1]) if self.plots.times else 0

    @property
    def shown(self) -> str:
        """How the stream is, in a word; ``warming`` is before the script is live."""
        return "ended" if self.end else self.picture.state.state if self.picture.state else "warming"

    @property
    def first_index(self) -> int | None:
        """Pine's ``bar_index`` on the first bar that is here; each one after it counts one. None if it is not known."""
        known = self.picture.run is not None and bool(self.plots.times)
        return self.picture.bars - len(self.plots.times) if known else None

    @property
    def anchor(self) -> tuple[int, int] | None:
        """When the last bar opens, and its ``bar_index``."""
        return None if self.first_index is None else (self.last_ms, self.picture.bars - 1)

    def about(self) -> Fields:
        """The stream's line in the list of streams; what is not a script's is None."""
        run = self.picture.run
        instrument = run.instrument if run else None
        return {
            "stream": self.stream, "kind": self.kind, **self.condition, "bars": len(self.plots.times),
            "instrument": fields_of(instrument), "timeframe": instrument.timeframe if instrument else "",
            "timeframe_ms": None, "last": None, "closed_ms": self.last_ms or None, "previous_close": None,
            "run": self.described, "ended": self.end is not None,
        }  # fmt: skip

    @property
    def condition(self) -> Fields:
        """How the stream is, since when and why, and the number of its last change."""
        state = self.picture.state
        reason = self.end.reason if self.end else state.reason if state else ""
        return {"state": self.shown, "since_ms": state.since_ms if state else 0, "reason": reason, "n": self.n}

    @property
    def described(self) -> Fields | None:
        """What runs: the script, its title and kind, the stream that it reads, its inputs."""
        run = self.picture.run
        if run is None:
            return None
        said: Fields = fields_of(run)
        del said["instrument"], said["bars"]
        return said | {"contexts": sorted(run.contexts)}


def drawing_of(drawing: Drawing) -> tuple[str, str, int, Fields]:
    """How a drawing changes: what is done, to which kind, with which id, and its fields."""
    return drawing.op, drawing.kind, drawing.id, drawing.fields


_TAKERS: Final[dict[type[Message], Callable[[RunStore, Any], Short | None]]] = {
    Run: RunStore._on_run, State: RunStore._on_state, End: RunStore._on_end, Executed: RunStore._on_executed,
    Meta: RunStore._on_meta, Plot: RunStore._on_plot, Drawing: RunStore._on_drawing, Signal: RunStore._on_signal,
    Account: RunStore._on_account, Fill: RunStore._on_fill, Alert: RunStore._on_alert, Log: RunStore._on_log,
}  # fmt: skip
