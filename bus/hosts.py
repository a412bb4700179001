"""The hosts of a topology: which actor runs where, and at which address and ports the other hosts reach it.

A host that publishes for others has an address. Its publishers, producers first and then runners, each in the order
of the file, take two ports each from the host's first one on: ROUTER, XPUB. Every host has the same file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from .endpoints import is_ip, tcp
from .errors import TopologyError
from .names import NO_NAME, is_name
from .tables import build, nearest

if TYPE_CHECKING:
    from .specs import ActorSpec
    from .topology import Topology

_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_LAST_PORT = 65_535


class HostSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``[hosts.NAME]``: a machine, its public key (Z85), and how the others reach what it publishes."""

    key: str = ""
    address: str = ""
    port: Annotated[int, Meta(ge=1, le=_LAST_PORT)] = 5600
    bind: str = ""


class Door(Struct, frozen=True):
    """Where a publisher of a bus listens for other hosts, where they find it, and the public keys that may come in."""

    host: str
    key: str
    control_bind: str
    pub_bind: str
    control: str
    pub: str
    allowed: frozenset[str]
    bus: str


def read_hosts(raw: object, problems: list[str]) -> dict[str, HostSpec]:
    """The tables of all hosts that are sound."""
    if not isinstance(raw, dict):
        problems.append("[hosts] must be tables: write [hosts.NAME]")
        return {}
    found = {name: build(HostSpec, table, f"[hosts.{name}]", problems) for name, table in raw.items()}
    return {name: spec for name, spec in found.items() if spec}


def chosen_host(topology: Topology, given: str) -> str:
    """Which host of the topology this machine is: as given, else as ``PYNELIVE_HOST`` says; empty if it has none.

    :raises TopologyError: it has hosts and none is chosen, or another one
    """
    if not topology.hosts:
        if given:
            raise TopologyError([f"--host {given}: {topology.path} has no [hosts.{given}]"])
        return ""
    name = given or os.environ.get("PYNELIVE_HOST", "")
    if not name:
        known = ", ".join(topology.hosts)
        raise TopologyError([f"{topology.path} is for several hosts: say with --host which one this is ({known})"])
    if name not in topology.hosts:
        raise TopologyError([f"{topology.path} has no host '{name}'{nearest(name, topology.hosts)}"])
    return name


def publishers_of(topology: Topology, host: str) -> list[ActorSpec]:
    """The actors of the host that publish, in the order of their ports."""
    return [spec for spec in topology.actors if spec.host == host and topology.published(spec)]


def door_of(topology: Topology, spec: ActorSpec) -> Door | None:
    """How other hosts reach the publisher; None if they do not."""
    host = topology.hosts.get(spec.host)
    if host is None or not (host.address and host.key) or not topology.published(spec):
        return None
    port = host.port + 2 * publishers_of(topology, spec.host).index(spec)
    inside = host.bind or (host.address if is_ip(host.address) else "*")
    if inside == "*" and ":" in host.address:
        inside = "::"  # for ZeroMQ an asterisk means all addresses of IPv4
    allowed = frozenset(other.key for other in topology.hosts.values() if other.key)
    return Door(
        spec.host, host.key, tcp(inside, port), tcp(inside, port + 1), tcp(host.address, port),
        tcp(host.address, port + 1), allowed, topology.bus.name,
    )  # fmt: skip


def doors_elsewhere(topology: Topology, host: str) -> dict[str, Door]:
    """By name, the publishers of the other hosts."""
    others = [spec for name in topology.hosts if name != host for spec in publishers_of(topology, name)]
    return {spec.name: door for spec in others if (door := door_of(topology, spec))}


def wiring(topology: Topology, spec: ActorSpec) -> Any:
    """What the actor has of [hosts], and whom a runner reads: it must be started again when that changes."""
    host = topology.hosts.get(spec.host)
    sources = topology.sources(spec) if topology.role(spec) == "runner" else None
    return host and host.key, door_of(topology, spec), sources


# --- what can be wrong ------------------------------------------------------------------------------------------------


def host_faults(topology: Topology, place: dict[str, str]) -> Iterator[str]:
    """What is wrong with the hosts; ``place`` says by actor's name where a fault of it is."""
    yield from _unplaced(topology, place)
    if not topology.hosts:
        return
    crossing = {spec.host for spec, _, _ in _crossings(topology)}
    keys: dict[str, str] = {}
    for name, host in topology.hosts.items():
        where = f"[hosts.{name}]"
        if not is_name(name):
            yield f"{where}: {name!r} {NO_NAME}"
        yield from _bad_address(where, host)
        yield from _bad_key(where, name, host, bool(crossing) or any(h.address for h in topology.hosts.values()))
        if host.key and keys.setdefault(host.key, where) != where:
            yield f"{where}, key: is that of {keys[host.key]}: each host has a key of its own"
        if host.port + 2 * len(publishers_of(topology, name)) - 1 > _LAST_PORT:
            yield f"{where}, port: its publishers need two ports each, and {host.port} leaves too few"
    yield from _unreachable(topology, place)
    yield from _same_ports(topology)


def _unplaced(topology: Topology, place: dict[str, str]) -> Iterator[str]:
    for spec in topology.actors:
        if not topology.hosts and spec.host:
            yield f"{place[spec.name]}, host: there is no [hosts.{spec.host}]"
        elif topology.hosts and not spec.host:
            yield f"{place[spec.name]}: 'host' is missing{nearest(spec.name, topology.hosts)}"
        elif topology.hosts and spec.host not in topology.hosts:
            yield f"{place[spec.name]}, host: there is no [hosts.{spec.host}]{nearest(spec.host, topology.hosts)}"


def _crossings(topology: Topology) -> Iterator[tuple[ActorSpec, str, str]]:
    """Publisher, stream and consumer wherever the two are on two hosts."""
    readers = {stream: topology.consumers(stream) for stream in topology.streams}
    for producer in topology.producers:
        for stream in (stream for others in producer.fallback.values() for stream in others):
            readers.setdefault(stream, []).append(producer.name)
    hosts = {spec.name: spec.host for spec in topology.actors}
    for spec in topology.actors:
        for stream in topology.published(spec):
            for reader in readers[stream]:
                if spec.host in topology.hosts and hosts[reader] in topology.hosts and hosts[reader] != spec.host:
                    yield spec, stream, reader


def _unreachable(topology: Topology, place: dict[str, str]) -> Iterator[str]:
    said = set[str]()
    for spec, stream, reader in _crossings(topology):
        if not topology.hosts[spec.host].address and spec.host not in said:
            said.add(spec.host)
            yield f"[hosts.{spec.host}]: 'address' is missing: {place[reader]} reads '{stream}' from another host"


def _bad_address(where: str, host: HostSpec) -> Iterator[str]:
    for key, address in (("address", host.address), ("bind", host.bind)):
        if address and not (is_ip(address) or _HOST_NAME.fullmatch(address) or (key, address) == ("bind", "*")):
            yield f"{where}, {key}: {address!r} is neither an IP address nor the name of a machine"
    if host.address in ("0.0.0.0", "::"):
        yield f"{where}, address: {host.address} is no address that others could connect to: that is `bind`"


def _bad_key(where: str, name: str, host: HostSpec, needed: bool) -> Iterator[str]:
    if not host.key:
        if needed:
            yield f"{where}: 'key' is missing: `pynelive keys {name}`, on that host, makes it and prints it"
    elif not _KEY.fullmatch(host.key):
        yield f"{where}, key: must be the 40 characters that `pynelive keys {name}` has printed"


def _same_ports(topology: Topology) -> Iterator[str]:
    taken: dict[tuple[str, int], str] = {}
    for name, host in topology.hosts.items():
        ports = range(host.port, host.port + 2 * len(publishers_of(topology, name)))
        owners = {taken.setdefault((host.address, port), name) for port in ports if host.address}
        for other in sorted(owners - {name}):
            yield f"[hosts.{name}], port: [hosts.{other}] has the same address and ports"
