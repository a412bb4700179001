"""What a producer counts and measures, for its heartbeat: of the venue, of every stream, and how fast it is."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from ..bus.messages import Bar
from ..bus.outgoing import Out
from ..bus.status import StreamStatus
from . import clock
from .contract import Provider
from .lane import Lane

_ALWAYS = dict.fromkeys(("reconnects", "duplicates", "revisions", "late"), 0)


class Meters:
    """The counters of one producer; ``counters`` is what is of no single stream."""

    def __init__(self, provider: Provider) -> None:
        self.counters: Counter[str] = Counter()
        self.latencies_s: deque[float] = deque(maxlen=512)
        """How long the last questions to the venue took, waiting for their turn included."""
        self._provider = provider
        self._delays_ns: deque[int] = deque(maxlen=1024)
        self._behind_ms: deque[int] = deque(maxlen=1024)

    def time(self, bar: Bar, event_ms: int) -> None:
        """How long a close was under way: in this process, and from the venue to it."""
        if bar.received_ns:
            self._delays_ns.append(time.time_ns() - bar.received_ns)
        if event_ms:
            self._behind_ms.append(clock.now_ms() - event_ms)

    def all(self, lanes: Iterable[Lane]) -> dict[str, int]:
        """Everything that is counted, of the venue and of all its streams together."""
        total = self.counters + self._provider.counters
        for lane in lanes:
            total.update(lane.counters)
        return {
            **_ALWAYS, **total,
            "weight_used": int(self._provider.budget.used_in_window()),
            "api_p50_ms": int(_quantile(self.latencies_s, 0.5) * 1000),
            "api_p99_ms": int(_quantile(self.latencies_s, 0.99) * 1000),
            "publish_p99_us": int(_quantile(self._delays_ns, 0.99) / 1000),
            "behind_venue_p50_ms": int(_quantile(self._behind_ms, 0.5)),
        }  # fmt: skip

    def stream(self, out: Out, lane: Lane | None) -> StreamStatus:
        """One stream as it is now."""
        return StreamStatus(
            out.stream, out.track.head, out.track.bars, last_ms=out.last.time_ms if out.last else 0,
            last_price=out.last.close if out.last else 0.0,
            state="ended" if out.ended else out.state.state if out.state else "live",
            age_ms=self._provider.now_ms() - lane.heard_ms if lane and lane.heard_ms else 0,
            counters=dict(lane.counters) if lane else {},
        )  # fmt: skip


def _quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(int(q * len(values)), len(values) - 1)] if values else 0.0
