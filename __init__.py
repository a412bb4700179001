"""The live bus for Pine scripts: producers publish bars, sinks keep them, runners feed them to PyneCore."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bus.errors import Fault
    from .bus.messages import Bar, Order
    from .bus.subscribe import listen, subscribe
    from .runners.strategy import Strategy

__version__ = "0.1.0"
__all__ = ["Bar", "Fault", "Order", "Strategy", "__version__", "listen", "subscribe"]

_HOMES = {
    "Bar": "bus.messages", "Order": "bus.messages", "Fault": "bus.errors", "listen": "bus.subscribe",
    "subscribe": "bus.subscribe", "Strategy": "runners.strategy",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Import what is asked for only then: the command line must start at once."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'pynelive' has no attribute '{name}'")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
