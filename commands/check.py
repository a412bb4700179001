"""`pynelive check`: every fault of a topology at once, else its graph."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..bus import graph
from ..bus.errors import TopologyError
from .app import topology_argument
from .validate import load


@click.command()
@topology_argument
@click.option("--json", "form", flag_value="json", help="Print the graph as JSON.")
@click.option("--dot", "form", flag_value="dot", help="Print the graph for Graphviz.")
def check(topology: Path, form: str | None) -> int:
    """Find every fault of TOPOLOGY at once, or print its graph."""
    write = {"json": graph.to_json, "dot": graph.dot, None: graph.tree}[form]
    try:
        click.echo(write(load(topology, thorough=True)))
    except TopologyError as error:
        if form != "json":
            raise
        click.echo(json.dumps({"problems": error.problems}, indent=2, ensure_ascii=False))
        return 2
    return 0
