"""The loop around any provider: connect, publish, heal, connect again.

Everything that a provider must not do stands here and in what this file uses, once for all of them: back-off here,
when a bar is closed in ``lane.py``, once and in order in ``ledger.py``, whether it can be true in ``quality.py``, what
the venue has to be asked in ``keeper.py``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace

from ..bus.errors import Fault, Hopeless
from ..bus.hosts import door_of
from ..bus.messages import Bar, End, Instrument
from ..bus.names import Key, parse_key
from ..bus.plugins import configure
from ..bus.publisher import Publisher
from ..bus.rundir import RunDir
from ..bus.specs import ProducerSpec
from ..bus.status import ActorState, Rate, Status
from ..bus.topology import Topology, load
from . import clock
from .contract import ConfigError, Disconnected, EndOfData, Provider, Refused, Update
from .derived import DerivedArchive
from .fallback import StandIn
from .history import History
from .keeper import Keeper
from .keys import completed
from .lane import Lane
from .meters import Meters
from .opening import Opening
from .table import find_provider
from .venue import VenueClaim

log = logging.getLogger("pynelive")
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_CONNECT_S = 60.0
_ROOM_EVERY = 64


class Feed:
    """A producer: one provider and the publisher of its streams."""

    def __init__(self, topology: Topology, spec: ProducerSpec) -> None:
        self._topology = topology
        self._spec = spec
        self._state: ActorState = "starting"
        self._said = ""
        self._hushed, self._renewed = asyncio.Event(), asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S
        self._summary: list[str] = []
        self._rate = Rate()
        self._lanes: dict[Key, Lane] = {}
        self._instruments: dict[Key, Instrument] = {}
        self._unasked: list[Key] = []

    def prepare(self) -> None:
        """Import the provider and check its options."""
        kind = find_provider(self._spec.provider, self._topology.base)
        keys = [parse_key(text) for text in self._spec.streams]
        config = configure(kind.Config, completed(kind, self._spec.options, self._topology.base, keys))
        try:
            self._provider: Provider = kind(keys, config, self._topology.base)
        except ConfigError as error:
            raise Hopeless(f"producer '{self._spec.name}': {error}") from None
        self._names = {key: f"{kind.name}:{key}" for key in keys}
        consumers: dict[str, list[str]] = {}
        for stream in self._topology.published(self._spec):
            for consumer in self._topology.consumers(stream):
                consumers.setdefault(consumer, []).append(stream)
        run_dir = RunDir(self._topology)
        history = DerivedArchive(History(self._provider, self._instruments))
        self._publisher = Publisher(
            run_dir, self._spec.name, consumers, self._spec.journal, history, self._topology.bus.transport,
            door_of(self._topology, self._spec),
        )  # fmt: skip
        self._opening = Opening(self._spec, self._provider, self._publisher, history, run_dir)
        self._meters = Meters(self._provider)
        self._keeper = Keeper(self._provider, self._lanes, self._meters)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until the source ends or ``stop`` is set."""
        publisher = self._publisher
        claim = await VenueClaim.take(self._provider.account, self._spec.name, RunDir(self._topology).root)
        try:
            await publisher.open()
            try:
                await _first_of(stop.wait(), self._play(), publisher.failed())
            finally:
                await publisher.close()  # before the provider: questions about history use it
                await self._provider.close()
        finally:
            claim.release()

    # --- the story of a producer ----------------------------------------------------------------------------

    async def _play(self) -> None:
        await _first_of(self._source(), self._hushed.wait())
        self._state = "draining"
        await self._publisher.drained()
        if self._hushed.is_set():
            self._state = "quiet"
            await asyncio.Event().wait()  # until the supervisor stops this process, after the consumers

    async def _source(self) -> None:
        """One connection after the other, with back-off between them, until the source ends."""
        try:
            await self._introduced()
            await _first_of(self._sessions(), self._kept(), *self._stand_ins())
        except ConfigError as error:
            raise Hopeless(f"producer '{self._spec.name}': {error}") from None

    async def _kept(self) -> None:
        can = self._provider.capabilities
        await (self._keeper.run() if can.heals or not can.flagged else asyncio.Event().wait())

    def _stand_ins(self) -> list[Coroutine[object, object, None]]:
        run_dir = RunDir(self._topology)
        return [StandIn(run_dir, self._lanes[key], streams).run() for text, streams in self._spec.fallback.items()
                if (key := parse_key(text)) in self._lanes]

    async def _sessions(self) -> None:
        while True:
            try:
                await self._session()
            except EndOfData as end:
                await self._keeper.settled()
                self._end(str(end))
                return
            except Disconnected as gone:
                self._keeper.disconnected(str(gone))
                await self._back_off(gone)
            except ConfigError as error:
                if self._state != "running":
                    raise
                await self._locked_out(str(error))

    async def _locked_out(self, reason: str) -> None:
        """A key has worked and does so no more: asking again could lock the account, so wait for another one."""
        self._keeper.disconnected(reason, mute=True)
        self._meters.counters["errors_auth"] += 1
        self._said = f"{reason}; then `kill -HUP {os.getpid()}`"
        log.error("%s: %s", self._spec.name, self._said)
        await self._renewed.wait()
        self._renewed.clear()

    async def _session(self) -> None:
        """Connect, then publish what comes; what was missed is asked for beside it. Ends by an exception."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._provider.connect()
        except TimeoutError:
            raise Disconnected(f"no connection within {_CONNECT_S:g} s") from None
        try:
            if self._renewed.is_set():  # they came while it connected
                raise Disconnected("the credentials were read again", 0.0)
            while self._unasked:
                await self._provider.get_symbol_info(self._unasked[-1])
                self._unasked.pop()
            self._state = "running"
            self._keeper.connected()
            await _first_of(self._follow(), self._keeper.broken())
            raise Disconnected("watch() has ended, and not by EndOfData")
        finally:
            with suppress(Disconnected):
                await self._provider.disconnect()

    async def _back_off(self, gone: Disconnected) -> None:
        wait_s = gone.retry_after if gone.retry_after is not None else self._pause_s * random.uniform(0.8, 1.2)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._meters.counters["reconnects"] += 1
        self._meters.counters[f"errors_{gone.kind}"] += 1
        if gone.kind in ("rate", "banned") and gone.retry_after:
            self._provider.budget.hold(gone.retry_after)
        self._said = f"disconnected: {gone}"
        log.warning("%s: %s; again in %.1f s", self._spec.name, gone, wait_s)
        if gone.retry_after:
            await clock.sleep(wait_s)  # the venue has asked for it, whatever the key
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._renewed.wait(), wait_s / clock.SPEED)
        self._renewed.clear()

    # --- the streams ----------------------------------------------------------------------------------------

    async def _introduced(self) -> None:
        """Say each stream's instrument first; one that the source does not have does not stop the others."""
        refused = []
        for key, stream in self._names.items():
            try:
                self._instruments[key] = instrument = await self._instrument(key, stream)
                self._lanes[key] = self._opening.lane(key, instrument)
            except Refused as reason:
                refused.append(f"{stream}: {reason}")
                log.error("%s", refused[-1])
        self._said = "; ".join(refused)
        self._meters.counters["refused"] += len(refused)
        if not self._lanes:
            raise Hopeless(f"producer '{self._spec.name}': {self._said}")

    async def _instrument(self, key: Key, stream: str) -> Instrument:
        """As the source says it, or as the journal has it: then stand-ins and readers need not wait for the source."""
        while True:
            try:
                return await self._provider.get_symbol_info(key)
            except Disconnected as gone:
                if (remembered := self._opening.remembered(stream)) is not None:
                    self._unasked.append(key)
                    return remembered
                await self._back_off(gone)

    async def _follow(self) -> None:
        """Publish what the provider says, until it raises."""
        paced, count = self._provider.capabilities.paced, 0
        async for update in self._provider.watch():
            self._take(update)
            if count == 0:
                self._said = ""
                self._pause_s = _FIRST_PAUSE_S  # a venue that lets in and drops is not asked ever faster
            count += 1
            if not paced and count % _ROOM_EVERY == 0:
                await self._publisher.room()

    def _take(self, update: Update) -> None:
        key, message, event_ms = update
        lane = self._lanes.get(key)
        if lane is None:
            self._meters.counters["unknown"] += 1
        elif isinstance(message, Bar):
            accepted = lane.take(message, self._provider.now_ms())
            if accepted and (message.closed or not self._provider.capabilities.flagged):
                self._keeper.heard(key)
            if message.closed:
                self._meters.time(message, event_ms)
        else:
            lane.rested = message.state == "closed"
            lane.ledger.say(message.state, message.since_ms, message.reason)

    def _end(self, reason: str) -> None:
        going = [stream for stream, out in self._publisher.outs.items() if not out.ended]
        for stream in going:
            self._publisher.publish(stream, End(reason))
        if not going:
            again = f"remove {RunDir(self._topology).root} to have it played again"
            self._summary = [f"all of it was there already: {again}"]

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

    def reload(self) -> None:
        """Take the credentials as files and topology have them now, and connect with them; no bar is lost by it."""
        try:
            topology = load(self._topology.path)
            options = next(spec.options for spec in topology.producers if spec.name == self._spec.name)
            provider = self._provider
            fresh = configure(provider.Config, completed(type(provider), options, topology.base, provider.keys))
            renewed = {name: getattr(fresh, name) for name in provider.credentials}
            provider.rekey(replace(provider.config, **renewed))
        except (Fault, ConfigError, StopIteration) as error:
            log.error("%s: the credentials cannot be read again, the old ones stay: %s", self._spec.name, error)
            return
        self._renewed.set()
        self._keeper.interrupt("the credentials were read again")

    def status(self) -> Status:
        """The heartbeat."""
        lanes = {lane.ledger.stream: lane for lane in self._lanes.values()}
        streams = [self._meters.stream(out, lanes.get(out.stream)) for out in self._publisher.outs.values()]
        bars = sum(stream.bars for stream in streams)
        counters = self._meters.all(self._lanes.values())
        counters |= self._publisher.counts()
        return Status(
            self._spec.name, "producer", self._state, streams=streams, bars=bars, rate=self._rate.of(bars, self._state),
            said=self._said, counters=counters, summary=self._summary,
            warning=self._publisher.disk.warning,
        )  # fmt: skip

async def _first_of(*work: Coroutine[object, object, object]) -> None:
    """Run until the first of them ends, and end the others; raises what it raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
