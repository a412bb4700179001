"""Compare what is recorded live with what the venue's history says afterwards: ``python -m venues.live --minutes 5``.

For each exchange of ccxt that is named, and for Capital.com's demo account if its key is where the provider looks for
it (the environment, ``.env``, PyneCore's file), a producer and a recorder run for some minutes. When they have stopped,
the same bars are downloaded anew. The raw frames and the venue's bars are kept, for ``venues.recorded`` to play them.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pynelive import Bar, Fault, listen
from pynelive.bus.errors import TopologyError
from pynelive.bus.messages import Message
from pynelive.bus.names import timeframe_ms
from pynelive.bus.ohlcv import ohlcv_path
from pynelive.bus.rundir import RunDir
from pynelive.producers import clock
from pynelive.producers.keys import completed
from pynelive.producers.table import find_provider

from .client import TESTS
from .recordings import Difference, Values, difference, recorded

SETTLING_S = 90.0
"""How long (the venue's time) after the last bar the producers go on, since they look at a bar again after a minute."""
BEFORE_MS = 120 * 60_000
"""How much of the past is kept with the bars, so that who plays them has a history."""

_MINUTE_MS = timeframe_ms("1")
_STARTING_S = 60.0
_STOPPING_S = 30.0


class Target(NamedTuple):
    """A stream that is checked, and the producer that it gets."""

    name: str
    provider: str
    key: str
    options: str = "{}"

    @property
    def stream(self) -> str:
        """Its full name."""
        return f"{self.provider}:{self.key}"

    @property
    def toml(self) -> str:
        """The producer in a topology."""
        return (f'[[producer]]\nname = "{self.name}"\nprovider = "{self.provider}"\nstreams = ["{self.key}"]\n'
                f"options = {self.options}\n")  # fmt: skip


class Checked(NamedTuple):
    """What came out for one stream."""

    stream: str
    found: Difference
    revised: int
    delays_ms: Sequence[int]
    """From the end of each bar, by this machine's clock, until it came over the bus."""

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        delays = sorted(self.delays_ms)
        quantiles = [f"{delays[int(q * (len(delays) - 1))]:,} ms" if delays else "-" for q in (0.5, 0.99)]
        equal = self.found.bars - self.found.wrong - self.found.extra
        missing = self.found.missing + self.found.behind
        counts = (self.found.bars, equal, self.revised, missing, self.found.wrong, self.found.extra)
        return [self.stream, *map(str, counts), *quantiles, "equal" if self.found.none else "NOT EQUAL"]


def main() -> int:
    """Check and print: 0 if the recordings equal the history, 1 if not or if nothing could be asked."""
    parser = argparse.ArgumentParser(prog="venues.live", description=__doc__)
    parser.add_argument("--exchange", default="BINANCE", help="exchanges of ccxt, with commas between; empty is none")
    parser.add_argument("--symbol", default="BTC/USDT", help="the symbol there")
    parser.add_argument("--minutes", type=int, default=5, help="how many whole bars at least")
    parser.add_argument("--keep", type=Path, default=Path("data/live"), help="the folder for frames and bars")
    options = parser.parse_args()
    targets = [Target(name.lower(), "ccxt", f"{name.upper()}:{options.symbol}@1")
               for name in options.exchange.replace(",", " ").split()]  # fmt: skip
    login = _login()
    targets += [Target("capitalcom", "capitalcom", "BTCUSD@1", "{ demo = true }")] if login else []
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pynelive-live-") as folder:
        try:
            checks = asyncio.run(_check(Path(folder), targets, options.minutes, options.keep.resolve(), login))
        except (Fault, TopologyError) as error:
            print(f"venues.live: {error}; is the venue reached? The lines above say what failed", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("venues.live: stopped before anything could be compared", file=sys.stderr)
            return 130
    _print_table(checks)
    print(f"frames and bars are in {options.keep}")
    return int(not checks or not all(check.found.none for check in checks))


def _login() -> dict[str, str]:
    """Capital.com's credentials, as the environment of its producer; empty if one is missing."""
    found = completed(find_provider("capitalcom", Path()), {}, Path())
    names = ("identifier", "password", "api_key")
    return {f"PYNE_CAPITALCOM_{name.upper()}": found[name] for name in names} if found.keys() >= {*names} else {}


async def _check(
    folder: Path, targets: Sequence[Target], minutes: int, keep: Path, login: Mapping[str, str]
) -> list[Checked]:
    environment = {**os.environ, **login, "PYNELIVE_CACHE": str(folder / "cache"),
                   "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))}
    sink = '[[sink]]\nname = "recorder"\ntype = "ohlcv"\nstreams = ["*"]\n'
    head = '[bus]\nname = "live-check"\nrun_dir = "live-check"\n'
    (folder / "topology.toml").write_text(head + "".join(target.toml for target in targets) + sink)
    lived = await _live(folder, targets, minutes, keep, environment)
    checks = []
    for target in targets:
        want = await _history(folder, target, environment, lived.first_ms)
        _write_bars(_kept(keep, target, ".csv"), want)
        got, revised = recorded(folder / "data", target.stream)
        got = {time_ms: values for time_ms, values in got.items() if time_ms <= lived.last_ms}
        found = difference(got, want, lived.last_ms)
        checks.append(Checked(target.stream, found, revised, lived.delays_ms[target.stream]))
    return checks


# Live --------------------------------------------------------------------------------------------------------------


class Lived(NamedTuple):
    """What was seen while it was live."""

    first_ms: int
    last_ms: int
    """The bars between them, both included, were heard from their beginning to their end (but the first one)."""
    delays_ms: dict[str, list[int]]


async def _live(
    folder: Path, targets: Sequence[Target], minutes: int, keep: Path, environment: Mapping[str, str]
) -> Lived:
    """Run the producers and the recorder until so many bars have closed, and then until they have been confirmed."""
    streams = [target.stream for target in targets]
    async with AsyncExitStack() as stack:
        for words in [*(_producing(target, keep) for target in targets), ("pynelive", "run", "recorder")]:
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", *words, env=environment, cwd=folder)
            stack.push_async_callback(_stop, process)
        print(f"starting; up to {_STARTING_S:.0f} s for the first word of {', '.join(streams)} …", flush=True)
        async with listen(*streams, bus=RunDir(folder / "live-check"), timeout_s=_STARTING_S) as heard:
            first_ms = clock.now_ms() // _MINUTE_MS * _MINUTE_MS
            lived = Lived(first_ms, first_ms + minutes * _MINUTE_MS, {stream: [] for stream in streams})
            print(f"listening to {', '.join(streams)} …", flush=True)
            with suppress(TimeoutError):
                async with asyncio.timeout((lived.last_ms + _MINUTE_MS - clock.now_ms()) / 1000 / clock.SPEED):
                    async for stream, message in heard:
                        _note(lived, stream, message)
        await clock.sleep(SETTLING_S)
    return lived


def _producing(target: Target, keep: Path) -> tuple[str, ...]:
    frames = _kept(keep, target, ".jsonl")
    frames.unlink(missing_ok=True)
    return "venues.record", str(frames), "run", target.name


def _note(lived: Lived, stream: str, message: Message) -> None:
    if isinstance(message, Bar) and message.closed and lived.first_ms <= message.time_ms <= lived.last_ms:
        lived.delays_ms[stream].append(clock.now_ms() - message.time_ms - _MINUTE_MS)


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), _STOPPING_S)
    except TimeoutError:
        process.kill()
        await process.wait()


# Afterwards --------------------------------------------------------------------------------------------------------


async def _history(
    folder: Path, target: Target, environment: Mapping[str, str], start_ms: int
) -> dict[int, Values]:
    """The bars as the venue says them now, and what was before them.

    :raises Fault: it does not say them
    """
    since = datetime.fromtimestamp((start_ms - BEFORE_MS) / 1000, UTC).isoformat()
    command = ("download", target.stream, "history", "--from", since, "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pynelive", *command, env=environment, cwd=folder, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise Fault(f"the history of {target.stream} cannot be had: see above")
    return recorded(folder / "history", target.stream)[0]


def _kept(keep: Path, target: Target, suffix: str) -> Path:
    return ohlcv_path(keep, target.stream).with_suffix(suffix)


def _write_bars(path: Path, bars: Mapping[int, Values]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["time", "open", "high", "low", "close", "volume"])
        rows.writerows([time_ms, *values] for time_ms, values in sorted(bars.items()))


def _print_table(checks: Sequence[Checked]) -> None:
    head = ["stream", "bars", "equal", "revised", "missing", "wrong", "extra", "p50", "p99", ""]
    rows = [head, *(check.cells for check in checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())


if __name__ == "__main__":
    sys.exit(main())
