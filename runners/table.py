"""Which runners exist: name to ``module:Class``, imported only when asked for."""

from __future__ import annotations

from typing import Final

RUNNERS: Final = {
    "pyne": "pynelive.runners.pyne:PyneRunner",
    "python": "pynelive.runners.python:PythonRunner",
    "backtesting": "pynelive.runners.backtesting_py.runner:BacktestingRunner",
}

GROUP: Final = "pynelive.runners"
"""The entry-point group of other people's runners."""
