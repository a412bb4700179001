"""The bus on a terminal: a real one in a real terminal, and a large one in a small picture."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from pynelive.bus.census import Census, StreamRow
from pynelive.bus.children import View
from pynelive.bus.logs import Line
from pynelive.bus.status import Status, StreamStatus
from pynelive.commands.overview import Wishes, keys, picture
from rich.console import Console, Group
from topologies import COMMAND, PATIENCE_S, Bench, running, wait_for

DEMO = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { speed = 600 }

[[runner]]
name = "rsi"
script = "EXAMPLES/rsi.py"
stream = "demo:BTC/USDT@1"
"""


class Terminal:
    """A command in a terminal of 24 lines of 80 columns."""

    def __init__(self, *words: str) -> None:
        self._screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(
            [*COMMAND, *words], stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
        )
        os.close(inside)
        self.shown = ""

    def wait_for(self, *words: str) -> None:
        """Read on until the screen has shown all of the words, since the last ones."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(word in self.shown for word in words):
            assert time.monotonic() < deadline, self.shown[-3000:]
            self._read(1)
        self.shown = ""

    def _read(self, patience_s: float) -> None:
        if select.select([self._screen], [], [], patience_s)[0]:
            try:
                self.shown += os.read(self._screen, 65536).decode(errors="replace")
            except OSError:
                pass  # nobody is in it any more

    def hit(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def end(self) -> int:
        """The exit code; what is still shown is read, else nobody could go."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        return self.process.wait(0)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


@pytest.mark.timeout(600)
def test_top_of_a_real_bus(tmp_path: Path) -> None:
    """It shows actors and streams; a bus that goes is said, and one that comes back is shown again; q leaves. In a pipe
    it is printed once."""
    bench = Bench(tmp_path, DEMO)
    here = ("--bus", str(bench.run_dir))
    with running(bench) as process:
        wait_for(lambda: (rsi := bench.ps().get("rsi")) and rsi["phase"] == "running")
        once = subprocess.run([*COMMAND, "top", *here], capture_output=True, text=True, check=True).stdout
        assert "bench  actors 2 running  streams " in once
        assert [word for word in ("demo:BTC/USDT@1", "run:rsi", "last said", "repaired") if word not in once] == []
        found = json.loads(subprocess.check_output([*COMMAND, "top", "--json", *here]))
        assert {actor["name"]: actor["phase"] for actor in found["actors"]} == {"demo": "running", "rsi": "running"}
        assert {row["stream"] for row in found["streams"]} >= {"demo:BTC/USDT@1", "run:rsi"}
        assert {row["subscriber"] for row in found["subscribers"]} <= {"rsi"}
        terminal = Terminal("top", "--interval", "0.2", *here)
        try:
            terminal.wait_for("2 running", "run:rsi", "sort: name")
            terminal.hit("s/demo\r")
            terminal.wait_for("sort: trouble", "find (demo)")
            process.send_signal(signal.SIGINT)
            terminal.wait_for("'bench' is not up", "no actors")  # the rest is broken into lines as long as the path
            bench.end(process)
            with running(bench):
                terminal.wait_for("2 running")
                terminal.hit("q")
                assert terminal.end() == 0
        finally:
            terminal.close()
    gone = subprocess.run([*COMMAND, "top", "--once", *here], capture_output=True, text=True)
    assert (gone.returncode, "is not up" in gone.stderr, gone.stdout) == (1, True, "")


def large() -> Census:
    """60 actors with 200 streams, one of each in trouble."""
    views = [
        View(f"runner-{number:02}", "runner", "failed" if number == 50 else "running", 1_000 + number, 5e5, number,
             status=Status("", "runner", streams=[StreamStatus("x", lag=number)], rate=1 / (number + 1), memory_mb=50))
        for number in range(60)
    ]  # fmt: skip
    rows = [
        StreamRow("p", f"ccxt:BYBIT:BTC/USDT:USDT@{number}", "stale" if number == 150 else "live", 1_234_567, 12.3,
                  98_765, 1, 94_431.03, "venue", 4, age_s=number * 100)
        for number in range(200)
    ]  # fmt: skip
    return Census(1, "large", views, rows, [])


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 16), (200, 50)])
def test_a_large_bus_fits_into_a_terminal(width: int, height: int) -> None:
    """Exactly the lines of the terminal; what is left out is counted, trouble can be found, logs keep their place."""
    lines = [Line("2026-01-01T10:00:00.000000Z", "demo", f"ERROR line {number} " + "x" * 300) for number in range(100)]

    def shown(wishes: Wishes) -> str:
        console = Console(width=width, height=height)
        with console.capture() as captured:
            console.print(Group(picture(census, lines, wishes, width, height - 1), keys(wishes)))
        text = captured.get()
        assert len(text.splitlines()) == height
        assert max(map(len, text.splitlines())) <= width
        return text

    census = Census(1, "gone", [], [], [], "'demo' is not up (/srv/x): start it with `pynelive up`" + " or wait" * 5)
    assert "start it" in shown(Wishes())
    census = large()
    first = shown(Wishes())
    assert "more actors" in first
    assert "more streams" in first
    assert first.count("10:00:00 demo ERROR line 99") == 1
    trouble = shown(Wishes().after("p"))
    assert all(word in trouble for word in ("runner-50", "USDT@150"))
    assert "more" not in trouble
    wishes = Wishes()
    for key in "/@77\r":
        wishes = wishes.after(key)
    assert "USDT@77" in shown(wishes)
    assert "runner-59" in shown(Wishes().after("s").after("s").after("s"))
