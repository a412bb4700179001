"""`pynelive quarantine`: the bars that the rules of quality did not let through."""

from __future__ import annotations

import sys
from collections import Counter

import click
import msgspec

from ..bus.errors import Fault
from ..bus.journals import kept, publishers_kept
from ..bus.names import is_pattern, matches
from ..bus.rundir import find_run_dir
from ..bus.tables import nearest
from ..producers.quarantine import Rejected, read_quarantine
from .attach import bus_option
from .lines import clock, say

RULES = ("garbage", "price", "volume", "unit", "early", "grid", "bounds", "late", "unconfirmed")
"""The rules by which a bar is kept out, as docs/quality.md explains them."""


@click.command()
@click.argument("patterns", metavar="[STREAM...]", nargs=-1)
@bus_option
@click.option("--rule", type=click.Choice(RULES), help="Only bars that broke this rule.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a bar.")
def quarantine(patterns: tuple[str, ...], bus: str | None, rule: str | None, as_json: bool) -> None:
    """Show the bars that were rejected, and why; whether or not the bus is up."""
    run = find_run_dir(bus)
    counts: Counter[str] = Counter()
    streams = {stream.stream for name in publishers_kept(run) for stream in kept(run, name).streams}
    for item in read_quarantine(run.root / "quarantine"):
        wanted = not patterns or any(matches(item.stream, pattern) for pattern in patterns)
        streams.add(item.stream)
        if wanted and rule in (None, item.rule):
            counts[item.rule] += 1
            say(msgspec.json.encode(item).decode() if as_json else _line(item))
    if strange := [name for name in patterns if not (is_pattern(name) or name in streams)]:
        raise Fault(f"no stream '{strange[0]}' was published or rejected here{nearest(strange[0], sorted(streams))}")
    if not as_json:
        total = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
        click.echo(f"{counts.total():,} rejected: {total}" if counts else "nothing was rejected", file=sys.stderr)


def _line(item: Rejected) -> str:
    bar = item.bar
    prices = "  ".join(f"{bar.get(name)}" for name in ("open", "high", "low", "close", "volume"))
    opens = clock(_time(bar.get("time_ms")))
    return f"{clock(item.time_ms)}  {item.stream}  {opens}  {prices}  {item.rule}: {item.reason}"


def _time(value: object) -> int:
    """The bar's own time, if it is one that a calendar has."""
    return value if isinstance(value, int) and 0 < value < 253_402_300_800_000 else 0
