"""The loop around any provider: connect, backfill, publish, connect again.

Everything that a provider must not do stands here, once for all of them: back-off, the backfill from the last
closed bar after every connect, the rule that a closed bar is published once and a correction is a revision,
the stream's state, the pace of sources without a clock, and the end.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence

import msgspec

from ..bus.errors import Fault, Hopeless
from ..bus.messages import Bar, End, Instrument, State, StreamState
from ..bus.names import Key, parse_key, timeframe_ms
from ..bus.plugins import configure
from ..bus.publisher import Publisher
from ..bus.rundir import RunDir
from ..bus.status import ActorState, Rate, Status, StreamStatus
from ..bus.topology import ProducerSpec, Topology
from ..bus.wire import decode
from .contract import ConfigError, Disconnected, EndOfData, Provider, Update
from .table import find_provider

log = logging.getLogger("pynelive")
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_ROOM_EVERY = 64
_STRETCH = ((2, 0), (8, 0), (32, 14 * 86_400_000))
"""How much further back history is asked for when sessions leave holes: so many times the bars, and so long (ms)."""


class Feed:
    """A producer: one provider and the publisher of its streams."""

    def __init__(self, topology: Topology, spec: ProducerSpec) -> None:
        self._topology = topology
        self._spec = spec
        self._state: ActorState = "starting"
        self._said = ""
        self._hushed = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S
        self._summary: list[str] = []
        self._rate = Rate()
        self._counters = {"reconnects": 0, "duplicates": 0, "revisions": 0, "late": 0}

    def prepare(self) -> None:
        """Import the provider and check its options."""
        kind = find_provider(self._spec.provider, self._topology.base)
        keys = [parse_key(text) for text in self._spec.streams]
        config = configure(kind.Config, self._spec.options)
        try:
            self._provider: Provider = kind(keys, config, self._topology.base)
        except ConfigError as error:
            raise Hopeless(f"producer '{self._spec.name}': {error}") from None
        self._names = {key: f"{kind.name}:{key}" for key in keys}
        consumers: dict[str, list[str]] = {}
        for stream in self._names.values():
            for consumer in self._topology.consumers(stream):
                consumers.setdefault(consumer, []).append(stream)
        self._publisher = Publisher(
            RunDir(self._topology), self._spec.name, consumers, self._spec.journal, self._history,
            self._topology.bus.transport,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until the source ends or ``stop`` is set."""
        publisher = self._publisher
        await publisher.open()
        try:
            await self._first_stopped(stop, self._play(), publisher.failed())
        finally:
            await publisher.close()

    async def _first_stopped(self, stop: asyncio.Event, *work: object) -> None:
        tasks = [asyncio.ensure_future(w) for w in (stop.wait(), *work)]  # type: ignore[call-overload]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- the story of a producer ----------------------------------------------------------------------------

    async def _play(self) -> None:
        source, hushed = asyncio.create_task(self._source()), asyncio.create_task(self._hushed.wait())
        try:
            await asyncio.wait([source, hushed], return_when=asyncio.FIRST_COMPLETED)
            if source.done():
                source.result()
        finally:
            source.cancel()
            hushed.cancel()
            await asyncio.gather(source, hushed, return_exceptions=True)
        self._state = "draining"
        await self._publisher.drained()
        if self._hushed.is_set():
            self._state = "quiet"
            await asyncio.Event().wait()  # until the supervisor stops this process, after the consumers

    async def _source(self) -> None:
        """One connection after the other, with back-off between them, until the source ends."""
        introduced = False
        while True:
            try:
                if not introduced:
                    await self._introduce()
                    introduced = True
                await self._session()
            except EndOfData as end:
                self._end(str(end))
                return
            except Disconnected as gone:
                await self._back_off(gone)

    async def _session(self) -> None:
        """Connect, publish what was missed, then what comes; ends by an exception."""
        await self._provider.connect()
        try:
            self._state = "running"
            await self._heal()
            await self._follow()
            raise Disconnected("watch() has ended, and not by EndOfData")
        finally:
            await self._provider.disconnect()

    async def _back_off(self, gone: Disconnected) -> None:
        wait_s = gone.retry_after if gone.retry_after is not None else self._pause_s * random.uniform(0.8, 1.2)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._counters["reconnects"] += 1
        self._said = f"disconnected: {gone}"
        self._say_state("down", str(gone))
        log.warning("%s: %s; again in %.1f s", self._spec.name, gone, wait_s)
        await asyncio.sleep(wait_s)

    async def _introduce(self) -> None:
        """Say each stream's instrument first; an existing journal must be of the same source."""
        for key, stream in self._names.items():
            try:
                instrument = await self._provider.get_symbol_info(key)
            except ConfigError as error:
                raise Hopeless(f"producer '{self._spec.name}': {error}") from None
            out = self._publisher.outs.get(stream)
            if out is None or out.track.head == 0:
                self._publisher.publish(stream, instrument)
                continue
            self._same_source(stream, out.track.opening, instrument)
            if out.last:
                self._provider.resume_after(key, out.last.time_ms)

    def _same_source(self, stream: str, opening: bytes, instrument: Instrument) -> None:
        before = decode(opening)[0] if opening else instrument
        if isinstance(before, Instrument) and before.source != instrument.source:
            raise Hopeless(
                f"{stream}: the journal in {RunDir(self._topology).journals / self._spec.name} holds bars of "
                f"another source ({before.source}, now {instrument.source}): set another [bus] name, "
                "or remove that folder to begin anew"
            )

    async def _heal(self) -> None:
        """Publish the closed bars that were missed, before anything live."""
        for key, stream in self._names.items():
            last = self._publisher.outs[stream].last
            if last is None:
                continue
            for bar in await self._provider.backfill_closed_bars(key, last.time_ms):
                if bar.closed:
                    self._publish(key, bar)
        self._say_state("live")

    async def _follow(self) -> None:
        """Publish what the provider says, until it raises."""
        paced, count = self._provider.capabilities.paced, 0
        async for update in self._provider.watch():
            self._take(update)
            if count == 0:
                self._pause_s = _FIRST_PAUSE_S  # a venue that lets in and drops is not asked ever faster
            count += 1
            if not paced and count % _ROOM_EVERY == 0:
                await self._publisher.room()

    # --- publishing -----------------------------------------------------------------------------------------

    def _take(self, update: Update) -> None:
        key, message = update
        if type(message) is Bar:
            if message.closed:
                self._publish(key, message)
            else:
                self._publisher.forming(self._names[key], message)
        else:
            self._publisher.publish(self._names[key], message)

    def _publish(self, key: Key, bar: Bar) -> None:
        """A closed bar: new, or known, or a correction of the last one."""
        stream = self._names[key]
        out = self._publisher.outs[stream]
        last = next((m for m in reversed(out.pending) if type(m) is Bar), out.last)
        if last is None or bar.time_ms > last.time_ms:
            self._publisher.publish(stream, bar)
        elif bar.time_ms < last.time_ms:
            self._counters["late"] += 1
            log.warning(
                "%s: a bar of %d came after the one of %d and is left out", stream, bar.time_ms, last.time_ms
            )
        elif _values(bar) == _values(last):
            self._counters["duplicates"] += 1
        else:
            self._counters["revisions"] += 1
            self._publisher.publish(stream, msgspec.structs.replace(bar, revision=last.revision + 1))

    def _say_state(self, state: StreamState, reason: str = "") -> None:
        now = time.time_ns() // 1_000_000
        for stream in self._names.values() & self._publisher.outs.keys():
            out = self._publisher.outs[stream]
            before = out.state.state if out.state else "live"
            if not out.ended and before != state:
                self._publisher.publish(stream, State(state, now, reason))

    def _end(self, reason: str) -> None:
        going = [stream for stream in self._names.values() if not self._publisher.outs[stream].ended]
        for stream in going:
            self._publisher.publish(stream, End(reason))
        if not going:
            again = f"remove {RunDir(self._topology).root} to have it played again"
            self._summary = [f"all of it was there already: {again}"]

    async def _history(self, stream: str, count: int, after_ms: int, before_ms: int) -> list[Bar]:
        """The last ``count`` closed bars between two times, from the provider."""
        key = next((key for key, name in self._names.items() if name == stream), None)
        if key is None or not self._provider.capabilities.history:
            return []
        bars: list[Bar] = []
        for times, more_ms in _STRETCH:
            from_ms = max(before_ms - times * count * timeframe_ms(key.timeframe) - more_ms, after_ms + 1)
            try:
                bars = await self._provider.download_ohlcv(key, from_ms, before_ms)
            except Disconnected as gone:
                raise Fault(str(gone)) from None
            if len(bars) >= count or from_ms == after_ms + 1:
                break
        return bars[-count:]

    # --- what the supervisor asks ---------------------------------------------------------------------------

    def quiet(self) -> None:
        """Publish nothing new; go on answering."""
        self._hushed.set()

    def forget(self, consumer: str) -> None:
        """Wait for this declared consumer no longer."""
        self._publisher.consumers.forget(consumer)

    def expect(self, consumer: str, streams: Sequence[str]) -> None:
        """Wait for this consumer from now on."""
        self._publisher.consumers.expect(consumer, streams)

    def status(self) -> Status:
        """The heartbeat."""
        outs = self._publisher.outs.values()
        streams = [
            StreamStatus(
                out.stream, out.track.head, out.track.bars, last_ms=out.last.time_ms if out.last else 0,
                last_price=out.last.close if out.last else 0.0,
                state="ended" if out.ended else out.state.state if out.state else "live",
            )
            for out in outs
        ]  # fmt: skip
        bars = sum(stream.bars for stream in streams)
        counters = {
            **self._counters,
            "subscribers": self._publisher.subscribers,
            "malformed": self._publisher.malformed,
        }
        return Status(
            self._spec.name, "producer", self._state, streams=streams, bars=bars, rate=self._rate.of(bars),
            said=self._said, counters=counters, summary=self._summary,
        )  # fmt: skip


def _values(bar: Bar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume
