"""The venues end to end, by real processes: what is recorded and executed is what was true, whatever goes wrong.

``PYNELIVE_FAULTS=500`` makes every run here so many bars long (and the faults and silences as many more as the bars
are); the tests' own time-out has to be raised with it (``--timeout 3600``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import pytest
from pynelive import subscribe
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Bar, Executed
from pynelive.bus.wire import decode
from pynelive.producers import clock
from pynelive.producers.sessions import EPOCH_MS
from pynelive.sinks.revisions import merge_revisions
from topologies import Bench, candles, running, wait_for
from venues.capitalcom import API_KEY, IDENTIFIER, PASSWORD
from venues.client import Lab, lab
from venues.faults import Fault, Plan

pytest.importorskip("ccxt")

BARS = int(os.environ.get("PYNELIVE_FAULTS", "50"))
FAULTS = BARS
SEED = int(os.environ.get("PYNELIVE_SEED", "1"))
PATIENCE_S = 200.0 * BARS / 50
MINUTE_MS = 60_000

Values = tuple[float, ...]
Said = dict[int, list[Bar]]


class Case(NamedTuple):
    """A venue of the laboratory and its one stream."""

    venue: str
    symbol: str
    """As the laboratory's markets are named."""
    native: str
    """As the venue names it, and the hooks of its faults."""
    stream: str
    options: str = ""
    """What the producer needs beside the addresses."""
    path: str = ""
    """Of the WebSocket."""


LOGIN = f'identifier = "{IDENTIFIER}", password = "{PASSWORD}", api_key = "{API_KEY}"'
CASES = [
    Case("binance", "BTC/USDT", "BTCUSDT", "ccxt:BINANCE:BTC/USDT@1"),
    Case("bybit", "BTC/USDT:USDT", "BTCUSDT", "ccxt:BYBIT:BTC/USDT:USDT@1"),
    Case("capitalcom", "AAPL", "AAPL", "capitalcom:AAPL@1", LOGIN, "/connect"),
]
BINANCE = CASES[0]

RECORDER = """
[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["*"]
options = { dir = "data" }
"""
SCRIPT = """
[[runner]]
name = "script"
script = "EXAMPLES/ema_cross.py"
stream = "STREAM"
history = 100
"""


def producer(case: Case, at: Lab, streams: Sequence[str], grace_s: int) -> str:
    """The table of the producer, which finds its venue in the laboratory."""
    provider = case.stream.partition(":")[0]
    keys = ", ".join(f'"{stream.removeprefix(provider + ":")}"' for stream in streams)
    options = ", ".join(filter(None, [f'url = "{at.http}", ws_url = "{at.ws}{case.path}"', case.options]))
    # By default live bars wait two minutes for what is missing before them: of the venue's, so two seconds of a machine
    # that may be busy; and a close may be three seconds late, of which a thousand that come together make 150 ms.
    return (f'[[producer]]\nname = "venue"\nprovider = "{provider}"\nstreams = [{keys}]\noptions = {{ {options} }}\n'
            f"quality = {{ hold_s = 6000, grace_s = {grace_s} }}\n")


class Run:
    """A topology on a venue, while it is up and afterwards."""

    def __init__(self, at: Lab, bench: Bench, process: subprocess.Popen[str]) -> None:
        self.at, self.bench = at, bench
        self._process = process

    def said(self, stream: str) -> Said:
        """All that the journal has of each closed bar: as it was said first, and its revisions, in their order."""
        return self.all_said().get(stream, {})

    def all_said(self) -> dict[str, Said]:
        """The same of every stream, by one reading."""
        journal = Journal(self.bench.run_dir / "journal" / "venue", read_only=True)
        found: dict[str, Said] = {}
        for stream, record in journal.in_order():
            for message in decode(record.payload):
                if isinstance(message, Bar) and message.closed:
                    found.setdefault(stream, {}).setdefault(message.time_ms, []).append(message)
        journal.close(clean=False)
        return found

    def truth(self, symbol: str, since_ms: int | None = None) -> dict[int, list[Values]]:
        """Every value that a closed bar has ever had at the venue, the last one being final."""
        found: dict[int, list[Values]] = {}
        for row in self.at.truth(symbol, since_ms=since_ms):
            found.setdefault(row.time_ms, []).append(tuple(row[2:]))
        return found

    def counters(self) -> dict[str, int]:
        """What the producer has counted; nothing before it is up."""
        status = self.bench.ps().get("venue", {}).get("status") or {}
        found: dict[str, int] = status.get("counters", {})
        return found

    def stop(self) -> str:
        """End it as Ctrl-C does; what it has printed."""
        self._process.send_signal(signal.SIGINT)
        ended = self.bench.end(self._process)
        assert ended.code == 0, ended.output
        return ended.output


@contextmanager
def up(
    folder: Path, case: Case, at: Lab, more: str = "", streams: Sequence[str] = (), grace_s: int = 3
) -> Iterator[Run]:
    """A producer of these streams, and more, on a venue of the laboratory."""
    bench = Bench(folder, producer(case, at, streams or [case.stream], grace_s) + more.replace("STREAM", case.stream))
    with running(bench, **at.env) as process:
        yield Run(at, bench, process)


def later(happened: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """What it returns, as soon as that is true: :func:`wait_for` of something that costs a little to ask."""
    deadline, never = time.monotonic() + timeout_s, threading.Event()
    while not (found := happened()):
        assert time.monotonic() < deadline, "it has not happened"
        never.wait(0.5)
    return found


def values(bar: Bar) -> Values:
    """As the truth is told."""
    return bar.open, bar.high, bar.low, bar.close, bar.volume


# --- whatever goes wrong ----------------------------------------------------------------------------------------------


def faults_of(case: Case, seed: int) -> list[Fault]:
    """Half as many again as shall fire, each at an event of its own; the run ends when enough have."""
    found: dict[tuple[str, int], Fault] = {}
    while len(found) < FAULTS * 3 // 2:
        plan = Plan.random(seed, FAULTS, [case.native], frames=3 * BARS, bars=BARS)
        found = {(fault.where, fault.at): fault for fault in plan.faults} | found
        seed += 1_000_003
    return list(found.values())


def differences(run: Run, case: Case, until_ms: int) -> list[str]:
    """What of the published bars, as they stand now, is not the venue's truth."""
    said = run.said(case.stream)
    truth = run.truth(case.symbol)
    first_ms = min(said)
    return [
        *(f"{time_ms} was invented" for time_ms in said if time_ms not in truth),
        *(f"{time_ms} is missing" for time_ms in truth if first_ms <= time_ms <= until_ms and time_ms not in said),
        *(f"{time_ms} is {values(bars[-1])} and not {truth[time_ms][-1]}" for time_ms, bars in said.items()
          if time_ms <= until_ms and time_ms in truth and values(bars[-1]) != truth[time_ms][-1]),
    ]  # fmt: skip


def assert_recorded(run: Run, case: Case, until_ms: int) -> None:
    """After ``pynelive merge`` the recording is what was published, which is the truth."""
    (recording,) = run.bench.folder.glob("data/*.ohlcv")
    merge_revisions(recording)
    recorded = candles(recording)
    assert {row[0]: row[1:] for row in recorded} == {t: values(b[-1]) for t, b in run.said(case.stream).items()}
    truth = {t: v[-1] for t, v in run.truth(case.symbol).items() if recorded[0][0] <= t <= until_ms}
    assert {row[0]: row[1:] for row in recorded if row[0] <= until_ms} == truth


def assert_executed(run: Run, case: Case) -> None:
    """The script has executed every closed bar once and in order, history and live without a seam."""
    executed = [m for m in run.bench.published("script", "run:script") if isinstance(m, Executed) and m.bar.closed]
    times = [message.bar.time_ms for message in executed]
    said, truth = run.said(case.stream), run.truth(case.symbol, times[0])
    assert times == [time_ms for time_ms in truth if time_ms <= times[-1]]
    assert {True, False} == {message.history for message in executed}
    for message in executed:  # a bar that the venue has corrected was executed as it was said first
        bar = message.bar
        assert values(bar) in (truth[bar.time_ms] if message.history else [values(said[bar.time_ms][0])])
    assert times[-1] == max(said)


@pytest.mark.timeout(3 * PATIENCE_S)
def test_recorded_and_executed_is_the_truth(tmp_path: Path) -> None:
    """Three venues at once, dozens of random faults each: nothing missing, invented, doubled or wrong in the end."""
    with ExitStack() as stack:
        runs = {
            case: stack.enter_context(up(tmp_path / case.venue, case, at, RECORDER + SCRIPT))
            for seed, case in enumerate(CASES, SEED)
            for at in [stack.enter_context(lab(case.venue, case.symbol, speed=150, faults=faults_of(case, seed)))]
        }
        ends = {}
        for case, run in runs.items():
            later(lambda run=run: len(run.at.fired()) >= FAULTS)
            later(lambda run=run, case=case: len(run.said(case.stream)) >= BARS)
            ends[case] = max(run.said(case.stream))
        for case, run in runs.items():
            try:
                later(lambda run=run, case=case: not differences(run, case, ends[case]))
            except AssertionError:
                pytest.fail(f"{case.venue}: {differences(run, case, ends[case])}; fired: {run.at.fired()}")
            run.stop()
            assert_recorded(run, case, ends[case])
            assert_executed(run, case)


def names(count: int) -> list[str]:
    """So many markets of Binance."""
    return [f"S{number:04}/USDT" for number in range(count)]


def streams_of(symbols: Sequence[str]) -> list[str]:
    """Their streams of minutes."""
    return [f"ccxt:BINANCE:{symbol}@1" for symbol in symbols]


def bars_said(run: Run) -> list[int]:
    """How many closed bars each stream has, as the producer says."""
    status = run.bench.ps().get("venue", {}).get("status") or {}
    return [stream["bars"] for stream in status.get("streams", [])]


def flagged(run: Run) -> list[str]:
    """The streams with a bar that the venue's own flag has closed."""
    said = run.all_said().items()
    return [stream for stream, found in said if any(bar.origin == "venue" for bars in found.values() for bar in bars)]


@pytest.mark.timeout(3 * PATIENCE_S)
def test_no_close_is_wrong(tmp_path: Path) -> None:
    """Ten thousand closes, as they were said first, are the venue's: reconnects and REST answers in between or not.

    A venue that flags a false close (``partial``) has said it, and corrects it later: the test above is about that.
    """
    symbols, bars = names(400), BARS // 2
    kinds = sorted({fault.kind for fault in Plan.random(0, 500, ["A"]).faults} - {"partial"})
    natives = [symbol.replace("/", "") for symbol in symbols]
    faults = Plan.random(SEED, FAULTS, natives, frames=2 * bars, bars=bars, kinds=kinds).faults
    with (
        lab("binance", *symbols, speed=60, ticks=2, faults=faults) as at,
        up(tmp_path, BINANCE, at, streams=streams_of(symbols), grace_s=10) as run,
    ):
        later(lambda: min(bars_said(run), default=0) >= bars)
        run.stop()
        found, wrong = run.all_said(), []
        for symbol, stream in zip(symbols, streams_of(symbols), strict=True):
            said, truth = found[stream], run.truth(symbol)
            assert sorted(said) == [time_ms for time_ms in truth if min(said) <= time_ms <= max(said)], stream
            wrong += [closes[0] for t, closes in said.items() if values(closes[0]) not in truth[t]]
        assert wrong == []
        assert sum(map(len, found.values())) >= 400 * bars
        assert len(at.fired()) >= FAULTS // 2


# --- the socket falls silent ------------------------------------------------------------------------------------------


def venue_ms(at: Lab, real_ns: int) -> float:
    """What time it was at the venue."""
    return EPOCH_MS + (real_ns / 1e9 - float(at.env[clock.VARIABLE].split(",")[1])) * 1000 * at.speed


@pytest.mark.timeout(3 * PATIENCE_S)
def test_requests_take_over_from_a_silent_socket(tmp_path: Path) -> None:
    """At random instants: the next close comes by REST within a bar, then by the socket again; no gap, no double."""
    luck, late = Random(SEED), []
    with lab("binance", "BTC/USDT", speed=120) as at, up(tmp_path, BINANCE, at) as run:
        later(lambda: bars_said(run))
        with subscribe(BINANCE.stream, bus=run.bench.run_dir, timeout_s=60) as bars:
            for count in range(1, BARS // 5 + 1):
                at.arm("ws:BTCUSDT", "silence", at=luck.randrange(10), seconds=1e9)
                wait_for(lambda count=count: len(at.fired()) == count)
                polled = next(bar for bar in bars if bar.origin == "backfill")
                late.append((venue_ms(at, polled.received_ns) - polled.time_ms) / MINUTE_MS - 1)
                next(bar for bar in bars if bar.origin == "venue")
        run.stop()
        said, truth = run.said(BINANCE.stream), run.truth("BTC/USDT")
        assert list(said) == [time_ms for time_ms in truth if min(said) <= time_ms <= max(said)]
        assert [bars for t, bars in said.items() if [values(bar) for bar in bars] != truth[t]] == []
    print(f"{len(late)} silences: REST closes after {median(late):.2f} bars (median), {max(late):.2f} (worst)")
    assert median(late) < 1


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_one_download_for_all_cold_consumers(tmp_path: Path) -> None:
    """32 programs that want 500 bars before the live ones at once cost the venue what one costs."""
    async with lab("binance", "BTC/USDT", speed=1, ticks=60) as at:
        with up(tmp_path, BINANCE, at) as run:
            await asyncio.to_thread(later, lambda: at.counters()["subscriptions"])
            before = at.counters()["requests:/api/v3/klines"]

            async def history() -> list[Bar]:
                async with subscribe(BINANCE.stream, history=500, bus=run.bench.run_dir, timeout_s=60) as bars:
                    stream = aiter(bars)
                    return [await anext(stream) for _ in range(500)]

            given = await asyncio.gather(*(history() for _ in range(32)))
            counters = at.counters()
            assert counters["requests:/api/v3/klines"] - before <= 2
            assert counters["refused:429"] == counters["refused:418"] == 0
            truth = run.truth("BTC/USDT", given[0][0].time_ms)
            assert [values(bar) for bar in given[0]] == [truth[bar.time_ms][-1] for bar in given[0]]
            assert all(bars == given[0] for bars in given)


def test_a_thousand_streams_of_one_process(tmp_path: Path) -> None:
    """All of them are subscribed on one connection, and closed by the venue's flag."""
    symbols = names(1000)
    with (
        lab("binance", *symbols, speed=20) as at,
        up(tmp_path, BINANCE, at, streams=streams_of(symbols), grace_s=30) as run,
    ):
        later(lambda: min(bars_said(run), default=0) >= 2)
        later(lambda: len(flagged(run)) == len(symbols))  # a busy machine has some bars of REST first
        later(lambda: (at.counters()["open"], at.counters()["subscriptions"]) == (1, len(symbols)))
        counters = run.counters()
        run.stop()
        found = run.all_said()
        assert counters.get("refused", 0) == 0
        for symbol, stream in zip(symbols, streams_of(symbols), strict=True):
            said, truth = found[stream], run.truth(symbol)
            assert "venue" in {bars[0].origin for bars in said.values()}, stream
            assert [values(bar) for bars in said.values() for bar in bars] == [truth[t][0] for t in said], stream
