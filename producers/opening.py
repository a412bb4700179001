"""How a producer's streams begin: an instrument first, then what the journal remembers, and a lane for what comes."""

from __future__ import annotations

import msgspec

from ..bus.errors import Hopeless
from ..bus.messages import Bar, Instrument
from ..bus.names import Key
from ..bus.outgoing import Out
from ..bus.publisher import Publisher
from ..bus.rundir import RunDir
from ..bus.specs import ProducerSpec, QualitySpec
from ..bus.topology import derived
from ..bus.wire import decode
from .calendar import Calendar
from .contract import Provider
from .derived import MEMORY, Derived, DerivedArchive
from .lane import Lane
from .ledger import REMEMBERED, Ledger
from .quality import Quality
from .quarantine import Quarantine

_RECHECKED = 64
_RECHECK_S = (5.0, 60.0)


class Opening:
    """Makes the lanes of one producer, with the streams that are derived of theirs."""

    def __init__(
        self, spec: ProducerSpec, provider: Provider, publisher: Publisher, archive: DerivedArchive, run_dir: RunDir
    ) -> None:
        self._spec = spec
        self._provider = provider
        self._publisher = publisher
        self._archive = archive
        self._run_dir = run_dir
        self._quarantine = Quarantine(run_dir.root / "quarantine" / f"{spec.name}.jsonl")
        self._quality = _quality(spec.quality, len(spec.streams))

    def lane(self, key: Key, instrument: Instrument) -> Lane:
        """Begin a stream, or go on with it where its journal ends.

        :raises Hopeless: the journal is of another source
        """
        provider, can, calendar = self._provider, self._provider.capabilities, Calendar(instrument, key.timeframe)
        ledger = self._ledger(str(key), instrument, calendar)
        if ledger.last:
            provider.resume_after(key, ledger.last.time_ms)
        for method in self._spec.derive.get(str(key), ()):
            made = msgspec.structs.replace(instrument, source=f"{instrument.source}~{method}")
            own = self._ledger(derived(str(key), method), made, calendar, MEMORY)
            self._archive.sources[own.stream] = ledger.stream, method, calendar
            Derived(ledger, own, calendar, method)
        return Lane(key, ledger, calendar, can, self._quality, provider.now_ms())

    def remembered(self, stream: str) -> Instrument | None:
        """The instrument that the journal has of a stream."""
        out = self._publisher.outs.get(stream)
        opening = decode(out.track.opening)[0] if out and out.track.opening else None
        return opening if isinstance(opening, Instrument) else None

    def _ledger(self, key: str, instrument: Instrument, calendar: Calendar, most: int = REMEMBERED) -> Ledger:
        stream = f"{type(self._provider).name}:{key}"
        quality = Quality(self._quality, calendar, instrument.kind, live=self._provider.capabilities.heals)
        recent = self._opened(stream, instrument, most)
        return Ledger(stream, self._publisher, quality, self._quarantine, recent, most)

    def _opened(self, stream: str, instrument: Instrument, most: int) -> list[Bar]:
        """Say the instrument, or go on with a journal that is of the same source: with which bars it ends."""
        out = self._publisher.outs.get(stream)
        if out is None or out.track.head == 0:
            self._publisher.publish(stream, instrument)
            return []
        self._same_source(stream, instrument)
        return self._recent(out, most)

    def _recent(self, out: Out, most: int) -> list[Bar]:
        """The closed bars that the journal ends with, oldest first."""
        found: list[Bar] = []
        for record in self._publisher.journal.backwards(out.track):
            found += [message for message in reversed(decode(record.payload)) if type(message) is Bar]
            if len(found) >= most and found[-1].origin != "fallback":  # those may still be replaced
                break
        return found[::-1]

    def _same_source(self, stream: str, instrument: Instrument) -> None:
        before = self.remembered(stream) or instrument
        if before.source != instrument.source:
            raise Hopeless(
                f"{stream}: the journal in {self._run_dir.journals / self._spec.name} holds bars of "
                f"another source ({before.source}, now {instrument.source}): set another [bus] name, "
                "or remove that folder to begin anew"
            )


def _quality(spec: QualitySpec, streams: int) -> QualitySpec:
    """The rules with what depends on their number: confirming every close of many streams asks too much."""
    if spec.recheck_s is not None:
        return spec
    return msgspec.structs.replace(spec, recheck_s=_RECHECK_S if streams <= _RECHECKED else ())
