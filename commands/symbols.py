"""`pynelive symbols`: what a provider has, by way of the one process that asks its venue."""

from __future__ import annotations

import asyncio
import json

import click

from ..bus.errors import Fault
from .venues import asking, provider_class


@click.command()
@click.argument("provider")
@click.argument("search", default="", metavar="[SEARCH]")
@click.option("--list-brokers", is_flag=True, help="List the venues of a provider that has several, such as ccxt.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array.")
def symbols(provider: str, search: str, list_brokers: bool, as_json: bool) -> None:
    """List the symbols of PROVIDER (demo, capitalcom, ccxt:BINANCE) whose names contain SEARCH."""
    found = _brokers(provider, search) if list_brokers else asyncio.run(_symbols(provider, search))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif found:
        click.echo("\n".join(found))
    elif not search:
        raise Fault(f"{provider} lists nothing: of several venues write one behind it, such as {provider}:BINANCE")
    else:
        raise Fault(f"{provider} has nothing with '{search}' in its name: search for a shorter part of it")


async def _symbols(provider: str, search: str) -> list[str]:
    async with asking(provider, "pynelive symbols") as (archive, _):
        return await archive.symbols(search)


def _brokers(provider: str, search: str) -> list[str]:
    brokers = provider_class(provider).list_brokers()
    if not brokers:
        raise Fault(f"provider '{provider}' is one venue itself: leave --list-brokers out")
    return [broker for broker in sorted(brokers) if search.casefold() in broker.casefold()]
