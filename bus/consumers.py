"""What a publisher's declared consumers have on disk: it drives retention, a replay's pace, and the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping


class _Stream:
    """The seq that comes next, the seq below which each declared consumer has the stream, and the least of those."""

    __slots__ = ("floor", "has", "head")

    def __init__(self) -> None:
        self.head = 0
        self.floor = 0
        self.has: dict[str, int] = {}


class Consumers:
    """The must-deliver consumers that the topology declares, and the seq below which each has each stream.

    What is asked often is kept, not counted: the work is in proportion to what has changed.

    :param declared: consumer → the streams that it must get
    """

    def __init__(self, declared: Mapping[str, Iterable[str]]) -> None:
        self.outstanding = 0
        """How many messages the slowest consumer of each stream has not got yet, over all streams."""
        self._names = set(declared)
        self._streams: defaultdict[str, _Stream] = defaultdict(_Stream)
        self._moved = asyncio.Event()
        for consumer, streams in declared.items():
            for stream in streams:
                self._streams[stream].has[consumer] = 0

    def __contains__(self, consumer: str) -> bool:
        return consumer in self._names

    def said(self, heads: Mapping[str, int]) -> None:
        """Take note of the seqs that come next in some streams."""
        for name, head in heads.items():
            stream = self._streams[name]
            if stream.has:
                self.outstanding += head - stream.head
            stream.head = head

    def acknowledge(self, consumer: str, durable: Mapping[str, int]) -> bool:
        """Take note of what a consumer has; one that is not declared is not waited for.

        :return: False if it cannot have that, since it was never said: nothing of it counts
        """
        has = [(self._streams.get(name), seq) for name, seq in durable.items()]
        if any(not 0 <= seq <= (stream.head if stream else 0) for stream, seq in has):
            return False
        for stream, seq in has:
            if stream and stream.has.get(consumer, seq) < seq:
                stream.has[consumer] = seq
                floor = min(stream.has.values())
                self.outstanding -= floor - stream.floor
                stream.floor = floor
        self._moved.set()
        return True

    def expect(self, consumer: str, streams: Iterable[str]) -> None:
        """Wait for this one from now on; what it is known to have of these streams stays."""
        wanted = set(streams)
        self._names.add(consumer)
        for name in wanted:
            self._streams[name].has.setdefault(consumer, 0)
        self._drop(consumer, wanted)

    def forget(self, consumer: str) -> None:
        """Wait for this one no longer."""
        self._names.discard(consumer)
        self._drop(consumer, set())
        self._moved.set()

    def _drop(self, consumer: str, but: set[str]) -> None:
        """Wait for this one in no other streams, and count anew."""
        for name, stream in self._streams.items():
            if name not in but:
                stream.has.pop(consumer, None)
            stream.floor = min(stream.has.values(), default=0)
        self.outstanding = sum(stream.head - stream.floor for stream in self._streams.values() if stream.has)

    def durable(self) -> dict[str, int]:
        """By stream the seq below which every declared consumer has it."""
        return {name: stream.floor for name, stream in self._streams.items() if stream.has}

    def lags(self) -> dict[str, int]:
        """By consumer, how many messages it has not got yet."""
        lags = dict.fromkeys(self._names, 0)
        for stream in self._streams.values():
            for consumer, seq in stream.has.items():
                lags[consumer] += stream.head - seq
        return lags

    async def moved(self, patience_s: float | None = None) -> None:
        """Return when something was acknowledged or forgotten since the last call, or after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._moved.wait()
        self._moved.clear()
