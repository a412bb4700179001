"""/metrics: the bus in Prometheus' words; docs/operations.md lists them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import add
from typing import TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ...bus.census import Census, PeerRow, StreamRow
from ...bus.children import OVER, View
from .state import Web

_PREFIX = "pynelive_"
Row = TypeVar("Row")
Value = tuple[Sequence[str], float]
"""The values of the labels, and the number."""


def routes(site: Web) -> list[web.RouteDef]:
    """What is answered here."""

    async def metrics(request: web.Request) -> web.Response:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Seen(await site.bus.census(), len(site.live.clients)))
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": kind})

    return [web.get("/metrics", metrics)]


class Seen(Collector):
    """A census as metrics.

    :param clients: browsers that are connected to the dashboard
    """

    def __init__(self, census: Census, clients: int) -> None:
        self._census, self._clients = census, clients

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        census = self._census
        yield _gauge("bus_up", "Whether a supervisor answers.", (), [((), bool(census.actors))])
        yield _gauge("dashboard_clients", "Browsers that are connected.", (), [((), self._clients)])
        yield from _actors(census.actors)
        yield from _streams([row for row in census.streams if row.stream and not row.stream.startswith("exec:")])
        yield from _subscribers(census.subscribers)


def _actors(views: Sequence[View]) -> Iterator[Metric]:
    labels = ("actor", "role")
    said = [((view.name, view.role), view, view.status) for view in views]
    yield _gauge("actor_up", "Whether its process lives and is heard.", labels,
                 [(key, bool(view.pid) and view.phase not in ("stalled", *OVER)) for key, view, _ in said])  # fmt: skip
    yield _gauge("actor_state", "1 for the state that it is in.", (*labels, "state"),
                 [((*key, view.phase), 1) for key, view, _ in said])  # fmt: skip
    yield _counter("actor_restarts", "How often it was started again.", labels,
                   [(key, view.restarts) for key, view, _ in said])  # fmt: skip
    yield _gauge("actor_uptime_seconds", "Since its process was started.", labels,
                 [(key, view.uptime_s) for key, view, _ in said])  # fmt: skip
    yield _counter("actor_cpu_seconds", "What its process has computed.", labels,
                   [(key, status.cpu_s) for key, _, status in said if status])  # fmt: skip
    yield _gauge("actor_memory_bytes", "Resident, what is shared included.", labels,
                 [(key, status.memory_mb * 2**20) for key, _, status in said if status])  # fmt: skip
    yield _gauge("actor_journal_bytes", "What its journal takes on the disk.", labels,
                 [(key, view.journal_mb * 2**20) for key, view, _ in said])  # fmt: skip


def _streams(rows: Sequence[StreamRow]) -> Iterator[Metric]:
    labels = ("publisher", "stream")
    said = [((row.publisher, row.stream), row) for row in rows]
    yield _gauge("stream_state", "1 for the state that it is in.", (*labels, "state"),
                 [((*key, row.state), 1) for key, row in said])  # fmt: skip
    yield _counter("stream_bars", "Closed bars that were published.", labels, [(key, row.bars) for key, row in said])
    yield _gauge("stream_bars_per_second", "Closed bars a second, over the last minute.", labels,
                 [(key, row.rate) for key, row in said])  # fmt: skip
    yield _gauge("stream_lag_messages", "What its publisher's slowest declared consumer has not got.", labels,
                 [(key, row.lag) for key, row in said])  # fmt: skip
    yield _gauge("stream_last_bar_age_seconds", "Since its last closed bar came.", labels,
                 [(key, row.age_s) for key, row in said if row.age_s is not None])  # fmt: skip
    yield _gauge("stream_last_bar_open_timestamp_seconds", "When its last closed bar opened.", labels,
                 [(key, row.last_ms / 1000) for key, row in said if row.last_ms])  # fmt: skip
    yield _gauge("stream_subscribers", "How many subscribe to it.", labels,
                 [(key, row.subscribers) for key, row in said])  # fmt: skip
    yield _counter("stream_gaps_repaired", "Gaps of the venue that were filled.", labels,
                   [(key, row.counters.get("gaps_healed", 0)) for key, row in said])  # fmt: skip
    yield _counter("stream_bars_missing", "Bars of the venue that never came.", labels,
                   [(key, row.counters.get("missing", 0)) for key, row in said])  # fmt: skip


def _subscribers(rows: Sequence[PeerRow]) -> Iterator[Metric]:
    labels = ("publisher", "subscriber", "host", "pid")
    summed: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * 4)
    for row in rows:  # a process may follow a publisher several times
        key = row.publisher, row.subscriber, row.host, str(row.pid)
        summed[key] = list(map(add, summed[key], (row.lag, row.gaps, row.repairs, row.truncated)))
    yield _gauge("subscriber_lag_messages", "What it has not got.", labels, _column(summed, 0))
    yield _counter("subscriber_gaps", "Frames that it missed.", labels, _column(summed, 1))
    yield _counter("subscriber_repaired", "Records that it got in their place.", labels, _column(summed, 2))
    yield _counter("subscriber_lost", "How often what it wanted was kept no longer.", labels, _column(summed, 3))


def _column(rows: dict[tuple[str, ...], list[int]], place: int) -> Iterable[Value]:
    return ((key, counts[place]) for key, counts in rows.items())


def _gauge(name: str, says: str, labels: Sequence[str], values: Iterable[Value]) -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, says, labels=labels), values)


def _counter(name: str, says: str, labels: Sequence[str], values: Iterable[Value]) -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, says, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[Value]) -> Metric:
    for key, value in values:
        family.add_metric(key, float(value))
    return family
