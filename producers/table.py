"""Which providers exist, by name."""

from __future__ import annotations

from pathlib import Path

from ..bus.errors import TopologyError
from ..bus.plugins import find
from .contract import Provider

GROUP = "pynelive.providers"
"""The entry-point group by which an installed package offers a provider."""

PROVIDERS = {
    "demo": ".demo:Demo",
    "replay": ".replay:Replay",
}


def find_provider(name: str, base: Path) -> type[Provider]:
    """The provider class called ``name``, or in a file ``my.py`` or ``my.py:Class`` of the folder ``base``.

    Its streams begin with the class's own ``name``, also when it comes from a file.

    :raises TopologyError: unknown, not importable or incomplete
    """
    found = find(name, PROVIDERS, GROUP, base, Provider)  # type: ignore[type-abstract]
    if not getattr(found, "name", ""):
        raise TopologyError([f"provider '{name}' has no name: add name = \"…\" to class {found.__name__}"])
    return found
