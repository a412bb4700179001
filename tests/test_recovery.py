"""Whatever is killed, and wherever: what a finished run leaves behind is what an undisturbed one leaves.

``PYNELIVE_KILLS=10`` kills each process so many times in one run, at random moments; without it, once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from pynelive.bus.messages import Alert, End, Executed, Message, Plot, Signal
from pynelive.bus.names import parse_key
from pynelive.bus.rundir import RunDir
from pynelive.producers.demo import expected_bars
from support import Taken, publishing, wait_until
from topologies import CANDLE, PATIENCE_S, Bench, Ended, candles, running

KILLS = int(os.environ.get("PYNELIVE_KILLS", "1"))
BARS = 3000
STREAM = "demo:BTC/USDT@1"
OUT = "run:ema-cross"

DEMO = f"""
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = {{ seed = 7, speed = SPEED, bars = {BARS} }}

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = {{ dir = "data" }}

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "{STREAM}"

[[runner]]
name = "ema-cross"
script = "EXAMPLES/ema_cross.py"
stream = "{STREAM}"
"""
PLACES = (
    "publisher.between-journal-and-send:40",
    "ohlcv.between-record-and-header:2",
    "ohlcv.after-commit:2",
    "runner.between-execution-and-journal:2000",
    "sink.after-end",
)


def demo(folder: Path, speed: float = 0) -> Bench:
    """The demo with a recorder, an indicator and a strategy."""
    return Bench(folder, DEMO.replace("SPEED", str(speed)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The run that all others are compared with."""
    bench = demo(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
        ended = bench.up()
    assert ended.code == 0, ended.output
    return bench


def test_demo_runs_to_its_end(undisturbed: Bench) -> None:
    """The recording holds the demo's bars, all and in order, and every script has seen them."""
    found = candles(undisturbed.folder / "data" / "demo_BTC_USDT_1.ohlcv")
    wanted = expected_bars(7, parse_key("BTC/USDT@1"), 0, BARS)
    assert found == [tuple(getattr(bar, name) for name in CANDLE) for bar in wanted]
    assert all(before[0] < after[0] for before, after in pairwise(found))
    for name in ("rsi", "ema-cross"):
        said = undisturbed.published(name, f"run:{name}")
        live = [m.bar.time_ms for m in said if isinstance(m, Executed) and not m.history]
        assert live == [candle[0] for candle in found]


def test_second_up_finds_everything_done(undisturbed: Bench) -> None:
    """A run that has ended is not run again: the next `up` ends at once and changes nothing."""
    before, said = undisturbed.digests(), undisturbed.published("ema-cross", OUT)
    assert undisturbed.up().code == 0
    assert undisturbed.digests() == before
    assert undisturbed.published("ema-cross", OUT) == said


@pytest.mark.parametrize("place", PLACES)
def test_death_at_a_failpoint(place: str, undisturbed: Bench, tmp_path: Path) -> None:
    """A kill -9 between any two steps that belong together leaves no trace."""
    bench, once = demo(tmp_path / "bench", speed=120_000), tmp_path / "once"
    ended = bench.up(PYNELIVE_FAILPOINT=f"{place}@{once}")
    assert ended.code == 0, ended.output
    assert once.exists(), "nothing died"
    assert bench.digests() == undisturbed.digests()


async def test_random_kills(undisturbed: Bench, tmp_path: Path) -> None:
    """Producer, recorder, runner and supervisor are killed; all files are the same, all outputs said once."""
    for pause_s in (1.5, 6, 24):  # a run that is over before all were killed is repeated, slower
        victims = ["demo", "recorder", "ema-cross", "up"] * KILLS
        random.shuffle(victims)
        bench = demo(tmp_path / f"{pause_s}", speed=60 * BARS / (1 + pause_s * len(victims)))
        heard = Taken(RunDir(bench.run_dir), [OUT])
        ended = await asyncio.to_thread(_run_and_kill, bench, victims)
        if not victims:
            break
        await heard.subscriber.close()
    print(ended.output, bench.log("supervisor"))
    assert not victims
    assert ended.code == 0, ended.output
    assert bench.digests() == undisturbed.digests()
    wanted = undisturbed.published("ema-cross", OUT)
    assert _said(bench.published("ema-cross", OUT)) == _said(wanted)
    async with publishing(RunDir(bench.run_dir), "ema-cross"):  # nobody had waited until its last word was heard
        await wait_until(lambda: isinstance(heard.messages[OUT][-1], End))
    assert _said(heard.messages[OUT]) == _said(wanted)
    await heard.subscriber.close()


def _run_and_kill(bench: Bench, victims: list[str]) -> Ended:
    """Run to the end; the victims die at random moments, a supervisor is started again."""
    while True:
        with running(bench) as process:
            if not _kill(bench, process, victims):
                return bench.end(process, PATIENCE_S + 5 * KILLS)


def _kill(bench: Bench, up: subprocess.Popen[str], victims: list[str]) -> bool:
    """Kill one after the other; True when it was the supervisor's turn, False when all are dead or the run is over."""
    while victims and up.poll() is None:
        signal.sigtimedwait([], random.uniform(0.1, 0.8))
        views = bench.ps()
        pid = up.pid if victims[-1] == "up" and views else views.get(victims[-1], {}).get("pid", 0)
        if pid and _killed(pid):
            print(f"killed {victims[-1]}")
            if victims.pop() == "up":
                return True
    return False


def _killed(pid: int) -> bool:
    try:
        psutil.Process(pid).kill()
    except psutil.NoSuchProcess:
        return False
    return True


def _said(messages: list[Message]) -> list[Message]:
    """What a script has said, without what differs from run to run by nature."""
    return [m for m in messages if isinstance(m, Alert | Plot | Signal | End)]
