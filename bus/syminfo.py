"""The ``.toml`` beside a ``.ohlcv`` file: PyneCore's SymInfo, and what a recording says of itself.

When PyneCore writes such a file again it drops every section that it does not know, except ``[download]``:
there our line is, so that it outlives a ``pyne run``.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Collection
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import Any

from . import sockets  # noqa: F401 - behind PyneCore nobody could import zmq

# isort: split
from msgspec import Struct, structs
from pynecore.core.syminfo import SymInfo, SymInfoInterval, SymInfoSession

from . import failpoints
from .errors import Fault
from .folders import sync_folder
from .messages import Instrument, Span

_DAY_S = 86_400
_SHARED = ("ticker", "prefix", "description", "currency", "basecurrency", "mintick", "pricescale", "minmove",
           "pointvalue", "mincontract", "timezone", "volumetype")
_EXACT = ("description", "mintick", "pointvalue", "mincontract")


class Note(Struct, frozen=True, omit_defaults=True):
    """What a recording says of itself: its Instrument's ``source``, and origins that are no venue's."""

    source: str = ""
    origins: tuple[str, ...] = ()


def to_syminfo(instrument: Instrument) -> Any:
    """PyneCore's ``SymInfo`` of an instrument."""
    return SymInfo(
        **{name: getattr(instrument, name) for name in _SHARED},
        period=period_of(instrument.timeframe),
        type=instrument.kind,
        opening_hours=[SymInfoInterval(span.day, _clock(span.start_s), _clock(span.end_s))
                       for span in instrument.opening_hours],
        session_starts=[SymInfoSession(span.day, _clock(span.start_s)) for span in instrument.session_starts],
        session_ends=[SymInfoSession(span.day, _clock(span.start_s)) for span in instrument.session_ends],
    )


def from_syminfo(syminfo: Any, timeframe: str) -> Instrument:
    """The instrument of a PyneCore ``SymInfo``.

    An interval that ends at or before its start crosses midnight in PyneCore; here its ``end_s`` is then
    86,400 or more. Around the clock is 00:00:00 to 23:59:59 on seven days in both.
    """
    return Instrument(
        **{name: getattr(syminfo, name) for name in _SHARED},
        timeframe=timeframe,
        kind=syminfo.type,
        opening_hours=tuple(_span(item) for item in syminfo.opening_hours),
        session_starts=tuple(Span(item.day, _seconds(item.time), 0) for item in syminfo.session_starts),
        session_ends=tuple(Span(item.day, _seconds(item.time), 0) for item in syminfo.session_ends),
    )


def period_of(timeframe: str) -> str:
    """The timeframe as PyneCore's files write it, with its number: ``1D`` for ``D``."""
    return timeframe if timeframe[0].isdigit() else f"1{timeframe}"


def read_instrument(path: Path) -> Instrument | None:
    """The instrument in the ``.toml`` beside an ``.ohlcv`` file; None if there is no such ``.toml``.

    :raises Fault: it is there and cannot be read
    """
    if (syminfo := _read_syminfo(path)) is None:
        return None
    return structs.replace(from_syminfo(syminfo, syminfo.period), source=read_note(path).source)


def read_note(path: Path) -> Note:
    """What the ``.toml`` says of the recording beside it; nothing, if PyneCore alone has written it.

    :raises Fault: it is there and cannot be read
    """
    ours = _download_section(path).get("pynelive", {})
    return Note(ours.get("source", ""), tuple(ours.get("origins", ())))


def write_toml(path: Path, instrument: Instrument, origins: Collection[str]) -> None:
    """Write the ``.toml`` of an ``.ohlcv`` file if it says something else; what others have added stays."""
    target, wanted = path.with_suffix(".toml"), to_syminfo(instrument)
    if known := _read_syminfo(path):
        told = (*_SHARED, "period", "type", "opening_hours", "session_starts", "session_ends")
        wanted = replace(known, **{name: getattr(wanted, name) for name in told})
    fresh = target.with_name(f".{target.name}.tmp")
    fresh.unlink(missing_ok=True)
    replace(wanted, description="").save_toml(fresh)
    text = _in_full(fresh.read_text(encoding="utf-8"), wanted)
    text += _note_section(path, Note(instrument.source, tuple(sorted(origins))))
    if target.exists() and target.read_text(encoding="utf-8") == text:
        fresh.unlink()
        return
    fresh.write_text(text, encoding="utf-8")
    publish(fresh, target)


def publish(fresh: Path, path: Path) -> None:
    """Give a written file its name, for good; a kill in between leaves what the name meant before."""
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    failpoints.hit("ohlcv.before-publish")
    os.replace(fresh, path)
    sync_folder(path.parent)


def _clock(seconds: int) -> time:
    seconds %= _DAY_S
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60)


def _seconds(clock: time) -> int:
    return clock.hour * 3600 + clock.minute * 60 + clock.second


def _span(interval: Any) -> Span:
    start_s, end_s = _seconds(interval.start), _seconds(interval.end)
    return Span(interval.day, start_s, end_s if end_s > start_s else end_s + _DAY_S)


def _in_full(text: str, syminfo: Any) -> str:
    """Say in full what ``save_toml`` cuts at eight decimals or leaves unquoted."""
    full = {name: f"{name} = {json.dumps(getattr(syminfo, name), ensure_ascii=False)}" for name in _EXACT}
    return "\n".join(full.get(line.partition(" = ")[0], line) for line in text.split("\n"))


def _note_section(path: Path, note: Note) -> str:
    ours = {name: value for name, value in structs.asdict(note).items() if value}
    table = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in ours.items())
    provider = _download_section(path).get("provider")
    lines = [f"provider = {json.dumps(provider)}"] if provider else []
    lines += [f"pynelive = {{ {table} }}"] if table else []
    return "\n".join(["\n[download]", *lines, ""]) if lines else ""


def _download_section(path: Path) -> dict[str, Any]:
    section: dict[str, Any] = _read_toml(path).get("download", {})
    return section


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _read_syminfo(path: Path) -> Any:
    if not _read_toml(path):
        return None
    try:
        return SymInfo.load_toml(path.with_suffix(".toml"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(f"{path.with_suffix('.toml')} cannot be read ({error}): mend it, "
                 "or move it away to have it written again")
