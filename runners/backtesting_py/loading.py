# SPDX-License-Identifier: AGPL-3.0-or-later
"""A strategy out of a file of the user's, and what goes wrong in it as one sentence."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec import Struct

from ...bus.errors import Hopeless
from ...bus.plugins import nearest
from ..faults import line_of, text_of
from .library import Strategy


class Found(Struct, frozen=True):
    """A strategy's class, and the ``LOOKBACK`` that its file declares (0: none)."""

    kind: type[Strategy]
    lookback: int


def load(path: Path, name: str, inputs: Mapping[str, Any]) -> Found:
    """Import the file under a name of its own, whatever it is called, and find the strategy in it.

    :param name: of the class, where the file has several
    :raises Hopeless: the file, its class or its parameters cannot be used
    """
    if not path.is_file():
        raise Hopeless(f"there is no strategy {path}: correct the runner's 'script'")
    with faults(path, "cannot be loaded"):
        module = _imported(path)
    kind = _chosen(path, module, name)
    if missing := sorted(kind.__abstractmethods__):
        raise Hopeless(f"{path}: {kind.__name__} lacks {', '.join(missing)}, which a strategy needs")
    known = [name for name in dir(kind) if not name.startswith("_")]
    if wrong := [f"'{name}'{nearest(name, known)}" for name in inputs if not hasattr(kind, name)]:
        raise Hopeless(f"{path}: {kind.__name__} has no parameter {', '.join(wrong)}: "
                       "a parameter is a variable of the class")  # fmt: skip
    lookback = getattr(module, "LOOKBACK", 0)
    if not isinstance(lookback, int) or lookback < 0:
        raise Hopeless(f"{path}: LOOKBACK is {lookback!r}, but must be a number of bars")
    return Found(kind, lookback)


def _imported(path: Path) -> ModuleType:
    name = f"strategy_{sha256(bytes(path.absolute())).hexdigest()[:16]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _chosen(path: Path, module: ModuleType, name: str) -> type[Strategy]:
    found = {
        key: value for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
    }  # fmt: skip
    if name:
        if name not in found:
            raise Hopeless(f"{path} has no strategy '{name}'{nearest(name, found)}: correct option 'strategy'")
        return found[name]
    if len(found) != 1:
        said = f"has several ({', '.join(found)}): name one by option 'strategy'" if found else (
            "has no class that is derived from backtesting.Strategy")  # fmt: skip
        raise Hopeless(f"{path} {said}")
    return next(iter(found.values()))


@contextmanager
def faults(path: Path, what: str, when: str = "") -> Iterator[None]:
    """Whatever the strategy raises, ``sys.exit`` included, as one sentence with its line."""
    try:
        yield
    except Hopeless:
        raise
    except (Exception, SystemExit) as error:
        cause = error.__cause__ or error  # the library says only that an indicator has failed
        raise Hopeless(f"the strategy {path} {what}{line_of(cause, path)}{when}: {text_of(cause)}") from error
