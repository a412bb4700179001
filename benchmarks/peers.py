"""P3: a bar by the other ways that Python programs have to hand it on: one bar a message, nothing lost on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import ours
from figures import Figures, Row, compare, rounds
from harness import call, folder, server, together, until, verify
from peer_ends import (
    Ends,
    cryptofeed_publish,
    cryptofeed_receive,
    nats_publish,
    nats_receive,
    redis_publish,
    redis_receive,
)

TITLE = "Other ways to hand on a bar"
ABOUT = """
One publishing and one receiving process, one bar a message, from the first publish to the last decoded bar; each side
by its own Python client, servers with one node on this machine. Checksums as in P1.

| way | over | codec | the publisher knows | on disk | gaps |
|---|---|---|---|---|---|
| ours | tcp | msgpack | it is in the journal | survives a kill -9; fsync every 100 ms | noticed, repaired |
| cryptofeed's ZMQ backend (`CandlesZMQ`, without limit to its queue) | tcp | its own JSON | nothing | no | not noticed |
| NATS core | tcp | msgpack | nothing | no | not noticed |
| NATS JetStream, asynchronous publishes | tcp | msgpack | the server has it (waited for at the end) | file store, fsync by the server's default | noticed, repaired (ordered consumer) |
| Redis stream, pipelines of 64 | unix socket | msgpack | the server has it (waited for in each pipeline) | append-only file, fsync every second | none: read by id |
"""  # noqa: E501 - a table
COUNT = {"ours": 100_000, "cryptofeed": 20_000, "nats": 40_000, "jetstream": 10_000, "redis": 40_000}
NAMES = {
    "cryptofeed": "cryptofeed's ZMQ backend", "nats": "NATS core", "jetstream": "NATS JetStream, asynchronous",
    "redis": "Redis streams, pipelined",
}  # fmt: skip
GOALS = {"cryptofeed": 5, "nats": 4, "jetstream": 12, "redis": 3}


def rate(publish: Callable[..., float], receive: Callable[..., Ends], name: str, *given: object) -> float:
    """Bars a second."""
    count = COUNT[name]
    with folder() as at:
        started, (ended, seen) = together(call(publish, at, count, *given), call(receive, at, count, *given))
    verify(name, seen, count)
    return float(count / (ended - started))


def missing(*packages: str, program: str = "") -> str:
    """Why a way cannot be tried here; nothing if it can."""
    absent = [name for name in packages if find_spec(name) is None]
    if absent:
        return f"skipped: {', '.join(absent)} is not installed (pip install 'pynelive[bench]')"
    if program and not shutil.which(program):
        return f"skipped: there is no {program} (apt-get install {program})"
    return ""


@contextmanager
def nats_server(at: Path) -> Iterator[str]:
    """Where a NATS server of our own listens."""
    with server("nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(at), "--ports_file_dir", str(at)):
        file = until(lambda: next(at.glob("*.ports"), None))
        yield until(lambda: file.read_text().strip() and json.loads(file.read_text())["nats"][0])


@contextmanager
def redis_server(at: Path) -> Iterator[str]:
    """The socket of a Redis of our own."""
    path = at / "redis.sock"
    with server("redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(at), "--appendonly", "yes",
                "--appendfsync", "everysec", "--save", ""):  # fmt: skip
        until(path.exists)
        yield str(path)


def measure(count: int) -> list[Row]:
    """P3."""
    absent = {
        "cryptofeed": missing("cryptofeed"), "nats": missing("nats", program="nats-server"),
        "jetstream": missing("nats", program="nats-server"), "redis": missing("redis", program="redis-server"),
    }  # fmt: skip
    cases: dict[str, Callable[[], float]] = {"ours": lambda: ours.rate(COUNT["ours"], 1, "tcp")}
    with ExitStack() as stack:
        at = stack.enter_context(folder())
        if not absent["cryptofeed"]:
            cases["cryptofeed"] = partial(rate, cryptofeed_publish, cryptofeed_receive, "cryptofeed")
        if not absent["nats"]:
            url = stack.enter_context(nats_server(at))
            for name in ("nats", "jetstream"):
                cases[name] = partial(rate, nats_publish, nats_receive, name, url, name == "jetstream")
        if not absent["redis"]:
            cases["redis"] = partial(rate, redis_publish, redis_receive, "redis", stack.enter_context(redis_server(at)))
        found = rounds(count, cases)
    return [_row(name, found, absent[name]) for name in GOALS]


def _row(name: str, found: Figures, absent: str) -> Row:
    what = f"ours, with journal ÷ {NAMES[name]}; one bar a message"
    if absent:
        return Row(f"P3-{name}", what, "", absent, goal=GOALS[name])
    return compare(f"P3-{name}", what, found, "ours", name, "bars/s", GOALS[name])
