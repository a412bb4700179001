"""What the streams of a provider that is a Python file begin with, read from the file without running it."""

from __future__ import annotations

from pathlib import Path


def prefix_of_file(provider: str, base: Path) -> str | None:
    """The class attribute ``name`` of ``file.py`` or ``file.py:Class``; None if the provider is no file.

    :raises ValueError: the file is missing, is no Python, or does not say the name literally
    """
    file_name, _, class_name = provider.partition(":")
    if not file_name.endswith(".py"):
        return None
    path = base / file_name
    try:
        names = _class_names(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no Python: {error}") from None
    found = [name for owner, name in names.items() if owner == (class_name or owner)]
    if len(found) != 1:
        raise ValueError(f'{path} must have one class{class_name and f" {class_name}"} that says name = "…"')
    return found[0]


def _class_names(source: str) -> dict[str, str]:
    import ast  # slow to import, and few topologies name a file

    found = {}
    for owner in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for node in owner.body:
            match node:
                case ast.Assign(targets=[ast.Name("name")], value=ast.Constant(str(name))):
                    found[owner.name] = name
                case ast.AnnAssign(target=ast.Name("name"), value=ast.Constant(str(name))):
                    found[owner.name] = name
    return found
