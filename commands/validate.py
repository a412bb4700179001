"""The topology that a command works with: the file's faults and the plugins' in one list.

The bus knows no provider, sink or runner; here their tables meet the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..bus.errors import Fault, TopologyError
from ..bus.names import parse_key
from ..bus.ohlcv import ohlcv_path
from ..bus.plugins import configure, names
from ..bus.secrets import secrets_in
from ..bus.tables import nearest
from ..bus.topology import ActorSpec, ProducerSpec, RunnerSpec, SinkSpec, Topology, place, read
from ..producers.contract import ConfigError
from ..producers.derived import fault_of
from ..producers.keys import completed
from ..producers.table import find_provider
from ..runners import table as runners
from ..sinks.table import find_sink


def load(path: Path, thorough: bool = False) -> Topology:
    """Read a topology and ask every plugin whether it could work as the file says.

    :param thorough: look into files that are to be replayed too, which may take seconds
    :raises TopologyError: all faults at once
    """
    topology, problems = read(path)
    for spec in topology.actors:
        problems += [f"{place(spec)}: {fault}" for fault in _faults(topology, spec, thorough)]
    problems += _same_file(topology)
    if problems:
        raise TopologyError(problems)
    return topology


def _faults(topology: Topology, spec: ActorSpec, thorough: bool) -> list[str]:
    try:
        match spec:
            case ProducerSpec():
                _check_producer(topology, spec, thorough)
            case SinkSpec():
                configure(find_sink(spec.type, topology.base).Config, spec.options)
            case RunnerSpec():
                _check_runner(spec)
    except (TopologyError, ConfigError) as error:
        return [_without_secrets(problem, spec.options) for problem in error.problems]
    except Fault as fault:
        return [str(fault)]
    return []


def _check_producer(topology: Topology, spec: ProducerSpec, thorough: bool) -> None:
    provider = find_provider(spec.provider, topology.base)
    if provider.name != topology.prefixes.get(spec.name, spec.provider):
        raise TopologyError([f"streams of provider '{spec.provider}' must begin with '{spec.provider}:'"])
    try:
        keys = [parse_key(key) for key in spec.streams]
    except ValueError:  # said by the file's own check
        return
    if wrong := [f"derive: {fault}" for methods in spec.derive.values() for fault in map(fault_of, methods) if fault]:
        raise TopologyError(wrong)
    options = completed(provider, spec.options, topology.base, keys)
    try:
        made = provider(keys, configure(provider.Config, options), topology.base)
    except (TopologyError, ConfigError) as error:
        raise TopologyError([_without_secrets(problem, options) for problem in error.problems]) from None
    if thorough:
        made.check()


def _check_runner(spec: RunnerSpec) -> None:
    """By name only: a runner's class brings all of PyneCore with it."""
    known = names(runners.RUNNERS, runners.GROUP)
    if spec.type not in known and ".py" not in spec.type:
        raise TopologyError([f"runner '{spec.type}' is unknown{nearest(spec.type, known)}"])


def _same_file(topology: Topology) -> Iterator[str]:
    """Recordings that meet in one file: of two recorders in one folder, or of symbols with one file name."""
    owners: dict[str, str] = {}
    for spec in (spec for spec in topology.sinks if spec.type == "ohlcv"):
        folder = topology.resolve(str(spec.options.get("dir", "data")))
        for stream in topology.consumed(spec):
            try:
                path = os.path.realpath(ohlcv_path(folder, stream))
            except ValueError:  # a stream without bars, or one whose name the file's own check has refused
                continue
            mine = f"'{stream}' of {place(spec)}"
            if (owner := owners.setdefault(path, mine)) != mine:
                yield f"{place(spec)}, streams: '{stream}' would be written to {path}, where {owner} is"


def _without_secrets(fault: str, options: object) -> str:
    for secret in secrets_in(options):
        fault = fault.replace(secret, "***")
    return fault
