"""`pynelive keys`: the key pair of a host."""

from __future__ import annotations

import click

from ..bus.names import NO_NAME, is_name
from ..bus.security import make_key, secret_path


@click.command()
@click.argument("name")
def keys(name: str) -> None:
    """Make the key pair of the host NAME, on that host: the secret key stays there, the public one is printed.

    If there is one already, it stays as it is and its public key is printed again.
    """
    if not is_name(name):
        raise click.UsageError(f"{name!r} {NO_NAME}")
    public = make_key(name)
    click.echo(f"the secret key is {secret_path(name)}; for the topology of every host:", err=True)
    click.echo(f'[hosts.{name}]\nkey = "{public}"')
