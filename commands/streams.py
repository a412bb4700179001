"""`pynelive streams`: what is on the bus, and who follows it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import click
import msgspec

from ..bus.discovery import find_bus, require_up
from ..bus.errors import Fault
from ..bus.link import Link
from ..bus.messages import Bar, State
from ..bus.names import is_pattern, matches
from ..bus.rundir import RunDir
from ..bus.subscriber import Subscriber
from ..bus.tables import nearest
from . import names
from .app import host_option
from .attach import bus_option
from .lines import clock, print_table, rate

COLUMNS = ("stream", "state", "bars", "bars/s", "lag", "last bar (UTC)", "price", "origin", "subscribers")
MAY_GO = ("origin", "subscribers", "price", "last bar (UTC)")
"""Where the terminal is too narrow, in this order."""
_PATIENCE_S = 2.0
"""A publisher that has not answered by then is silent."""


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
    rows, peers = asyncio.run(_rows(run))
    known = [row["stream"] for row in rows]
    strange = [name for name in patterns if not (is_pattern(name) or name in known)]
    if strange and all(known):  # else the one that is silent may have it
        raise Fault(f"nobody publishes '{strange[0]}' on the bus '{run.bus}'{nearest(strange[0], known)}")
    rows = [row for row in rows if _asked(row["stream"], patterns, internal)]
    if as_json:
        for row in rows + peers:
            click.echo(json.dumps(row))
        return
    print_table(COLUMNS, map(stream_cells, rows), MAY_GO)
    if peers:
        click.echo()
        columns = ("subscriber", "host", "pid", "publisher", "streams", "lag", "gaps", "repaired", "lost")
        print_table(columns, map(_peer_cells, peers), may_go=("pid", "host"))


def _asked(stream: str, patterns: Sequence[str], internal: bool) -> bool:
    if not stream:
        return True
    named = any(matches(stream, pattern) for pattern in patterns or "*")
    return named and (internal or not stream.startswith("exec:"))


async def _rows(run: RunDir) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The streams and the subscribers; a publisher that has answered is asked again, for those who follow it."""
    subscriber = Subscriber(run, (), lambda cursor, messages: None)
    subscriber.open()
    try:
        await _greeted(lambda: subscriber.links.values())
        links = [link for link in subscriber.links.values() if link.welcome]
        for link in links:
            link.welcome = None
            link.greet(peers=True)
        if links:
            await _greeted(lambda: links)
        rows = [row for link in subscriber.links.values() for row in _stream_rows(link)]
        return rows, [row for link in links for row in _peer_rows(link)]
    finally:
        await subscriber.close()


async def _greeted(links: Callable[[], Collection[Link]]) -> None:
    """Wait until all of them have answered, with patience for those that do not."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if (found := links()) and all(link.welcome or link.refused for link in found):
            return
        await asyncio.sleep(0.02)


def _stream_rows(link: Link) -> list[dict[str, Any]]:
    welcome = link.welcome
    if welcome is None:
        state = "other version" if link.refused else "silent"
        return [{"publisher": link.name, "stream": "", "state": state, "place": link.place}]
    rows = []
    for stream in welcome.streams:
        last = stream.last if isinstance(stream.last, Bar) else None
        state = "ended" if stream.ended else stream.state.state if isinstance(stream.state, State) else "live"
        rows.append({
            "publisher": link.name, "stream": stream.name, "state": state, "bars": stream.bars,
            "rate": round(stream.rate, 3),
            "lag": max(welcome.lags.values(), default=0), "last_ms": last.time_ms if last else 0,
            "last_price": last.close if last else None, "origin": last.origin if last else "",
            "subscribers": stream.subscribers, "head": stream.head, "kept_from": stream.first,
            "epoch": welcome.epoch,
        })  # fmt: skip
    return rows


def _peer_rows(link: Link) -> Iterator[dict[str, Any]]:
    """Lines of JSON with an empty stream, so that no program takes them for one."""
    for peer in link.welcome.peers if link.welcome else ():
        fields = msgspec.structs.asdict(peer)
        yield {"publisher": link.name, "stream": "", "state": "", "subscriber": fields.pop("name"), **fields}


def stream_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    if not row["stream"]:
        return f"({row['place']})", row["state"]
    price = "" if row["last_price"] is None else f"{row['last_price']:,.10g}"
    return (
        row["stream"], row["state"], f"{row['bars']:,}", rate(row["rate"]), f"{row['lag']:,}",
        clock(row["last_ms"]), price, row["origin"], str(row["subscribers"]),
    )  # fmt: skip


def _peer_cells(row: dict[str, Any]) -> tuple[str, ...]:
    counts = (row[name] for name in ("streams", "lag", "gaps", "repairs", "truncated"))
    return row["subscriber"], row["host"], str(row["pid"]), row["publisher"], *(f"{count:,}" for count in counts)
