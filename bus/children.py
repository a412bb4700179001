"""The supervisor's children: one process an actor, started again when it dies, then given up."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from .limits import OVERDUE
from .logs import LogFile
from .process import Fork, Process
from .specs import ActorSpec, Role
from .status import Rate, Status
from .topology import Topology

ENTRY = (sys.executable, "-m", "pynelive")
"""How a child is started: followed by ``run NAME TOPOLOGY --supervised FD``."""

Phase = Literal[
    "starting", "warming", "running", "draining", "quiet", "stalled", "restarting", "done", "stopped", "failed"
]
"""An actor as its supervisor sees it; the last three are over. ``stalled`` lives but is silent."""

OVER = ("done", "stopped", "failed")
SILENT_S = 10.0
HEALTHY_S = 10.0
CRASHES, WINDOW_S = 5, 60.0
"""So many crashes inside the window, none after ``HEALTHY_S`` of health, and the actor is given up."""
HOPELESS = 2
"""The exit code of what no restart could mend."""
AGAIN = 3
"""The exit code of what wants to be started anew, at once."""
KILLED = (-signal.SIGKILL, -signal.SIGTERM)
FIRST_DELAY_S, LAST_DELAY_S = 0.1, 10.0


class View(Struct):
    """One actor in `pynelive ps`; ``cpu`` is the share of one core that it has used over the last minute."""

    name: str
    role: Role
    phase: Phase
    pid: int = 0
    uptime_s: float = 0.0
    restarts: int = 0
    why: str = ""
    status: Status | None = None
    journal_mb: float = 0.0
    cpu: float = 0.0


class Child:
    """One actor of the topology, whatever process plays it just now."""

    def __init__(
        self,
        topology: Topology,
        spec: ActorSpec,
        log: LogFile,
        say: Callable[[str], None],
        entry: Sequence[str] = ENTRY,
        fork: Fork | None = None,
    ) -> None:
        """:param fork: how its process is forked, if it is; else it is started by ``entry``"""
        self.spec, self.name, self.role = spec, spec.name, topology.role(spec)
        self.topology = topology
        self.log = log
        self.status: Status | None = None
        self.phase: Phase = "starting"
        self.restarts = 0
        self.why = ""
        self._say, self._entry, self._fork = say, entry, fork
        self._process: Process | None = None
        self._stopping = False
        self._crashes: list[float] = []
        self._streak = 0
        self._cpu = Rate()
        self._heard = self._since = time.monotonic()
        self._ready: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is to come of it by itself."""
        return self.phase in OVER

    @property
    def since(self) -> float:
        """When its process was started; another process, another time."""
        return self._since

    def launch(self, forgotten: Iterable[str]) -> None:
        """Begin; ``forgotten`` are the consumers that a publisher need not wait for, read at each start."""
        self._stopping, self._crashes, self._streak, self.why = False, [], 0, ""
        self.phase = "starting"
        self._task = asyncio.create_task(self._keep(forgotten), name=self.name)

    def command(self, text: str) -> None:
        """Send a command to the process, if there is one."""
        if self._process:
            self._process.command(text)

    async def stop(self, grace_s: float) -> None:
        """End it in order within ``grace_s`` seconds, else by force; returns when nothing of it is left."""
        self._stopping = True
        if self.phase == "restarting":
            self._task.cancel()
        elif self._process:
            self._process.stop()
        await asyncio.wait([self._task], timeout=grace_s)
        if self._process:
            self._say(f"{self.name} did not stop within {grace_s:.1f} s and was killed")
            self._process.kill()
            await asyncio.wait([self._task])
        if self.phase not in OVER:
            self.phase = "stopped"

    def kill(self) -> None:
        """End it now."""
        self._stopping = True
        if self._process:
            self._process.kill()

    def view(self, journal_mb: float) -> View:
        """What `ps` shows."""
        alive = self._process is not None
        return View(
            name=self.name,
            role=self.role,
            phase=self.phase,
            pid=self._process.pid if self._process else 0,
            uptime_s=round(time.monotonic() - self._since, 1) if alive else 0.0,
            restarts=self.restarts,
            why=self.why,
            status=self.status,
            journal_mb=journal_mb,
            cpu=round(self._cpu.now, 3) if alive else 0.0,
        )

    def look(self) -> None:
        """Notice a process that lives but says nothing; called often.

        A fault of this very class comes out here instead of being lost in its task.
        """
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        silent = self._ready is not None and time.monotonic() - self._heard > SILENT_S
        if silent and self._process and self.phase not in (*OVER, "stalled"):
            self.phase = "stalled"
            loop = ": an endless loop in its script?" if self.role == "runner" else ""
            self._say(f"{self.name} lives but is silent since {SILENT_S:.0f} s{loop}")

    async def _keep(self, forgotten: Iterable[str]) -> None:
        while True:
            try:
                code = await self._live(forgotten)
            except OSError as error:
                return self._fail(f"it cannot be started: {error}")
            if self._stopping or (code == 0 and self._said_so()):
                self.phase = "stopped" if self._stopping else "done"
                return None
            delay = self._delay_after(code)
            if delay is None:
                return None
            self.phase = "restarting"
            words = "" if code in KILLED else f": {self._last_words()}"
            self._say(f"{self.name} {self._ended(code)}, again in {delay:.1f} s{words}")
            await asyncio.sleep(delay)
            self.restarts += 1

    async def _live(self, forgotten: Iterable[str]) -> int:
        self.phase, self.status, self._ready, self._cpu = "starting", None, None, Rate()
        self._since = time.monotonic()
        process = await Process.start(
            self.topology.path, self.name, self._entry, self._hear, self.log, self._fork
        )
        process.hand_over(self.topology)  # what it is by now, and at once open for commands: none is missed
        self._process = process
        for consumer in forgotten:
            process.command(f"forget {consumer}")
        if self._stopping:
            process.stop()
        try:
            return await process.exited()
        finally:
            self._process = None
            if self.status:
                self.status.rate = self.status.memory_mb = 0.0  # of a process that is no more

    def _hear(self, line: str) -> None:
        try:
            self.status = msgspec.json.decode(line, type=Status)
        except msgspec.DecodeError as error:
            self.log.write(f"unreadable heartbeat: {error}")
            return
        self._heard = time.monotonic()
        self._cpu.of(self.status.cpu_s)
        if self.status.state not in ("done", "failed"):  # those are said by the exit code
            self.phase = self.status.state
        if self._ready is None and self.phase in ("warming", "running", "draining"):
            self._ready = self._heard

    def _delay_after(self, code: int) -> float | None:
        """Seconds until the next start; None if it has failed for good.

        Being killed from outside is no crash of the actor's: it delays the next start, and never gives it up.
        """
        if code == AGAIN and self._said_so():
            return 0.0
        now = time.monotonic()
        healthy = self._ready is not None and now - self._ready >= HEALTHY_S
        killed = code in KILLED
        if healthy or (killed and self._ready is not None):
            self._streak = 0
        if healthy:
            self._crashes.clear()
        if not killed:
            self._crashes = [*(crash for crash in self._crashes if now - crash < WINDOW_S), now]
        if code == -OVERDUE:
            self._fail("its script did not come back from one update within limits.cpu_s: an endless loop?")
            return None
        if code == HOPELESS and self._said_so():
            self._fail(self._last_words())
            return None
        if len(self._crashes) >= CRASHES:
            tries = f"for the {CRASHES}th time within {WINDOW_S:.0f} s"
            self._fail(f"it {self._ended(code)} {tries}: {self._last_words()}")
            return None
        self._streak += 1
        return min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** (self._streak - 1)) * random.uniform(0.8, 1.2)

    def _fail(self, why: str) -> None:
        self.phase, self.why = "failed", why
        self._say(f"{self.name} has failed for good: {why} (pynelive logs {self.name})")

    def _said_so(self) -> bool:
        """Whether its last word was that it ends."""
        return self.status is not None and self.status.state in ("done", "failed")

    def _ended(self, code: int) -> str:
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}{'' if self._said_so() else ' and without a last word (os._exit?)'}"

    def _last_words(self) -> str:
        said = self.status.said if self.status and self.status.state == "failed" else ""
        return said or self.log.last or "it said nothing"
