"""`pynelive check-strategy`: whether a strategy of backtesting.py looks ahead, and how far back."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..bus.messages import Bar
from ..bus.names import Key
from .attach import named_value

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("check-strategy")
@click.argument("file", type=_FILE)
@click.argument("data", type=_FILE)
@click.option("--lookback", type=click.IntRange(1), default=None, help="Would so many bars do?")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="A parameter of the strategy; repeatable.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="As in the topology; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check_strategy(
    file: Path, data: Path, lookback: int | None, inputs: tuple[str, ...], options: tuple[str, ...], as_json: bool
) -> int:
    """Compare a strategy's decisions in a backtest of DATA (.ohlcv or .csv) with those it would make live."""
    from ..runners.backtesting_py import library  # noqa: F401 - first: it says what is not installed
    from ..runners.backtesting_py.check import check, lines

    report = check(file, _bars(data), lookback or 0, dict(map(named_value, inputs)), dict(map(named_value, options)))
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
    else:
        click.echo(f"{report.strategy} of {file}, {report.bars:,} bars of {data}")
        click.echo("\n".join(lines(report)))
    return 0 if report.ok else 1


def _bars(path: Path) -> list[Bar]:
    from ..producers.series import load

    timeframe = "1S"  # at least: that of a CSV is not asked
    if path.suffix.lower() == ".ohlcv":
        from ..bus.ohlcv import read_period

        timeframe = read_period(path)
    series = load(path, Key(path.stem, timeframe))
    return [series.bar(place) for place in range(len(series))]
