"""The command line as a whole: every command is there, and a failure is a sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from pynelive.bus.errors import Fault, TopologyError
from pynelive.bus.messages import Account, Bar, Drawing, Holding, Message, Meta, Order, Plot, Signal, State
from pynelive.bus.subscribe import Heard
from pynelive.commands import app
from pynelive.commands.lines import PlainLines


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    """The table names a command that exists, and its help can be printed."""
    _, command, _ = app.app.resolve_command(click.Context(app.app), [name])
    assert command is not None
    assert command.get_help(click.Context(command, info_name=name))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Fault("the disk is full"), 1, "pynelive: the disk is full\n"),
        (TopologyError(["one", "two"]), 2, "pynelive: one\npynelive: two\n"),
        (click.UsageError("not so"), 2, "Error: not so\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (None, 0, ""),
    ],
    ids=["fault", "topology", "usage", "interrupt", "done"],
)
def test_an_end_is_a_sentence_and_an_exit_code(
    error: BaseException | None,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No failure that a person can mend shows a traceback."""

    @click.command()
    def completion() -> None:
        if error:
            raise error

    monkeypatch.setattr("pynelive.commands.completion.completion", completion)
    assert app.main(["completion"]) == code
    assert capsys.readouterr().err.endswith(said)


def test_a_library_that_is_not_installed_is_a_sentence(tmp_path: Path) -> None:
    """`check-strategy` says what to install."""
    (tmp_path / "mine.py").touch()
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['backtesting', 'numpy', 'pandas'])); "
        "from pynelive.commands import app; sys.exit(app.main(['check-strategy', 'mine.py', 'mine.py']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    [said] = done.stderr.splitlines()
    assert (done.returncode, "pip install -e '.[backtesting]'" in said) == (1, True)


@pytest.mark.parametrize(("words", "said"), [
    (("exec", __file__, "demo:BTC/USDT@1", "--input", "fast"), "write NAME=VALUE"), (("keys", "a/b"), "is no name"),
    (("plan", "--stream", "demo:BTC/USDT@1"), "name a script"),
])  # fmt: skip
def test_wrong_use_is_2(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is looked for."""
    assert app.main(words) == 2
    assert said in capsys.readouterr().err


def test_help_imports_no_command() -> None:
    """Help and completion stay instant: nothing is loaded but click and the table."""
    code = (
        "import sys; from pynelive.commands import app; app.main(['--help']); "
        "print({'asyncio', 'msgspec', 'zmq', 'rich'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in app.COMMANDS)
    assert done.stderr == "set()\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_for_pynelive(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that asks `pynelive` itself."""
    assert app.main(["completion", shell]) == 0
    assert "_PYNELIVE_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(("typed", "offered"), [
    ("restart e", "ema-cross"), ("logs re", "recorder"), ("tail demo:B", "demo:BTC/USDT@1"),
    ("journal export run:", "run:ema-cross"), ("journal cl", "clean"),
])  # fmt: skip
def test_the_shell_completes_names(
    typed: str, offered: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Actors and streams as the topology here declares them, up or not."""
    words = ["pynelive", *typed.split()]
    monkeypatch.chdir(Path(__file__).parent.parent)
    asked = {"_PYNELIVE_COMPLETE": "zsh_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        app.main([])
    assert f"plain\n{offered}\n" in capsys.readouterr().out


def test_columns_are_aligned_whatever_their_length() -> None:
    """A short name below a long one, and a price with many digits: every column begins where it began."""
    line = PlainLines()
    bars = [("demo:BTC/USDT@1", 94_000.0), ("demo:A@1", 1.0), ("demo:A@1", 1.234567891e-05), ("demo:BTC/USDT@1", 2.0)]
    said = [line(Heard(stream, Bar(60_000, price, price, price, price, 1.0))) for stream, price in bars]
    assert {text.index("1970") for text in said} == {len("demo:BTC/USDT@1") + 2}
    assert len(said[2]) == len(said[3])


def test_a_state_says_its_time_in_words() -> None:
    """Milliseconds are for programs."""
    line = PlainLines()(Heard("demo:AAPL@1", State("down", 1_736_174_163_845, "gone")))
    assert "2025-01-06 14:36:03" in line
    assert "1736174163845" not in line


SAID: list[tuple[Message, str]] = [
    (Meta(60_000, ({"id": "p", "title": "RSI", "kind": "plot"},)), "meta  RSI (plot)"),
    (Plot(60_000, {"RSI": 41.25}, False), "plot  forming  RSI=41.25"),
    (Drawing(60_000, "create", "label", 7, {"x": 3, "text": "up"}), "drawing  create  label  7  x=3  text=up"),
    (Drawing(60_000, "update", "table", 3, {"cells": [{}, {}]}), "drawing  update  table  3  cells=2 cells"),
    (
        Signal(60_000, "buy", 0.0, 1e5, price=99.5, orders=(
            Order("L", "place", "buy", 2.0, kind="stop", stop=101.0), Order("S", "cancel", "sell", 1.0),
            Order("out", "replace", "sell", 2.0, kind="bracket", limit=110.0, stop=90.0, closes="L"),
        )),
        "signal  buy  position=0  equity=100000  price=99.5  orders=place L: buy 2 stop 101; cancel S; "
        "replace out: sell 2 limit 110 stop 90 closing L",
    ),
    (
        Account(60_000, 2.0, 101.0, 1e5, -3.0, 0.0, (Holding("L", 2.0, 0, 101.0),), {"Net Profit": 0.0},
                (Order("out", "place", "sell", 2.0, closes="L"),)),
        "account  position=2  average_price=101  equity=100000  open_profit=-3  net_profit=0  open_trades=L 2 at 101  "
        "statistics=1 figures  orders=out: sell 2 market closing L",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "words"), SAID)
def test_what_a_script_says_is_a_line(message: Message, words: str) -> None:
    """Every kind in words; numbers short, orders as one would say them."""
    assert PlainLines()(Heard("run:x", message)) == f"run:x  1970-01-01 00:01:00  {words}"
