"""`pynelive merge`: a recording with its revisions."""

from __future__ import annotations

from pathlib import Path

import click

from ..sinks.revisions import merge_revisions


@click.command()
@click.argument(
    "files",
    metavar="FILE.ohlcv...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
def merge(files: tuple[Path, ...]) -> None:
    """Rebuild recordings with corrections and late bars; a file is replaced at once, or not at all."""
    for path in files:
        merged = merge_revisions(path)
        click.echo(f"{path}: {merged:,} bars changed or added" if merged else f"{path}: nothing to merge")
