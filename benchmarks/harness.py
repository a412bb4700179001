"""What the benchmarks share: ends that run in processes of their own, bars, and the C program.

Every case is one or more processes with nothing else in them. Its time is that of CLOCK_MONOTONIC, the same in all
processes, from the first send to the last decoded bar.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import psutil
import zmq
from pynelive.bus.actor import ROLES, Role
from pynelive.bus.messages import Bar, Message
from pynelive.bus.topology import load

ROOT = Path(__file__).parent
PATIENCE_S = 180.0
_POLL_S = 0.01
_PR_SET_TIMERSLACK = 29


# --- processes --------------------------------------------------------------------------------------------------------


def call(function: Callable[..., Any], *given: object) -> list[str]:
    """The command that runs a function of a benchmark in a process of its own."""
    arguments = json.dumps(given, default=str)
    module = Path(function.__code__.co_filename).stem  # __module__ may be __main__ here
    return [sys.executable, __file__, module, function.__name__, arguments]


def together(*commands: Sequence[str]) -> list[Any]:
    """Run all at the same time; what each has printed last, as JSON.

    :raises SystemExit: one has failed, or they are not over after PATIENCE_S; none is left running
    """
    with ExitStack() as files:
        errors, *said = (files.enter_context(tempfile.TemporaryFile("w+")) for _ in range(len(commands) + 1))
        running = [subprocess.Popen(c, stdout=to, stderr=errors) for c, to in zip(commands, said, strict=True)]
        deadline = time.monotonic() + PATIENCE_S
        try:
            while any(process.poll() is None for process in running) and not any(p.returncode for p in running):
                if time.monotonic() > deadline:
                    raise SystemExit(f"not over after {PATIENCE_S:g} s: {commands}")
                time.sleep(_POLL_S)
            if any(process.returncode for process in running):
                errors.seek(0)
                raise SystemExit(f"{commands} has failed:\n{errors.read()}")
        finally:
            for process in running:
                process.kill()
                process.wait()
        return [json.loads(_last_line(to)) for to in said]


def _last_line(file: TextIO) -> str:
    file.seek(0)
    return file.read().splitlines()[-1]


def actor(path: Path, name: str) -> Role:
    """The loop of an actor of a topology, in this process as the supervisor would start it."""
    os.environ["PYNE_SAVE_SCRIPT_TOML"] = "0"
    topology = load(path)
    spec = topology.actor(name)
    module, _, attribute = ROLES[topology.role(spec)].partition(":")
    role: Role = getattr(import_module(module), attribute)(topology, spec)
    role.prepare()
    return role


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one case."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


@contextmanager
def server(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of somebody else's, for as long as it is wanted."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def until(found: Callable[[], Any]) -> Any:
    """What it returns, as soon as that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (it := found()):
        if time.monotonic() > deadline:
            raise SystemExit("waited in vain")
        time.sleep(0.001)
    return it


@cache
def reference() -> str | None:
    """The C program, built against the libzmq of the pyzmq wheel; None without a compiler."""
    library = next((Path(zmq.__file__).parent.parent / "pyzmq.libs").glob("libzmq*"), None)
    if library is None:
        return None
    program = Path(tempfile.mkdtemp(prefix="bench-")) / "reference"
    link = [str(library), f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined"]
    try:
        command = ["cc", "-O2", str(ROOT / "reference.c"), *link, "-o", str(program)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return str(program)


def precise_sleep() -> None:
    """Let this process's sleeps end when they are over, not when it suits the kernel."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)


def own_mb() -> float:
    """The memory of this process in MB, without what it maps of files."""
    memory = psutil.Process().memory_info()
    return float((memory.rss - getattr(memory, "shared", 0)) / 2**20)


# --- bars -------------------------------------------------------------------------------------------------------------


def bar(n: int) -> Bar:
    """The bar of a number: no two have a value in common."""
    return Bar(n * 60_000, n + 0.25, n + 1.5, n - 1.5, n + 0.75, n * 0.125, True, 0, 0, "venue", n, None)


def bars(count: int) -> list[Bar]:
    """So many, from 0 on."""
    return list(map(bar, range(count)))


def checksum(messages: Sequence[Message]) -> int:
    """A number that every field of every bar goes into; exact, as the values are multiples of 1/8."""
    return sum(
        int((b.time_ms + b.open + 2 * b.high + 3 * b.low + 5 * b.close + 7 * b.volume + b.received_ns + b.closed) * 8)
        for b in messages
        if type(b) is Bar
    )


@cache
def _expected(count: int) -> int:
    return checksum(bars(count))


def verify(what: str, seen: int, count: int) -> None:
    """:raises SystemExit: the receiver has not got every field of every bar"""
    if seen != (expected := _expected(count)):
        raise SystemExit(f"{what}: the receiver's checksum is {seen}, the bars' is {expected}")


def quantiles(waits_ns: Sequence[int]) -> list[float]:
    """p50 and p99 in µs; the first tenth is warming up."""
    ordered = sorted(waits_ns[len(waits_ns) // 10 :])
    return [ordered[int(q * (len(ordered) - 1))] / 1000 for q in (0.5, 0.99)]


if __name__ == "__main__":
    _, module, name, arguments = sys.argv
    print(json.dumps(getattr(import_module(module), name)(*json.loads(arguments))))
