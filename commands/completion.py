"""`pynelive completion`: the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    For bash write this into ~/.bashrc: eval "$(pynelive completion bash)"
    """
    from .app import app

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(app, {}, "pynelive", "_PYNELIVE_COMPLETE").source())
