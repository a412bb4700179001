"""The topology that a command works with: the file's faults and the plugins' in one list.

The bus knows no provider, sink or runner; here their tables meet the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from ..bus.errors import Fault, TopologyError
from ..bus.names import Key, parse_key
from ..bus.ohlcv import ohlcv_path
from ..bus.plugins import configure, names
from ..bus.secrets import Secret, without_secrets
from ..bus.specs import ActorSpec, ProducerSpec, RunnerSpec, SinkSpec, place, seats_of
from ..bus.tables import nearest
from ..bus.topology import Topology, read
from ..producers.contract import ConfigError
from ..producers.derived import fault_of
from ..producers.keys import completed
from ..producers.table import find_provider
from ..runners import table as runners
from ..runners.kinds import check_inputs, misfit
from ..sinks.table import configured, find_sink


def load(path: Path, thorough: bool = False) -> Topology:
    """Read a topology and ask every plugin whether it could work as the file says.

    :param thorough: look into files that are to be replayed too, which may take seconds
    :raises TopologyError: all faults at once
    """
    topology, problems = read(path)
    accounts: dict[str, str] = {}
    for spec in topology.actors:
        problems += [f"{place(spec)}: {fault}" for fault in _faults(topology, spec, thorough, accounts)]
    problems += _same_file(topology)
    if problems:
        raise TopologyError(problems)
    return replace(topology, producers=tuple(_sealed(spec, topology) for spec in topology.producers))


def _sealed(spec: ProducerSpec, topology: Topology) -> ProducerSpec:
    """The credentials as secrets, also those that the file spells out: nothing that prints options shows them."""
    secret = find_provider(spec.provider, topology.base).credentials
    return replace(spec, options={
        name: Secret(value) if name in secret else value for name, value in spec.options.items()
    })  # fmt: skip


def _faults(topology: Topology, spec: ActorSpec, thorough: bool, accounts: dict[str, str]) -> list[str]:
    try:
        match spec:
            case ProducerSpec():
                account = _check_producer(topology, spec, thorough)
                if account and (owner := accounts.setdefault(account, place(spec))) != place(spec):
                    return [f"{account} is asked by {owner} already: put these streams into that producer"]
            case SinkSpec():
                configured(find_sink(spec.type, topology.base), spec.options)
            case RunnerSpec():
                _check_runner(topology, spec)
    except (TopologyError, ConfigError) as error:
        missing = [key for key, value in spec.options.items() if isinstance(value, Secret) and not value]
        said = tuple(f"option '{key}' " for key in missing)  # where the secrets were looked for
        return [without_secrets(problem) for problem in error.problems if not problem.startswith(said)]
    except Fault as fault:
        return [str(fault)]
    return []


def _check_producer(topology: Topology, spec: ProducerSpec, thorough: bool) -> str:
    """The account that it would use, of which one producer may be."""
    provider = find_provider(spec.provider, topology.base)
    if provider.name != topology.prefixes.get(spec.name, spec.provider):
        raise TopologyError([f"streams of provider '{spec.provider}' must begin with '{spec.provider}:'"])
    if not (keys := [key for text in spec.streams for key in _parsed(text)]):
        return ""
    if wrong := [f"derive: {fault}" for methods in spec.derive.values() for fault in map(fault_of, methods) if fault]:
        raise TopologyError(wrong)
    options = completed(provider, spec.options, topology.base, keys)
    try:
        made = provider(keys, configure(provider.Config, options), topology.base)
    except (TopologyError, ConfigError) as error:
        unread = [text for text in spec.streams if not _parsed(text)]  # what follows from them is no other fault
        problems = [problem for problem in error.problems if not any(f"'{text}'" in problem for text in unread)]
        raise TopologyError(problems) from None
    if thorough:
        made.check()
    return made.account


def _parsed(text: str) -> list[Key]:
    """The key; nothing for what is none, which the file's own check has said: the others are looked at all the same."""
    try:
        return [parse_key(text)]
    except ValueError:
        return []


def _check_runner(topology: Topology, spec: RunnerSpec) -> None:
    """Without its class, which brings all of PyneCore with it."""
    known = names(runners.RUNNERS, runners.GROUP)
    if spec.type not in known and ".py" not in spec.type:
        raise TopologyError([f"runner '{spec.type}' is unknown{nearest(spec.type, known)}"])
    if len(spec.instances) > 1 and spec.type == "pyne":
        raise TopologyError(["a process runs one PyneCore script: give each of its instances a [[runner]] of its own"])
    if fault := misfit(topology.resolve(spec.script), spec.type):
        raise TopologyError([fault])  # its options are those of another type
    runners.check_options(spec.type, spec.options)
    if spec.type == "python":
        for seat in seats_of(spec):
            check_inputs(topology.resolve(spec.script), seat.inputs)


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
