"""What every part of the server works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...bus.past import Past
from ...bus.rundir import RunDir
from ...bus.topology import Topology
from .bus_view import BusView
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
    past: Past = field(init=False)
    bus: BusView = field(init=False)

    def __post_init__(self) -> None:
        self.past = Past(self.run)
        self.bus = BusView(self.run)
