"""All that the page can show: a store a stream."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from ...bus.messages import Instrument, Message
from ..contract import Delivery
from .bars import BarStore, Short
from .runs import RunStore


class Store(Protocol):
    """What one stream adds up to. All is called in the server's thread."""

    kind: str
    n: int
    """The number of the last change; goes up by one for each message that must arrive and that the page shows."""

    def take(self, messages: Sequence[Message]) -> list[Short]:
        """Keep what is said next, in order; what the browsers are to be told of it."""

    def about(self) -> dict[str, Any]:
        """The stream's line in ``/api/streams``."""


def store_of(stream: str, instrument: Instrument | None, most: int) -> Store | None:
    """A store for what the stream carries; what runners keep for their own recovery is not shown."""
    if stream.startswith("run:"):
        return RunStore(stream, most)
    return None if stream.startswith("exec:") else BarStore(stream, instrument, most)


class Desk:
    """The stores by name of their stream.

    :param most: bars that are kept of a stream
    :param tell: hears what there is to tell those who follow a stream
    """

    def __init__(self, most: int, tell: Callable[[str, list[Short]], None]) -> None:
        self.boot = secrets.token_hex(8)
        """Of this process: change numbers mean nothing in another one's life."""
        self.stores: dict[str, Store] = {}
        self._most = most
        self._tell = tell

    def take(self, batch: Sequence[Delivery]) -> None:
        """Keep what has come, and tell it."""
        for stream, deliveries in groupby(batch, key=itemgetter(0)):
            store = self.stores.get(stream) or self.open(stream)
            if store is not None and (said := store.take([message for _, message in deliveries])):
                self._tell(stream, said)

    def open(self, stream: str, instrument: Instrument | None = None) -> Store | None:
        """The store of a stream, made if it is new; None if the stream is not shown."""
        if stream not in self.stores and (store := store_of(stream, instrument, self._most)):
            self.stores[stream] = store
            self._tell("", [["new", stream]])
        return self.stores.get(stream)

    @property
    def bars(self) -> list[BarStore]:
        """The stores of streams of bars."""
        return [store for store in self.stores.values() if isinstance(store, BarStore)]

    @property
    def runs(self) -> list[RunStore]:
        """The stores of scripts' streams."""
        return [store for store in self.stores.values() if isinstance(store, RunStore)]
