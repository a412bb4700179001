"""A script as it is driven, step by step: by its stream, by its own journal after a restart, and to prove a run."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from ..bus.messages import Bar, Executed, Message, State, Told
from ..bus.specs import JournalSpec, LimitsSpec, RunnerSpec
from .contract import Allowed, Runner

_PYNECORE = version("pynesys-pynecore")
_ALLOWED: Final[dict[str, Allowed]] = {"ignore": "all", "hold": "none", "exits-only": "exits", "stop": "none"}
"""What a strategy may still do while its stream is out."""


class Player:
    """One script and how far it is; the same steps have the same outcome."""

    def __init__(self, spec: RunnerSpec, runner: Runner) -> None:
        self.runner = runner
        self.live = False
        self.out = False
        """Whether the stream is stale or down, and not live again yet."""
        self._spec = spec

    @property
    def hears(self) -> bool:
        """Whether anything but bars makes a difference to it."""
        return self._spec.on_outage != "ignore" or type(self.runner).tell is not Runner.tell

    def push(self, executed: Executed) -> list[Message]:
        """An update of its stream, and what was said of it there."""
        said = [word for message in executed.told for word in self.runner.tell(self._spec.stream, message)]
        return said + self.runner.push(executed.bar) if said else self.runner.push(executed.bar)

    def tell(self, told: Told) -> list[Message]:
        """A state of its stream, or what another stream says; bars that the script asked for are known from then on."""
        if isinstance(told.message, Bar) and self.runner.by_time:
            self.runner.context(told.stream, told.message)
            return []
        if type(told.message) is State and told.stream == self._spec.stream:
            state = told.message.state
            self.out = state in ("stale", "down") or (self.out and state == "healing")
            self.runner.allow(_ALLOWED[self._spec.on_outage] if self.out else "all")
        return self.runner.tell(told.stream, told.message)

    def go_live(self) -> list[Message]:
        """Its warm-up is over."""
        self.live = True
        return self.runner.go_live()

    def repeat(self, message: Message) -> Iterable[Message]:
        """A step as it stands in the journal; what the script says to it."""
        if type(message) is Executed:
            return self.push(message)
        if type(message) is Told:
            return self.tell(message)
        return self.go_live() if type(message) is State and message.state == "live" else ()


def identity(spec: RunnerSpec, script: Path) -> str:
    """What a run depends on; another one is another run."""
    digest = sha256(script.read_bytes())
    spec = msgspec.structs.replace(spec, output="", host="", watch=False, journal=JournalSpec(), limits=LimitsSpec())
    digest.update(msgspec.json.encode([spec, _PYNECORE]))
    return digest.hexdigest()[:16]
