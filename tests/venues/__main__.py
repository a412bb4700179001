"""Serve one venue: ``python -m venues --venue binance --spec spec.json`` (``-`` is the first line of stdin).

Prints one JSON line with its addresses when it listens, and serves until stdin ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
from importlib import import_module
from pathlib import Path

import msgspec
from aiohttp import web

from .server import Venue
from .spec import Spec

VENUES = {
    "binance": "binance:Binance",
    "bybit": "bybit:Bybit",
    "kraken": "kraken:Kraken",
    "coinbase": "coinbase:Coinbase",
    "capitalcom": "capitalcom:CapitalCom",
    "massive": "massive:Massive",
    "coinmarketcap": "coinmarketcap:CoinMarketCap",
}
"""The adapters: name → ``module:Class``."""


def venue_of(spec: Spec) -> Venue:
    """The venue that a specification asks for."""
    module, _, name = VENUES[spec.venue].partition(":")
    made: Venue = getattr(import_module(f".{module}", __package__), name)(spec)
    return made


async def serve(spec: Spec) -> None:
    """Serve until stdin ends; then write the log."""
    venue = venue_of(spec)
    runner = web.AppRunner(venue.app(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    host, port = runner.addresses[0][:2]
    pump = asyncio.create_task(venue.pump())
    gc.freeze()
    print(json.dumps({"http": f"http://{host}:{port}", "ws": f"ws://{host}:{port}"}), flush=True)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _end_with_stdin, pump)
    with contextlib.suppress(asyncio.CancelledError):
        await pump
    venue.write_log()
    await venue.send_away()
    await runner.cleanup()


def _end_with_stdin(pump: asyncio.Task[None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        pump.cancel()


def main() -> None:
    """Read the specification and serve it."""
    parser = argparse.ArgumentParser(prog="venues", description=__doc__)
    parser.add_argument("--venue", choices=sorted(VENUES), help="another venue than the specification's")
    parser.add_argument("--spec", required=True, help="a JSON file; - is the first line of stdin")
    options = parser.parse_args()
    text = sys.stdin.readline() if options.spec == "-" else Path(options.spec).read_text(encoding="utf-8")
    spec = msgspec.json.decode(text, type=Spec)
    spec.venue = options.venue or spec.venue
    asyncio.run(serve(spec))


if __name__ == "__main__":
    main()
