"""`pynelive download`: the past of a stream into a PyneCore file, by way of the one process that asks the venue."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from ..bus.archive import Archive
from ..bus.calls import Start
from ..bus.errors import Fault, Hopeless
from ..bus.messages import Bar, Instrument
from ..bus.ohlcv import DEFAULT_ORIGINS, BarFile, lock, ohlcv_path, read_bars, refusal, rewrite
from ..bus.syminfo import read_note, write_toml
from .attach import since
from .lines import clock as shown
from .venues import asking

_T = TypeVar("_T")
_DAY_MS = 86_400_000
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

Told = Callable[[float, int], None]
"""Hears which share of the span of time has been asked for, and how many bars came."""


class When(NamedTuple):
    """A time, or days back from the venue's, or a count of bars."""

    days: int = 0
    start: Start | None = None

    def at(self, now_ms: int) -> Start:
        """The same, when it is so late at the venue."""
        return self.start or Start(from_ms=now_ms - self.days * _DAY_MS)


def beginning(text: str) -> When:
    """``30`` (days back), ``-500`` (bars), or a time in ISO 8601, UTC unless it says otherwise."""
    if text.isdigit():
        return When(days=int(text))
    with suppress(click.BadParameter):
        if (start := since(text)) != Start():
            return When(start=start)
    raise click.BadParameter(f"'{text}' is no start here: write 30 (days), -500 (bars) or a date such as 2026-01-31")


def _end(text: str) -> When:
    with suppress(click.BadParameter):
        found = beginning(text)
        if found.start is None or found.start.last is None:
            return found
    raise click.BadParameter(f"'{text}' is no end: write a date such as 2026-01-31, or days back from now")


@click.command()
@click.argument("stream")
@click.argument("folder", metavar="[DIR]", default="data", type=click.Path(file_okay=False, path_type=Path))
@click.option("--from", "start", type=beginning, default="30", metavar="SINCE",
              help="30 (days back; the default), -500 (bars), or a time (ISO 8601).")  # fmt: skip
@click.option("--to", "end", type=_end, default="0", metavar="TIME", help="Until then; now by default.")
@click.option("--fresh", is_flag=True, help="Ask the venue anew for what was downloaded before.")
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was done.")
def download(stream: str, folder: Path, start: When, end: When, fresh: bool, as_json: bool) -> None:
    """Download the past of STREAM into DIR (data by default), or complete the file that is there."""
    try:
        path = ohlcv_path(folder, stream)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    with _progress(stream) as told:
        done = asyncio.run(_download(stream, path, start, end, fresh, told))
    click.echo(json.dumps(asdict(done)) if as_json else done)


@dataclass
class Done:
    """What a download has come to; times in ms."""

    stream: str
    path: str
    bars: int
    new: int
    left_out: int
    first_ms: int
    last_ms: int

    def __str__(self) -> str:
        left_out = f"  {self.left_out:,} left out, which the format cannot hold" if self.left_out else ""
        days = f"{shown(self.first_ms)} … {shown(self.last_ms)}"
        return f"{self.path}  {self.bars:,} bars ({self.new:,} new)  {days}{left_out}"


async def _download(stream: str, path: Path, start: When, end: When, fresh: bool, told: Told) -> Done:
    async with asking(stream, "pynelive download") as (archive, now_ms):
        to_ms = end.at(now_ms).from_ms or 0
        if fresh:
            await _insist(lambda: archive.fetch(stream, 0, 0, fresh=True))
        from_ms = await _from_ms(archive, stream, start.at(now_ms), to_ms)
        if from_ms > to_ms:
            span = f"--from {shown(from_ms)} is later than --to {shown(to_ms)}"
            raise Fault(f"{stream}: {span}: swap them, or choose an earlier --from")
        with _Target(path, replaces=fresh) as target:
            next_ms = from_ms
            while next_ms:
                at_ms = next_ms
                page = await _insist(lambda: archive.fetch(stream, at_ms, to_ms))  # noqa: B023 - awaited at once
                instrument, *bars = page.messages
                assert isinstance(instrument, Instrument)
                target.take(instrument, [bar for bar in bars if isinstance(bar, Bar)])
                next_ms = page.next_ms
                told((next_ms - from_ms) / max(to_ms - from_ms, 1) if next_ms else 1.0, target.kept)
        if not target.kept:
            when = f"from {shown(from_ms)} until" if from_ms < to_ms else "before"
            raise Fault(f"{stream} has no bars {when} {shown(to_ms)}: choose another --from")
        return target.done(stream)


async def _from_ms(archive: Archive, stream: str, start: Start, to_ms: int) -> int:
    """Where to begin; for so many bars the archive knows how far back they reach, and has them then."""
    if start.last is None:
        return start.from_ms or 0
    bars = await _insist(lambda: archive.older(stream, start.last or 0, 0, to_ms))
    return bars[0].time_ms if bars else to_ms


async def _insist(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask again for half a minute if a venue cannot answer now."""
    for pause_s in _PAUSES_S:
        try:
            return await ask()
        except Hopeless:
            raise
        except Fault as fault:
            click.echo(f"{fault}; again in {pause_s:g} s", err=True)
            await asyncio.sleep(pause_s)
    return await ask()


class _Target:
    """The file of a download: what is newer is appended as it comes, what is older is put in at the end, in one step.

    :param replaces: bars of the download take the place of those that the file has
    """

    def __init__(self, path: Path, replaces: bool) -> None:
        self.kept = 0
        """How many bars have come that are in the file, or will be."""
        self._path = path
        self._replaces = replaces
        self._file: BarFile | None = None
        self._instrument: Instrument
        self._older: list[Bar] = []
        self._new = self._left_out = 0

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def take(self, instrument: Instrument, bars: Sequence[Bar]) -> None:
        """Keep bars that are later than those before.

        :raises Fault: the file is held by somebody else, of another source, or the disk is full
        """
        fit = [bar for bar in bars if not refusal(bar)]
        self._left_out += len(bars) - len(fit)
        if not fit:
            return
        self.kept += len(fit)
        if self._file is None:
            self._file, self._instrument = BarFile(self._path, instrument), instrument
        last_ms = -1 if self._file.last_ms is None else self._file.last_ms
        newer = [bar for bar in fit if bar.time_ms > last_ms]
        self._file.append(newer)
        self._older += fit[: len(fit) - len(newer)]
        self._new += len(newer)

    def done(self, stream: str) -> Done:
        """Put the older bars in, and say what is in the file now."""
        if self._older:
            self._put_in()
        times = [bar.time_ms for bar in read_bars(self._path)]
        return Done(stream, str(self._path), len(times), self._new, self._left_out, min(times), max(times))

    def _put_in(self) -> None:
        with lock(self._path):
            known = {bar.time_ms: bar for bar in read_bars(self._path)}
            others = {bar.time_ms: bar for bar in self._older if self._differs(bar, known.get(bar.time_ms))}
            if not others:
                return
            if origins := {bar.origin for bar in others.values()} - DEFAULT_ORIGINS:
                write_toml(self._path, self._instrument, {*origins, *read_note(self._path).origins})
            both = known | others
            rewrite(self._path, (both[time_ms] for time_ms in sorted(both)))
            self._new += len(others)

    def _differs(self, bar: Bar, known: Bar | None) -> bool:
        return known is None or (self._replaces and _values(bar) != _values(known))


def _values(bar: Bar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


@contextmanager
def _progress(stream: str) -> Iterator[Told]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share, bars: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TextColumn("{task.fields[bars]:,} bars"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(stream, total=1.0, bars=0)
        yield lambda share, bars: progress.update(task, completed=share, bars=bars)
