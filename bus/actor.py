"""One process's life: prepare, run, stop, exit code.

The process is an actor of its own (`pynelive run`) or a child of the supervisor. A child says how it is on
its status pipe, and reads commands from its standard input, which is its lifeline too: when that ends the
supervisor is gone, however it went, and the child goes as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import import_module
from io import FileIO
from types import FrameType
from typing import Any, Literal, Protocol

import msgspec
import psutil

from .errors import Again, Fault, Hopeless
from .handover import topology_of
from .limits import Limits
from .specs import RunnerSpec
from .status import Status
from .topology import Topology


class Role(Protocol):
    """The loop of a producer, sink or runner, as its process drives it."""

    def prepare(self) -> None:
        """Import, check and open what may block; called once, before the event loop exists."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until the streams have ended or ``stop`` is set, then close in order, everything durable."""

    def status(self) -> Status:
        """The heartbeat; called twice a second."""

    def quiet(self) -> None:
        """Say nothing new, the bus is about to stop; only a producer has something to do for it."""

    def forget(self, consumer: str) -> None:
        """Wait for this declared consumer no longer: it has failed for good, or is not to run."""

    def expect(self, consumer: str, streams: Sequence[str]) -> None:
        """Wait for this consumer from now on: it was declared later, or is started again."""

    def reload(self) -> None:
        """Read credentials again (SIGHUP); only a producer has some."""


ROLES: Mapping[str, str] = {
    "producer": "pynelive.producers.feed:Feed",
    "sink": "pynelive.sinks.feed:SinkFeed",
    "runner": "pynelive.runners.feed:RunnerFeed",
}
"""Constructed as ``Class(topology, spec)``; strings, so that a process imports only the role it plays."""

HEARTBEAT_S = 0.5
ORPHAN_S = 5.0
"""How long a child may take to close in order once its supervisor is gone."""


def run_actor(
    topology: Topology, name: str, status_fd: int | None = None, roles: Mapping[str, str] = ROLES
) -> int:
    """Play the actor in this process to its end; the exit code: 0 done or stopped, 1 failed, 2 hopeless, 3 again.

    With ``status_fd`` the process is a supervisor's child. Must be called from the main thread.
    """
    life = _Life(name, _Report(status_fd))
    return life.guard(lambda: life.play(topology, roles, supervised=status_fd is not None))


def run_role(role: Role, beat: Callable[[], object] = lambda: None) -> int:
    """Play a role that is in no topology, in the foreground; the exit code.

    ``beat`` is called with each heartbeat.
    """
    life = _Life("pynelive", _Report(None), beat)
    return life.guard(lambda: life.live(role))


def debugging() -> bool | None:
    """asyncio's debug mode: on with ``PYNELIVE_DEBUG=1``, else as Python was told."""
    return os.environ.get("PYNELIVE_DEBUG") == "1" or None


def receive_topology() -> Topology:
    """The topology that the supervisor runs: the first line of standard input. The file may differ by now."""
    with _standard_input() as lines:
        return topology_of(lines.readline())


def _standard_input() -> FileIO:
    # Not sys.stdin: its lock, held by a thread that waits for a line, would abort the interpreter's exit.
    return FileIO(0, closefd=False)


class _Report:
    """The status pipe: a line a heartbeat, never blocking the actor when the supervisor is slow."""

    def __init__(self, descriptor: int | None) -> None:
        self._fd = descriptor
        self._rest = b""
        if descriptor is not None:
            os.set_blocking(descriptor, False)

    def say(self, status: Status) -> None:
        """Write the status, or what was left of the last one: a line is never torn."""
        if self._fd is None:
            return
        self._rest = self._rest or msgspec.json.encode(status) + b"\n"
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except (BlockingIOError, BrokenPipeError):
            pass  # the next heartbeat tries again; a supervisor that is gone is the lifeline's business

    def last(self, status: Status) -> None:
        """Write the final status whole, waiting for the supervisor to read."""
        if self._fd is None:
            return
        self._rest += msgspec.json.encode(status) + b"\n"
        os.set_blocking(self._fd, True)
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BrokenPipeError:
            pass


class _Life:
    """What the main thread, the signals and the lifeline share."""

    def __init__(self, name: str, report: _Report, beat: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.status = Status(name, "sink", pid=os.getpid())
        self.report, self.beat = report, beat
        self.stop = asyncio.Event()
        self.loop: Future[asyncio.AbstractEventLoop] = Future()
        self.interrupts = 0
        self.limits: Limits | None = None
        self.crash: asyncio.Future[None]

    def guard(self, play: Callable[[], None]) -> int:
        """Play, and turn however that ends into a last word and an exit code."""
        _log_to_stderr()
        try:
            with _signals(self.interrupted):
                play()
            return self.over("done")
        except KeyboardInterrupt:
            return self.over("done")
        except Hopeless as error:
            return self.over("failed", str(error), code=2)
        except Again as error:
            return self.over("failed", str(error), code=3)
        except Fault as error:
            return self.over("failed", str(error), code=1)
        except Exception as error:  # noqa: BLE001 - the one outermost edge: whatever it was, say it and exit
            traceback.print_exc()
            return self.over("failed", f"{type(error).__name__}: {error}", code=1)

    def play(self, topology: Topology, roles: Mapping[str, str], supervised: bool) -> None:
        """Build the role that the topology says, and live it."""
        spec = topology.actor(self.name)
        self.status.role = topology.role(spec)
        self.report.say(self.status)
        if isinstance(spec, RunnerSpec):
            self.limits = Limits(spec.limits)
        module, _, attribute = roles[self.status.role].partition(":")
        role: Role = getattr(import_module(module), attribute)(topology, spec)
        if supervised:
            threading.Thread(target=self.obey, args=(role,), name="lifeline", daemon=True).start()
        self.live(role)

    def live(self, role: Role) -> None:
        """Prepare the role and run it to its end."""
        role.prepare()
        asyncio.run(self.run(role), debug=debugging())

    async def run(self, role: Role) -> None:
        """The event loop's part: the role, and its heartbeat beside it."""
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.1
        self.crash = loop.create_future()
        loop.set_exception_handler(self.broken)
        self.loop.set_result(loop)
        if not os.isatty(0):  # else it is a terminal that closes
            loop.add_signal_handler(signal.SIGHUP, role.reload)
        heart = asyncio.create_task(self.pulse(role))
        playing = asyncio.create_task(role.run(self.stop))
        try:
            await asyncio.wait([playing, self.crash], return_when=asyncio.FIRST_COMPLETED)
            if self.crash.done():
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
                self.crash.result()
            playing.result()
        finally:
            heart.cancel()
            self.note(role)

    def broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback has raised what nobody expected: better to start again than to go on without it."""
        loop.default_exception_handler(context)
        error = context.get("exception")
        if "handle" in context and isinstance(error, Exception) and not self.crash.done():
            self.crash.set_exception(error)

    async def pulse(self, role: Role) -> None:
        """Say how the role is: often until it runs, so that readiness shows at once, then twice a second."""
        while True:
            if self.limits:
                self.limits.rewind()
            self.note(role)
            self.report.say(self.status)
            self.beat()
            ready = self.status.state not in ("starting", "warming")
            await asyncio.sleep(HEARTBEAT_S if ready else HEARTBEAT_S / 5)

    def note(self, role: Role) -> None:
        """Keep the role's status, with what only the process knows."""
        self.status = role.status()
        self.status.pid = os.getpid()
        self.status.memory_mb = round(psutil.Process().memory_info().rss / 2**20, 1)
        self.status.cpu_s = round(time.process_time(), 2)

    def over(self, state: Literal["done", "failed"], said: str = "", code: int = 0) -> int:
        """The last status; a fault is also printed, for the log."""
        self.status.state = state
        if said:
            self.status.said = said
            print(f"{self.name}: {said}", file=sys.stderr, flush=True)
        self.report.last(self.status)
        return code

    def interrupted(self, signum: int, _frame: FrameType | None) -> None:
        """Stop in order at a signal; the second Ctrl-C does not wait for that.

        A plain signal handler, not the loop's: it also runs while a script keeps the loop busy.
        """
        self.interrupts += signum == signal.SIGINT
        if self.interrupts > 1:
            os._exit(1)
        if not self.loop.done():
            raise KeyboardInterrupt
        self.tell(self.stop.set)

    def tell(self, do: Callable[..., object], *args: object) -> None:
        """Call in the event loop, as soon as there is one."""
        try:
            self.loop.result().call_soon_threadsafe(do, *args)
        except RuntimeError:
            pass  # the loop has ended: there is nobody left to tell

    def obey(self, role: Role) -> None:
        """Follow the supervisor's commands, in a thread of its own: no busy event loop can hold it up."""
        for line in _standard_input():
            word, _, rest = line.decode().strip().partition(" ")
            if word == "stop":
                self.tell(self.stop.set)
            elif word == "quiet":
                self.tell(role.quiet)
            elif word == "forget":
                self.tell(role.forget, rest)
            elif word == "expect":
                consumer, *streams = msgspec.json.decode(rest, type=list[str])
                self.tell(role.expect, consumer, streams)
        overdue = threading.Timer(ORPHAN_S, os._exit, (1,))
        overdue.daemon = True
        overdue.start()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # nobody reads these pipes any more, and a print while closing must not raise
        os.dup2(nowhere, 2)
        self.tell(self.stop.set)


def _log_to_stderr() -> None:
    """Show what pynelive logs. The root logger is left alone: PyneCore has a handler of its own."""
    log = logging.getLogger("pynelive")
    if not log.handlers:
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        log.addHandler(shown)
        log.setLevel(logging.INFO)


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
