"""Runs in every process of a world before anything else, and bends what no user can bend from outside.

``CHAOS_DIR`` is the folder of the orders; what is not there is left as it is:

``failpoints/NAME``  the failpoint that the actor NAME takes with it at its next start (then the file is gone)
``hwm``              how many frames ZeroMQ keeps for each reader, of a process that starts then
``boot``             the id of the boot: another text is another boot
``loss``             the share of PUB frames that no subscriber sees, between 0 and 1
``mutation``         ``module:function``: called first, to break something on purpose (see mutations.py)
``clock``            seconds by which the wall clock is off
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

_EVERY_S = 0.05


class _Dial:
    """A number in a file, read again now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._value = self._next = 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            try:
                self._value = float(self._path.read_text())
            except (OSError, ValueError):
                self._value = 0.0
        return self._value


def _arm_failpoint(orders: Path) -> None:
    argv = sys.orig_argv
    if "run" not in argv[:-1]:
        return
    order = orders / "failpoints" / argv[argv.index("run") + 1]
    try:
        os.environ["PYNELIVE_FAILPOINT"] = order.read_text()
        order.unlink()
    except OSError:
        os.environ.pop("PYNELIVE_FAILPOINT", None)


def _bend_clock(off_s: _Dial) -> None:
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + off_s()
    time.time_ns = lambda: nanoseconds() + int(off_s() * 1e9)


def _bend_boot(orders: Path) -> None:
    from pynelive.bus import segments

    boot = sha256((orders / "boot").read_bytes()).digest()[:16]
    segments.boot_id = lambda: boot


def _lower_the_water(order: Path) -> None:
    from pynelive.bus import sockets

    if order.exists():
        sockets._HIGH_WATER = int(order.read_text())


def _lose_frames(share: _Dial) -> None:
    import zmq
    from pynelive.bus import sockets

    began = sockets.Reader.__init__

    def begin(self: Any, socket: Any, handle: Callable[[bytes], None]) -> None:
        def some(frame: bytes) -> None:
            if random.random() >= share():
                handle(frame)

        began(self, socket, some if socket.type == zmq.SUB else handle)

    sockets.Reader.__init__ = begin  # type: ignore[method-assign]


def _break_something(order: Path) -> None:
    if order.exists():
        module, _, function = order.read_text().partition(":")
        getattr(import_module(module), function)()


def _bend(orders: Path) -> None:
    _arm_failpoint(orders)
    _bend_clock(_Dial(orders / "clock"))
    _bend_boot(orders)
    _lower_the_water(orders / "hwm")
    _lose_frames(_Dial(orders / "loss"))
    _break_something(orders / "mutation")


if "CHAOS_DIR" in os.environ and "pynelive" in " ".join(sys.orig_argv):
    _bend(Path(os.environ["CHAOS_DIR"]))
