"""What a publisher's declared consumers have on disk: it drives retention, a replay's pace, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping


class Consumers:
    """The must-deliver consumers that the topology declares, and the seq below which each has each stream.

    :param declared: consumer → the streams that it must get
    """

    def __init__(self, declared: Mapping[str, Iterable[str]]) -> None:
        self._durable = {name: dict.fromkeys(streams, 0) for name, streams in declared.items()}
        self._moved = asyncio.Event()

    def acknowledge(self, consumer: str, durable: Mapping[str, int]) -> None:
        """Take note of what a consumer has; one that is not declared is not waited for."""
        known = self._durable.get(consumer)
        if known is None:
            return
        for stream, seq in durable.items():
            if stream in known and seq > known[stream]:
                known[stream] = seq
        self._moved.set()

    def expect(self, consumer: str, streams: Iterable[str]) -> None:
        """Wait for this one from now on; what it is known to have of these streams stays."""
        known = self._durable.get(consumer, {})
        self._durable[consumer] = {stream: known.get(stream, 0) for stream in streams}

    def forget(self, consumer: str) -> None:
        """Wait for this one no longer."""
        self._durable.pop(consumer, None)
        self._moved.set()

    def durable(self) -> dict[str, int]:
        """By stream the seq below which every declared consumer has it."""
        floor: dict[str, int] = {}
        for known in self._durable.values():
            for stream, seq in known.items():
                floor[stream] = min(seq, floor.get(stream, seq))
        return floor

    def outstanding(self, heads: Mapping[str, int]) -> int:
        """How many messages the slowest consumer of each stream has not got yet, over all streams."""
        return sum(max(heads.get(stream, 0) - seq, 0) for stream, seq in self.durable().items())

    def lags(self, heads: Mapping[str, int]) -> dict[str, int]:
        """By consumer, how many messages it has not got yet."""
        return {
            name: sum(max(heads.get(stream, 0) - seq, 0) for stream, seq in known.items())
            for name, known in self._durable.items()
        }

    async def moved(self) -> None:
        """Return when something was acknowledged or forgotten since the last call."""
        await self._moved.wait()
        self._moved.clear()
