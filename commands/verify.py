"""`pynelive verify`: a run replayed and compared with what it published; a recording compared with its journal."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..bus.errors import Fault
from ..bus.journals import kept, publishers_kept, reading
from ..bus.rundir import RunDir, find_run_dir
from ..bus.specs import RunnerSpec, seats_of
from ..bus.tables import nearest
from ..bus.topology import Topology
from ..sinks.proof import stream_of, summary, verify_recording
from . import names
from .attach import bus_option
from .journal import owner_of, topology_of

if TYPE_CHECKING:
    from ..runners.verify import Proof as RunProof
    from ..sinks.proof import Proof as FileProof


@click.command()
@click.argument("what", metavar="run:NAME|FILE.ohlcv", shell_complete=names.streams)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@bus_option
def verify(what: str, as_json: bool, bus: str | None) -> int:
    """Replay the run run:NAME and compare all that it has said, or compare a recording FILE.ohlcv with its journal."""
    if not (what.startswith("run:") or what.endswith(".ohlcv")):
        raise Fault(f"'{what}' is neither a run (run:NAME) nor a recording (FILE.ohlcv)")
    run = find_run_dir(bus)
    return _verify_run(run, what, as_json) if what.startswith("run:") else _verify_file(run, Path(what), as_json)


def _verify_run(run: RunDir, stream: str, as_json: bool) -> int:
    from ..runners.verify import verify_run

    topology = topology_of(run)
    spec = _seat(topology, stream)
    publisher = spec.name.partition("/")[0]
    with reading(run, publisher) as journal, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        proof = verify_run(topology, spec, journal)  # whose script may print what it likes
    line = f"{stream}: {proof.updates:,} updates, {proof.closed:,} of them closed bars, replayed: " \
           f"the same {proof.messages:,} messages, fingerprint {proof.fingerprint}"
    code = _say(proof, stream, line, as_json)
    for doubt in proof.doubts:
        click.echo(f"the script uses {doubt}: another run on the same bars need not say the same", err=True)
    return code


def _verify_file(run: RunDir, path: Path, as_json: bool) -> int:
    if not path.is_file():
        raise Fault(f"there is no file {path}")
    streams = [each.stream for name in publishers_kept(run) for each in kept(run, name).streams]
    stream = stream_of(path, streams)
    with reading(run, owner_of(run, stream)) as journal:
        proof = verify_recording(path, stream, journal)
    return _say(proof, str(path), summary(proof), as_json)


def _say(proof: RunProof | FileProof, what: str, line: str, as_json: bool) -> int:
    if as_json:
        click.echo(msgspec.json.encode(proof))
    else:
        click.echo(f"{what} differs: {proof.difference}" if proof.difference else line)
    return 1 if proof.difference else 0


def _seat(topology: Topology, stream: str) -> RunnerSpec:
    seats = {f"run:{seat.name}": seat for spec in topology.runners for seat in seats_of(spec)}
    if stream not in seats:
        raise Fault(f"{topology.path} declares no runner that publishes '{stream}'{nearest(stream, seats)}")
    return seats[stream]
