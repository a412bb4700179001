"""The runner contract: who feeds a script."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ..bus.messages import Bar, Instrument, Message
from ..bus.specs import RunnerSpec
from .requests import Asked

Allowed = Literal["all", "exits", "none"]
"""Which orders a strategy may place."""


class Runner(ABC):
    """One script on one stream, pushed one update at a time.

    The loop around it (``runners/feed.py``) constructs it when the stream's instrument is known (off the
    event loop, so it may block), pushes the warm-up, calls ``go_live`` once, pushes what is live, and calls
    ``close``. What a call returns is published in that order. The same updates must give the same output:
    after a restart the loop pushes the whole run again and throws away what was published before. A script's
    error is raised as ``pynelive.bus.errors.Fault``.
    """

    kind: ClassVar[str]
    many: ClassVar[bool] = False
    """Whether a process may hold several; PyneCore keeps a script's state in its modules."""
    reads_scripts: ClassVar[bool] = False
    """Whether it may be fed with what another script says; nothing is known of that stream's instrument."""

    by_time: ClassVar[bool] = False
    """Whether it ``asks`` for other streams, which then come by ``context``, in the time of the bars."""

    @abstractmethod
    def __init__(self, spec: RunnerSpec, script: Path, instrument: Instrument, output: Path | None) -> None:
        """:param output: the folder for the script's files, or None to write none"""

    @classmethod  # noqa: B027 - for some nothing is slow
    def warm(cls) -> None:
        """Import what is slow; called before the event loop exists."""

    @property
    @abstractmethod
    def describes(self) -> tuple[str, Literal["indicator", "strategy"]]:
        """The title of the script, and what it is."""

    @property
    def overlay(self) -> bool:
        """Whether its plots are prices, to be shown on the price's pane."""
        return False

    @property
    @abstractmethod
    def wants_forming(self) -> bool:
        """Whether forming updates are to be pushed too."""

    def asks(self) -> Sequence[Asked]:
        """What other symbols and timeframes the script reads; called once, before ``provide``."""
        return ()

    def provide(self, chart: str, instruments: Mapping[str, Instrument], folder: Path) -> None:  # noqa: B027
        """What there is of that: streams and what they trade, which come by ``context`` before the bars of ``chart``.

        :param folder: for files that last as long as the script
        """

    def context(self, stream: str, bar: Bar) -> None:  # noqa: B027
        """A closed bar of such a stream; known to the script from the next update on."""

    @abstractmethod
    def push(self, bar: Bar) -> list[Message]:
        """Execute one update; what the script said."""

    def tell(self, stream: str, message: Message) -> list[Message]:
        """Something else that is to be read, in the order in which it came: a state of the stream, what another script
        said, bars of another stream; what the script said to that."""
        return []

    def allow(self, orders: Allowed) -> None:  # noqa: B027 - an indicator has none
        """Which orders may be placed from now on: the stream is out, or back again. Those that wait stand."""

    @abstractmethod
    def go_live(self) -> list[Message]:
        """The warm-up is over; what was still to be said about it."""

    @abstractmethod
    def close(self) -> list[Message]:
        """The end: files complete; what was still to be said."""
