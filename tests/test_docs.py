"""The documentation is true: what it prints runs, what it names exists, and what exists is named."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec
import pynelive
import pytest
from pynelive.bus.hosts import HostSpec
from pynelive.bus.specs import (
    BusSpec,
    InstanceSpec,
    JournalSpec,
    LimitsSpec,
    ProducerSpec,
    QualitySpec,
    RunnerSpec,
    SinkSpec,
)
from pynelive.commands import app
from pynelive.producers.table import PROVIDERS, find_provider
from pynelive.sinks.table import SINKS, find_sink

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TABLES = {
    "[bus]": BusSpec, "[[producer]]": ProducerSpec, "[[sink]]": SinkSpec, "[[runner]]": RunnerSpec,
    "[hosts.NAME]": HostSpec, "journal = { … }": JournalSpec, "quality = { … }": QualitySpec,
    "limits = { … }": LimitsSpec,
    "[runner.instances]": InstanceSpec,
}  # fmt: skip
PRODUCER = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
options = { speed = 0, bars = 300 }
"""
PATIENCE_S = 100
_BUSY = re.compile(r"^.* (is silent now; waiting for it to come back|answers)\n", re.MULTILINE)
"""What may be said of a publisher on a machine that is busy with something else."""
_BLOCK = re.compile(r"<!-- ([a-z ]+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


def blocks(mark: str, language: str) -> list[object]:
    """The blocks of all pages that stand under a mark (``<!-- runs -->``)."""
    return [
        pytest.param(code, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (marked, written_in, code) in enumerate(_BLOCK.findall(page.read_text()))
        if (marked, written_in) == (mark, language)
    ]


def block_after(page: str, words: str, language: str) -> str:
    """The first block of a language behind some words of a page."""
    rest = (DOCS / page).read_text().partition(words)[2]
    return rest.partition(f"```{language}\n")[2].partition("```")[0]


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^#+ `?{re.escape(heading)}`?$(.*?)(?=^#|\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page.name} has no heading '{heading}'"
    return found[1]


def first_cells(text: str) -> list[str]:
    """The first cell of every row of the tables in the text."""
    return re.findall(r"^\| (.+?) \| ", text, re.MULTILINE)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person who has put the command on the path."""
    runtime = str(tmp_path_factory.mktemp("rt"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": runtime, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, shell: dict[str, str]) -> Iterator[Path]:
    """The shipped topology, up, in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(ROOT / "topology.toml", folder)
    shutil.copytree(ROOT / "examples", folder / "examples")
    run("pynelive up --detach --duration 900", folder, shell)
    yield folder
    run("pynelive stop", folder, shell)


def run(script: str, folder: Path, shell: dict[str, str]) -> str:
    """What a script of the shell prints; it must succeed."""
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=shell, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def begun(command: list[str], folder: Path, shell: dict[str, str]) -> subprocess.Popen[str]:
    """A command that goes on by itself, in a group of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=shell, text=True, stdout=pipe, stderr=pipe, start_new_session=True)


def interrupted(line: str, process: subprocess.Popen[str], folder: Path) -> tuple[str, str]:
    """What it prints; Ctrl-C ends one that goes on, once it is at work."""
    recording = folder / "extra" / "demo_BTC_USDT_1.ohlcv"
    if " record " in line:
        wait_until(lambda: recording.exists() and recording.stat().st_size > 0, process)
    elif " tail " in line or " exec " in line:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE_S)[0], f"{line}: says nothing"
    if process.poll() is None and re.search(" (record|tail|exec) ", line):
        os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=PATIENCE_S)


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Look again and again, as long as the process lives."""
    deadline = time.monotonic() + PATIENCE_S
    while not true() and process.poll() is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


# --- what is printed runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", blocks("runs", "bash"))
def test_commands_run_as_they_are_written(code: str, tmp_path: Path, shell: dict[str, str]) -> None:
    """A block of commands that end by themselves."""
    assert run(code, tmp_path, shell)


@pytest.mark.parametrize("code", blocks("until interrupted", "bash"))
def test_commands_attach_as_they_are_written(code: str, demo: Path, shell: dict[str, str]) -> None:
    """A block of commands for a second terminal, each on its own; Ctrl-C ends those that go on."""
    processes = {line: begun(["bash", "-c", line], demo, shell) for line in code.splitlines()}
    ends = [(line, *interrupted(line, process, demo), process.returncode) for line, process in processes.items()]
    assert [end for end in ends if _BUSY.sub("", end[2]) or end[3]] == []
    assert all(said for _, said, _, _ in ends), ends
    assert (demo / "extra" / "demo_BTC_USDT_1.ohlcv").stat().st_size


@pytest.mark.parametrize("code", blocks("runs", "python"))
def test_python_runs_as_it_is_written(code: str, demo: Path, shell: dict[str, str]) -> None:
    """A program of a page, beside the running demo."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=demo, env=shell, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, _BUSY.sub("", done.stderr)) == (0, "")
    assert done.stdout or "with" not in code


@pytest.mark.parametrize("code", blocks("reads", "python"))
def test_plain_pyzmq_reads_the_live_bars(code: str, demo: Path, shell: dict[str, str]) -> None:
    """The ten lines need nothing of this project and see forming and closed bars in order."""
    assert "pynelive" not in re.sub(r"\.pynelive/", "", code)
    process = begun([sys.executable, "-c", code], demo, shell)
    assert process.stdout
    closed, forming = list[int](), 0
    while len(closed) < 3 and (line := process.stdout.readline()):
        flags, _, message = line.split(" ", 2)
        times = [int(time_ms) for time_ms in re.findall(r"'bar', (\d+)", message)]
        closed += [] if flags == "1" else times
        forming += flags == "1"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert len(closed) >= 3
    assert forming
    assert closed == list(range(closed[0], closed[0] + 60_000 * len(closed), 60_000))


def test_the_runner_of_the_page_runs(tmp_path: Path, shell: dict[str, str]) -> None:
    """The examples of docs/write-a-runner.md, a strategy and a runner, in the topologies that the page shows."""
    (tmp_path / "momentum.py").write_text(block_after("write-a-runner.md", "momentum.py`:", "python"))
    (tmp_path / "above.py").write_text(block_after("write-a-runner.md", "## A strategy in Python", "python"))
    places = ("## A strategy in Python", "## A runner of another kind")
    runners = "".join(block_after("write-a-runner.md", place, "toml") for place in places)
    (tmp_path / "topology.toml").write_text(PRODUCER + runners)
    said = run("pynelive up", tmp_path, shell)
    assert re.search(r"momentum +done +400 bars", said), said
    assert re.search(r"above +done +800 bars", said), said


# --- what exists is named ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heading", TABLES)
def test_every_topology_key_is_explained(heading: str) -> None:
    """docs/topology.md has a row for each key of each table, and none more."""
    cells = first_cells(section(DOCS / "topology.md", heading))
    keys = {cell.strip("`") for cell in cells if cell.startswith("`")}
    assert keys == {field.name for field in msgspec.structs.fields(TABLES[heading])}


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_option_of_a_provider_is_explained(name: str) -> None:
    """Each built-in provider, by whatever name, has a page with a row for each option."""
    kind = find_provider(name, ROOT)
    cells = first_cells((DOCS / "providers" / f"{kind.__module__.split('.')[2]}.md").read_text())
    missing = [option for option in kind.Config.__dataclass_fields__ if f"`{option}`" not in cells]
    assert not missing


@pytest.mark.parametrize("name", SINKS)
def test_every_option_of_a_sink_is_explained(name: str) -> None:
    """Each built-in sink is in a page that names all of its options."""
    pages = [text for path in PAGES if f'type = "{name}"' in (text := path.read_text())]
    options = find_sink(name, ROOT).Config.__dataclass_fields__
    assert any(all(re.search(rf"`{option}`|\b{option} = ", page) for option in options) for page in pages)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_and_option_is_explained(name: str) -> None:
    """docs/command-line.md has a section for each command, with exactly the options of its --help; a group's names each
    of its commands."""
    _, command, _ = app.app.resolve_command(click.Context(app.app), [name])
    assert command is not None
    inner = command.commands if isinstance(command, click.Group) else {}
    params = [param for each in (command, *inner.values()) for param in each.params]
    visible = [param for param in params if isinstance(param, click.Option) and not param.hidden]
    text = section(DOCS / "command-line.md", name)
    documented = " ".join(first_cells(text))
    assert [each for each in inner if f"`pynelive {name} {each}" not in text] == []
    assert set(re.findall(r"-{1,2}[a-z][a-z-]*", documented)) == {text for param in visible for text in param.opts}


def test_no_section_is_about_a_command_that_is_gone() -> None:
    """Every section of the command line is a command."""
    headings = re.findall(r"^### ([\w-]+)$", (DOCS / "command-line.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(app.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files that a page links to exist, and so do the headings."""
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_every_page_is_found_from_the_readme() -> None:
    """No page is an orphan."""
    linked = " ".join(page.read_text() for page in PAGES)
    assert [page.name for page in PAGES[1:] if f"{page.name}" not in linked] == []


def test_all_that_is_public_can_be_imported() -> None:
    """The package's names exist, and each is explained in docs/python-api.md."""
    text = (DOCS / "python-api.md").read_text()
    assert all(hasattr(pynelive, name) for name in pynelive.__all__)
    assert [name for name in pynelive.__all__ if name not in text and name != "__version__"] == []
