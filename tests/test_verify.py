"""Live equals replay: a run is proved from its journal, a difference is shown; a recording is proved too."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from pynecore.core.ohlcv import OHLCVWriter
from pynecore.types.ohlcv import OHLCV
from pynelive.bus.journal import Journal
from pynelive.bus.messages import Executed, Message, Plot, Run, Seal
from pynelive.bus.outgoing import Out
from pynelive.bus.wire import decode, encode
from pynelive.runners.verify import doubts
from pynelive.sinks.proof import verify_recording
from support import STREAM, make_bar
from topologies import COMMAND, Bench, Ended, running, wait_for

DEMO = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { seed = 7, speed = 6000, bars = 400 }

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = { dir = "data" }

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:BTC/USDT@1"

[[runner]]
name = "stops"
script = "EXAMPLES/stops.py"
stream = "demo:BTC/USDT@1"
updates = "all"
trade_history = true
on_outage = "hold"

[[runner]]
name = "momentum"
type = "python"
script = "EXAMPLES/momentum.py"
data = ["run:rsi"]

[runner.instances]
slow = { stream = "demo:BTC/USDT@1" }
fast = { stream = "demo:BTC/USDT@1", inputs = { length = 3 } }
"""
RUNS = {"run:rsi": "rsi", "run:stops": "stops", "run:momentum/slow": "momentum", "run:momentum/fast": "momentum"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A run with forming updates; one of its runners is killed on the way."""
    folder = tmp_path_factory.mktemp("verify")
    bench = Bench(folder / "bench", DEMO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
        ended = bench.up(PYNELIVE_FAILPOINT=f"runner.between-journal-and-ack:600@{folder / 'once'}")
    assert ended.code == 0, ended.output
    assert (folder / "once").exists()
    return bench


def verify(bench: Bench, *words: str) -> Ended:
    """The command, on the bus of the bench."""
    command = [*COMMAND, "verify", *words, "--bus", str(bench.path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    return Ended(said.returncode, said.stdout or said.stderr)


@pytest.mark.parametrize("stream", RUNS)
def test_a_run_is_proved(done: Bench, stream: str) -> None:
    """A replay says the same, forming updates included, through a kill; its fingerprint is the published one."""
    ended = verify(done, stream, "--json")
    assert ended.code == 0, ended.output
    proof = json.loads(ended.output)
    seal = [m for m in done.published(RUNS[stream], stream) if isinstance(m, Seal)][-1]
    assert (proof["fingerprint"], proof["messages"]) == (seal.fingerprint, seal.messages)
    assert proof["closed"] == 900
    journaled = done.published(RUNS[stream], stream) + done.published(RUNS[stream], stream.replace("run:", "exec:"))
    assert proof["updates"] == sum(isinstance(m, Executed) for m in journaled)  # forming ones too, as many as came
    assert proof["doubts"] == []


def test_the_first_difference_is_shown(done: Bench, tmp_path: Path) -> None:
    """One plot that was published otherwise is found, with its bar; the exit code is 1."""
    target = tmp_path / "run" / "journal" / "rsi"
    target.mkdir(parents=True, mode=0o700)
    bench = Bench(tmp_path, DEMO)
    theirs = Journal(done.run_dir / "journal" / "rsi", read_only=True)
    mine, changed_ms = Journal(target), 0
    outs = {name: Out(name, mine.track(name)) for name in theirs.tracks}
    for name, record in theirs.in_order():
        messages = list(decode(record.payload))
        for place, message in enumerate(messages):
            if isinstance(message, Plot) and message.closed and not changed_ms and record.seq > 1000:
                changed_ms = message.time_ms
                messages[place] = Plot(message.time_ms, {**message.values, "RSI": 50.125})
        mine.append(outs[name].track, encode(messages), len(messages), *outs[name].remember(messages))
    mine.close()
    theirs.close(clean=False)
    ended = verify(bench, "run:rsi")
    assert changed_ms
    assert (ended.code, "50.125" in ended.output) == (1, True), ended.output
    assert "differs: on the bar of" in ended.output


def test_a_recording_is_proved(done: Bench, tmp_path: Path) -> None:
    """Each bar is borne out; one that is changed, and one that is missing, is named."""
    path = done.folder / "data" / "demo_BTC_USDT_1.ohlcv"
    ended = verify(done, str(path))
    assert (ended.code, "400 bars of demo:BTC/USDT@1 as they were published" in ended.output) == (0, True), ended.output
    copy = tmp_path / path.name
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place : place + 8] = bytes(8)
    copy.write_bytes(content)
    (tmp_path / "demo_BTC_USDT_1.toml").write_bytes(path.with_suffix(".toml").read_bytes())
    ended = verify(done, str(copy))
    assert ended.code == 1, ended.output
    ended = verify(done, str(tmp_path / "nope.ohlcv"))
    assert (ended.code, "there is no file" in ended.output) == (1, True), ended.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import random", "random"), ("from urllib.request import urlopen", "urllib.request"),
        ("x = timenow", "timenow, the clock"), ("x = math.random(1, 2)", "random, random numbers"),
        ("x = datetime.now()", "now, the clock"), ("from pynecore.lib import close, time", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_reproduced_is_named(tmp_path: Path, line: str, said: str) -> None:
    """The clock, random numbers and the network are found in the source, with their line."""
    script = tmp_path / "script.py"
    script.write_text(f'"""@pyne"""\n{line}\n')
    assert doubts(script) == ([f"{said} (line 2)"] if said else [])


WATCHED = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { seed = 7, speed = 600 }

[[runner]]
name = "one"
type = "python"
script = "one.py"
stream = "demo:BTC/USDT@1"
watch = true
"""
ONE = 'from pynelive import Strategy\n\nclass One(Strategy):\n    title = "A"\n    def on_data(self, bar): pass\n'


def test_a_changed_script_begins_a_new_run(tmp_path: Path) -> None:
    """One that is no Python leaves the old one running; another one closes the run and begins a new one."""
    bench = Bench(tmp_path, WATCHED)
    script = tmp_path / "one.py"
    script.write_text(ONE)

    def titles() -> list[str]:
        return [m.title for m in bench.published("one", "run:one") if isinstance(m, Run)]

    def journal() -> list[Message]:
        return bench.published("one", "run:one") if (bench.run_dir / "journal" / "one").is_dir() else []

    with running(bench):
        wait_for(lambda: sum(isinstance(m, Executed) for m in journal()) > 500)
        script.write_text(ONE.replace("class One", "class One Two"))
        wait_for(lambda: "cannot run at line 3" in bench.log("one"))
        bars = len(journal())
        wait_for(lambda: len(journal()) > bars)
        assert titles() == ["A"]
        script.write_text(ONE.replace('"A"', '"B"'))
        wait_for(lambda: journal() and titles() == ["B"])
        wait_for(lambda: sum(isinstance(m, Executed) for m in journal()) > 500)
        assert bench.ps()["one"]["restarts"] == 1
        assert "one.py has changed: a new run begins" in bench.log("one")


def test_an_invented_bar_is_no_proof(tmp_path: Path) -> None:
    """A bar of the file inside of what the journal keeps was published, or it is named; at the file's end too."""
    journal = Journal(tmp_path / "journal")
    out = Out(STREAM, journal.track(STREAM))
    messages = [make_bar(number) for number in (1, 2, 3, 6)]
    journal.append(out.track, encode(messages), 4, *out.remember(messages))
    path = tmp_path / "x.ohlcv"
    for numbers, difference in (((1, 2, 3), False), ((1, 2, 3, 5), True), ((4, 5), True), ((0, 1, 2), False)):
        path.unlink(missing_ok=True)
        with OHLCVWriter(path, "1") as file:
            for each in map(make_bar, numbers):
                file.write(OHLCV(each.time_ms, each.open, each.high, each.low, each.close, each.volume))
        assert bool(verify_recording(path, STREAM, journal).difference) is difference, numbers
    journal.close()
