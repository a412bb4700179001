"""`pynelive check`: every fault of a topology at once, else its graph."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..bus import graph
from ..bus.errors import TopologyError
from ..bus.hosts import chosen_host
from ..bus.security import check_key
from .app import host_option, topology_argument
from .validate import load


@click.command()
@topology_argument
@click.option("--json", "form", flag_value="json", help="Print the graph as JSON.")
@click.option("--dot", "form", flag_value="dot", help="Print the graph for Graphviz.")
@host_option
def check(topology: Path, form: str | None, host: str) -> int:
    """Find every fault of TOPOLOGY at once, or print its graph."""
    write = {"json": graph.to_json, "dot": graph.dot, None: graph.tree}[form]
    try:
        checked = load(topology, thorough=True)
        if host:
            check_key(checked, chosen_host(checked, host))
        click.echo(write(checked))
    except TopologyError as error:
        if form != "json":
            raise
        click.echo(json.dumps({"problems": error.problems}, indent=2, ensure_ascii=False))
        return 2
    return 0
