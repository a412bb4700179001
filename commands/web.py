"""`pynelive web`: a dashboard of a bus that is up."""

from __future__ import annotations

import os
from typing import Any

import click

from ..bus.actor import run_role
from ..bus.discovery import find_bus
from ..bus.specs import SinkSpec
from . import names
from .attach import attached, bus_option


@click.command()
@click.argument("patterns", metavar="[STREAM]...", nargs=-1, shell_complete=names.streams)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="By default 8765, or a free one if that is in use; 0 is any."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where it listens; an address beyond this machine needs a token.",
)
@click.option("--token", envvar="PYNELIVE_TOKEN", default="", help="What a browser must show. Else PYNELIVE_TOKEN.")
@bus_option
def web(patterns: tuple[str, ...], port: int | None, host: str, token: str, bus: str | None) -> int:
    """Attach a dashboard to a running bus: of all streams, or of STREAM (names or patterns)."""
    from ..sinks.feed import SinkFeed
    from ..sinks.web.sink import port_file

    run = find_bus(bus, "")
    options: dict[str, Any] = {"host": host, "token": token, **({} if port is None else {"port": port})}
    spec = SinkSpec(f"web-{os.getpid()}", "web", patterns or ("*",), options)
    role = SinkFeed(attached(run, sinks=(spec,)), spec)
    told: list[str] = []

    def tell() -> None:
        if not told and (address := role.status().address):
            told.append(address)
            click.echo(f"{address}  Ctrl-C ends it")

    try:
        return run_role(role, tell)
    finally:
        port_file(run, spec.name).unlink(missing_ok=True)  # nobody has this name again
