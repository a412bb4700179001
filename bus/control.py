"""How commands talk to the supervisor: one JSON line there and one back, over a private unix socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from msgspec import Struct

from .children import View
from .errors import Fault, TopologyError
from .graph import Outline
from .rundir import RunDir


class Request(Struct):
    """What a command wants; ``name`` an actor, ``path`` a topology file."""

    do: Literal["ps", "graph", "stop", "restart", "apply"]
    name: str = ""
    path: str = ""


class Reply(Struct):
    """What came of it: the actors or their graph, lines to print, or faults (``wrong``: the topology is to blame)."""

    views: list[View] = []
    outline: Outline | None = None
    lines: list[str] = []
    faults: list[str] = []
    wrong: bool = False
    code: int = 0


Answer = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def serving(run_dir: RunDir, answer: Answer) -> AsyncIterator[None]:
    """Answer commands while the block runs; those that are being answered at its end are finished."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_converse(reader, writer, answer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    path = run_dir.sockets / "control"
    path.unlink(missing_ok=True)  # of a dead supervisor: the lock is ours
    server = await asyncio.start_unix_server(connected, path)
    path.chmod(0o600)
    try:
        yield
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        path.unlink(missing_ok=True)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    try:
        request = msgspec.json.decode(await reader.readline(), type=Request)
        reply = await answer(request)
    except msgspec.DecodeError as error:
        reply = Reply(faults=[f"not understood: {error}"])
    except TopologyError as error:
        reply = Reply(faults=error.problems, wrong=True)
    except Fault as error:
        reply = Reply(faults=[str(error)])
    writer.write(msgspec.json.encode(reply) + b"\n")
    try:
        await writer.drain()
    except ConnectionError:
        pass  # the command has gone: it was interrupted
    writer.close()


def ask(run_dir: RunDir, request: Request, timeout_s: float = 30.0) -> Reply:
    """Put a request to the supervisor that is up.

    :raises Fault: none is up, or it refuses
    :raises TopologyError: the topology to be applied is faulty
    """
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(timeout_s)
            link.connect(str(run_dir.sockets / "control"))
            link.sendall(msgspec.json.encode(request) + b"\n")
            with link.makefile("rb") as lines:
                line = lines.readline()
    except TimeoutError:
        raise Fault(f"the supervisor of '{run_dir.bus}' does not answer: see `pynelive logs`") from None
    except (FileNotFoundError, ConnectionError):
        raise Fault(f"'{run_dir.bus}' is not up ({run_dir.root}): start it with `pynelive up`") from None
    if not line:
        raise Fault(f"the supervisor of '{run_dir.bus}' has gone: see `pynelive logs`")
    reply = msgspec.json.decode(line, type=Reply)
    if reply.wrong:
        raise TopologyError(reply.faults)
    if reply.faults:
        raise Fault("; ".join(reply.faults))
    return reply
