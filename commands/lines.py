"""Messages as lines: for eyes, and as JSON for programs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from ..bus.messages import (
    Account,
    Bar,
    Drawing,
    Executed,
    Instrument,
    Message,
    Meta,
    Order,
    Plot,
    Signal,
    as_object,
)
from ..bus.subscribe import Heard

_WORDS = ("stream", "state", "origin", "subscriber", "host", "publisher")


def json_line(item: Heard) -> str:
    """One JSON object: the stream, the kind, and the fields of the message."""
    return msgspec.json.encode(as_object(item.stream, item.message)).decode()


class PlainLines:
    """One line of columns for a bar; for anything else its kind, time and fields.

    The columns are as wide as the widest that they have held.
    """

    def __init__(self) -> None:
        self._stream = 0
        self._values = [12] * 5

    def __call__(self, item: Heard) -> str:
        """The line of a message."""
        self._stream = max(self._stream, len(item.stream))
        message = item.message.bar if isinstance(item.message, Executed) else item.message
        said = self._bar(message) if isinstance(message, Bar) else _other(message)
        return f"{item.stream:{self._stream}}  {said}"

    def _bar(self, bar: Bar) -> str:
        values = [f"{value:.10g}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
        self._values = [max(wide, len(value)) for wide, value in zip(self._values, values, strict=True)]
        prices = "  ".join(f"{value:>{wide}}" for wide, value in zip(self._values, values, strict=True))
        return f"{clock(bar.time_ms)}  {prices}  {bar.origin}{_marks(bar)}"


def _other(message: Message) -> str:
    if isinstance(message, Instrument):
        return f"instrument  {message.kind}, tick {message.mintick:g} {message.currency}, {message.timezone}"
    fields = msgspec.structs.asdict(message)
    time_ms = fields.pop("time_ms", 0)
    words, fields = _of_a_script(message, fields)
    said = [f"{name.removesuffix('_ms')}={_short(name, value)}"
            for name, value in fields.items() if value not in ("", (), None, {})]  # fmt: skip
    return "  ".join(filter(None, (clock(time_ms), type(message).__name__.lower(), *words, *said)))


def _of_a_script(message: Message, fields: dict[str, object]) -> tuple[Iterable[str], dict[str, object]]:
    """What is said in words, and the fields that are shown by name."""
    if isinstance(message, Plot):
        return () if message.closed else ("forming",), {**message.values}
    if isinstance(message, Meta):
        return [f"{plot.get('title', plot['id'])} ({plot['kind']})" for plot in message.plots], {}
    if isinstance(message, Drawing):
        cells = {name: f"{len(value)} cells" for name, value in message.fields.items() if name == "cells"}
        return (message.op, message.kind, str(message.id)), {**message.fields, **cells}
    if isinstance(message, Signal):
        phase = message.phase if message.phase != "live" else ""
        return (message.action,), {**fields, "action": "", "phase": phase, "orders": _orders(message.orders)}
    if isinstance(message, Account):
        figures = len(message.statistics) and f"{len(message.statistics)} figures"
        trades = "; ".join(f"{each.entry_id} {each.size:g} at {each.entry_price:.10g}" for each in message.open_trades)
        orders = _orders(message.orders).replace("place ", "")
        shown = {"open_trades": trades, "orders": orders, "statistics": figures or ""}
        return (), {**fields, **shown}
    return (), fields


def _orders(orders: Sequence[Order]) -> str:
    return "; ".join(map(_order, orders))


def _order(order: Order) -> str:
    if order.op == "cancel":
        return f"cancel {order.id}"
    prices = {"limit": order.limit, "stop": order.stop, "trail": order.trail_offset}
    where = [f"{name} {price:.10g}" for name, price in prices.items() if price is not None] or [order.kind]
    size = f"{order.size:.10g}" if order.size_of == "units" else f"{order.size:.4%} of what is available"
    closes = ["closing", order.closes] if order.closes else []
    return " ".join([f"{order.op} {order.id}:", order.side, size, *where, *closes])


def _marks(bar: Bar) -> str:
    mark = "" if bar.closed else f"  forming {bar.update}"
    mark += f"  revision {bar.revision}" if bar.revision else ""
    mark += "".join(f"  {bar.extra[name]}" for name in ("source", "flags") if name in bar.extra) if bar.extra else ""
    return mark


def _short(name: str, value: object) -> str:
    if name.endswith("_ms") and isinstance(value, int):
        return clock(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def clock(time_ms: int) -> str:
    """A time in UTC to the second; nothing for no time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if time_ms else ""


def rate(per_s: float) -> str:
    """Bars a second, also of bars that take minutes."""
    return f"{per_s:,.1f}" if per_s >= 1 or not per_s else f"{per_s:.2g}"


def span(seconds: float) -> str:
    """So long, as a clock shows it."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h" if days else f"{hours}:{minutes:02}:{seconds:02}"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], may_go: Sequence[str] = ()) -> None:
    """A table; columns of numbers are aligned at the right.

    :param may_go: columns that are left out, the first one first, where a terminal is too narrow; nothing is ever cut
    """
    from rich.console import Console

    from .columns import Layout

    filled = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    layout = Layout(columns, filled, may_go, Console().width if sys.stdout.isatty() else sys.maxsize)
    Console(width=layout.width).print(layout.table(filled, _WORDS))
    if layout.missing:
        print(layout.apology())


def say(line: str) -> None:
    """Print a line at once; when nobody reads any more, end this process in order."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.kill(os.getpid(), signal.SIGTERM)
