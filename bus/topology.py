"""topology.toml: which actors a bus has. The only file that reads it.

``read`` finds every fault that the file alone can show and goes on with what is sound, so that the plugins'
faults join the same list (``commands/validate.py``); ``load`` is for those who only want the actors.
Relative paths in the file start at its folder.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from .errors import TopologyError
from .hosts import HostSpec, host_faults, read_hosts
from .names import NO_NAME, is_name, is_pattern, matches, parse_key
from .prefixes import prefix_of_file
from .secrets import Secrets
from .specs import ROLE_OF, ActorSpec, BusSpec, ProducerSpec, Role, RunnerSpec, SinkSpec, patterns, place, seats_of
from .tables import build, nearest

_A = TypeVar("_A", ProducerSpec, SinkSpec, RunnerSpec)


class Topology(Struct, frozen=True):
    """A topology file: who publishes what, and who consumes it.

    ``prefixes`` holds, by producer, what its streams begin with if that is not the provider's name.
    """

    path: Path
    bus: BusSpec
    producers: tuple[ProducerSpec, ...] = ()
    sinks: tuple[SinkSpec, ...] = ()
    runners: tuple[RunnerSpec, ...] = ()
    prefixes: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, HostSpec] = field(default_factory=dict)

    @property
    def actors(self) -> tuple[ActorSpec, ...]:
        """All actors in the order of their launch: producers, runners, sinks."""
        return (*self.producers, *self.runners, *self.sinks)

    @property
    def streams(self) -> list[str]:
        """The full names of all streams."""
        return [stream for spec in self.actors for stream in self.published(spec)]

    @property
    def base(self) -> Path:
        """The folder of the file, where its relative paths start."""
        return self.path.parent

    @property
    def run_dir(self) -> Path:
        """Where journals, discovery and logs of this bus are."""
        return self.resolve(self.bus.run_dir or f".pynelive/{self.bus.name}")

    def resolve(self, path: str) -> Path:
        """A path that the file names."""
        return self.base / os.path.expanduser(path)

    def actor(self, name: str) -> ActorSpec:
        """The actor of that name.

        :raises TopologyError: there is none
        """
        for spec in self.actors:
            if spec.name == name:
                return spec
        hint = nearest(name, [spec.name for spec in self.actors])
        raise TopologyError([f"{self.path} has no actor '{name}'{hint}"])

    def role(self, spec: ActorSpec) -> Role:
        """What the actor is, in the word of its table."""
        return ROLE_OF[type(spec)]

    def published(self, spec: ActorSpec) -> list[str]:
        """The full names of the streams that the actor owns."""
        if isinstance(spec, ProducerSpec):
            prefix = self.prefixes.get(spec.name, spec.provider)
            made = [derived(key, method) for key, methods in spec.derive.items() for method in methods]
            return [f"{prefix}:{key}" for key in (*spec.streams, *made)]
        return [f"run:{seat.name}" for seat in seats_of(spec)] if isinstance(spec, RunnerSpec) else []

    def consumed(self, spec: ActorSpec) -> list[str]:
        """The full names of the streams that the actor reads."""
        wanted = patterns(spec)
        return [stream for stream in self.streams if _wanted(stream, wanted)]

    def sources(self, spec: ActorSpec) -> list[str]:
        """The names of the actors that own what the actor reads."""
        wanted = set(self.consumed(spec))
        return [other.name for other in self.actors if wanted.intersection(self.published(other))]

    def consumers(self, stream: str) -> list[str]:
        """The names of the declared actors that read the stream."""
        return [spec.name for spec in self.actors if _wanted(stream, patterns(spec))]


def derived(key: str, method: str) -> str:
    """The key of a stream that is made from another one: ``BTC/USDT~fill@1``."""
    symbol, _, timeframe = key.rpartition("@")
    return f"{symbol}~{method}@{timeframe}"


def _wanted(stream: str, wanted: tuple[str, ...]) -> bool:
    return any(matches(stream, pattern) for pattern in wanted)


def load(path: Path) -> Topology:
    """Read a topology file that is meant to be sound.

    :raises TopologyError: all faults at once
    """
    topology, problems = read(path)
    if problems:
        raise TopologyError(problems)
    return topology


def read(path: Path) -> tuple[Topology, list[str]]:
    """Read what is sound of a topology file, and say what is not.

    :raises TopologyError: there is no file or it is no TOML
    """
    path = path.absolute()
    raw, problems = _parse(path), list[str]()
    known = ("bus", "hosts", *ROLE_OF.values())
    problems += [f"[{key}] is an unknown table{nearest(key, known)}" for key in raw if key not in known]
    bus = build(BusSpec, raw.get("bus", {}), "[bus]", problems) or BusSpec()
    hosts = read_hosts(raw.get("hosts", {}), problems)
    secrets = Secrets(path.parent)
    producers = _actors(ProducerSpec, raw, secrets, problems)
    sinks = _actors(SinkSpec, raw, secrets, problems)
    runners = _actors(RunnerSpec, raw, secrets, problems)
    prefixes, unnamed = _prefixes(producers, path.parent)
    topology = Topology(path, bus, producers, sinks, runners, prefixes, hosts)
    complete = len(producers + runners) == len(_rows(raw, "producer") + _rows(raw, "runner")) and not unnamed
    return topology, [*problems, *unnamed, *_faults(topology, complete)]


def as_written(topology: Topology, spec: ActorSpec) -> dict[str, Any]:
    """The actor's table in the words of the file, where a secret is still what names it."""
    rows = _rows(_parse(topology.path), topology.role(spec))
    return next(row for row in rows if isinstance(row, dict) and row.get("name") == spec.name)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        sentence = f"there is no {path}: name a topology file, or write one with `pynelive init`"
    except OSError as error:
        sentence = f"{path} cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        sentence = f"{path} is no UTF-8 text (byte {error.start}): save it as UTF-8"
    except (ValueError, RecursionError) as error:
        sentence = f"{path} is no TOML: {error}"
    raise TopologyError([sentence])


def _rows(raw: dict[str, Any], role: Role) -> list[Any]:
    rows = raw.get(role, [])
    return rows if isinstance(rows, list) else [rows]


def _actors(kind: type[_A], raw: dict[str, Any], secrets: Secrets, problems: list[str]) -> tuple[_A, ...]:
    role, found = ROLE_OF[kind], []
    if isinstance(raw.get(role), dict):
        problems.append(f"[{role}] is one of several: write [[{role}]]")
    for number, row in enumerate(_rows(raw, role), 1):
        name = row.get("name") if isinstance(row, dict) else None
        where = f"[[{role}]] {name if name and isinstance(name, str) else f'number {number}'}"
        if spec := build(kind, row, where, problems):
            options = secrets.resolve(spec.options, f"{where}, options", problems)
            found.append(replace(spec, options=options))
    return tuple(found)


def _prefixes(producers: tuple[ProducerSpec, ...], base: Path) -> tuple[dict[str, str], list[str]]:
    prefixes, problems = {}, []
    for spec in producers:
        try:
            if prefix := prefix_of_file(spec.provider, base):
                prefixes[spec.name] = prefix
        except ValueError as error:
            problems.append(f"{place(spec)}, provider: {error}")
    return prefixes, problems


def _faults(topology: Topology, complete: bool) -> Iterator[str]:
    """What is wrong between the actors; who reads what is only judged if all publishers are known."""
    if complete and not topology.producers:
        yield "there is no [[producer]]: nothing would be published"
    yield from _bad_names(topology)
    yield from _bad_keys(topology)
    yield from _published_twice(topology)
    if complete:
        yield from _published_by_nobody(topology)
        yield from _bad_fallbacks(topology)
    yield from _bad_derivations(topology)
    yield from _unrunnable(topology)
    yield from _bad_instances(topology)
    yield from _circles(topology)
    yield from host_faults(topology, {spec.name: place(spec) for spec in topology.actors})


def _bad_names(topology: Topology) -> Iterator[str]:
    owners: dict[str, str] = {}
    if not is_name(topology.bus.name):
        yield f"[bus], name: {topology.bus.name!r} {NO_NAME}"
    for spec in topology.actors:
        if not is_name(spec.name):
            yield f"{place(spec)}, name: {spec.name!r} {NO_NAME}"
        if spec.name == "supervisor":
            yield f"{place(spec)}, name: 'supervisor' is the name of what runs them: choose another"
        if spec.name in owners:
            yield f"{place(spec)}, name: '{spec.name}' is taken by {owners[spec.name]}"
        owners.setdefault(spec.name, place(spec))


def _bad_keys(topology: Topology) -> Iterator[str]:
    for spec in topology.producers:
        for key in spec.streams:
            try:
                parse_key(key)
            except ValueError as error:
                yield f"{place(spec)}, streams: {error}"
            if is_pattern(key) or not key.isprintable():
                yield f"{place(spec)}, streams: {key!r} must be one symbol, spelled out"


def _published_twice(topology: Topology) -> Iterator[str]:
    owners: dict[str, str] = {}
    for spec in topology.producers:
        for stream in topology.published(spec):
            if stream in owners:
                yield f"{place(spec)}, streams: '{stream}' is published by {owners[stream]} already"
            owners[stream] = place(spec)


def _published_by_nobody(topology: Topology) -> Iterator[str]:
    streams = topology.streams
    for spec in topology.actors:
        for pattern in patterns(spec):
            if not any(matches(stream, pattern) for stream in streams):
                others = [stream for stream in streams if stream not in topology.published(spec)]
                yield f"{place(spec)}, {_key_of(spec, pattern)}: nobody publishes '{pattern}'{nearest(pattern, others)}"


def _key_of(spec: ActorSpec, pattern: str) -> str:
    """The key by which the actor says that it reads this."""
    if not isinstance(spec, RunnerSpec):
        return "streams"
    return "stream" if pattern in (seat.stream for seat in seats_of(spec)) else "data"


def _bad_derivations(topology: Topology) -> Iterator[str]:
    for spec in topology.producers:
        for key in spec.derive.keys() - set(spec.streams):
            yield f"{place(spec)}, derive: '{key}' is none of its streams{nearest(key, spec.streams)}"


def _bad_fallbacks(topology: Topology) -> Iterator[str]:
    for spec in topology.producers:
        own, streams = topology.published(spec), topology.streams
        for key, others in spec.fallback.items():
            if key not in spec.streams:
                yield f"{place(spec)}, fallback: '{key}' is none of its streams{nearest(key, spec.streams)}"
            for other in others:
                if other not in streams or other in own:
                    known = [stream for stream in streams if stream not in own]
                    yield f"{place(spec)}, fallback: no other producer publishes '{other}'{nearest(other, known)}"
                elif other.rpartition("@")[2] != key.rpartition("@")[2]:
                    yield f"{place(spec)}, fallback: '{other}' is of another timeframe than '{key}'"


def _unrunnable(topology: Topology) -> Iterator[str]:
    for spec in topology.runners:
        if not os.path.isfile(script := topology.resolve(spec.script)):
            yield f"{place(spec)}, script: there is no file {script}"
        for stream in patterns(spec):
            if is_pattern(stream):
                yield f"{place(spec)}, {_key_of(spec, stream)}: '{stream}' must be one stream, without * and ?"
            elif spec.type == "pyne" and stream.startswith("run:"):
                yield f"{place(spec)}, {_key_of(spec, stream)}: a script reads bars, and '{stream}' has none"


def _bad_instances(topology: Topology) -> Iterator[str]:
    for spec in topology.runners:
        if bool(spec.stream) == bool(spec.instances):
            yield f"{place(spec)}: it needs a 'stream', or several in [runner.instances], and not both"
        for name in spec.instances:
            if not is_name(name):
                yield f"{place(spec)}, instances: {name!r} {NO_NAME}"


def _circles(topology: Topology) -> Iterator[str]:
    sources = {
        f"run:{seat.name}": {seat.stream, *seat.data} for spec in topology.runners for seat in seats_of(spec)
    }
    for spec in topology.runners:
        for first in patterns(spec):
            seen, left = set[str](), {first}
            while left:
                seen |= left
                left = {source for stream in left for source in sources.get(stream, ())} - seen
            if seen & set(topology.published(spec)):
                yield f"{place(spec)}, {_key_of(spec, first)}: '{first}' comes from its own output"
