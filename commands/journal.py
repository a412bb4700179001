"""`pynelive journal`: what the journals hold, whether or not the bus is up; export from them, and clean up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from ..bus.control import Request, ask
from ..bus.disk import room
from ..bus.errors import Fault, TopologyError
from ..bus.journal import Journal
from ..bus.journals import Kept, StreamKept, is_up, kept, publishers_kept, reading, remove, used
from ..bus.names import matches
from ..bus.rundir import RunDir, find_run_dir, is_held
from ..bus.specs import SinkSpec
from ..bus.tables import nearest
from ..bus.topology import Topology, read
from . import names
from .attach import bus_option, time_ms
from .lines import clock, print_table

json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")


class _InOrder(click.Group):
    """Lists its commands as they are written here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder)
def journal() -> None:
    """Show what the journals hold, whether or not the bus is up; export from them, and clean up."""


@journal.command(short_help="List the journals: state, streams, bars, size.")
@bus_option
@json_option
def ls(bus: str | None, as_json: bool) -> None:
    """List the journals: who wrote each, how it was closed, and the disk that it uses."""
    run = find_run_dir(bus)
    found = [kept(run, name) for name in publishers_kept(run)]
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    columns = ("publisher", "state", "streams", "bars kept", "segments", "damaged", "size")
    print_table(columns, map(_cells, found))
    for each in found:
        if each.fault:
            click.echo(each.fault, err=True)
    size, free = room(run.journals)
    total = sum(each.bytes for each in found)
    click.echo(f"{_size(total)} in {run.journals}; {_size(free)} of {_size(size)} are free there")


def _cells(found: Kept) -> tuple[str, ...]:
    bars = sum(stream.kept_bars for stream in found.streams)
    counts = (len(found.streams), bars, found.segments, found.damaged)
    return found.publisher, found.state, *(f"{count:,}" for count in counts), _size(found.bytes)


@journal.command(short_help="Show the streams in a journal, or in all.")
@click.argument("publisher", required=False, shell_complete=names.actors)
@click.argument("stream", metavar="[STREAM]", required=False, default="*", shell_complete=names.streams)
@bus_option
@json_option
def inspect(publisher: str | None, stream: str, bus: str | None, as_json: bool) -> None:
    """Show the streams in the journal of PUBLISHER, or in all; STREAM may be a pattern."""
    run = find_run_dir(bus)
    found = [kept(run, name) for name in ([publisher] if publisher else publishers_kept(run))]
    for each in found:
        if each.fault and publisher:
            raise Fault(each.fault)
        if each.fault:
            click.echo(each.fault, err=True)
    streams = [each for of in found for each in of.streams if matches(each.stream, stream)]
    if not streams and stream != "*":
        raise Fault(f"no journal holds '{stream}'{nearest(stream, [s.stream for of in found for s in of.streams])}")
    if as_json:
        click.echo(msgspec.json.encode(streams))
        return
    columns = ("publisher", "stream", "first", "head", "bars", "kept", "from (UTC)", "to (UTC)", "size")
    print_table(columns, map(_stream_cells, streams), may_go=("first", "head", "bars", "from (UTC)"))


def _stream_cells(kept: StreamKept) -> tuple[str, ...]:
    counts = (f"{count:,}" for count in (kept.first, kept.head, kept.bars, kept.kept_bars))
    return kept.publisher, kept.stream, *counts, clock(kept.first_ms), clock(kept.last_ms), _size(kept.bytes)


def _size(size: int) -> str:
    if size < 2**20:
        return f"{size / 2**10:,.0f} kB"
    return f"{size / 2**20:,.1f} MB" if size < 2**30 else f"{size / 2**30:,.1f} GB"


# --- export -----------------------------------------------------------------------------------------------------


@journal.command(short_help="Write a stream to a new .ohlcv, .csv or .jsonl.")
@click.argument("stream", shell_complete=names.streams)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--from", "from_ms", type=time_ms, default="1970-01-01", metavar="TIME", help="From this bar on (ISO 8601)."
)
@click.option("--to", "to_ms", type=time_ms, metavar="TIME", help="Until before this bar.")
@click.option("--publisher", metavar="NAME", help="Whose journal, where several hold the stream.")
@bus_option
def export(
    stream: str, file: Path, from_ms: int, to_ms: int | None, publisher: str | None, bus: str | None
) -> None:
    """Write what the journal has of STREAM to a new FILE: its bars as .ohlcv or .csv, or all of it as .jsonl."""
    from ..sinks.export import export_stream

    run = find_run_dir(bus)
    with reading(run, publisher or owner_of(run, stream)) as found:
        click.echo(export_stream(found, stream, file, from_ms, to_ms))
        if found.damaged:
            click.echo(f"{found.damaged:,} damaged records of {found.folder} were left out", err=True)


def owner_of(run: RunDir, stream: str) -> str:
    """Whose journal holds the stream."""
    streams: dict[str, list[str]] = {}
    for name in publishers_kept(run):
        for each in kept(run, name).streams:
            streams.setdefault(each.stream, []).append(name)
    if stream not in streams:
        raise Fault(f"no journal in {run.journals} holds '{stream}'{nearest(stream, streams)}")
    if len(owners := streams[stream]) > 1:
        raise Fault(f"'{stream}' is in the journals of {' and '.join(owners)}: choose with --publisher")
    return owners[0]


# --- clean ------------------------------------------------------------------------------------------------------


@journal.command(short_help="Remove journals of publishers that are gone.")
@click.argument("publisher", required=False, shell_complete=names.actors)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also what is still declared, or what a declared consumer has not got.")
@bus_option
def clean(publisher: str | None, yes: bool, force: bool, bus: str | None) -> int:
    """Remove the journals of publishers that are gone from the topology, or the one of PUBLISHER, which is not up."""
    run = find_run_dir(bus)
    topology = None if publisher and force else topology_of(run)
    asked = [publisher] if publisher else _left_behind(run, topology)
    faults = {name: why for name in asked if (why := _refusal(run, topology, name, force))}
    if publisher and faults:
        raise Fault(faults[publisher])
    for why in faults.values():
        click.echo(why, err=True)
    if not (chosen := [name for name in asked if name not in faults]):
        click.echo("there is nothing to remove")
        return 0
    size = sum(used(run, name)[0] for name in chosen)
    what = f"the journal{'s' if len(chosen) > 1 else ''} of {', '.join(chosen)}"
    if not (yes or click.confirm(f"remove {what} ({_size(size)})?")):
        return 1
    for name in chosen:
        remove(run, name)
    click.echo(f"removed {what}: {_size(size)}")
    return 0


def topology_of(run: RunDir) -> Topology:
    """The file that declares who belongs to this bus: the one that is meant, or the one beside a run directory."""
    path = run.topology.path if run.topology else run.root.parent.parent / "topology.toml"
    if path.is_file():
        topology, problems = read(path)
        if problems:
            raise TopologyError(problems)
        if topology.run_dir.resolve() == run.root:
            return topology
    raise Fault(f"no topology says who belongs to the bus in {run.root}: name its file (--bus FILE)")


def _left_behind(run: RunDir, topology: Topology | None) -> list[str]:
    declared = _declared(run, topology)
    return [name for name in publishers_kept(run) if name not in declared and not is_up(run, name)]


def _declared(run: RunDir, topology: Topology | None) -> set[str]:
    """Who is in the topology as it is in its file, and as it is up."""
    views = ask(run, Request("ps")).views if is_held(run.lock) else []
    return {view.name for view in views} | {spec.name for spec in (topology.actors if topology else ())}


def _refusal(run: RunDir, topology: Topology | None, name: str, force: bool) -> str:
    """Why a journal must stay; nothing if it may go."""
    if name not in publishers_kept(run):
        return f"'{name}' has no journal in {run.journals}: `pynelive journal ls` names those that have"
    if is_up(run, name):
        return f"'{name}' is up: stop it before its journal is removed (`pynelive stop {name}`)"
    if force or topology is None:
        return ""
    if name in _declared(run, topology):
        return f"'{name}' is declared in {topology.path} and goes on from its journal: --force lets it begin anew"
    try:
        with reading(run, name) as journal:
            behind = next(_not_got(topology, journal), "")
    except Fault as fault:
        return f"{fault}; --force removes it unread"
    return f"{behind}: export it first (`pynelive journal export`), or say --force" if behind else ""


def _not_got(topology: Topology, journal: Journal) -> Iterator[str]:
    """What declared consumers may not have. Only a recorder's files tell, as nobody else keeps its offset in sight."""
    for stream, track in journal.tracks.items():
        for spec in topology.sinks:
            if spec.name in topology.consumers(stream) and not _has(topology, spec, stream, track.time_ms):
                yield f"'{spec.name}' may not have all of '{stream}' in the journal of '{journal.folder.name}'"


def _has(topology: Topology, spec: SinkSpec, stream: str, time_ms: int) -> bool:
    from ..bus.ohlcv import last_time_ms, ohlcv_path

    if spec.type != "ohlcv":
        return False
    try:
        path = ohlcv_path(topology.resolve(str(spec.options.get("dir", "data"))), stream)
    except ValueError:
        return True  # a stream without bars
    return (last_time_ms(path) or 0) >= time_ms
