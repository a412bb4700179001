"""Massive, formerly Polygon: `provider.py` is the contract, `wire.py` the socket."""
