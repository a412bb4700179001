"""What the shell offers where a command wants the name of an actor or a stream: those of the topology."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..bus.errors import TopologyError
from ..bus.topology import Topology, read


def actors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The actors whose names begin so."""
    topology = _topology(ctx)
    return [spec.name for spec in (topology.actors if topology else ()) if spec.name.startswith(incomplete)]


def streams(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The declared streams whose names begin so."""
    topology = _topology(ctx)
    return [stream for stream in (topology.streams if topology else ()) if stream.startswith(incomplete)]


def _topology(ctx: click.Context) -> Topology | None:
    """As the command line names it so far; nobody waits for a bus here."""
    meant = ctx.params.get("bus") or ctx.params.get("topology") or os.environ.get("PYNELIVE_BUS")
    path = Path(meant or "topology.toml")
    try:
        return read(path)[0]
    except TopologyError:
        return None
