"""The chaos lab in small: every kind of harm once, done to real processes, and nothing is lost, doubled or changed.

``make chaos`` does the same at length, in another order with every seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest
from chaos import leftovers, oracle
from chaos.faults import KINDS, Missed
from chaos.oracle import Item, Outcome, Result, compare, compare_slice
from chaos.plan import allowed, plan
from chaos.proofs import retention, scripts
from chaos.world import PYTHONPATH, Size, undisturbed, world

SMALL = Size(bars=1000, rate=20)
SEED = 5
CHILD = {**os.environ, "PYTHONPATH": PYTHONPATH}
GROUPS = {
    "processes": ("slow", "flood", "loss", "joins", "kill", "clock", "failpoint", "storm", "freeze", "supervisor"),
    "disks": ("cache", "torn", "flip", "removed", "full", "power"),
}
"""What is done in one world after the other; every kind is somewhere."""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """What the world leaves behind that nobody harms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("rt")))
        yield undisturbed(tmp_path_factory.mktemp("calm"), SEED, SMALL)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", GROUPS)
def test_harm_leaves_no_trace(group: str, calm: Result, tmp_path: Path) -> None:
    """Recordings, plots and trades are the same bytes; readers and scripts have every message once and in order."""
    kinds, refused = allowed(GROUPS[group])
    print("left out:", refused)
    luck = Random(f"{group} {SEED}")
    began = time.monotonic()
    with world(tmp_path / "world", SEED, SMALL) as here:
        for kind in kinds:
            with suppress(Missed):
                print(kind, KINDS[kind].do(here, luck), f"after {time.monotonic() - began:.1f} s")
        outcome = here.judge(calm)
    assert not outcome, outcome.notes


@pytest.mark.timeout(600)
def test_retention_overtakes_everybody(calm: Result, tmp_path: Path) -> None:
    """Who has not got what the journal keeps no longer is told so, and completed by the history of the source."""
    proof = retention(tmp_path / "world", SEED, lambda size: calm, SMALL.bars, max_mb=0.06)
    assert not proof.outcome, proof.outcome.notes


@pytest.mark.timeout(600)
def test_scripts_that_die_say_the_same(calm: Result, tmp_path: Path) -> None:
    """Kill -9 of runners at random: no output is lost or doubled, files are the same, and the runs are proved."""
    proof = scripts(tmp_path / "world", SEED, lambda size: calm, kills=5)
    assert proof.holds, (proof.outcome.notes, proof.broken)


def test_every_kind_is_done_here() -> None:
    """A new kind of harm belongs to one of the groups."""
    assert {kind for kinds in GROUPS.values() for kind in kinds} == set(KINDS)


def test_a_seed_is_a_plan() -> None:
    """The same seed does the same, another one something else, and every kind has its turn."""
    assert plan(1, 200, list(KINDS)) == plan(1, 200, list(KINDS)) != plan(2, 200, list(KINDS))
    assert {fault.kind for fault in plan(1, 200, list(KINDS))} == set(KINDS)
    assert [fault.number for fault in plan(3, 50, ["kill"])] == list(range(50))


def test_what_is_not_in_the_plan_is_a_sentence() -> None:
    """Not a run without any harm, which would look like a good one."""
    for only in ("48-50", "x"):
        command = [sys.executable, "-m", "chaos", "--faults", "50", "--only", only]
        done = subprocess.run(command, env=CHILD, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert f"ONLY={only} is no part of the plan" in done.stderr


KILLED = """
import os, signal, subprocess, sys
from chaos.disks import Disk, refused
from chaos.leftovers import own_folder
with own_folder() as folder:
    if not refused():
        Disk(folder / "disk.img", folder / "disk", 16)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    left = subprocess.Popen(["sleep", "1000"], env={"XDG_RUNTIME_DIR": str(folder / "rt")}, **quiet)
    print(left.pid, flush=True)
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
"""


def runs(pid: int) -> bool:
    """Whether a process is more than a name that its parent has not read yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_run_is_tidied_up_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes, its disks and its files, and nothing of one that lives; one that is interrupted does it itself."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for number in ("SIGKILL", "SIGINT"):
        command, environment = [sys.executable, "-c", KILLED, number], {**CHILD, "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        with leftovers.own_folder() as mine:
            found = leftovers.dead()
            assert len(found) == (number == "SIGKILL"), done
            for folder in found:
                leftovers.tidy(folder)
            assert [*tmp_path.iterdir()] == [mine]
        assert not runs(int(done.stdout))
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert [*tmp_path.iterdir()] == []


WANTED: list[Item] = [(f"bar {number}", number) for number in range(6)]
WRONG = {
    "lost": ([0, 1, 3, 4, 5], Outcome(lost=1)),
    "cut off": ([0, 1, 2], Outcome(lost=3)),
    "doubled": ([0, 1, 1, 2, 3, 4, 5], Outcome(doubled=1)),
    "out of order": ([0, 2, 1, 3, 4, 5], Outcome(order=1)),
    "said again": ([0, 1, 2, 3, 1, 2, 3, 4, 5], Outcome(doubled=3, order=1)),
    "invented": ([0, 1, 2, 3, 4, 5, 6], Outcome(changed=1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_oracle_sees(name: str) -> None:
    """Whatever is not as it should be is counted, and under its own name."""
    numbers, counted = WRONG[name]
    found = compare([(f"bar {number}", number) for number in numbers], WANTED, name)
    assert found == counted
    assert found
    assert found.notes
    assert all(note.startswith(name) for note in found.notes)


def test_the_oracle_sees_values_and_files() -> None:
    """A bar with other values, a file with other bytes, one that is missing and one too many; a right one is right."""
    assert compare([*WANTED[:5], ("bar 5", 5.1)], WANTED) == Outcome(changed=1)
    assert oracle.compare_files({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "x", "d": "4"}) == Outcome(files=3)
    assert not compare(WANTED, WANTED)
    assert not compare_slice(WANTED[2:4], WANTED)
    assert not compare_slice([], WANTED)
    assert compare_slice([WANTED[1], WANTED[3]], WANTED) == Outcome(lost=1)
