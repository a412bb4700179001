"""The supervisor's children: one process an actor, started again when it dies, then given up."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from .handover import topology_line
from .logs import LogFile
from .status import Status
from .topology import ActorSpec, Role, Topology

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
KILLED = (-signal.SIGKILL, -signal.SIGTERM)
FIRST_DELAY_S, LAST_DELAY_S = 0.1, 10.0

_LINE_LIMIT = 2**20


class View(Struct):
    """One actor in `pynelive ps`."""

    name: str
    role: Role
    phase: Phase
    pid: int = 0
    uptime_s: float = 0.0
    restarts: int = 0
    why: str = ""
    status: Status | None = None
    journal_mb: float = 0.0


class Process:
    """One process of an actor, from its start to its exit code."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        commands: asyncio.WriteTransport,
        readers: asyncio.Future[tuple[None, None]],
    ) -> None:
        self._process = process
        self._commands = commands
        self._readers = readers
        self.pid = process.pid

    @classmethod
    async def start(
        cls, path: Path, name: str, entry: Sequence[str], heard: Callable[[str], None], log: LogFile
    ) -> Process:
        """Launch it in a session of its own, so that Ctrl-C reaches only the supervisor."""
        commands_in, commands_out = os.pipe()
        status_in, status_out = os.pipe()
        output_in, output_out = os.pipe()
        argv = [*entry, "run", name, str(path), "--supervised", str(status_out)]
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=commands_in,
            stdout=output_out,
            stderr=output_out,
            pass_fds=(status_out,),
            start_new_session=True,
            env=_environment(),
        )
        for theirs in (commands_in, status_out, output_out):
            os.close(theirs)
        loop = asyncio.get_running_loop()
        commands, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, FileIO(commands_out, "wb"))
        readers = asyncio.gather(_read(status_in, heard), _read(output_in, log.write))
        return cls(process, commands, readers)

    def hand_over(self, topology: Topology) -> None:
        """Say what to run; before any command."""
        self._commands.write(topology_line(topology))

    def command(self, text: str) -> None:
        """Send one line of command."""
        self._commands.write(f"{text}\n".encode())

    def stop(self) -> None:
        """Ask for an end in order, also a process that is suspended."""
        self.command("stop")
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process and all that it has started."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        send = os.kill if number == signal.SIGTERM else os.killpg
        try:
            send(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended already (macOS refuses to signal what is not reaped yet)

    async def exited(self) -> int:
        """Its exit code, negative for a signal, once all it said is read; what it left behind is killed."""
        code = await self._process.wait()
        self.kill()
        await self._readers
        if not self._commands.is_closing():
            self._commands.abort()
        return code


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYNE_SAVE_SCRIPT_TOML": "0", "PYTHONUNBUFFERED": "1"}


async def _read(descriptor: int, take: Callable[[str], None]) -> None:
    """Hand over line by line what comes out of a pipe, until its end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_read_pipe(lambda: protocol, FileIO(descriptor, "rb"))
    rest = b""
    while chunk := await reader.read(2**16):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            lines, rest = [*lines, rest], b""
        for line in lines:
            take(line.decode(errors="replace"))
    if rest:
        take(rest.decode(errors="replace"))
    transport.close()


class Child:
    """One actor of the topology, whatever process plays it just now."""

    def __init__(
        self,
        topology: Topology,
        spec: ActorSpec,
        log: LogFile,
        say: Callable[[str], None],
        entry: Sequence[str] = ENTRY,
    ) -> None:
        self.spec, self.name, self.role = spec, spec.name, topology.role(spec)
        self.topology = topology
        self.log = log
        self.status: Status | None = None
        self.phase: Phase = "starting"
        self.restarts = 0
        self.why = ""
        self._say, self._entry = say, entry
        self._process: Process | None = None
        self._stopping = False
        self._crashes: list[float] = []
        self._streak = 0
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
            if self._stopping or code == 0:
                self.phase = "stopped" if self._stopping else "done"
                return None
            delay = self._delay_after(code)
            if delay is None:
                return None
            self.phase = "restarting"
            words = "" if code in KILLED else f": {self._last_words()}"
            self._say(f"{self.name} {_ended(code)}, again in {delay:.1f} s{words}")
            await asyncio.sleep(delay)
            self.restarts += 1

    async def _live(self, forgotten: Iterable[str]) -> int:
        self.phase, self.status, self._ready = "starting", None, None
        self._since = time.monotonic()
        process = await Process.start(self.topology.path, self.name, self._entry, self._hear, self.log)
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
        if self.status.state not in ("done", "failed"):  # those are said by the exit code
            self.phase = self.status.state
        if self._ready is None and self.phase in ("warming", "running", "draining"):
            self._ready = self._heard

    def _delay_after(self, code: int) -> float | None:
        """Seconds until the next start; None if it has failed for good.

        Being killed from outside is no crash of the actor's: it delays the next start, and never gives it up.
        """
        now = time.monotonic()
        healthy = self._ready is not None and now - self._ready >= HEALTHY_S
        killed = code in KILLED
        if healthy or (killed and self._ready is not None):
            self._streak = 0
        if healthy:
            self._crashes.clear()
        if not killed:
            self._crashes = [*(crash for crash in self._crashes if now - crash < WINDOW_S), now]
        if code == HOPELESS:
            self._fail(self._last_words())
            return None
        if len(self._crashes) >= CRASHES:
            tries = f"for the {CRASHES}th time within {WINDOW_S:.0f} s"
            self._fail(f"it {_ended(code)} {tries}: {self._last_words()}")
            return None
        self._streak += 1
        return min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** (self._streak - 1)) * random.uniform(0.8, 1.2)

    def _fail(self, why: str) -> None:
        self.phase, self.why = "failed", why
        self._say(f"{self.name} has failed for good: {why} (pynelive logs {self.name})")

    def _last_words(self) -> str:
        said = self.status.said if self.status and self.status.state == "failed" else ""
        return said or self.log.last or "it said nothing"


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
