"""`pynelive plan`: what scripts need together, and what of it the topology does not bring yet."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import click

from ..bus.errors import Fault, TopologyError
from ..bus.messages import Instrument
from ..bus.names import parse_key, timeframe_ms
from ..bus.plugins import configure
from ..bus.specs import BusSpec, ProducerSpec, RunnerSpec, seats_of
from ..bus.summary import many
from ..bus.symbols import stream_of, symbol_of
from ..bus.topology import Topology, as_written, read
from ..producers.contract import ConfigError
from ..producers.keys import completed
from ..producers.table import PROVIDERS, find_provider
from ..runners.requests import Asked, bars_before, chart_of, requests_of

_TOPOLOGY = Path("topology.toml")
_PAGE = 1_000
"""Bars that a venue gives to one question, about."""


@dataclass
class Need:
    """A stream: how many requests read it, the bars of warm-up, and who publishes it."""

    stream: str
    requests: int = 0
    bars: int = 0
    producer: str = ""


@dataclass
class Plan:
    """What scripts need together; ``unknown`` are requests whose stream cannot be told."""

    needs: dict[str, Need] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """What would be a connection each, if every script had its own."""
        return sum(need.requests for need in self.needs.values())

    @property
    def missing(self) -> list[str]:
        """What nobody publishes."""
        return sorted(need.stream for need in self.needs.values() if not need.producer)

    def add(self, stream: str, bars: int) -> None:
        """One more request."""
        need = self.needs.setdefault(stream, Need(stream))
        need.requests, need.bars = need.requests + 1, max(need.bars, bars)


@click.command()
@click.argument("paths", metavar="[SCRIPT]... [TOPOLOGY]", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--stream", default="", help="The chart of the scripts that are named.")
@click.option("--history", type=click.IntRange(0), default=500, show_default=True, help="Their bars of warm-up.")
@click.option("--write", is_flag=True, help="Print the producers with the streams that are missing, as TOML.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(paths: tuple[Path, ...], stream: str, history: int, write: bool, as_json: bool) -> int:
    """Say which streams, connections and questions to venues the scripts need, and what is missing."""
    topology = _topology([path for path in paths if path.suffix == ".toml"])
    named = [path.absolute() for path in paths if path.suffix != ".toml"]
    if named and not stream:
        raise click.UsageError("which chart are the scripts on? --stream demo:BTC/USDT@1")
    if stream and not named:
        raise click.UsageError("--stream is the chart of scripts that are named: name a script, or leave it out")
    seats = [seat for spec in topology.runners if spec.type == "pyne" for seat in seats_of(spec)]
    made = plan_of(topology, [*seats, *(RunnerSpec(path.stem, str(path), stream, history=history) for path in named)])
    if write:
        click.echo(_toml(topology, made))
    elif as_json:
        shown = {"streams": [asdict(need) for need in made.needs.values()], "unknown": made.unknown}
        click.echo(json.dumps(shown | {"missing": made.missing, "requests": made.requests}, indent=2))
    else:
        click.echo("\n".join([*_table(made), *asyncio.run(_costs(topology, made))]))
    return 1 if made.missing or made.unknown else 0


def _topology(paths: Sequence[Path]) -> Topology:
    if len(paths) > 1:
        raise click.UsageError("one topology at a time")
    if paths or _TOPOLOGY.is_file():
        return read(paths[0] if paths else _TOPOLOGY)[0]
    return Topology(Path.cwd() / _TOPOLOGY, BusSpec())


def plan_of(topology: Topology, seats: Sequence[RunnerSpec]) -> Plan:
    """What these scripts need, with who publishes it."""
    made = Plan()
    for seat in seats:
        script, chart = topology.resolve(seat.script), _chart(seat)
        made.add(seat.stream, seat.history)
        for asked in requests_of(script, seat.inputs, chart_of(chart)):
            if stream := _stream_of(topology, seat.stream, asked):
                if stream != seat.stream:
                    made.add(stream, bars_before(seat.history, seat.stream, stream))
            else:
                made.unknown.append(f"{seat.script}, line {asked.line}: {asked.symbol or '?'}@{asked.timeframe or '?'}")
    owners = {stream: spec.name for spec in topology.producers for stream in topology.published(spec)}
    for need in made.needs.values():
        need.producer = owners.get(need.stream, "")
    return made


def _stream_of(topology: Topology, chart: str, asked: Asked) -> str | None:
    """The stream that is meant, published or not; its symbol is one that the topology knows, or the bus's own name."""
    own = _guess(chart)
    if asked.symbol is None or asked.timeframe is None:
        return None
    timeframe = asked.timeframe or own.timeframe
    try:
        timeframe_ms(timeframe)
    except ValueError:  # such as a month, of which the bus has no bars
        return None
    if asked.symbol in ("", own.ticker, f"{own.prefix}:{own.ticker}"):
        return f"{symbol_of(chart)}@{timeframe}"
    symbols = {symbol_of(stream) for stream in (chart, *topology.streams) if not stream.startswith("run:")}
    known = {f"{symbol}@{timeframe}": _guess(f"{symbol}@{timeframe}") for symbol in symbols}
    named = asked.symbol.partition(":")[0] in {*PROVIDERS, *topology.prefixes.values(), "pyne"}
    return stream_of(asked.symbol, timeframe, known, own.prefix) or (f"{asked.symbol}@{timeframe}" if named else None)


def _chart(seat: RunnerSpec) -> Instrument:
    try:
        return _guess(seat.stream)
    except ValueError as error:
        raise TopologyError([f"{seat.script}, stream: {error}"]) from None


def _guess(stream: str) -> Instrument:
    """What a stream's instrument will be called, as most venues do: ``BYBIT`` and ``BTCUSDT``."""
    key = parse_key(stream)
    provider, _, rest = key.symbol.partition(":")
    venue, _, pair = rest.partition(":") if "/" not in rest.partition(":")[0] and ":" in rest else ("", "", rest)
    return Instrument(pair.partition(":")[0].replace("/", ""), key.timeframe, venue or provider.upper())


def _table(made: Plan) -> Iterator[str]:
    wide = max([6, *map(len, made.needs)])
    yield f"{'stream':{wide}}  read by     bars  published by"
    for stream in sorted(made.needs):
        need = made.needs[stream]
        yield f"{stream:{wide}}  {need.requests:7,}  {need.bars:7,}  {need.producer or 'missing'}"
    count = len(made.needs)
    yield (f"{many(count, 'stream')} for {many(made.requests, 'request')}: "
           f"{many(count, 'subscription')} at a venue instead of {made.requests:,}")
    yield from (f"cannot be told: {what}" for what in made.unknown)


async def _costs(topology: Topology, made: Plan) -> list[str]:
    """What the warm-up asks of each producer's venue, at the pace that the venue allows."""
    lines = []
    for spec in topology.producers:
        needs = [need for need in made.needs.values() if need.producer == spec.name]
        questions = sum(max(ceil(need.bars / _PAGE), 1) for need in needs)
        if needs:
            seconds = await _seconds(topology, spec, questions)
            bars = sum(need.bars for need in needs)
            lines.append(f"{spec.name}: {many(bars, 'bar')} of warm-up, {many(questions, 'question')}{seconds}")
    return lines


async def _seconds(topology: Topology, spec: ProducerSpec, questions: int) -> str:
    keys = [parse_key(key) for key in spec.streams]
    try:
        kind = find_provider(spec.provider, topology.base)
        options = completed(kind, spec.options, topology.base, keys)
        provider = kind(keys, configure(kind.Config, options), topology.base)
    except (ConfigError, TopologyError, Fault) as fault:
        return f" (its pace is not known: {str(fault).splitlines()[0]})"
    try:
        seconds = provider.budget.seconds_for(questions)
        return f", {seconds:.1f} s at the venue's pace" if seconds else ""
    finally:
        await provider.close()


def _toml(topology: Topology, made: Plan) -> str:
    """The producers as the file has them, with what is missing added to their streams."""
    wanted: dict[str, list[str]] = {}
    for stream in made.missing:
        wanted.setdefault(_prefix(topology, stream), []).append(stream)
    tables = []
    for spec in topology.producers:
        prefix = topology.prefixes.get(spec.name, spec.provider)
        more = [stream.removeprefix(f"{prefix}:") for stream in wanted.pop(prefix, [])]
        tables.append(as_written(topology, spec) | {"streams": [*spec.streams, *more]})
    for prefix, streams in wanted.items():
        names = [stream.removeprefix(f"{prefix}:") for stream in streams]
        tables.append({"name": prefix, "provider": prefix, "streams": names})
    return "\n\n".join(map(_producer, tables))


def _prefix(topology: Topology, stream: str) -> str:
    own = [topology.prefixes.get(spec.name, spec.provider) for spec in topology.producers]
    return next((prefix for prefix in own if stream.startswith(f"{prefix}:")), stream.partition(":")[0])


def _producer(values: Mapping[str, Any]) -> str:
    return "\n".join(["[[producer]]", *(f"{key} = {_value(value)}" for key, value in values.items())])


def _value(value: Any) -> str:
    """A value as TOML, a table on one line."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case str() | bool():
            return json.dumps(value, ensure_ascii=False)
    return str(value)  # a number, or a time, which Python writes as TOML does


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
