"""Live equals replay: what a run has executed through the same script again, and all that it says compared."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from msgspec import Struct

from ..bus.errors import Fault
from ..bus.journal import Journal
from ..bus.messages import Executed, Message, Run, Said, Seal, is_forming
from ..bus.plugins import find
from ..bus.specs import RunnerSpec
from ..bus.topology import Topology
from ..bus.wire import decode
from .contract import Runner
from .player import Player, identity
from .seal import Fingerprint, canonical
from .table import GROUP, RUNNERS

_SAID = get_args(Said)
_MODULES = {
    "aiohttp", "http", "httpx", "random", "requests", "secrets", "socket", "subprocess", "time", "urllib", "uuid",
}  # fmt: skip
"""Which a script that is to be reproduced has no use for."""
_NAMES = {"timenow": "the clock", "random": "random numbers", "urandom": "random numbers", "now": "the clock",
          "utcnow": "the clock", "today": "the clock"}  # fmt: skip


class Proof(Struct):
    """What came of it. ``difference`` is the first one, in words; ``doubts`` is what no replay can repeat."""

    stream: str
    updates: int
    closed: int
    messages: int
    fingerprint: str
    difference: str = ""
    doubts: list[str] = []


def verify_run(topology: Topology, spec: RunnerSpec, journal: Journal) -> Proof:
    """Replay a run out of its journal; one PyneCore script a process.

    :param spec: one script on one stream (``topology.seats_of``)
    :raises Fault: the journal does not hold the whole run, or it is another run than what is declared
    """
    stream, script = f"run:{spec.name}", topology.base / spec.script
    run = _whole_run(journal, stream)
    if run.fingerprint != identity(spec, script):
        raise Fault(f"{stream} is a run of another {spec.script}, or of other inputs or options: "
                    "it can only be replayed with what it ran with")
    if run.instrument is None:
        raise Fault(f"{stream} was begun by an earlier version, which did not note its instrument")
    kind = find(spec.type, RUNNERS, GROUP, topology.base, Runner)  # type: ignore[type-abstract]
    kind.warm()
    runner = kind(spec, script, run.instrument, None)
    with TemporaryDirectory() as folder:
        if run.contexts:
            runner.provide(run.stream, run.contexts, Path(folder) / "contexts")
        replay = _Replay(Player(spec, runner))
        difference = replay.run(_messages(journal, stream, f"exec:{spec.name}"))
    seal = replay.seal.now()
    return Proof(stream, replay.updates, replay.closed, seal.messages, seal.fingerprint, difference, doubts(script))


def _whole_run(journal: Journal, stream: str) -> Run:
    track = journal.tracks.get(stream)
    opening = decode(track.opening)[0] if track and track.opening else None
    if track is None or not isinstance(opening, Run):
        raise Fault(f"the journal in {journal.folder} holds no run {stream}")
    if journal.damaged or any(track.first for track in journal.tracks.values()):
        raise Fault(f"the journal in {journal.folder} no longer holds the beginning of {stream}, which a replay needs: "
                    "give the runner a larger one (journal = { max_mb = … })")
    return opening


def _messages(journal: Journal, *streams: str) -> Iterator[Message]:
    for _, record in journal.in_order(streams):
        yield from decode(record.payload)


class _Replay:
    """The journal's steps in their order, and what was said to each beside what is said now."""

    def __init__(self, player: Player) -> None:
        self.seal = Fingerprint()
        self.updates = self.closed = 0
        self._player = player
        self._said: deque[Message] = deque()
        self._time_ms = 0
        self._over = False

    def run(self, messages: Iterator[Message]) -> str:
        """Take every step; the first difference, or nothing."""
        for message in messages:
            if isinstance(message, _SAID):
                difference = self._compare(message)
            elif type(message) is Seal:
                difference = self._check(message)
            else:
                difference = self._step(message)
            if difference:
                return difference
        return self._left()

    def _step(self, message: Message) -> str:
        if left := self._left():
            return left
        if type(message) is Executed:
            self.updates += 1
            self.closed += message.bar.closed
            self._time_ms = message.bar.time_ms
        self._said += (word for word in self._player.repeat(message) if not is_forming(word))
        self.seal.add(message)
        return ""

    def _compare(self, published: Message) -> str:
        if not (self._said or self._over):  # behind the last update: what a script says at its end
            self._over = True
            self._said += self._player.runner.close()
        again = self._said.popleft() if self._said else None
        self.seal.add(published)
        if again is not None and canonical(again) == canonical(published):
            return ""
        return f"on the bar of {_clock(self._time_ms)}\n  published  {published}\n  replayed   {again or 'nothing'}"

    def _left(self) -> str:
        if not self._said:
            return ""
        return f"on the bar of {_clock(self._time_ms)}\n  published  nothing\n  replayed   {self._said[0]}"

    def _check(self, published: Seal) -> str:
        here = self.seal.now()
        return "" if here == published else f"the published {published} is not that of what was said, {here}"


def doubts(script: Path) -> list[str]:
    """What in a script a replay cannot repeat: the clock, random numbers, the network."""
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return []
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if what := _doubt(node):
            found.setdefault(what, f"{what} (line {getattr(node, 'lineno', 0)})")
    return list(found.values())


def _doubt(node: ast.AST) -> str:
    match node:
        case ast.Import(names=names):
            return next((name.name for name in names if name.name.split(".")[0] in _MODULES), "")
        case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] in _MODULES:
            return module
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in _NAMES:
            return f"{name}, {_NAMES[name]}"
    return ""


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
