"""How the laboratory spoils what it says: rows with wrong values, texts with missing fields, answers cut short."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from .faults import Fault
from .market import Row

_ROWS: dict[str, Callable[[Row], Row]] = {
    "partial": lambda row: row._replace(volume=row.volume / 2, close=(row.open + row.close) / 2),
    "offgrid": lambda row: row._replace(time_ms=row.time_ms + 137),
    "microseconds": lambda row: row._replace(time_ms=row.time_ms * 1000),
    "bounds": lambda row: row._replace(high=row.low / 2),
    "zero": lambda row: row._replace(open=0.0, high=0.0, low=0.0, close=0.0),
    "negative": lambda row: row._replace(low=-row.low),
    "spike": lambda row: row._replace(high=row.high * 50),
}


def tampered(row: Row, kind: str) -> Row:
    """The row with wrong values, as the kind of fault says."""
    return _ROWS[kind](row)


def spoiled(rows: list[Row], fault: Fault, forming: bool) -> list[Row]:
    """An answer's rows (oldest first) as a fault leaves them; ``forming`` says whether the last one still forms."""
    if fault.kind in _ROWS and rows:
        at = max(len(rows) - 1 - int(forming), 0)
        return [*rows[:at], tampered(rows[at], fault.kind), *rows[at + 1 :]]
    if fault.kind == "absent":
        return rows[:-1] if forming else rows
    if fault.kind == "outdated":
        return rows[: -int(fault.args.get("rows", 3))]
    if fault.kind == "gap":
        middle = len(rows) // 2
        return rows[: max(middle - 1, 0)] + rows[middle + 1 :]
    return rows


def holed(text: str, field: str, null: bool) -> str:
    """The JSON text without the first field of a name, at any depth, or with null there."""
    decoded = json.loads(text)
    found = _holder(decoded, field)
    if found is not None and null:
        found[field] = None
    elif found is not None:
        del found[field]
    return json.dumps(decoded, separators=(",", ":"))


def nulled(body: bytes) -> bytes:
    """The JSON answer with one of its rows (of its longest list) full of nulls."""
    decoded = json.loads(body)
    rows = max(_lists(decoded), key=len, default=[])
    if rows:
        at = len(rows) // 2
        rows[at] = dict.fromkeys(rows[at]) if isinstance(rows[at], dict) else [None] * len(rows[at])
    return json.dumps(decoded).encode()


def _lists(node: Any) -> Iterator[list[Any]]:
    if isinstance(node, list) and node and isinstance(node[0], (list, dict)):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from _lists(child)


def _holder(node: Any, field: str) -> dict[str, Any] | None:
    if isinstance(node, dict) and field in node:
        return node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for child in children if (found := _holder(child, field)) is not None), None)


def reset(request: web.BaseRequest) -> None:
    """End the connection with a TCP reset."""
    transport = request.transport
    if transport is not None:
        handle: socket.socket | None = transport.get_extra_info("socket")
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def half_a_frame(text: str) -> bytes:
    """A text frame's header that announces all of it, and the first bytes of the payload."""
    payload = text.encode()
    length = len(payload)
    header = struct.pack("!BB", 0x81, length) if length < 126 else struct.pack("!BBH", 0x81, 126, min(length, 0xFFFF))
    return header + payload[: min(40, length // 2)]
