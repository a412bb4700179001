"""What an actor says of itself twice a second: the heartbeat that the supervisor and `pynelive ps` read."""

from __future__ import annotations

import time
from typing import Final, Literal

from msgspec import Struct, field

ActorState = Literal["starting", "warming", "running", "draining", "quiet", "done", "failed"]
"""``warming`` reads history, ``draining`` waits for consumers or the disk after the last bar; ``quiet`` is a producer
that was asked to say nothing new and whose consumers have all that it said."""


RATE_S: Final = 60.0
"""Over which a rate is taken."""


class StreamStatus(Struct):
    """One stream as this actor sees it.

    ``lag`` is the distance to the head in messages, ``age_ms`` how long ago the source said something of it.
    """

    stream: str
    seq: int = 0
    bars: int = 0
    lag: int = 0
    last_ms: int = 0
    last_price: float = 0.0
    state: str = ""
    age_ms: int = 0
    counters: dict[str, int] = field(default_factory=dict)


class Status(Struct):
    """One actor's heartbeat. ``rate`` is closed bars a second, ``said`` the last signal, alert or fault.

    ``warning`` stays as long as what it says is so; ``address`` is where a person can see what a sink shows; ``cpu_s``
    is what its process has computed so far.
    """

    name: str
    role: Literal["producer", "sink", "runner"]
    state: ActorState = "starting"
    pid: int = 0
    streams: list[StreamStatus] = field(default_factory=list)
    bars: int = 0
    rate: float = 0.0
    said: str = ""
    memory_mb: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    warning: str = ""
    address: str = ""
    cpu_s: float = 0.0


class Rate:
    """How much a second of what only grows, such as closed bars, over the last minute or the later half of it."""

    __slots__ = ("_begun", "_half", "_start", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._begun = False
        self._start = self._half = 0.0, 0.0

    def of(self, amount: float, state: ActorState = "running") -> float:
        """The rate now that so much has come in all; what an actor begins with is none that came."""
        here = time.monotonic(), amount
        if not self._begun:
            self._start = self._half = here
            self._begun = state not in ("starting", "warming")
        if here[0] - self._half[0] >= RATE_S / 2:
            self._start, self._half = self._half, here
        seconds = here[0] - self._start[0]
        self.now = (amount - self._start[1]) / seconds if seconds > 0 else 0.0
        return self.now
