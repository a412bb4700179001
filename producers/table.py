"""Which providers exist, by name."""

from __future__ import annotations

from pathlib import Path

from ..bus.errors import TopologyError
from ..bus.plugins import find, needs
from .contract import Provider

GROUP = "pynelive.providers"
"""The entry-point group by which an installed package offers a provider."""

PROVIDERS = {
    "demo": ".demo:Demo",
    "replay": ".replay:Replay",
    "ccxt": ".ccxt.provider:Ccxt",
    "capitalcom": ".capitalcom.provider:CapitalCom",
    "massive": ".massive.provider:Massive",
    "polygon": ".massive.provider:Polygon",
    "coinmarketcap": ".coinmarketcap.provider:CoinMarketCap",
}


_EXTRAS = {name: name for name in ("ccxt", "capitalcom", "massive", "coinmarketcap")} | {"polygon": "massive"}


def find_provider(name: str, base: Path) -> type[Provider]:
    """The provider class called ``name``: built-in, installed, PyneCore's (``pyne:NAME``), of ``my.py:Class``.

    Its streams begin with the class's own ``name``, also when it comes from a file.

    :param base: the folder that a file's path starts from
    :raises TopologyError: unknown, not importable or incomplete
    """
    if name.startswith("pyne:"):
        from .pyne.plugin import plugin_provider  # loads PyneCore

        return plugin_provider(name)
    try:
        found = find(name, PROVIDERS, GROUP, base, Provider)  # type: ignore[type-abstract]
    except TopologyError as error:
        if not (name in _EXTRAS and isinstance(error.__cause__, ModuleNotFoundError)):
            raise
        extra, missing = _EXTRAS[name], error.__cause__.name
        raise TopologyError([needs(f"provider '{name}'", str(missing), extra)]) from None
    if not getattr(found, "name", ""):
        raise TopologyError([f"provider '{name}' has no name: add name = \"…\" to class {found.__name__}"])
    return found
