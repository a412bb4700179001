"""P5: from a bar to what a script decides on it, in another process; and how fast history is executed."""

from __future__ import annotations

import asyncio
import math
import os
import random
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import zmq  # noqa: F401 - behind PyneCore nobody could import it
from figures import Row, compare, part, rounds
from harness import ROOT, actor, bar, call, folder, precise_sleep, quantiles, together, until
from msgspec.structs import replace
from pynecore.core.live_runner import live_ohlcv_generator
from pynecore.core.ohlcv import OHLCVWriter
from pynecore.core.plugin.live_provider import LiveProviderConfig, LiveProviderPlugin
from pynecore.core.script_runner import ScriptRunner
from pynecore.core.syminfo import SymInfo
from pynecore.types.ohlcv import OHLCV
from pynelive.bus.cursor import Cursor
from pynelive.bus.messages import End, Executed, Instrument, Message, Signal
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.subscriber import Subscriber, from_earliest
from pynelive.bus.syminfo import to_syminfo, write_toml
from pynelive.bus.topology import load

TITLE = "Decisions"
ABOUT = """
`examples/ema_cross.py`, a strategy, on closed bars that come at an even pace: from before a bar is published to when its
decision is there. The first tenth of each round is left out. All scripts of a side work on each bar at the same time.

| side | the decision is there |
|---|---|
| ours | when another process has it, by asyncio: the bar was journaled, sent, executed; what the script said was journaled and sent |
| PyneCore | when `run_iter` of the same process yields: its live path (`live_ohlcv_generator`, a provider that has no network), a process a script; nobody else is told, nothing is kept |

*History* is the time of 100,000 closed bars of a file from the start of the command to its end: a producer that plays
them at full speed and a runner that executes them as its warm-up, journals and publishes what the script says and
writes PyneCore's files, beside `pyne run` on that file. Both must have written the same plots and trades.
"""  # noqa: E501 - a table
SCRIPT = ROOT.parent / "examples" / "ema_cross.py"
STREAM = "demo:BTC/USDT@1"
INSTRUMENT = Instrument("BTC/USDT", "1")
SCRIPTS = {1: 50, 10: 50, 50: 10}
"""How many scripts there are, and the bars a second that they get."""
SECONDS = 8.0
PAST = 100_000
_LIVE = """
[bus]
name = "bench"
run_dir = "run"

[[producer]]
name = "producer"
provider = "demo"
streams = ["BTC/USDT@1"]

[[sink]]
name = "receiver"
type = "jsonl"
streams = ["run:*"]
options = { path = "said.jsonl" }
"""
_RUNNER = '[[runner]]\nname = "r{}"\nscript = "{}"\nstream = "demo:BTC/USDT@1"\nhistory = 0\noutput = ""\n'
_PAST = """
[bus]
name = "bench"
run_dir = "run"

[[producer]]
name = "producer"
provider = "replay"
streams = ["BTC/USDT@1"]
options = {{ speed = 0, files = {{ "BTC/USDT@1" = "{file}" }} }}

[[runner]]
name = "runner"
script = "{script}"
stream = "replay:BTC/USDT@1"
history = {past}
trade_history = true
output = "output"
"""


def topology(at: Path, scripts: int) -> Path:
    """The file of so many runners on one stream."""
    (at / "topology.toml").write_text(_LIVE + "".join(_RUNNER.format(number, SCRIPT) for number in range(scripts)))
    return at / "topology.toml"


# --- ours -------------------------------------------------------------------------------------------------------------


def pace(place: str, count: int, rate: int) -> int:
    """The publisher: bars at an even pace, each with the time at which it was handed over."""
    bus = load(Path(place))
    consumers = {name: [STREAM] for name in bus.consumers(STREAM)}

    async def main() -> None:
        publisher = Publisher(RunDir(bus), "producer", consumers)
        await publisher.open()
        publisher.publish(STREAM, INSTRUMENT)
        await publisher.drained()
        precise_sleep()
        begun = time.monotonic()
        for number in range(count):
            await asyncio.sleep(0)
            if (wait := begun + number / rate - time.monotonic()) > 0:
                time.sleep(wait)  # noqa: ASYNC251 - the loop's own timers are of whole milliseconds
            publisher.publish(STREAM, replace(bar(number), received_ns=time.monotonic_ns()))
            publisher.flush()
        publisher.publish(STREAM, End())
        await publisher.drained()
        await publisher.close()

    asyncio.run(main())
    return count


def act(place: str, name: str) -> int:
    """A runner, as the supervisor starts it."""
    asyncio.run(actor(Path(place), name).run(asyncio.Event()))
    return 0


def receive(place: str, scripts: int) -> list[float]:
    """Who waits for the decisions of all scripts: p50 and p99 in µs."""
    waits: list[int] = []

    async def main() -> None:
        ended, done = 0, asyncio.Event()

        def take(cursor: Cursor, messages: list[Message]) -> None:
            nonlocal ended
            now = time.monotonic_ns()
            sent = 0
            for message in messages:
                if type(message) is Executed:
                    sent = message.bar.received_ns
                elif type(message) is Signal:
                    waits.append(now - sent)
                ended += type(message) is End
            subscriber.ack({cursor.stream: (cursor.epoch, cursor.next)})
            if ended == scripts:
                done.set()

        subscriber = Subscriber(RunDir(load(Path(place))), ["run:*"], take, from_earliest, "receiver")
        subscriber.open()
        await done.wait()
        await subscriber.finish()
        await subscriber.close()

    asyncio.run(main())
    return quantiles(waits)


def ours(scripts: int) -> list[float]:
    """p50 and p99, in µs."""
    rate = SCRIPTS[scripts]
    with folder() as at:
        path = topology(at, scripts)
        acting = [call(act, path, f"r{number}") for number in range(scripts)]
        pacing = call(pace, path, int(SECONDS * rate), rate)
        found: list[float] = together(call(receive, path, scripts), pacing, *acting)[0]
    return found


# --- PyneCore's own live path -----------------------------------------------------------------------------------------


class Paced(LiveProviderPlugin[LiveProviderConfig]):
    """A provider that has bars at an even pace, and no network."""

    plugin_name = "paced"
    begun = 0.0
    rate = 1
    given = 0
    first_ms = 0

    @classmethod
    def to_tradingview_timeframe(cls, timeframe: str) -> str:
        return timeframe

    @classmethod
    def to_exchange_timeframe(cls, timeframe: str) -> str:
        return timeframe

    def get_list_of_symbols(self, *_: Any, **__: Any) -> list[str]:
        return ["BTC/USDT"]

    def update_symbol_info(self) -> SymInfo:
        return to_syminfo(INSTRUMENT)

    def download_ohlcv(self, *_: Any, **__: Any) -> None:
        """There is no history."""

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def disconnect(self) -> None:
        """There is nothing to leave."""

    @property
    def is_connected(self) -> bool:
        return True

    async def watch_ohlcv(self, symbol: str, timeframe: str) -> OHLCV:
        """The next bar, with the time at which it is handed over; opens a minute after the one before."""
        if (wait := self.begun + self.given / self.rate - time.time()) > 0:
            time.sleep(wait)  # noqa: ASYNC251 - the loop has nothing else to do
        made = bar(self.given)
        self.given += 1
        sent = {"sent": float(time.monotonic_ns())}
        at = self.first_ms + made.time_ms  # not in the past: PyneCore would fill what it takes for a hole
        return OHLCV(at, made.open, made.high, made.low, made.close, made.volume, sent, True)


def decide(place: str, scripts: int, count: int, rate: int, number: int) -> list[int]:
    """One script in PyneCore's live path; ns of each decision."""
    os.environ["PYNE_SAVE_SCRIPT_TOML"] = "0"
    precise_sleep()
    provider = Paced(symbol="BTC/USDT", timeframe="1")
    runner = ScriptRunner(SCRIPT, (), to_syminfo(INSTRUMENT), live=True, lossless_prices=True, lossless_volume=True)
    (Path(place) / f"ready{number}").touch()
    there = until(lambda: len(found := list(Path(place).glob("ready*"))) == scripts and found)
    provider.begun = max(path.stat().st_mtime for path in there) + 1
    provider.rate, provider.first_ms = rate, math.ceil(time.time() / 60) * 60_000
    waits: list[int] = []
    source = live_ohlcv_generator(provider, "BTC/USDT", "1")
    runner.ohlcv_iter = source
    for candle, *_ in runner.run_iter(copy_results=False):
        waits.append(time.monotonic_ns() - int(candle.extra_fields["sent"]))
        if len(waits) == count:
            print(waits, flush=True)
            os._exit(0)  # what it stops with takes seconds
    return waits


def pynecore(scripts: int) -> list[float]:
    """p50 and p99 over all scripts, in µs."""
    rate = SCRIPTS[scripts]
    with folder() as at:
        count = int(SECONDS * rate)
        found = together(*(call(decide, at, scripts, count, rate, number) for number in range(scripts)))
    return quantiles([wait for bars in zip(*found, strict=True) for wait in bars])


# --- history ----------------------------------------------------------------------------------------------------------


def timed(*command: str, cwd: Path) -> float:
    """Seconds that a command takes."""
    begun = time.monotonic()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} has failed:\n{done.stdout}{done.stderr}")
    return time.monotonic() - begun


def recording(at: Path) -> Path:
    """PAST bars of a random walk, in a file as PyneCore has it."""
    file, steps, close = at / "bars.ohlcv", random.Random(1), 1000.0
    with OHLCVWriter(file, "1", minmove=1, pricescale=100) as writer, writer.batched():
        for number in range(1, PAST + 1):
            before, close = close, close + steps.randint(-8, 8) / 8
            writer.write(OHLCV(number * 60_000, before, max(before, close), min(before, close), close, 1.0))
    write_toml(file.with_suffix(".toml"), INSTRUMENT, ())
    return file


def past_on_the_bus(file: Path) -> float:
    """Seconds of a recording through a producer and a runner."""
    with folder() as at:
        path = at / "topology.toml"
        path.write_text(_PAST.format(file=file, script=SCRIPT, past=PAST))
        took = timed(sys.executable, "-m", "pynelive", "up", str(path), cwd=at)
        _agree(file, at / "output" / "runner" / "plot.csv", at / "output" / "runner" / "trades.csv")
        return took


def past_in_a_file(file: Path) -> float:
    """Seconds of ``pyne run`` on it."""
    with folder() as at:
        for name in ("scripts", "output", "config"):
            (at / name).mkdir()
        shutil.copytree(file.parent, at / "data")
        (at / "scripts" / SCRIPT.name).write_text(SCRIPT.read_text())
        pyne = str(Path(sys.executable).with_name("pyne"))
        took = timed(pyne, "-w", str(at), "run", SCRIPT.name, file.name, cwd=at)
        _agree(file, at / "output" / f"{SCRIPT.stem}.csv", at / "output" / f"{SCRIPT.stem}_trade.csv")
        return took


def _agree(file: Path, *written: Path) -> None:
    """:raises SystemExit: these are not what was written on this recording before"""
    said = b"".join(path.read_bytes() for path in written)
    known = file.with_suffix(".said")
    if known.exists() and known.read_bytes() != said:
        raise SystemExit(f"{written} are not what the other side has written")
    known.write_bytes(said)


def measure(count: int) -> list[Row]:
    """P5."""
    cases: dict[str, Any] = {}
    for scripts in SCRIPTS:
        cases |= {f"ours {scripts}": partial(ours, scripts), f"PyneCore {scripts}": partial(pynecore, scripts)}
    found = rounds(count, cases)
    rows = []
    for scripts, rate in SCRIPTS.items():
        for at, name, goal in ((0, "p50", 1.2), (1, "p99", None)):
            what = f"{name}, {scripts} script{'s' * (scripts > 1)}, {rate} bars/s ÷ PyneCore's live path in one process"
            figures, sides = part(found, at), (f"ours {scripts}", f"PyneCore {scripts}")
            rows.append(compare(f"P5-{name}-{scripts}", what, figures, *sides, "µs", goal, at_most=True))
    with folder() as at:
        file = recording(at)
        past = rounds(count, {"ours": partial(past_on_the_bus, file), "pyne run": partial(past_in_a_file, file)})
    what = f"{PAST:,} bars of history, start and end included ÷ `pyne run`"
    return [*rows, compare("P5-history", what, past, "ours", "pyne run", "s", None, at_most=True)]
