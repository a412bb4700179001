"""The sink contract: where messages go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..bus.calls import Start
from ..bus.messages import Instrument, Message
from ..bus.rundir import RunDir
from ..bus.topology import Topology


class Delivery(NamedTuple):
    """One message of one stream, in the order of its stream."""

    stream: str
    message: Message


class Sink(ABC):
    """Keeps or shows what it is given.

    The loop around it (``sinks/feed.py``) calls ``open`` once a stream, then ``write`` with everything that
    has waited since the last call, and ``close`` at the end. All calls are made one at a time from one thread
    that is not the event loop's, so a sink may block. What ``write`` was given is durable when it returns:
    the loop then tells the publishers so. A fault that a person must mend is raised as
    ``pynelive.bus.errors.Fault``.
    """

    @dataclass
    class Config:
        """The options with their defaults; unknown keys and wrong types are refused before the start."""

    forming: ClassVar[bool] = False
    """Whether the sink wants forming bars too."""
    stays: ClassVar[bool] = False
    """Whether it goes on when all of its streams have ended, until it is stopped."""
    address = ""
    """Where a person can see what it shows; said once, when the topology comes up."""

    @classmethod
    def problems(cls, config: Any) -> list[str]:
        """What is wrong with the values of its options, a sentence each; asked by `check`, and before it is made."""
        return []

    def __init__(self, config: Any, base: Path) -> None:
        """:param base: the folder that relative paths of the options start from"""
        self.config = config
        self.base = base

    def attach(self, run: RunDir, topology: Topology, name: str) -> None:  # noqa: B027 - few want to know
        """Hear which bus it is on, and as which actor; called once, before all else."""

    @abstractmethod
    def open(self, stream: str, instrument: Instrument | None) -> int | Start | None:
        """Prepare for a stream; the time of the last bar that is durable, or None to start at the earliest.

        A sink that keeps nothing may say itself where to start.

        What is given next may begin with that very bar and with revisions that are already kept: a restart
        repeats them, and ``write`` ignores what it has.
        """

    @abstractmethod
    def write(self, batch: Sequence[Delivery]) -> None:
        """Keep the messages; durable when it returns."""

    def close(self) -> None:  # noqa: B027 - not every sink holds something
        """Release files and locks."""

    def summary(self) -> list[str]:
        """What was kept, a line a thing, for the person who ends the run."""
        return []
