"""A script's file as it changes under a run."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from .faults import line_of, text_of

log = logging.getLogger("pynelive")
_LOOK_S = 0.5


async def changed(script: Path, name: str) -> None:
    """Return when the file holds another script that is whole; what is none is said, once.

    A file that is being written is left alone until it has stayed the same from one look to the next.

    :param name: the runner's, for the log
    """
    first = seen = refused = _read(script)
    while True:
        await asyncio.sleep(_LOOK_S)
        before, seen = seen, _read(script)
        if seen in (first, refused) or seen != before or not seen:
            continue
        if not (why := _wrong(script, seen)):
            return
        refused = seen
        log.warning("%s: %s has changed and cannot run%s; the old one keeps running", name, script, why)


def _read(script: Path) -> bytes:
    try:
        return script.read_bytes()
    except OSError:
        return b""  # an editor is about to put another file in its place


def _wrong(script: Path, source: bytes) -> str:
    try:
        compile(source, script, "exec")
    except (SyntaxError, ValueError) as error:
        return f"{line_of(error, script)} ({text_of(error)})"
    return ""
