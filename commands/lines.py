"""Messages as lines: for eyes, and as JSON for programs."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime

import msgspec

from ..bus.messages import Bar, Executed, Instrument, Plot, as_object
from ..bus.subscribe import Heard


def json_line(item: Heard) -> str:
    """One JSON object: the stream, the kind, and the fields of the message."""
    return msgspec.json.encode(as_object(item.stream, item.message)).decode()


def plain_line(item: Heard) -> str:
    """One line of columns for a bar; for anything else its kind, time and fields."""
    message = item.message.bar if isinstance(item.message, Executed) else item.message
    if isinstance(message, Bar):
        return f"{item.stream}  {clock(message.time_ms)}  {_bar(message)}"
    if isinstance(message, Instrument):
        said = f"{message.kind}, tick {message.mintick:g} {message.currency}, {message.timezone}"
        return f"{item.stream}  instrument  {said}"
    fields = msgspec.structs.asdict(message)
    time_ms = fields.pop("time_ms", 0)
    if isinstance(message, Plot):
        fields = {**message.values}
    said = "  ".join(f"{name.removesuffix('_ms')}={_short(name, value)}"
                     for name, value in fields.items() if value not in ("", (), None))  # fmt: skip
    return "  ".join(filter(None, (item.stream, clock(time_ms), type(message).__name__.lower(), said)))


def _bar(bar: Bar) -> str:
    prices = "  ".join(f"{value:>12.10g}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume))
    mark = "" if bar.closed else f"  forming {bar.update}"
    mark += f"  revision {bar.revision}" if bar.revision else ""
    mark += "".join(f"  {bar.extra[name]}" for name in ("source", "flags") if name in bar.extra) if bar.extra else ""
    return f"{prices}  {bar.origin}{mark}"


def _short(name: str, value: object) -> str:
    if name.endswith("_ms") and isinstance(value, int):
        return clock(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def clock(time_ms: int) -> str:
    """A time in UTC to the second; nothing for no time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if time_ms else ""


def say(line: str) -> None:
    """Print a line at once; when nobody reads any more, end this process in order."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.kill(os.getpid(), signal.SIGTERM)
