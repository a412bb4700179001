"""`pynelive download` and `pynelive symbols`: with a producer of the venue and without one, the same comes out."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from made_venue import MINUTE, asked, truth
from pynelive.bus.messages import Bar, Instrument
from pynelive.bus.ohlcv import BarFile, read_bars, read_instrument
from pynelive.producers.venue import holder
from test_history import producing, topology_in
from topologies import wait_for

STREAM = "my:BTC/USDT@1"
FILE = "my_BTC_USDT_1.ohlcv"
FROM, TO = "2026-01-05", "2026-01-12"
SPAN = 1_767_571_200_000, 1_768_176_000_000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a topology, as the working directory, and a cache of its own."""
    topology_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYNELIVE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def pynelive(*arguments: str, code: int = 0) -> str:
    """What the command prints; on standard error if it is to fail."""
    command = [sys.executable, "-m", "pynelive", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def bars_in(path: Path) -> list[Bar]:
    """The bars of a file, as the venue says them."""
    return list(read_bars(path, origin="backfill"))


def test_a_producer_is_asked_and_without_one_the_venue(here: Path) -> None:
    """The same bytes either way; the process that asks the venue is the producer if one lives, and what one has
    downloaded the other does not ask for again."""
    said = pynelive("download", STREAM, "--from", FROM, "--to", TO)
    count = f"{len(truth(*SPAN)):,}"
    assert said.startswith(f"data/{FILE}  {count} bars ({count} new)  2026-01-05 00:00:00 … ")
    assert bars_in(here / "data" / FILE) == truth(*SPAN)
    assert read_instrument(here / "data" / FILE) is not None
    alone = len(asked(here))
    assert {question["pid"] for question in asked(here)}.isdisjoint({os.getpid()})
    with producing(here) as producer:
        wait_for(lambda: holder("my:venue"))
        pynelive("download", STREAM, "served", "--from", FROM, "--to", TO)
        assert len(asked(here)) == alone
        pynelive("download", STREAM, "fresh", "--from", FROM, "--to", TO, "--fresh")
        pynelive("download", "my:ETH/USDT@1", "other", "--from", FROM, "--to", TO)
        assert {question["pid"] for question in asked(here)[alone:]} == {producer.pid}
        assert json.loads(pynelive("symbols", "my", "btc", "--json")) == ["BTC/EUR", "BTC/USDT"]
        assert asked(here)[-1]["pid"] == producer.pid
    pynelive("download", STREAM, "again", "--from", FROM, "--to", TO)
    assert bars_in(here / "other" / "my_ETH_USDT_1.ohlcv") == truth(*SPAN)
    files = [here / folder / FILE for folder in ("data", "served", "fresh", "again")]
    assert len({sha256(file.read_bytes()).hexdigest() for file in files}) == 1


def test_an_existing_file_is_completed(here: Path) -> None:
    """Bars before it, in its holes and after it are added; those that it has stay, unless the download is fresh."""
    path = here / "data" / FILE
    first_ms, last_ms = SPAN[0] + 600 * MINUTE, SPAN[0] + 3_000 * MINUTE
    mine = [bar for bar in truth(first_ms, last_ms) if bar.time_ms // MINUTE % 50]
    mine[5] = Bar(mine[5].time_ms, 1.0, 2.0, 0.5, 1.5, 3.0)
    instrument = Instrument("BTC/USDT", "1")
    file = BarFile(path, instrument)
    file.append(mine)
    file.close()
    whole = truth(*SPAN)

    report = json.loads(pynelive("download", STREAM, "--from", FROM, "--to", TO, "--json"))
    assert report | {"bars": len(whole), "new": len(whole) - len(mine), "left_out": 0} == report
    found = bars_in(path)
    assert [bar.time_ms for bar in found] == [bar.time_ms for bar in whole]
    kept = Bar(mine[5].time_ms, 1.0, 2.0, 0.5, 1.5, 3.0, origin="backfill")
    assert [bar for bar in found if bar not in whole] == [kept]
    assert json.loads(pynelive("download", STREAM, "--from", FROM, "--to", TO, "--json"))["new"] == 0
    pynelive("download", STREAM, "--from", FROM, "--to", TO, "--fresh")
    assert bars_in(path) == whole


def test_a_count_of_bars(here: Path) -> None:
    """The last so many, however far back they reach."""
    report = json.loads(pynelive("download", STREAM, "--from", "-6000", "--to", TO, "--json"))
    assert report["bars"] == 6_000
    assert bars_in(here / "data" / FILE) == truth(SPAN[0] - 10**9, SPAN[1])[-6_000:]


def test_a_venue_that_is_down_for_a_moment_is_asked_again(here: Path) -> None:
    """A download goes on where it was."""
    (here / "down").write_text("2")
    pynelive("download", STREAM, "--from", FROM, "--to", TO)
    assert bars_in(here / "data" / FILE) == truth(*SPAN)


def test_a_terminal_shows_the_progress(here: Path) -> None:
    """A bar with share and count; what is printed for programs stays clean."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "pynelive", "download", STREAM, "--from", FROM, "--to", TO, "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=end, check=True, env=environment)
    os.close(end)
    shown = b""
    try:
        while chunk := os.read(terminal, 65_536):
            shown += chunk
    except OSError:
        pass  # the other end is closed
    os.close(terminal)
    assert json.loads(done.stdout)["bars"] == len(truth(*SPAN))
    assert b"100%" in shown
    assert f"{len(truth(*SPAN)):,} bars".encode() in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("download", "my:GONE@1"), 1, "pynelive: my:GONE@1: the venue does not know GONE\n"),
        (("download", STREAM, "--from", "2090-01-01"), 1, "2090-01-01 00:00:00 is later than --to "),
        (("download", STREAM, "--from", TO, "--to", FROM), 1, "is later than --to 2026-01-05 00:00:00: swap them"),
        (("download", STREAM, "--from", "2025-13-01"), 2, "write 30 (days), -500 (bars) or a date"),
        (("download", "pyne:nothing:X@1"), 2, "provider 'pyne:nothing' is no installed plugin"),
        (("symbols", "pyne:ccxt"), 1, "write one behind it, such as pyne:ccxt:BINANCE"),
        (("symbols", "ccxt"), 2, "write it behind, such as ccxt:BINANCE"),
        (("download", "nothing:X@1"), 2, "pynelive: provider 'nothing' is unknown"),
        (("download", "my:BTC/USDT"), 2, "names no timeframe: write SYMBOL@TIMEFRAME"),
        (("download", STREAM, "--from", "yesterday"), 2, "'yesterday' is no start"),
        (("download", STREAM, "--to", "-5"), 2, "'-5' is no end"),
        (("symbols", "my", "xyz"), 1, "pynelive: my has nothing with 'xyz' in its name"),
        (("symbols", "demo", "--list-brokers"), 1, "is one venue itself"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_had_is_one_sentence(here: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """Thing, place and mend; no file is left behind."""
    assert said in pynelive(*arguments, code=code)
    assert not list(here.glob("data/*.ohlcv"))


def test_symbols_and_brokers(here: Path) -> None:
    """Names a line, sorted; a part of the name finds them in any case."""
    assert pynelive("symbols", "my") == "BTC/EUR\nBTC/USDT\nETH/USDT\n"
    assert pynelive("symbols", "my", "usdt") == "BTC/USDT\nETH/USDT\n"
    assert pynelive("symbols", "my", "--list-brokers", "--json") == '["EAST", "WEST"]\n'
    assert pynelive("symbols", "demo", "aapl") == "AAPL\n"


def test_the_demo_lives_by_its_own_time(here: Path) -> None:
    """Bars and days are counted back from its beginning, not from this machine's clock."""
    assert json.loads(pynelive("download", "demo:BTC/USDT@1", "--from", "-50", "--json"))["bars"] == 50
    assert json.loads(pynelive("download", "demo:BTC/USDT@1", "--json"))["bars"] == 1000


def test_a_second_command_waits_for_nobody(here: Path) -> None:
    """A venue that another command asks is left alone, with a sentence that says who it is."""
    code = (
        "import asyncio; from pynelive.producers.venue import VenueClaim\n"
        "asyncio.run(VenueClaim.take('my:venue', 'pynelive download')); print('held', flush=True); input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        said = pynelive("download", STREAM, code=1)
        other.send_signal(signal.SIGKILL)
    assert f"my:venue is asked by 'pynelive download' (pid {other.pid}) just now: try again" in said
    pynelive("download", STREAM, "--from", FROM, "--to", TO)
