"""What subscribers say of themselves once a second, and a publisher's book of it for `pynelive streams`."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Collection, Mapping
from heapq import nlargest
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from .track import Track

if TYPE_CHECKING:
    from .cursor import Cursor

EXPIRES_S: Final = 5.0
"""A subscriber that has said nothing for so long is gone."""
MOST_PEERS: Final = 1_000
_MOST_STREAMS: Final = 256
_LONGEST_NAME: Final = 80
_numbers = itertools.count(1)


class Report(Struct, frozen=True, array_like=True, tag="report"):
    """A subscriber of this publisher: who it is, and how it stands.

    ``number`` tells apart what one process follows several times. ``nexts`` has the next seq of its streams, of many
    only the 256 that are furthest behind; ``lag`` is what it knows to be missing of all, in messages.
    """

    name: str
    host: str
    pid: int
    number: int
    epoch: int
    nexts: dict[str, int]
    streams: int
    lag: int
    gaps: int = 0
    repairs: int = 0
    duplicates: int = 0
    malformed: int = 0
    truncated: int = 0
    timeouts: int = 0


class Peer(Struct, frozen=True, array_like=True):
    """A subscriber as its publisher knows it: the last report, and how many messages it has not got."""

    name: str
    host: str
    pid: int
    streams: int
    lag: int
    gaps: int = 0
    repairs: int = 0
    duplicates: int = 0
    malformed: int = 0
    truncated: int = 0
    timeouts: int = 0


def program() -> str:
    """What this process is called when nobody has given it a name: its script."""
    path = Path(sys.argv[0])
    return (path.parent.name if path.name == "__main__.py" else path.name) or "python"


class Reporter:
    """Makes the reports of one link."""

    def __init__(self) -> None:
        self._number = next(_numbers)

    def report(
        self, name: str, host: str, epoch: int, cursors: Collection[Cursor], counts: Mapping[str, int]
    ) -> Report:
        """How the link stands."""
        told = cursors if len(cursors) <= _MOST_STREAMS else nlargest(_MOST_STREAMS, cursors, key=attrgetter("lag"))
        nexts = {cursor.stream: cursor.next for cursor in told if cursor.next >= 0}  # less: it has not begun
        lag = sum(cursor.lag for cursor in cursors)
        return Report(name, host, os.getpid(), self._number, epoch, nexts, len(cursors), lag, **counts)


class Peers:
    """The last report of each subscriber. What many or hostile ones say is bounded, in number and in size."""

    def __init__(self) -> None:
        self._peers: dict[tuple[str, int, int], tuple[float, Peer]] = {}
        """When each has reported, and what; the latest last."""

    def take(self, report: Report, epoch: int, tracks: Mapping[str, Track]) -> None:
        """Note a report.

        :param epoch: of the publisher; seqs of another one say nothing
        :param tracks: by stream where the publisher is
        """
        host = _shown(report.host)
        key = host, report.pid, report.number
        self._expire()
        if self._peers.pop(key, None) is None and len(self._peers) >= MOST_PEERS:
            return
        nexts = report.nexts.items() if report.epoch == epoch else ()
        behind = sum(max(tracks[stream].head - max(seq, 0), 0) for stream, seq in nexts if stream in tracks)
        peer = Peer(
            _shown(report.name), host, report.pid, report.streams, max(behind, report.lag), report.gaps, report.repairs,
            report.duplicates, report.malformed, report.truncated, report.timeouts,
        )  # fmt: skip
        self._peers[key] = time.monotonic(), peer

    def listed(self) -> list[Peer]:
        """Those that live, by name."""
        self._expire()
        return sorted((peer for _, peer in self._peers.values()), key=attrgetter("name", "host", "pid"))

    def _expire(self) -> None:
        earliest = time.monotonic() - EXPIRES_S
        while self._peers and self._peers[oldest := next(iter(self._peers))][0] < earliest:
            del self._peers[oldest]


def _shown(name: str) -> str:
    """A name that harms no terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_NAME])
