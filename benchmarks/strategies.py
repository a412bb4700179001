"""P16: one bar of a strategy of backtesting.py, live, beside a backtest of all bars that there are."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from figures import Row, compare, rounds
from harness import ROOT, call, together
from pynelive.bus.messages import Bar

TITLE = "Strategies of backtesting.py"
ABOUT = """
A process with one strategy and so many bars of history, then 200 live bars: the median time from a bar to the
decision, with `init()` in it. Of `examples/backtesting`: `sma_cross.py` has two averages, `pullback.py` five indicators
of pandas, stops that trail, limits and cancellations. The reference runs a backtest of all bars for each new one. *The
aim* is 1 ms for the averages on 1,000 bars, 4 ms otherwise.
"""
CASES = {"sma-1k": ("sma_cross.py", 1_000, 1.0), "sma-10k": ("sma_cross.py", 10_000, 4.0),
         "pullback-1k": ("pullback.py", 1_000, 4.0), "pullback-10k": ("pullback.py", 10_000, 4.0)}  # fmt: skip
LIVE = 200
AGAIN = 5


def walk(count: int) -> Iterator[Bar]:
    """Hourly bars of a price that wanders."""
    chance, price = random.Random(7), 100.0
    for n in range(count):
        opened = price
        price *= 1 + chance.gauss(0, 0.004)
        high, low = max(opened, price) * (1 + chance.random() / 500), min(opened, price) * (1 - chance.random() / 500)
        yield Bar(n * 3_600_000, opened, high, low, price, 1_000 * chance.random())


def live(script: str, history: int) -> float:
    """Milliseconds a live bar."""
    from pynelive.bus.messages import Instrument
    from pynelive.bus.specs import RunnerSpec
    from pynelive.runners.backtesting_py.runner import BacktestingRunner

    path = ROOT.parent / "examples" / "backtesting" / script
    runner = BacktestingRunner(RunnerSpec("bench", script, "demo:X@60"), path, Instrument("X", "60"), None)
    bars = list(walk(history + LIVE))
    for bar in bars[:history]:
        runner.push(bar)
    runner.go_live()
    return 1000 * median(_timed(runner.push, bar) for bar in bars[history:])


def anew(script: str, history: int) -> float:
    """Milliseconds a backtest of all bars."""
    from backtesting import Backtest
    from pynelive.runners.backtesting_py.compare import frame
    from pynelive.runners.backtesting_py.loading import load

    kind = load(ROOT.parent / "examples" / "backtesting" / script, "", {}).kind
    data = frame(walk(history))
    warnings.simplefilter("ignore")
    return 1000 * median(_timed(Backtest(data, kind).run) for _ in range(AGAIN))


def _timed(function: Callable[..., object], *given: object) -> float:
    started = time.perf_counter()
    function(*given)
    return time.perf_counter() - started


def _alone(kind: Callable[[str, int], float], script: str, history: int) -> float:
    (took,) = together(call(kind, script, history))
    return float(took)


def measure(count: int) -> list[Row]:
    """One process a case."""
    found = []
    for name, (script, history, aim_ms) in CASES.items():
        figures = rounds(count, {kind.__name__: partial(_alone, kind, script, history) for kind in (live, anew)})
        what = f"{script}, {history:,} bars, beside "
        found.append(compare(f"P16-{name}", what + "all bars anew", figures, "live", "anew", "ms"))
        took = {"live": figures["live"], "aim": [aim_ms] * count}
        found.append(compare(f"P16-{name}-aim", what + "the aim", took, "live", "aim", "ms", 1, at_most=True))
    return found
