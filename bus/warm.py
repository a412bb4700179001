"""The warm parent: a process that has imported what every script needs, and forks a runner when it is asked.

A runner is forked twice. The process between ends at once, and the kernel gives the runner to the supervisor, which
takes orphans in for that moment: it is the supervisor's own child then, with its exit code, signals and pipes like any
other, and the warm parent may die without harm to it. Linux only; elsewhere, and where the warm parent cannot be had,
a runner is a process of its own.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from .actor import ROLES
from .process import environment, read_lines
from .specs import ActorSpec, RunnerSpec

KINDS = {"pyne": "pynelive.runners.pyne:PyneRunner"}
"""The types of runner that are forked; ``warm()`` of the class imports what they share, and opens nothing."""

PATIENCE_S = 20.0
"""How long a fork may take, the imports of a new warm parent included."""

_SUBREAPER = 36
_ROOM = 96
"""The length of a word of the warm parent's command line, so that the one of a runner fits over it."""


# --- the supervisor's side --------------------------------------------------------------------------------------------


class WarmParent:
    """Forks the runners of a topology; its process is started when it is first needed, and again when it has died.

    :param command: the command of pynelive
    :param say: is given what the process prints
    """

    def __init__(self, path: Path, command: Sequence[str], say: Callable[[str], None]) -> None:
        self._path, self._command, self._say = path, command, say
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Its process; 0 if there is none."""
        return self._process.pid if self._process else 0

    @staticmethod
    def forks(spec: ActorSpec) -> bool:
        """Whether an actor can be had from here."""
        return sys.platform == "linux" and isinstance(spec, RunnerSpec) and spec.type in KINDS

    async def fork(self, name: str, stdin: int, output: int, status: int) -> int | None:
        """The process id of a runner with these descriptors; None if none could be forked."""
        async with self._turn:
            try:
                with _taking_orphans_in():
                    return await asyncio.wait_for(self._ask(name, (stdin, output, status)), PATIENCE_S)
            except (OSError, TimeoutError, ValueError) as why:
                await self.close()
                self._say(f"the warm parent of the scripts did not fork {name} ({why or type(why).__name__})")
                return None

    async def _ask(self, name: str, descriptors: Sequence[int]) -> int:
        if self._process is None or self._process.poll() is not None:
            await self.close()
            self._start()
        socket.send_fds(self._socket, [name.encode()], descriptors)
        return int(await asyncio.get_running_loop().sock_recv(self._socket, 32))

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        output_in, output_out = os.pipe()
        with theirs:
            self._process = subprocess.Popen(
                [*self._command, "run", "pyne".ljust(_ROOM), str(self._path), "--warm", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=output_out, stderr=output_out, pass_fds=(theirs.fileno(),),
                start_new_session=True, env=environment(),
            )  # fmt: skip
        os.close(output_out)
        self._reader = asyncio.create_task(read_lines(output_in, self._say))

    async def close(self) -> None:
        """End the process; the runners that it has forked go on."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.close()
            await self._reader


@contextmanager
def _taking_orphans_in() -> Iterator[None]:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(_SUBREAPER, 0)


# --- the warm parent's side -------------------------------------------------------------------------------------------


def serve(kind: str, descriptor: int) -> tuple[str, int]:
    """Import what the kind of runner needs, then fork one for each request, until the supervisor has gone.

    Returns in each runner: its name and its status pipe. This process has no other thread, and no ZeroMQ context.
    """
    import_module(ROLES["runner"].partition(":")[0])
    module, _, attribute = KINDS[kind].partition(":")
    getattr(import_module(module), attribute).warm()
    gc.collect()
    gc.freeze()  # else the first collection in each runner would write to all that it shares
    requests = socket.socket(fileno=descriptor)
    while True:
        name, descriptors, _, _ = socket.recv_fds(requests, 256, 3)
        if not name:
            sys.exit()
        if _fork(requests, descriptors):
            return _become(name.decode(), requests, descriptors)
        for theirs in descriptors:
            os.close(theirs)


def _fork(requests: socket.socket, descriptors: Sequence[int]) -> bool:
    """Fork a runner, and say its process id; whether this is the runner."""
    pid_in, pid_out = os.pipe()
    between = os.fork()
    if between == 0:
        if os.fork():
            os._exit(0)
        os.setsid()  # before anyone knows its id: the group of that id can be killed at once
        os.write(pid_out, str(os.getpid()).encode())
        return True
    os.close(pid_out)
    pid = os.read(pid_in, 32)
    os.close(pid_in)
    os.waitpid(between, 0)  # from now on the runner is the supervisor's
    requests.send(pid)
    return False


def _become(name: str, requests: socket.socket, descriptors: Sequence[int]) -> tuple[str, int]:
    """Turn the fork into what a runner's own process would be, with nothing open but what is its own."""
    stdin, output, status = descriptors
    requests.detach()
    for theirs, number in ((stdin, 0), (output, 1), (output, 2), (status, 3)):
        os.dup2(theirs, number)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(3, False)
    _show(name, 3)
    return name, 3


def _show(name: str, status: int) -> None:
    """Write the runner's command line over that of the warm parent, for `ps` and for people."""
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    at = words.index(b"run")
    mine = b"\0".join([*words[: at + 1], name.encode(), words[at + 2], b"--supervised", str(status).encode()])
    begin, end = (int(field) for field in Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    ctypes.memmove(begin, mine.ljust(end - begin, b"\0"), end - begin)
