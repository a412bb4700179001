"""The loop around any provider: connect, publish, heal, connect again.

Everything that a provider must not do stands here and in what this file uses, once for all of them: back-off here,
when a bar is closed in ``lane.py``, once and in order in ``ledger.py``, whether it can be true in ``quality.py``, what
the venue has to be asked in ``keeper.py``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from itertools import islice

import msgspec

from ..bus.errors import Fault, Hopeless
from ..bus.messages import Bar, End, Instrument
from ..bus.names import Key, parse_key
from ..bus.outgoing import Out
from ..bus.plugins import configure
from ..bus.publisher import Publisher
from ..bus.rundir import RunDir
from ..bus.status import ActorState, Rate, Status, StreamStatus
from ..bus.topology import ProducerSpec, QualitySpec, Topology, load
from ..bus.wire import decode
from . import clock
from .calendar import Calendar
from .contract import ConfigError, Disconnected, EndOfData, Provider, Refused, Update
from .fallback import StandIn
from .history import History
from .keeper import Keeper
from .keys import completed
from .lane import Lane
from .ledger import Ledger
from .quality import Quality
from .quarantine import Quarantine
from .table import find_provider
from .venue import VenueClaim

log = logging.getLogger("pynelive")
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_CONNECT_S = 60.0
_ROOM_EVERY = 64
_RECENT = 64
_RECHECKED = 64
_RECHECK_S = (5.0, 60.0)


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
        self._lanes: dict[Key, Lane] = {}
        self._instruments: dict[Key, Instrument] = {}
        self._counters: Counter[str] = Counter(reconnects=0)
        self._delays_ns: deque[int] = deque(maxlen=1024)
        self._skew_ms: deque[int] = deque(maxlen=1024)

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
        for stream in self._names.values():
            for consumer in self._topology.consumers(stream):
                consumers.setdefault(consumer, []).append(stream)
        run_dir = RunDir(self._topology)
        history = History(self._provider, self._instruments)
        self._publisher = Publisher(
            run_dir, self._spec.name, consumers, self._spec.journal, history, self._topology.bus.transport
        )
        self._quarantine = Quarantine(run_dir.root / "quarantine" / f"{self._spec.name}.jsonl")
        self._keeper = Keeper(self._provider, self._lanes, self._counters)
        self._quality = _quality(self._spec.quality, len(keys))

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

    async def _session(self) -> None:
        """Connect, then publish what comes; what was missed is asked for beside it. Ends by an exception."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._provider.connect()
        except TimeoutError:
            raise Disconnected(f"no connection within {_CONNECT_S:g} s") from None
        try:
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
        self._counters["reconnects"] += 1
        self._counters[f"errors_{gone.kind}"] += 1
        if gone.kind in ("rate", "banned") and gone.retry_after:
            self._provider.budget.hold(gone.retry_after)
        self._said = f"disconnected: {gone}"
        log.warning("%s: %s; again in %.1f s", self._spec.name, gone, wait_s)
        await clock.sleep(wait_s)

    # --- the streams ----------------------------------------------------------------------------------------

    async def _introduced(self) -> None:
        """Say each stream's instrument first; one that the source does not have does not stop the others."""
        refused = []
        for key, stream in self._names.items():
            try:
                self._introduce(key, stream, await self._instrument(key))
            except Refused as reason:
                refused.append(f"{stream}: {reason}")
                log.error("%s", refused[-1])
        self._said = "; ".join(refused)
        self._counters["refused"] += len(refused)
        if not self._lanes:
            raise Hopeless(f"producer '{self._spec.name}': {self._said}")

    async def _instrument(self, key: Key) -> Instrument:
        while True:
            try:
                return await self._provider.get_symbol_info(key)
            except Disconnected as gone:
                await self._back_off(gone)

    def _introduce(self, key: Key, stream: str, instrument: Instrument) -> None:
        self._instruments[key] = instrument
        out = self._publisher.outs.get(stream)
        if out is None or out.track.head == 0:
            self._publisher.publish(stream, instrument)
            recent: list[Bar] = []
        else:
            self._same_source(stream, out.track.opening, instrument)
            recent = self._recent(out)
            if out.last:
                self._provider.resume_after(key, out.last.time_ms)
        can, calendar = self._provider.capabilities, Calendar(instrument, key.timeframe)
        quality = Quality(self._quality, calendar, instrument.kind, live=can.heals)
        ledger = Ledger(stream, self._publisher, quality, self._quarantine, recent)
        self._lanes[key] = Lane(key, ledger, calendar, can, self._quality, self._provider.now_ms())

    def _recent(self, out: Out) -> list[Bar]:
        """The closed bars that the journal ends with, oldest first."""
        records = (record for record in self._publisher.journal.backwards(out.track) if record.bars)
        return [message for record in reversed(list(islice(records, _RECENT)))
                for message in decode(record.payload) if type(message) is Bar][-_RECENT:]

    def _same_source(self, stream: str, opening: bytes, instrument: Instrument) -> None:
        before = decode(opening)[0] if opening else instrument
        if isinstance(before, Instrument) and before.source != instrument.source:
            raise Hopeless(
                f"{stream}: the journal in {RunDir(self._topology).journals / self._spec.name} holds bars of "
                f"another source ({before.source}, now {instrument.source}): set another [bus] name, "
                "or remove that folder to begin anew"
            )

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

    def _take(self, update: Update) -> None:
        key, message, event_ms = update
        lane = self._lanes.get(key)
        if lane is None:
            self._counters["unknown"] += 1
        elif isinstance(message, Bar):
            lane.take(message, self._provider.now_ms())
            if message.closed:
                self._keeper.heard_close(key)
                self._time(message, event_ms)
        else:
            lane.rested = message.state == "closed"
            lane.ledger.say(message.state, message.since_ms, message.reason)

    def _time(self, bar: Bar, event_ms: int) -> None:
        """How long a close was under way: in this process, and from the venue to it."""
        if bar.received_ns:
            self._delays_ns.append(time.time_ns() - bar.received_ns)
        if event_ms:
            self._skew_ms.append(clock.now_ms() - event_ms)

    def _end(self, reason: str) -> None:
        going = [stream for stream in self._names.values() if not self._publisher.outs[stream].ended]
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
            kind = type(self._provider)
            self._provider.rekey(configure(kind.Config, completed(kind, options, topology.base, self._provider.keys)))
        except (Fault, ConfigError, StopIteration) as error:
            log.error("%s: the credentials cannot be read again, the old ones stay: %s", self._spec.name, error)
            return
        self._keeper.interrupt("the credentials were read again")

    def status(self) -> Status:
        """The heartbeat."""
        lanes = {lane.ledger.stream: lane for lane in self._lanes.values()}
        streams = [self._stream_status(out, lanes.get(out.stream)) for out in self._publisher.outs.values()]
        bars = sum(stream.bars for stream in streams)
        return Status(
            self._spec.name, "producer", self._state, streams=streams, bars=bars, rate=self._rate.of(bars),
            said=self._said, counters=self._all_counters(), summary=self._summary,
        )  # fmt: skip

    def _stream_status(self, out: Out, lane: Lane | None) -> StreamStatus:
        return StreamStatus(
            out.stream, out.track.head, out.track.bars, last_ms=out.last.time_ms if out.last else 0,
            last_price=out.last.close if out.last else 0.0,
            state="ended" if out.ended else out.state.state if out.state else "live",
            age_ms=self._provider.now_ms() - lane.heard_ms if lane and lane.heard_ms else 0,
            counters=dict(lane.counters) if lane else {},
        )  # fmt: skip

    def _all_counters(self) -> dict[str, int]:
        """Everything that is counted, of the venue and of all its streams together."""
        total = self._counters + self._provider.counters
        for lane in self._lanes.values():
            total.update(lane.counters)
        milli = 1_000
        return {
            "reconnects": 0, "duplicates": 0, "revisions": 0, "late": 0, **total,
            "subscribers": self._publisher.subscribers,
            "malformed": self._publisher.malformed + self._provider.counters["malformed"],
            "weight_used": int(self._provider.budget.used_in_window()),
            "api_p50_ms": int(_quantile(self._keeper.latencies_s, 0.5) * milli),
            "api_p99_ms": int(_quantile(self._keeper.latencies_s, 0.99) * milli),
            "publish_p99_us": int(_quantile(self._delays_ns, 0.99) / milli),
            "behind_venue_p50_ms": int(_quantile(self._skew_ms, 0.5)),
        }  # fmt: skip


def _quality(spec: QualitySpec, streams: int) -> QualitySpec:
    """The rules with what depends on their number: confirming every close of many streams asks too much."""
    if spec.recheck_s is not None:
        return spec
    return msgspec.structs.replace(spec, recheck_s=_RECHECK_S if streams <= _RECHECKED else ())


def _quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(int(q * len(values)), len(values) - 1)] if values else 0.0


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
