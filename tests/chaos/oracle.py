"""What a run has left behind, compared with what an undisturbed one leaves: lost, doubled, out of order, changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace
from pynelive.bus.messages import Account, Alert, Bar, Drawing, Executed, Fill, Message, Plot, Signal, as_object

Item = tuple[str, Any]
"""What identifies a message within its stream, and what it says."""
Files = Mapping[str, str]
Said = Mapping[str, Sequence[Item]]


@dataclass
class Outcome:
    """How many messages differ, by kind, and how many files; ``notes`` names the first of each."""

    lost: int = 0
    doubled: int = 0
    order: int = 0
    changed: int = 0
    files: int = 0
    notes: list[str] = field(default_factory=list, compare=False)

    def __bool__(self) -> bool:
        return any(self.counts)

    def __add__(self, other: Outcome) -> Outcome:
        sums = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return Outcome(*sums, notes=self.notes + other.notes)

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers alone."""
        return astuple(self)[:-1]

    def __str__(self) -> str:
        lost, doubled, order, changed, files = self.counts
        return f"{lost} lost, {doubled} doubled, {order} out of order, {changed} changed, {files} files differ"


def item(message: Message) -> Item | None:
    """A message without what differs from run to run by nature; None for one that is no result."""
    match message:
        case Bar(closed=True):
            return f"bar {message.time_ms} {message.revision}", _fields(replace(message, received_ns=0, extra=None))
        case Plot(closed=True) | Signal() | Account():
            return f"{type(message).__name__} {message.time_ms}", _fields(message)
        case Alert():
            return f"alert {message.time_ms} {message.message}", _fields(message)
        case Drawing():
            return f"{message.op} {message.kind} {message.id} {message.time_ms}", _fields(message)
        case Fill():
            return f"fill {message.entry_ms} {message.exit_ms} {message.entry_id}", _fields(message)
    return None


def _fields(message: Message) -> Any:
    return as_object("", message)["message"]


def items(messages: Iterable[Message]) -> list[Item]:
    """All results among the messages, in order; of a script also the bars that it has executed."""
    found = (item(m.bar if isinstance(m, Executed) and not m.history else m) for m in messages)
    return [one for one in found if one is not None]


def compare(found: Sequence[Item], wanted: Sequence[Item], what: str = "") -> Outcome:
    """Both lists message by message; what stands only in ``found`` counts as changed."""
    place = {key: number for number, (key, _) in enumerate(wanted)}
    values = dict(wanted)
    times = Counter(key for key, _ in found)
    lost = [key for key in place if key not in times]
    doubled = [key for key, count in times.items() if count > 1]
    changed = [key for key, value in found if key not in values or values[key] != value]
    places = [place[key] for key, _ in found if key in place]
    order = [wanted[after][0] for before, after in pairwise(places) if after < before]
    kinds = {"lost": lost, "doubled": doubled, "out of order": order, "changed": changed}
    notes = [f"{what}: {len(keys)} {kind}, the first: {keys[0]}" for kind, keys in kinds.items() if keys]
    return Outcome(len(lost), sum(times[key] - 1 for key in doubled), len(order), len(changed), notes=notes)


def compare_slice(found: Sequence[Item], wanted: Sequence[Item], what: str = "") -> Outcome:
    """``found`` must be one unbroken piece of ``wanted``: of a reader that came late and left early."""
    place = {key: number for number, (key, _) in enumerate(wanted)}
    places = [place[key] for key, _ in found if key in place]
    if not places:
        return compare(found, (), what)
    return compare(found, wanted[min(places) : max(places) + 1], what)


def compare_files(found: Files, wanted: Files) -> Outcome:
    """Files by their digests: missing ones, unexpected ones, other bytes."""
    names = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    return Outcome(files=len(names), notes=[f"{name}: {_fate(name, found, wanted)}" for name in names])


def _fate(name: str, found: Files, wanted: Files) -> str:
    return "missing" if name not in found else "nobody wants it" if name not in wanted else "other bytes"


def compare_streams(found: Said, wanted: Said, who: str) -> Outcome:
    """All streams that one reader has followed from their beginning."""
    return sum((compare(found.get(name, ()), said, f"{who}, {name}") for name, said in wanted.items()), Outcome())


def digests(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """SHA-256 by name of the files of a folder that match."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in paths}


@dataclass
class Result:
    """What a run has left behind: the digests of its files, what the scripts said, what the readers were given."""

    files: dict[str, str]
    said: dict[str, list[Item]]
    heard: dict[str, dict[str, list[Item]]]
    visits: list[tuple[str, list[Item]]]
    played: dict[str, list[Item]]

    def differs(self, wanted: Result) -> Outcome:
        """Everything that is not as in the undisturbed run."""
        outcome = compare_files(self.files, wanted.files)
        outcome += compare_streams(self.said, wanted.said, "journal")
        for name, said in wanted.heard.items():
            outcome += compare_streams(self.heard[name], said, name)
        for stream, given in self.visits:
            outcome += compare_slice(given, self.played[stream], f"a visitor of {stream}")
        return outcome


# --- what a follower has written ------------------------------------------------------------------------------------


def heard_path(folder: Path, stream: str) -> Path:
    """Where a follower keeps what it was given of a stream."""
    return folder / f"{quote(stream, '')}.jsonl"


def line(one: Item) -> bytes:
    """An item as a follower writes it."""
    return json.dumps(one).encode() + b"\n"


def heard(path: Path) -> list[Item]:
    """The items of a follower's file; a torn last line is not there."""
    data = path.read_bytes() if path.exists() else b""
    return [(key, value) for key, value in map(json.loads, data[: data.rfind(b"\n") + 1].splitlines())]
