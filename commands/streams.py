"""`pynelive streams`: what is on the bus, and who follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import msgspec

from ..bus.census import PeerRow, StreamRow, census
from ..bus.discovery import find_bus, require_up
from ..bus.errors import Fault
from ..bus.names import is_pattern, matches
from ..bus.tables import nearest
from . import names
from .app import host_option
from .attach import bus_option
from .lines import clock, print_table, rate

COLUMNS = ("stream", "state", "bars", "bars/s", "lag", "last bar (UTC)", "price", "origin", "subscribers")
MAY_GO = ("origin", "subscribers", "price", "last bar (UTC)")
"""Where the terminal is too narrow, in this order."""


@click.command()
@click.argument("patterns", metavar="[STREAM]...", nargs=-1, shell_complete=names.streams)
@bus_option
@host_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stream, and one a subscriber.")
@click.option("--all", "internal", is_flag=True, help="What runners keep for their own recovery (exec:…) too.")
def streams(patterns: tuple[str, ...], bus: str | None, host: str, as_json: bool, internal: bool) -> None:
    """List what is on the bus: state, rate, lag, last bar; and who follows it, how far behind, with what losses.

    With STREAM (names or patterns) only those; a publisher that is silent is always shown.
    """
    run = find_bus(bus, host)
    require_up(run)
    found = asyncio.run(census(run))
    known = [row.stream for row in found.streams]
    strange = [name for name in patterns if not (is_pattern(name) or name in known)]
    if strange and all(known):  # else the one that is silent may have it
        raise Fault(f"nobody publishes '{strange[0]}' on the bus '{run.bus}'{nearest(strange[0], known)}")
    rows = [row for row in found.streams if _asked(row.stream, patterns, internal)]
    if as_json:
        for row in (*rows, *found.subscribers):
            click.echo(msgspec.json.encode(row))
        return
    print_table(COLUMNS, map(stream_cells, rows), MAY_GO)
    if found.subscribers:
        click.echo()
        columns = ("subscriber", "host", "pid", "publisher", "streams", "lag", "gaps", "repaired", "lost")
        print_table(columns, map(_peer_cells, found.subscribers), may_go=("pid", "host"))


def _asked(stream: str, patterns: Sequence[str], internal: bool) -> bool:
    if not stream:
        return True
    named = any(matches(stream, pattern) for pattern in patterns or "*")
    return named and (internal or not stream.startswith("exec:"))


def stream_cells(row: StreamRow) -> tuple[str, ...]:
    """A line of the table."""
    if not row.stream:
        return f"({row.place})", row.state
    price = "" if row.last_price is None else f"{row.last_price:,.10g}"
    return (
        row.stream, row.state, f"{row.bars:,}", rate(row.rate), f"{row.lag:,}", clock(row.last_ms), price, row.origin,
        str(row.subscribers),
    )  # fmt: skip


def _peer_cells(row: PeerRow) -> tuple[str, ...]:
    counts = (row.streams, row.lag, row.gaps, row.repairs, row.truncated)
    return row.subscriber, row.host, str(row.pid), row.publisher, *(f"{count:,}" for count in counts)
