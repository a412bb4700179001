"""Which runners exist: name to ``module:Class``, imported only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from ..bus.errors import TopologyError
from ..bus.plugins import configure, needs

RUNNERS: Final = {
    "pyne": "pynelive.runners.pyne:PyneRunner",
    "python": "pynelive.runners.python:PythonRunner",
    "backtesting": "pynelive.runners.backtesting_py.runner:BacktestingRunner",
}

GROUP: Final = "pynelive.runners"
"""The entry-point group of other people's runners."""


@dataclass
class _NoOptions:
    """What a runner of type ``pyne`` takes: its script has inputs."""


def check_options(kind: str, options: Mapping[str, object]) -> None:
    """Find what is wrong with a built-in runner's options, or missing for it, without importing the runner itself.

    :raises TopologyError: all faults at once
    """
    match kind:
        case "pyne":
            configure(_NoOptions, options)
        case "python":
            from .python import Options

            configure(Options, options)
        case "backtesting":
            if not find_spec("backtesting"):
                raise TopologyError([needs("runner 'backtesting'", "backtesting", "backtesting")])
            from .backtesting_py.settings import Settings

            configure(Settings, options)
