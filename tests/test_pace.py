"""A source without a clock waits for its slowest declared consumer, as long as there is hope for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from topologies import Bench, candles, running, wait_for

BARS = 20_000
STREAM = "demo:BTC/USDT@1"
WINDOW = 256 + 64
"""How many messages a producer with a journal of 0.25 MB may be ahead: its window, and a step."""

FAST = f"""
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = {{ speed = 0, bars = {BARS} }}
journal = {{ max_mb = 0.25 }}
"""
RECORDER = """
[[sink]]
name = "NAME"
type = "ohlcv"
streams = ["demo:*"]
options = { dir = "NAME" }
"""

SLEEPY = """
import os
import signal
from pynelive.sinks.ohlcv import OhlcvSink

class Sleepy(OhlcvSink):
    def write(self, batch):
        super().write(batch)
        if not (self.base / "asleep").exists():
            (self.base / "asleep").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
"""
SMALL = """
import resource
from pynelive.sinks.ohlcv import OhlcvSink

class Small(OhlcvSink):
    def open(self, stream, instrument):
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        return super().open(stream, instrument)
"""


def recorded(bench: Bench, recorder: str) -> int:
    """How many bars are in a recorder's file."""
    path = bench.folder / recorder / "demo_BTC_USDT_1.ohlcv"
    return len(candles(path)) if path.exists() else 0


def test_suspended_recorder_is_waited_for(tmp_path: Path) -> None:
    """The producer gets no further ahead as long as the recorder sleeps, and its small journal loses nothing."""
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    bench = Bench(tmp_path, FAST + RECORDER.replace("NAME", "slow").replace('"ohlcv"', '"sleepy.py"'))
    with running(bench) as process:
        pid = int(wait_for(lambda: (tmp_path / "asleep").exists() and (tmp_path / "asleep").read_text()))
        wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        stopped = recorded(bench, "slow")
        signal.sigtimedwait([], 3)  # in which one that does not wait has said everything
        assert _published(bench) - stopped <= WINDOW < BARS - stopped
        os.kill(pid, signal.SIGCONT)
        ended = bench.end(process)
    assert ended.code == 0, ended.output
    assert recorded(bench, "slow") == BARS
    assert "is gone" not in bench.log("demo")
    assert "no longer" not in bench.log("slow")


def _published(bench: Bench) -> int:
    return int(bench.ps()["demo"]["status"]["bars"])


def test_failed_recorder_is_not_waited_for(tmp_path: Path) -> None:
    """A recorder that can never write makes `up` fail and say why; the others finish their work."""
    (tmp_path / "broken").write_text("no folder")
    bench = Bench(tmp_path, FAST + RECORDER.replace("NAME", "broken") + RECORDER.replace("NAME", "good"))
    ended = bench.up()
    assert ended.code == 1
    assert f"{tmp_path / 'broken'}" in ended.output
    assert recorded(bench, "good") == BARS


def test_full_disk_is_said(tmp_path: Path) -> None:
    """A recorder that runs out of space names its file; what it has recorded until then is whole."""
    (tmp_path / "small.py").write_text(SMALL)
    full = RECORDER.replace("NAME", "full").replace('"ohlcv"', '"small.py"')
    bench = Bench(tmp_path, FAST + full + RECORDER.replace("NAME", "good"))
    ended = bench.up()
    assert ended.code == 1
    assert "demo_BTC_USDT_1.ohlcv cannot be written" in ended.output
    assert recorded(bench, "good") == BARS
    kept = candles(tmp_path / "full" / "demo_BTC_USDT_1.ohlcv")
    assert 0 < len(kept) < BARS
    assert kept == candles(tmp_path / "good" / "demo_BTC_USDT_1.ohlcv")[: len(kept)]
