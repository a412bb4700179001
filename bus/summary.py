"""What `up` prints at its end: a line an actor, and below it what it has kept, or why it has failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from .children import View
from .status import Status

SHOWN = 8
"""How many lines one actor gets below its own."""


def summarize(views: Sequence[View]) -> Iterator[str]:
    """The lines, in columns."""
    actors = _aligned(_row(view) for view in views)
    for view, line in zip(views, actors, strict=True):
        yield line
        if view.phase == "failed":
            yield f"    {view.why}"
        if view.status:
            yield from (f"    {detail}" for detail in _shortened(_details(view.status)))


def _row(view: View) -> str:
    bars = many(view.status.bars, "bar") if view.status else ""
    return "  ".join([view.name, view.phase, bars, many(view.restarts, "restart") if view.restarts else ""])


def _details(status: Status) -> list[str]:
    """What the actor says of its work; else its streams, if there are several."""
    if status.summary or len(status.streams) < 2:
        return _aligned(status.summary)
    return _aligned(f"{stream.stream}  {many(stream.bars, 'bar')}" for stream in status.streams)


def _shortened(lines: list[str]) -> list[str]:
    return lines if len(lines) <= SHOWN else [*lines[: SHOWN - 1], f"… and {len(lines) - SHOWN + 1} more"]


def _aligned(lines: Iterable[str]) -> list[str]:
    """Columns out of what two spaces part; those of numbers are flush right."""
    rows = [line.split("  ") for line in lines]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]


def _padded(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


def many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
