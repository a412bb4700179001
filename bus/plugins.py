"""How an actor finds its class: a table of built-in names, an entry-point group, or a Python file.

Producers, sinks and runners share it. Nothing is imported before it is asked for by name, and whatever goes
wrong on the way is one sentence for the person who wrote the name. An actor's options are checked here too.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

import msgspec

from .errors import TopologyError
from .tables import nearest, plain

__all__ = ["configure", "find", "names", "nearest", "needs"]

T = TypeVar("T")
C = TypeVar("C")

# What a faulty module raises while it is imported; anything rarer deserves its traceback.
_IMPORT_FAULTS = (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, OSError)


def names(table: Mapping[str, str], group: str) -> list[str]:
    """All names that :func:`find` knows, built-in and installed, sorted."""
    return sorted({*table, *(point.name for point in entry_points(group=group))})


def find(name: str, table: Mapping[str, str], group: str, base: Path, contract: type[T]) -> type[T]:
    """Import the class called ``name``: built-in, installed, or of a file ``my.py`` or ``my.py:Class``.

    The table maps a name to ``module:Class``; a module that begins with a dot is in the contract's package.
    A file's path starts from ``base``.

    :raises TopologyError: unknown, not importable, or not a complete implementation of ``contract``
    """
    kind = group.rpartition(".")[2].removesuffix("s")
    target = name
    try:
        if _is_file(name):
            found = _from_file(name, base, contract)
        else:
            target = table.get(name) or _installed(name, kind, table, group)
            found = _from_module(target, contract)
    except _IMPORT_FAULTS as error:
        raise _fault(f"{kind} '{name}' cannot be imported: {_place(error)}") from error
    return _checked(found, f"{kind} '{name}'", contract)


def configure(config_class: type[C], options: Mapping[str, object], word: str = "option") -> C:
    """Make the ``Config`` dataclass from a topology's options, strictly.

    :param word: what one of them is called
    :raises TopologyError: all faults at once, each naming its key
    """
    known = {item.name: item for item in fields(config_class) if item.init}  # type: ignore[arg-type]
    hints = get_type_hints(config_class)
    problems = [f"{word} '{key}' is unknown{nearest(key, known)}" for key in options if key not in known]
    problems += [f"{word} '{key}' is missing" for key, item in known.items()
                 if key not in options and _required(item)]
    values = {}
    for key in known.keys() & options.keys():
        try:
            values[key] = msgspec.convert(options[key], hints[key], strict=True)
        except msgspec.ValidationError as error:
            problems.append(f"{word} '{key}' {plain(str(error), hints[key])}")
    if problems:
        raise TopologyError(sorted(problems))
    return config_class(**values)


def needs(what: str, package: str, extra: str) -> str:
    """The sentence for what an extra would bring."""
    return (f"{what} needs the package {package}: pip install 'pynelive[{extra}]', "
            f"or in a checkout .venv/bin/pip install -e '.[{extra}]'")  # fmt: skip


def _is_file(name: str) -> bool:
    return name.partition(":")[0].endswith(".py")


def _installed(name: str, kind: str, table: Mapping[str, str], group: str) -> str:
    found = sorted(point.value for point in entry_points(group=group) if point.name == name)
    if not found:
        raise _fault(f"{kind} '{name}' is unknown{nearest(name, names(table, group))}")
    if len(found) > 1:
        raise _fault(f"{kind} '{name}' is offered by {' and '.join(found)}: uninstall all but one")
    return found[0]


def _from_module(target: str, contract: type[T]) -> object:
    module_name, _, class_name = target.partition(":")
    package = contract.__module__.rpartition(".")[0]
    return _member(importlib.import_module(module_name, package), class_name)


def _from_file(name: str, base: Path, contract: type[T]) -> object:
    file_name, _, class_name = name.partition(":")
    path = base / file_name
    if not path.is_file():
        raise _fault(f"there is no file {path}: paths start from the topology's folder")
    module = _load(path)
    return _member(module, class_name) if class_name else _only_class(module, path, contract)


def _load(path: Path) -> ModuleType:
    module_name = f"pynelive_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # type hints of its dataclasses are looked up here
    spec.loader.exec_module(module)
    return module


def _member(module: ModuleType, class_name: str) -> object:
    found: object = getattr(module, class_name, None)
    if found is None:
        raise _fault(f"{module.__file__} has no class '{class_name}'{nearest(class_name, _classes(module))}")
    return found


def _only_class(module: ModuleType, path: Path, contract: type[T]) -> object:
    found = [item for item in _classes(module).values() if issubclass(item, contract)]
    if len(found) == 1:
        return found[0]
    said = f"defines several ({', '.join(item.__name__ for item in found)})" if found else "defines none"
    raise _fault(f"{path} must define one {contract.__name__} but {said}: name it as {path.name}:Class")


def _classes(module: ModuleType) -> dict[str, type]:
    return {name: item for name, item in vars(module).items()
            if inspect.isclass(item) and item.__module__ == module.__name__}


def _checked(found: object, what: str, contract: type[T]) -> type[T]:
    if not (inspect.isclass(found) and issubclass(found, contract)):
        raise _fault(f"{what} is no {contract.__name__}: derive its class from {contract.__module__}")
    if missing := getattr(found, "__abstractmethods__", ()):
        raise _fault(f"{what} lacks {', '.join(sorted(missing))}, which a {contract.__name__} needs")
    return found


def _required(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _place(error: BaseException) -> str:
    """What went wrong and, if it is known, in which line of which file."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) or trace is None or "importlib" in trace.tb_frame.f_code.co_filename:
        return said
    return f"{said} ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"


def _fault(sentence: str) -> TopologyError:
    return TopologyError([sentence])
