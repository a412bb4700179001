"""`pynelive providers`: which providers there are, what they can do and how they are set."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from dataclasses import MISSING, Field, asdict
from pathlib import Path
from typing import Any

import click

from ..bus.errors import TopologyError
from ..bus.plugins import names
from ..producers.contract import Provider
from ..producers.table import GROUP, PROVIDERS, find_provider


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def providers(as_json: bool) -> None:
    """List the providers, what they can do and their options."""
    found = [_described(name) for name in names(PROVIDERS, GROUP)]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, default=str))
    else:
        click.echo("\n\n".join(map(_shown, found)))


def _described(name: str) -> dict[str, Any]:
    try:
        provider = find_provider(name, Path())
    except TopologyError as error:  # somebody's package is broken: the others are listed all the same
        return {"name": name, "about": str(error), "capabilities": {}, "options": []}
    return {
        "name": name,
        "about": _first_line(provider),
        "capabilities": asdict(provider.capabilities),
        "options": _options(provider),
    }


def _options(provider: type[Provider]) -> list[dict[str, Any]]:
    """The fields of the ``Config``; ``default`` is None where the option is required."""
    about = _attribute_docs(provider.Config)
    return [
        {"name": name, "type": str(item.type), "default": _default(item), "about": about.get(name, "")}
        for name, item in provider.Config.__dataclass_fields__.items()
        if item.init
    ]


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return None if item.default is MISSING else item.default


def _attribute_docs(config: type) -> dict[str, str]:
    """The string below each field, which Python itself forgets."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    except (OSError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for node, below in zip(body.body, body.body[1:], strict=False):
        match node, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                docs[name] = inspect.cleandoc(text)
    return docs


def _first_line(provider: type) -> str:
    return (inspect.getdoc(provider) or "").partition("\n")[0]


def _shown(provider: dict[str, Any]) -> str:
    able = ", ".join(name for name, has in provider["capabilities"].items() if has)
    lines = [provider["name"], f"  {provider['about']}", f"  can: {able}" if able else ""]
    for option in provider["options"]:
        lines.append(f"  {option['name']} = {_toml(option['default'])}  {option['about']}".rstrip())
    return "\n".join(line for line in lines if line)


def _toml(value: Any) -> str:
    return "(required)" if value is None else json.dumps(value, ensure_ascii=False, default=str)
