"""Which sinks exist, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bus.errors import TopologyError
from ..bus.plugins import configure, find
from .contract import Sink

GROUP = "pynelive.sinks"
"""The entry-point group by which an installed package offers a sink."""

SINKS = {
    "ohlcv": ".ohlcv:OhlcvSink",
    "csv": ".csv:CsvSink",
    "jsonl": ".jsonl:JsonlSink",
    "web": ".web.sink:WebSink",
}


def find_sink(name: str, base: Path) -> type[Sink]:
    """The sink class called ``name``, or of the file ``name`` (``my.py``, ``my.py:Class``) under ``base``.

    :raises TopologyError: unknown, not importable or incomplete
    """
    return find(name, SINKS, GROUP, base, Sink)  # type: ignore[type-abstract]  # it is only compared


def configured(kind: type[Sink], options: Mapping[str, object]) -> Any:
    """The sink's ``Config``.

    :raises TopologyError: all faults of the options at once
    """
    config = configure(kind.Config, options)
    if problems := kind.problems(config):
        raise TopologyError(problems)
    return config
