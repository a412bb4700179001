"""What a script may take: memory, descriptors, processes, and processor time for one update.

Set in the runner's own process, and watched by the kernel, so that nothing is spent on it. Each is raised in the
script, at the line that went too far, and becomes its last word. What a script does not let itself be told ends it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType
from typing import Any

from .specs import LimitsSpec

OVERDUE = signal.SIGVTALRM
"""Ends a process whose script was told that it is overdue and went on, or is in C and cannot be told."""

_LAUNCHES = {"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
"""Python's audit events of a new process."""


class Limits:
    """The limits of this process; there is no way back."""

    def __init__(self, spec: LimitsSpec) -> None:
        self._cpu_s = spec.cpu_s
        self._processes = spec.processes
        _lower(resource.RLIMIT_NOFILE, spec.files)
        _lower(resource.RLIMIT_DATA, int(spec.memory_mb * (1 << 20)))
        sys.addaudithook(self._audit)
        os.register_at_fork(after_in_child=self._forbid)
        signal.signal(signal.SIGPROF, self._overdue)

    def rewind(self) -> None:
        """An update is over; called with each heartbeat, which a script that does not come back holds up."""
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s)
        signal.setitimer(signal.ITIMER_VIRTUAL, 2 * self._cpu_s)

    def _overdue(self, signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it has taken more than {self._cpu_s:g} s of processor time for one update "
                           "(limits.cpu_s): an endless loop?")  # fmt: skip

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _LAUNCHES:
            if not self._processes:
                raise RuntimeError(f"it started a process ({event}), which a live script must not (limits.processes)")
            self._processes -= 1

    def _forbid(self) -> None:
        self._processes = 0


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, hard))
