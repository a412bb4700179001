"""One process of an actor, started or forked: its pipes, its signals, its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from io import FileIO
from pathlib import Path

from .handover import topology_line
from .logs import LogFile
from .topology import Topology

Fork = Callable[[str, int, int, int], Awaitable[int | None]]
"""Forks the actor of a name with a standard input, an output and a status pipe; its id, or None."""

_LINE_LIMIT = 2**20
_LEFT_S = 5.0
"""How long what an ended process has left in its pipes is read; a stray of it could hold them open for ever."""


class Process:
    """One process of an actor, from its start to its exit code."""

    def __init__(
        self,
        pid: int,
        code: Awaitable[int],
        commands: asyncio.WriteTransport,
        readers: asyncio.Future[tuple[None, None]],
    ) -> None:
        self.pid = pid
        self._code = code
        self._commands = commands
        self._readers = readers

    @classmethod
    async def start(
        cls,
        path: Path,
        name: str,
        entry: Sequence[str],
        heard: Callable[[str], None],
        log: LogFile,
        fork: Fork | None = None,
    ) -> Process:
        """Launch it in a session of its own, so that Ctrl-C reaches only the supervisor.

        With ``fork`` it is forked, and started as any other if that fails twice.
        """
        for attempt in (fork, fork, None) if fork else (None,):
            commands_in, commands_out = os.pipe()
            status_in, status_out = os.pipe()
            output_in, output_out = os.pipe()
            try:
                launched = await (
                    _forked(attempt, name, commands_in, output_out, status_out)
                    if attempt
                    else _started([*entry, "run", name, str(path)], commands_in, output_out, status_out)
                )
            finally:
                for theirs in (commands_in, status_out, output_out):
                    os.close(theirs)
            if launched:
                break
            for ours in (commands_out, status_in, output_in):  # a fork that nobody knows of ends at that
                os.close(ours)
        assert launched is not None
        loop = asyncio.get_running_loop()
        commands, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, FileIO(commands_out, "wb"))
        readers = asyncio.gather(read_lines(status_in, heard), read_lines(output_in, log.write))
        return cls(*launched, commands, readers)

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

    def _bury(self) -> None:
        """Its own children are ours if it died while orphans were taken in (``warm.py``)."""
        try:
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass  # no more of them

    async def exited(self) -> int:
        """Its exit code, negative for a signal, once all it said is read; what it left behind is killed."""
        code = await self._code
        self.kill()
        await asyncio.wait([self._readers], timeout=_LEFT_S)
        self._readers.cancel()
        self._bury()
        if not self._commands.is_closing():
            self._commands.abort()
        return code


async def _started(argv: Sequence[str], commands_in: int, output: int, status: int) -> tuple[int, Awaitable[int]]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        "--supervised",
        str(status),
        stdin=commands_in,
        stdout=output,
        stderr=output,
        pass_fds=(status,),
        start_new_session=True,
        env=environment(),
    )
    return process.pid, process.wait()


async def _forked(
    fork: Fork, name: str, commands_in: int, output: int, status: int
) -> tuple[int, Awaitable[int]] | None:
    pid = await fork(name, commands_in, output, status)
    return (pid, _reaped(pid)) if pid else None


async def _reaped(pid: int) -> int:
    """The exit code of a child that asyncio has not started, when it has ended."""
    over, pidfd, loop = asyncio.Event(), os.pidfd_open(pid), asyncio.get_running_loop()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return _reap(pid)


def _reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def environment() -> dict[str, str]:
    """That of every actor."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYNE_SAVE_SCRIPT_TOML": "0", "PYTHONUNBUFFERED": "1"}


async def read_lines(descriptor: int, take: Callable[[str], None]) -> None:
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
