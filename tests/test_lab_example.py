"""The laboratory's example runs: the real providers, faulty venues, and recordings that equal the truth."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynelive.producers import clock
from pynelive.producers.sessions import EPOCH_MS
from venues.bars import bars_of
from venues.capitalcom import API_KEY, IDENTIFIER, PASSWORD
from venues.client import lab
from venues.market import Market
from venues.recorded import frames_of
from venues.recordings import difference

TESTS = Path(__file__).parent
PATIENCE_S = 200


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    """The example in a folder of its own, with a stream of five minutes too."""
    path = shutil.copytree(TESTS.parent / "examples", tmp_path / "examples") / "lab.toml"
    text = path.read_text()
    path.write_text(text.replace('["BINANCE:BTC/USDT@1"]', '["BINANCE:BTC/USDT@1", "BINANCE:BTC/USDT@5"]'))
    return path


def begun(topology: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "venues.up", str(topology), *options]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    """What it has printed; it must have succeeded."""
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said + errors
    return said


def rows(said: str) -> dict[str, list[int]]:
    """The table at the end: bars, missing, wrong, extra, behind, faults of each stream that is equal."""
    found = re.findall(r"^(\w+:\S+) +([\d ,]+)  equal$", said, re.MULTILINE)
    return {stream: [int(count.replace(",", "")) for count in counts.split()] for stream, counts in found}


@pytest.mark.timeout(600)
def test_what_is_recorded_is_what_was_true(topology: Path) -> None:
    """Three venues with faults, at four minutes a second; then again, with nothing left of the first run."""
    said = ended(begun(topology, "--speed", "240", "--faults", "8", "--duration", "6"))
    found = rows(said)
    assert found.pop("ccxt:BINANCE:BTC/USDT@5")[0] > 1
    assert set(found) == {"ccxt:BINANCE:BTC/USDT@1", "ccxt:BYBIT:BTC/USDT:USDT@1", "capitalcom:AAPL@1"}, said
    assert all(counts[0] > 5 and counts[5] > 0 for counts in found.values()), said
    data = topology.parent.parent / "data" / "lab"
    assert (data / "output" / "ema-cross" / "trades.csv").exists()
    (data / "of-the-first-run").touch()

    again = begun(topology, "--speed", "240")
    assert again.stdout
    told = ""
    while "recorder running (" not in told:
        told += again.stdout.readline()
        assert again.poll() is None, told
    os.killpg(again.pid, signal.SIGINT)  # as a terminal does it: the venues hear it too
    assert f"removing what the former laboratory has left in {data}" in told
    told += ended(again)
    assert len(rows(told)) + told.count("  no bar yet\n") == 4
    assert not (data / "of-the-first-run").exists()


def test_it_removes_nothing_that_it_has_not_made(topology: Path) -> None:
    """A folder with somebody's files is refused by name."""
    own = topology.parent.parent / "data" / "lab" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    process = begun(topology)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert f"{topology.parent / '../data/lab'} has files that no laboratory has made" in errors
    assert own.read_text() == "mine"


def test_each_way_to_differ_is_seen() -> None:
    """The judge is not blind: a bar is missing, one is wrong, one never was, and one is not there yet."""
    true = {minute * 60_000: (1.0, 2.0, 1.0, 2.0, float(minute)) for minute in range(6)}
    got = {60_000: true[60_000], 180_000: (1.0, 2.0, 1.0, 1.5, 3.0), 200_000: true[0], 240_000: true[240_000]}
    assert difference(got, true, until_ms=300_000) == (4, 1, 1, 1, 1)
    assert difference(true, true, 300_000).none
    assert not difference({}, true, 300_000).none


def test_before_its_first_bar_a_market_has_none() -> None:
    """A history that ends before it begins is empty."""
    market = Market("BTC/USDT", "1", bars_of("walk", 7, "BTC/USDT", "1"), EPOCH_MS, history=10)
    first_ms = market.history("1", EPOCH_MS, 0)[0].time_ms
    assert market.history("1", EPOCH_MS, first_ms - 600_000, first_ms - 1) == []
    assert market.history("1", EPOCH_MS, end_ms=first_ms - 1) == []
    assert [row.time_ms for row in market.history("1", EPOCH_MS, end_ms=first_ms)] == [first_ms]


LOGIN = {"IDENTIFIER": IDENTIFIER, "PASSWORD": PASSWORD, "API_KEY": API_KEY}


def checked(folder: Path, minutes: int, **environment: str) -> str:
    """What `venues.live` prints; it must have found no difference. Keys of the person who tests are kept from it."""
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYNE_")}
    environment = {**own, "PYTHONPATH": str(TESTS), "PYNE_WORK_DIR": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "venues.live", "--minutes", str(minutes), "--keep", "."],
        cwd=folder, env=environment, text=True, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def played(frames: Path, speed: float) -> Iterator[dict[str, str]]:
    """A capture of Binance, played; the environment of who listens."""
    command = [sys.executable, "-m", "venues.recorded", str(frames), "--symbol", "BTC/USDT", "--speed", str(speed)]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        at = json.loads(process.stdout.readline()) | json.loads(process.stdout.readline())
        yield {clock.VARIABLE: at["clock"], "PYNE_CCXT_URL": at["http"], "PYNE_CCXT_WS_URL": at["ws"]}
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.timeout(600)
def test_the_live_check_works_and_its_capture_can_be_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the laboratory, and then against a venue that says again what was heard there."""
    with monkeypatch.context() as patch:
        patch.setenv(clock.VARIABLE, f"{EPOCH_MS},{time.time()!r},240.0")
        with lab("binance", "BTC/USDT", epoch_ms=0) as binance, lab("capitalcom", "BTC/USD", epoch_ms=0) as capital:
            there = {f"PYNE_CAPITALCOM_{name}": value for name, value in LOGIN.items()}
            there |= {"PYNE_CAPITALCOM_URL": capital.http, "PYNE_CAPITALCOM_WS_URL": f"{capital.ws}/connect"}
            there |= {"PYNE_CCXT_URL": binance.http, "PYNE_CCXT_WS_URL": binance.ws}
            said = checked(tmp_path / "live", 16, **there)
    assert re.search(r"^ccxt:BINANCE:BTC/USDT@1 +\d+ .* equal$", said, re.MULTILINE), said
    assert re.search(r"^capitalcom:BTCUSD@1 +\d+ .* equal$", said, re.MULTILINE), said
    assert "NOT" not in said
    capture = tmp_path / "live" / "ccxt_BINANCE_BTC_USDT_1.jsonl"
    with played(capture, 90) as environment:
        said = checked(tmp_path / "again", 3, **environment)
    assert re.search(r"^ccxt:BINANCE:BTC/USDT@1 +[3-9].* equal$", said, re.MULTILINE), said
    assert "capitalcom" not in said
    heard = [frame.data for frame in frames_of(tmp_path / "again" / capture.name)]
    assert len(heard) > 3
    assert set(heard) <= {frame.data for frame in frames_of(capture)}
