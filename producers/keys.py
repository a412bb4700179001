"""Where a provider's options come from when the topology does not give them: its credentials first of all.

For every option, in this order: what ``options`` says (a value, ``{ env = … }`` or ``{ file = … }``); the environment,
``PYNE_<PROVIDER>_<OPTION>``, as PyneCore's plugins read it; the same name in ``.env`` beside the topology; PyneCore's
own ``config/plugins/<provider>.toml`` in its work folder. A user of PyneCore has nothing to write again.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from ..bus.errors import TopologyError
from ..bus.names import Key
from ..bus.secrets import Secret
from .contract import Provider

_WORK_DIR = "PYNE_WORK_DIR"
_EMPTY = ("", None)


class Source(NamedTuple):
    """A place where options stand: by the names of the environment, all text, or by PyneCore's with TOML's types."""

    place: str
    values: Mapping[str, Any]
    is_text: bool = True


def completed(
    kind: type[Provider], options: Mapping[str, Any], base: Path, keys: Sequence[Key] = ()
) -> dict[str, Any]:
    """The options with what the environment and the files know of those that are not given; an empty value is none.

    :param base: the topology's folder
    :param keys: the streams; where all are of one exchange, its section of PyneCore's file counts
    :raises TopologyError: a file cannot be read, or a value is of another type than its option; never says a value
    """
    hints = get_type_hints(kind.Config)
    wanted = {item.name: hints[item.name] for item in fields(kind.Config) if item.init and item.name not in options}
    sources = [Source("the environment", os.environ), _dotenv(base), *_pynecore(kind, base, _exchanges(options, keys))]
    found = {name: _typed(kind, name, hint, *where) for name, hint in wanted.items()
             if (where := _where(kind, name, hint, sources))}  # fmt: skip
    secret = kind.credentials or found  # who does not say which are secret has only secrets
    return {name: Secret(value) if name in secret and isinstance(value, str) else value
            for name, value in {**found, **options}.items()}  # fmt: skip


def _where(kind: type[Provider], name: str, hint: Any, sources: Sequence[Source]) -> tuple[Source, str] | None:
    """The first source that has an option, and what it calls it there."""
    return next(((source, given) for source in sources for given in _names(kind, name, hint, source)
                 if source.values.get(given) not in _EMPTY), None)  # fmt: skip


def _names(kind: type[Provider], name: str, hint: Any, source: Source) -> list[str]:
    """What an option is called in a source: by our name first, by PyneCore's then."""
    theirs = kind.pyne_names.get(name)
    if not source.is_text:
        return [theirs] if theirs else []
    if get_origin(hint) in (dict, list):  # no text says it
        return []
    prefix = "PYNE_" + re.sub(r"\W", "_", _plugin(kind))
    return [f"{prefix}_{each}".upper() for each in (name, theirs) if each]


def _typed(kind: type[Provider], name: str, hint: Any, source: Source, given: str) -> Any:
    try:
        return msgspec.convert(source.values[given], hint, strict=not source.is_text)
    except msgspec.ValidationError:
        raise TopologyError([f"provider '{kind.name}': {given} in {source.place} is no value of option '{name}': "
                             f"it must be {_wording(hint)}"]) from None  # fmt: skip


def _wording(hint: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a table"}
    return words.get(get_origin(hint) or hint) or " or ".join(map(str, get_args(hint)))


def _dotenv(base: Path) -> Source:
    path = base / ".env"
    if not path.is_file():
        return Source(str(path), {})
    from dotenv import dotenv_values  # slow to import, and few have the file

    try:
        return Source(str(path), dotenv_values(path, interpolate=False))
    except (OSError, ValueError):
        raise TopologyError([f"{path} cannot be read: save it as UTF-8 text that its owner may read"]) from None


# --- PyneCore's file --------------------------------------------------------------------------------------------------


def _pynecore(kind: type[Provider], base: Path, exchanges: set[str]) -> Iterator[Source]:
    """The plugin's file; the texts of an exchange's section (keys, passwords) stand for all of those above it."""
    path = _plugin_file(kind, base)
    if path is None or not kind.pyne_names:
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TopologyError([f"{path} cannot be read as TOML: correct it, or move it away and give the options of "
                             f"'{kind.name}' in the topology"]) from None  # fmt: skip
    section = table.get(exchanges.pop()) if len(exchanges) == 1 else None
    if isinstance(section, dict):
        table = {**{key: value for key, value in table.items() if not isinstance(value, str)}, **section}
    yield Source(str(path), table, is_text=False)


def _exchanges(options: Mapping[str, Any], keys: Sequence[Key]) -> set[str]:
    """The exchanges of the streams, as PyneCore's sections name them."""
    named = [str(options.get("exchange", "")), *(key.symbol.partition(":")[0] for key in keys if ":" in key.symbol)]
    return {name.lower() for name in named if name}


def _plugin_file(kind: type[Provider], base: Path) -> Path | None:
    """PyneCore looks for its work folder upwards from where one is; here that is the topology's folder."""
    given = os.environ.get(_WORK_DIR)
    folders = [Path(given)] if given else [
        folder if (folder / ".pyne").is_file() else folder / "workdir" for folder in (base, *base.absolute().parents)
    ]  # fmt: skip
    paths = (folder / "config" / "plugins" / f"{_plugin(kind)}.toml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _plugin(kind: type[Provider]) -> str:
    """PyneCore's name of a provider: ``ccxt`` of ``pyne:ccxt``."""
    return kind.name.rpartition(":")[2]
