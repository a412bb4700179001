"""A TOML table into its struct, with every fault of the table said in words, not just the first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.inspect import VarTupleType, type_info
from msgspec.structs import FieldInfo, asdict, fields

S = TypeVar("S", bound=Struct)

_UNBUILT = object()
"""In the place of a table that could not be built; its faults are said."""
_WORDS = {"array": "list", "object": "table", "str": "string", "bool": "true or false"}


def build(kind: type[S], raw: object, place: str, problems: list[str]) -> S | None:
    """Make a struct of a table; None if what it cannot do without is missing or wrong.

    A value that is wrong but has a default is replaced by it: the fault is said once, and what depends on the
    struct is not blamed for it.
    """
    if not isinstance(raw, dict):
        problems.append(f"{place} must be a table, not {_said(raw)}")
        return None
    known = {item.name: item for item in fields(kind)}
    problems += [f"{place}: unknown key '{key}'{nearest(key, known)}" for key in raw if key not in known]
    required = [name for name, item in known.items() if item.required]
    problems += [f"{place}: '{name}' is missing" for name in required if name not in raw]
    values: dict[str, Any] = {}
    for name in (name for name in known if name in raw):
        try:
            values[name] = _value(known[name], raw[name], f"{place}, {name}", problems)
        except ValueError as error:
            problems.append(f"{place}, {name}: {error}")
    return kind(**values) if values.keys() >= set(required) and _UNBUILT not in values.values() else None


def nearest(name: str, known: Iterable[str]) -> str:
    """How a sentence about an unknown name ends: with the nearest names, or with some of those that exist."""
    choices = list(known)
    if close := get_close_matches(name, choices, n=3):
        return ": did you mean " + " or ".join(f"'{choice}'" for choice in close) + "?"
    more = f" and {len(choices) - 8} more" if len(choices) > 8 else ""
    return f": there is {', '.join(choices[:8])}{more}" if choices else ": there is none"


def _value(item: FieldInfo, raw: object, place: str, problems: list[str]) -> Any:
    if isinstance(item.type, type) and issubclass(item.type, Struct):
        given = {**asdict(item.default), **raw} if isinstance(raw, dict) else raw
        return build(item.type, given, place, problems) or item.default
    if isinstance(raw, dict) and (each := _kind_of_each(item.type)):
        made = {name: build(each, value, f"{place}.{name}", problems) for name, value in raw.items()}
        return _UNBUILT if None in made.values() else made
    if isinstance(raw, str) and isinstance(type_info(item.type), VarTupleType):
        problems.append(f"{place}: must be a list: write [{json.dumps(raw, ensure_ascii=False)}]")
        raw = [raw]
    if get_origin(item.type) is Literal and raw not in get_args(item.type):
        raise ValueError(f"must be {' or '.join(map(repr, get_args(item.type)))}, not {_said(raw)}")
    try:
        return msgspec.convert(raw, item.type)
    except msgspec.ValidationError as error:
        raise ValueError(_plain(str(error), raw, item.type)) from None


def _kind_of_each(hint: object) -> type[Struct] | None:
    """The struct that each value of a table by names is, such as ``dict[str, InstanceSpec]``."""
    kind = get_args(hint)[-1] if get_origin(hint) is dict else None
    return kind if isinstance(kind, type) and issubclass(kind, Struct) else None


def _said(raw: object) -> str:
    names = {dict: "a table", list: "a list", str: "a string", bool: "true or false"}
    return repr(raw) if isinstance(raw, str) else names.get(type(raw), f"a {type(raw).__name__}")


def plain(error: str, hint: object) -> str:
    """msgspec's sentence (``Expected `int`, got `str` - at `$[0]```) in the words of a TOML file.

    :param hint: the type that was expected, which names the values of a choice
    """
    said, _, at = error.replace("`", "").partition(" - at ")
    if said.startswith("Invalid enum value"):
        said = f"must be {' or '.join(map(repr, _choices(hint)))}, not {said.removeprefix('Invalid enum value ')}"
    said = said.replace("Expected ", "must be ").replace(", got ", ", not ").replace(" | null", "")
    said = re.sub(rf"\b({'|'.join(_WORDS)})\b", lambda word: _WORDS[word[0]], said)
    return f"{said}, {_where(at)}" if at else said


def _choices(hint: object) -> list[object]:
    """The values of all choices in a type, such as ``list[Literal["a", "b"]]``."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) for value in _choices(part)]


def _where(at: str) -> str:
    """``$[...][0]`` is the first item of a table's value."""
    steps = at.removeprefix("key ").removeprefix("in ").removeprefix("$")
    numbers = [int(step) + 1 for step in re.findall(r"\[(\d+)\]", steps)]
    place = f"item {numbers[-1]}" if numbers else "a value"
    return f"in {place} of it"


def _plain(error: str, raw: object, hint: object) -> str:
    """The same with the value, where it is short."""
    said = plain(error, hint)
    shown = not isinstance(raw, dict | list) and ", not " not in said
    return f"{said}, not {raw}" if shown else said[:1].lower() + said[1:]
