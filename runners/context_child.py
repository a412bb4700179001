"""The process of one ``request.security`` context: PyneCore's own, reading its bars from the file that the chart fills.

What the chart's process wrote before it asked is there, and nothing else is waited for. PyneCore's private names that
this needs are pinned by tests/test_pynecore_contract.py.
"""

from __future__ import annotations

import signal
import struct
from typing import Any, Final

from pynecore.core import live_runner, plugin, security_process
from pynecore.core.plugin.live_provider import LiveProviderPlugin
from pynecore.types.ohlcv import OHLCV

RECORD: Final = struct.Struct("<q5d")
"""A closed bar in the file: when it opens (ms), open, high, low, close, volume."""

_run = security_process.security_process_main


def main(*args: Any, **options: Any) -> None:
    """In place of PyneCore's entry point of a context, which it calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the chart's process, which ends this one
    live_runner.LiveBarStreamer = Streamer
    live_runner.download_warmup_in_memory = _nothing_before
    plugin.load_plugin = _provider
    security_process._collect_in_period_intrabars = _collected
    _run(*args, **options)


class Provider(LiveProviderPlugin):  # type: ignore[misc]  # PyneCore has no types
    """Holds the source; nothing is ever asked of it."""


Provider.__abstractmethods__ = frozenset()


class Streamer:
    """The bars of the file, in the place of PyneCore's thread that follows a venue."""

    def __init__(self, provider: Any, *_: object, **__: object) -> None:
        self._file = open(provider.config.path, "rb", buffering=0)  # noqa: SIM115 - as long as the process

    def start(self) -> None:
        """The file is there already."""

    def pop_new_closed_bars(self) -> list[OHLCV]:
        """The bars that were written since the last call."""
        return [OHLCV(*values) for values in RECORD.iter_unpack(self._file.read())]

    def wait_for_bars(self, _: float) -> list[OHLCV]:
        """The same: what is not there yet is not due."""
        return self.pop_new_closed_bars()

    def peek_developing_bar(self) -> None:
        """Forming bars of contexts are not shown."""

    def stop(self) -> None:
        """The run is over."""
        self._file.close()


def _provider(_: str) -> type[Provider]:
    return Provider


def _nothing_before(*_: object) -> list[OHLCV]:
    """The warm-up is in the file too."""
    return []


def _collected(bars: list[OHLCV], index: int, end_ms: int, *_: object, **__: object) -> tuple[list[OHLCV], int]:
    """The bars from an index on that open before the chart's bar is over, and the index of the next one."""
    start = index
    while index < len(bars) and bars[index].timestamp < end_ms:
        index += 1
    return bars[start:index], index
