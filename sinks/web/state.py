"""What every part of the server works with."""

from __future__ import annotations

from dataclasses import dataclass

from ...bus.rundir import RunDir
from ...bus.topology import Topology
from .desk import Desk
from .live import Live


class Refusal(Exception):
    """A request that is not granted: the HTTP status, and why in one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Web:
    """The stores, the browsers, and the bus that all is of."""

    desk: Desk
    live: Live
    run: RunDir
    topology: Topology
    name: str
