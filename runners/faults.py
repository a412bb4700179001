"""What a script has raised, in the words of a sentence."""

from __future__ import annotations

import traceback
from pathlib import Path


def line_of(error: BaseException, path: Path) -> str:
    """The deepest place in the script's own file that the error passed through."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if _same(frame.f_code.co_filename, path)]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    return f" at line {lines[-1]}" if lines else ""


def text_of(error: BaseException) -> str:
    """The error's class and what it says."""
    if isinstance(error, SystemExit):
        return "it called sys.exit(), which a live script must not"
    if isinstance(error, MemoryError):
        return "it needs more memory than limits.memory_mb"
    said = error.msg if isinstance(error, SyntaxError) else error
    return " ".join(f"{type(error).__name__}: {said}".split()).removesuffix(":")


def _same(filename: str, path: Path) -> bool:
    return Path(filename).name == path.name and Path(filename).resolve() == path.resolve()
