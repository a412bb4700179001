"""Which built-in type of runner a script is for, and what inputs it takes, as its source tells without running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any, Final

from ..bus.plugins import configure

_WORDS: Final = {
    "pyne": "a PyneCore script", "python": "a strategy in Python", "backtesting": "a strategy of backtesting.py",
}  # fmt: skip
_BASES: Final = {"pynelive": "python", "backtesting": "backtesting"}
"""Whose ``Strategy`` is imported."""
_PLAIN: Final = {"int": int, "float": float, "str": str, "bool": bool}


def misfit(script: Path, kind: str) -> str:
    """What a script is, if that is not what a runner of this type runs; nothing where its source leaves it open."""
    found = _kinds(script)
    if kind not in _WORDS or len(found) != 1 or kind in found:
        return ""
    [own] = found
    return f'the script {script} is {_WORDS[own]}: its [[runner]] needs type = "{own}"'


def check_inputs(script: Path, inputs: Mapping[str, object]) -> None:
    """Judge the inputs of a strategy in Python by the ``Config`` in its source, where that is plain.

    :raises TopologyError: all faults at once
    """
    configs = [node for node in ast.walk(_tree(script)) if isinstance(node, ast.ClassDef) and node.name == "Config"]
    fields = [node for config in configs for node in config.body if isinstance(node, ast.AnnAssign)]
    declared = [known for node in fields if (known := _declared(node))]
    if len(configs) == 1 and not configs[0].bases and len(declared) == len(fields):
        configure(make_dataclass("Config", declared, kw_only=True), inputs, "input")


def _declared(node: ast.AnnAssign) -> tuple[str, type, Any] | None:
    """An input of a type that needs no import: its name, its type, and a default if it has one."""
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id=kind), value=value) if kind in _PLAIN:
            return name, _PLAIN[kind], field(default=None) if value else field()
    return None


def _tree(script: Path) -> ast.Module:
    try:
        return ast.parse(script.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):  # who runs it says so
        return ast.Module([], [])


def _kinds(script: Path) -> set[str]:
    tree = _tree(script)
    found = {"pyne"} if (ast.get_docstring(tree) or "").split()[:1] == ["@pyne"] else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and "Strategy" in {each.name for each in node.names}:
            top = (node.module or "").split(".")[0]
            found |= {_BASES[top]} if top in _BASES and not node.level else set()
    return found
