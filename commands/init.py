"""`pynelive init`: a topology and its scripts to start from, the ones that are shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from ..bus.errors import Fault
from ..bus.topology import load

_SHIPPED = Path(__file__).parent.parent / "topology.toml"


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Write a commented topology.toml and the scripts that it names into DIR, by default here."""
    shipped = ["topology.toml", *(spec.script for spec in load(_SHIPPED).runners)]
    if taken := [folder / name for name in shipped if (folder / name).exists()]:
        raise Fault(f"{taken[0]} exists and is left as it is: name an empty folder, `pynelive init DIR`")
    try:
        for name in shipped:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_SHIPPED.parent / name, folder / name)
            click.echo(f"wrote {folder / name}")
    except OSError as error:
        raise Fault(f"{error.filename} cannot be written: {error.strerror}") from None
    click.echo(f"now: {'' if folder == Path() else f'cd {folder} && '}pynelive up")
