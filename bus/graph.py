"""A topology as a graph: for people (a tree), for Graphviz and for programs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from .hosts import door_of
from .secrets import redacted
from .specs import ActorSpec, ProducerSpec, Role, RunnerSpec
from .topology import Topology

_SHAPES = {"producer": "house", "runner": "component", "sink": "cylinder"}


class Node(Struct, frozen=True):
    """An actor in an :class:`Outline`: what it runs, and the streams that it publishes."""

    name: str
    role: Role
    kind: str
    host: str
    publishes: list[str]


class Edge(Struct, frozen=True):
    """Who reads which streams of whom."""

    publisher: str
    consumer: str
    streams: list[str]


class Outline(Struct, frozen=True):
    """A topology without its options: who there is, and who reads whom."""

    bus: str
    hosts: list[str]
    nodes: list[Node]
    edges: list[Edge]


def outline(topology: Topology) -> Outline:
    """The topology for those who draw it."""
    nodes = [
        Node(spec.name, topology.role(spec), _kind(spec), spec.host, topology.published(spec))
        for spec in topology.actors
    ]
    edges = [Edge(start, end, names) for (start, end), names in _bundles(topology).items()]
    return Outline(topology.bus.name, list(topology.hosts), nodes, edges)


def tree(topology: Topology) -> str:
    """Every producer with its streams, and below each stream who reads it."""
    lines = [f"bus {topology.bus.name}  ({topology.run_dir})"]
    for spec in topology.producers:
        lines += ["", label(topology, spec), *_streams(topology, spec)]
    return "\n".join(lines)


def label(topology: Topology, spec: ActorSpec) -> str:
    """The actor in one line: name, role and what it runs."""
    return f"{spec.name}  {topology.role(spec)} {_kind(spec)}{_place(topology, spec)}"


def _place(topology: Topology, spec: ActorSpec) -> str:
    """Its host, and where others reach it there."""
    door = door_of(topology, spec)
    return f"  on {spec.host}" * bool(spec.host) + (f" ({door.control}, {door.pub})" if door else "")


def dot(topology: Topology) -> str:
    """The graph in Graphviz' language: an edge from a publisher to each of its consumers."""
    lines = [f"digraph {_quoted(topology.bus.name)} {{", "  rankdir=LR;"]
    for spec in topology.actors:
        text = _quoted(f"{spec.name}\n{_kind(spec)}")
        lines.append(f"  {_quoted(spec.name)} [label={text}, shape={_SHAPES[topology.role(spec)]}];")
    for (start, end), names in _bundles(topology).items():
        lines.append(f"  {_quoted(start)} -> {_quoted(end)} [label={_quoted(chr(10).join(names))}];")
    return "\n".join([*lines, "}"])


def to_json(topology: Topology) -> str:
    """The graph for programs; secrets are three stars."""
    actors = [
        {"role": topology.role(spec), **redacted(asdict(spec))}
        | {"publishes": topology.published(spec), "consumes": topology.consumed(spec)}
        | ({"control": door.control, "pub": door.pub} if (door := door_of(topology, spec)) else {})
        for spec in topology.actors
    ]
    content = {
        "bus": topology.bus.name,
        "path": str(topology.path),
        "run_dir": str(topology.run_dir),
        "hosts": {name: asdict(host) for name, host in topology.hosts.items()},
        "actors": actors,
        "edges": list(_edges(topology)),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain)


def _streams(topology: Topology, spec: ActorSpec) -> Iterator[str]:
    published = topology.published(spec)
    for stream in published:
        last = stream == published[-1]
        readers = [topology.actor(name) for name in topology.consumers(stream)]
        yield f"{'└' if last else '├'}─ {stream}{'' if readers else '  (nobody reads it)'}"
        for reader in readers:
            mark = "└" if reader is readers[-1] else "├"
            yield f"{' ' if last else '│'}  {mark}─ {label(topology, reader)}"
            indent = f"{' ' if last else '│'}  {' ' if reader is readers[-1] else '│'}  "
            yield from (indent + line for line in _streams(topology, reader))


def _edges(topology: Topology) -> Iterator[dict[str, str]]:
    for spec in topology.actors:
        for stream in topology.published(spec):
            for consumer in topology.consumers(stream):
                yield {"from": spec.name, "stream": stream, "to": consumer}


def _bundles(topology: Topology) -> dict[tuple[str, str], list[str]]:
    """The streams between two actors."""
    streams = defaultdict(list)
    for edge in _edges(topology):
        streams[edge["from"], edge["to"]].append(edge["stream"])
    return streams


def _kind(spec: ActorSpec) -> str:
    if isinstance(spec, ProducerSpec):
        return spec.provider
    return spec.script if isinstance(spec, RunnerSpec) else spec.type


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON has no word for: nested structs, and TOML's dates."""
    return asdict(value) if hasattr(value, "__struct_fields__") else str(value)
