"""Which built-in type of runner a script is for, as far as its source tells without running it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

_WORDS: Final = {
    "pyne": "a PyneCore script", "python": "a strategy in Python", "backtesting": "a strategy of backtesting.py",
}  # fmt: skip
_BASES: Final = {"pynelive": "python", "backtesting": "backtesting"}
"""Whose ``Strategy`` is imported."""


def misfit(script: Path, kind: str) -> str:
    """What a script is, if that is not what a runner of this type runs; nothing where its source leaves it open."""
    found = _kinds(script)
    if kind not in _WORDS or len(found) != 1 or kind in found:
        return ""
    [own] = found
    return f'the script {script} is {_WORDS[own]}: its [[runner]] needs type = "{own}"'


def _kinds(script: Path) -> set[str]:
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):  # who runs it says so
        return set()
    found = {"pyne"} if (ast.get_docstring(tree) or "").split()[:1] == ["@pyne"] else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and "Strategy" in {each.name for each in node.names}:
            top = (node.module or "").split(".")[0]
            found |= {_BASES[top]} if top in _BASES and not node.level else set()
    return found
