"""Whom a command asks about a venue: the producer that serves it, or the provider itself where none does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ..bus.archive import Archive, RemoteArchive
from ..bus.asker import Questions
from ..bus.discovery import Announcement, publishers
from ..bus.errors import Fault, TopologyError
from ..bus.names import Key, parse_key
from ..bus.plugins import configure
from ..bus.rundir import RunDir
from ..bus.specs import ProducerSpec
from ..bus.topology import Topology, read
from ..producers.contract import ConfigError, Provider
from ..producers.history import History
from ..producers.keys import completed
from ..producers.table import find_provider
from ..producers.venue import Holder, VenueClaim, holder

_TOPOLOGY = Path("topology.toml")
_PATIENCE_S = 10.0
_LOOK_S = 0.05


@asynccontextmanager
async def asking(what: str, command: str) -> AsyncIterator[tuple[Archive, int]]:
    """The archive of a venue, and what time it is there in ms (the demo lives by a time of its own).

    :param what: a stream, or a provider with or without its venue (``ccxt:BINANCE``)
    :param command: who asks, for others that want the venue meanwhile
    :raises Fault: another command asks this venue just now
    :raises TopologyError: there is no such provider, or its options are wrong
    """
    provider = _provider_for(what)
    try:
        if served := holder(provider.account):
            async with _asking_producer(served) as archive:
                yield archive, provider.now_ms()
            return
        claim = await VenueClaim.take(provider.account, command)
        try:
            yield History(provider), provider.now_ms()
        finally:
            claim.release()
    finally:
        await provider.close()


def provider_class(what: str) -> type[Provider]:
    """The class of the provider that a stream or ``PROVIDER:VENUE`` begins with.

    :raises TopologyError: there is none
    """
    return _declared(what)[0]


@asynccontextmanager
async def _asking_producer(served: Holder) -> AsyncIterator[Archive]:
    announcement = await _announced(served)
    questions = Questions(announcement.control, served.actor, lambda: holder(served.account) == served)
    try:
        yield RemoteArchive(questions)
    finally:
        questions.close()


async def _announced(served: Holder) -> Announcement:
    """Where the holder answers; it may have begun just now."""
    if not served.run_dir:
        raise Fault(f"{served.account} is asked by {served} just now: try again when that has ended")
    run = RunDir(Path(served.run_dir))
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while asyncio.get_running_loop().time() < deadline:
        found = publishers(run).get(served.actor)
        if found and found.pid == served.pid:
            return found
        await asyncio.sleep(_LOOK_S)
    raise Fault(f"{served.account} is asked by {served}, which does not answer: see its log, or stop it")


def _provider_for(what: str) -> Provider:
    kind, base, spec = _declared(what)
    name, rest = _split(what)
    options: dict[str, Any] = spec.options if spec else {}
    if rest and not spec and "@" not in rest and "exchange" in kind.Config.__dataclass_fields__:
        options, what = {"exchange": rest}, name
    try:
        keys = _keys(what, spec)
        return kind(keys, configure(kind.Config, completed(kind, options, base, keys)), base)
    except (ConfigError, TopologyError) as error:
        place = f"[[producer]] {spec.name} of {_TOPOLOGY}" if spec else f"provider '{name}'"
        mend = f": set it in a [[producer]] of ./{_TOPOLOGY}"
        problems = [problem + mend if problem.endswith("is missing") else problem for problem in error.problems]
        raise TopologyError([f"{place}: {problem}" for problem in problems]) from None


def _declared(what: str) -> tuple[type[Provider], Path, ProducerSpec | None]:
    """The provider's class, the folder that its paths start from, and the producer in ./topology.toml that has it."""
    name, rest = _split(what)
    if _TOPOLOGY.is_file():
        topology, problems = read(_TOPOLOGY)
        if spec := _producer_of(topology, name, _venue(rest)):
            return find_provider(spec.provider, topology.base), topology.base, spec
        if problems and not topology.producers:
            raise TopologyError(problems)
    return find_provider(name, Path()), Path(), None


def _split(what: str) -> tuple[str, str]:
    """The provider's name, which may be PyneCore's (``pyne:ccxt``), and what stands behind it."""
    name, _, rest = what.partition(":")
    if name == "pyne":
        plugin, _, rest = rest.partition(":")
        name = f"pyne:{plugin}"
    return name, rest


def _producer_of(topology: Topology, name: str, venue: str) -> ProducerSpec | None:
    for spec in topology.producers:
        venues = {_venue(key) for key in spec.streams}
        if topology.prefixes.get(spec.name, spec.provider) == name and venue in {*venues, ""}:
            return spec
    return None


def _venue(symbol: str) -> str:
    """``BYBIT`` in ``BYBIT:BTC/USDT:USDT``; empty in ``BTC/USDT:USDT``, which has no venue in front."""
    venue = symbol.partition(":")[0] if ":" in symbol or "@" not in symbol else ""
    return "" if "/" in venue else venue


def _keys(what: str, spec: ProducerSpec | None) -> list[Key]:
    """The stream's own; to ask a provider about itself, those that are declared, or one that names but the venue."""
    rest = _split(what)[1]
    if "@" in rest:
        try:
            return [parse_key(rest)]
        except ValueError as error:
            raise TopologyError([str(error)]) from None
    if spec:
        return [parse_key(key) for key in spec.streams]
    return [Key(f"{rest}:", "1D")] if rest else []
