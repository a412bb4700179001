"""A topology under supervision: real processes that die, hang and are killed; what becomes of the rest."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from pynelive.bus.children import Phase, View
from pynelive.bus.control import Reply, Request, ask
from pynelive.bus.errors import Fault
from pynelive.bus.logs import LogFile, LogReader
from pynelive.bus.rundir import RunDir, find_run_dir, live_buses
from pynelive.bus.supervisor import Supervisor
from pynelive.bus.topology import load
from pynelive.commands import operate
from pynelive.commands.app import app
from topologies import wait_for

PATIENCE_S = 100.0
"""How long a busy machine is waited for."""

TINY = '''
"""Actors that only have a mood, and the part of the command line that plays them or supervises them."""
import asyncio, sys
from pathlib import Path
from pynelive.bus import actor
from pynelive.bus.actor import receive_topology, run_actor
from pynelive.bus.errors import Fault, Hopeless
from pynelive.bus.status import Status

class Tiny:
    role = "sink"
    def __init__(self, topology, spec):
        self.name, self.base, self.state = spec.name, topology.base, "starting"
        self.mood = spec.options["mood"]
        self.served = asyncio.Event()
    def prepare(self):
        with open(self.base / "starts", "a") as starts:
            starts.write(self.name + "\\n")
    async def run(self, stop):
        self.state = "running"
        await getattr(self, self.mood)(stop)
        with open(self.base / "ends", "a") as ends:
            ends.write(self.name + "\\n")
    async def patient(self, stop):
        await stop.wait()
    async def done(self, stop):
        pass
    async def fault(self, stop):
        raise Fault("the disk is full: free some space")
    async def hopeless(self, stop):
        raise Hopeless("the script is wrong: mend it")
    async def runaway(self, stop):
        actor.ORPHAN_S = 0.5
        await asyncio.sleep(0.3)
        while True:
            pass
    async def lingering(self, stop):
        self.state = "draining"
        await stop.wait()
    async def serving(self, stop):
        self.state = "draining"
        await self.served.wait()
    def status(self):
        return Status(self.name, self.role, self.state, bars=3, summary=["all kept"])
    def quiet(self):
        self.state = "quiet"
    def forget(self, consumer):
        print("forgotten", consumer)
        self.served.set()
    def expect(self, consumer, streams):
        print("expected", consumer, "on", *streams)
    def reload(self):
        pass

class Producer(Tiny):
    role = "producer"

ROLES = {"sink": "__main__:Tiny", "producer": "__main__:Producer"}
if sys.argv[1] == "run":
    sys.exit(run_actor(receive_topology(), sys.argv[2], int(sys.argv[5]), ROLES))
from pynelive.bus.supervisor import Supervisor
from pynelive.bus.topology import load
async def up():
    supervisor = Supervisor(load(Path(sys.argv[2])), entry=[sys.executable, __file__])
    supervisor.obey_signals()
    return await supervisor.run()
sys.exit(asyncio.run(up()))
'''


def written(folder: Path, name: str = "tiny", **moods: str) -> Path:
    """A topology of actors by their moods; one called ``source`` is the producer of what the others read."""
    text = [f'[bus]\nname = "{name}"\n']
    for actor, mood in moods.items():
        kind, what = ("producer", 'provider = "demo"') if actor == "source" else ("sink", 'type = "ohlcv"')
        streams = '["X@1"]' if actor == "source" else '["demo:*"]'
        text.append(f'[[{kind}]]\nname = "{actor}"\n{what}\nstreams = {streams}\noptions.mood = "{mood}"\n')
    (folder / "tiny.py").write_text(TINY)
    path = folder / "topology.toml"
    path.write_text("".join(text))
    return path


def supervisor_of(
    path: Path, echo: Callable[[str], None] = lambda line: None, only: Sequence[str] = ()
) -> Supervisor:
    return Supervisor(load(path), only, [sys.executable, str(path.with_name("tiny.py"))], echo)


@asynccontextmanager
async def running(
    path: Path, echo: Callable[[str], None] = lambda line: None
) -> AsyncIterator[tuple[Supervisor, asyncio.Task[int]]]:
    """A supervisor at work, all of its actors ready; stopped at the end of the block."""
    supervisor = supervisor_of(path, echo)
    task = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: task.done() or (view(supervisor) and not starting(supervisor)))
        yield supervisor, task
    finally:
        supervisor.stop()
        await asyncio.wait([task])


def view(supervisor: Supervisor) -> dict[str, View]:
    return {view.name: view for view in supervisor.views()}


def starting(supervisor: Supervisor) -> list[str]:
    return [view.name for view in supervisor.views() if view.phase in ("starting", "restarting")]


async def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - it is other processes that are waited for
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def own_runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the buses of the user, and paths stay short."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("PYNELIVE_BUS", raising=False)


async def test_it_ends_by_itself_when_all_have_ended(tmp_path: Path) -> None:
    """A publisher that lingers for consumers which have all ended is let go."""
    supervisor = supervisor_of(written(tmp_path, source="lingering", one="done", two="done"))
    assert await asyncio.wait_for(supervisor.run(), PATIENCE_S) == 0
    assert [view.phase for view in supervisor.views()] == ["done", "done", "done"]
    assert sum("all kept" in line for line in supervisor.summary) == 3


async def test_a_killed_actor_comes_back_however_often(tmp_path: Path) -> None:
    """Being killed is nobody's bug: six times in a row do not make it fail, nor touch its neighbour."""
    async with running(written(tmp_path, source="patient", one="patient")) as (supervisor, _):
        neighbour = view(supervisor)["one"].pid
        for number in range(1, 7):
            os.kill(view(supervisor)["source"].pid, signal.SIGKILL)
            await until(lambda number=number: view(supervisor)["source"].restarts == number)
            await until(lambda: not starting(supervisor))
        assert view(supervisor)["one"].pid == neighbour
        assert (view(supervisor)["source"].phase, view(supervisor)["source"].restarts) == ("running", 6)


async def test_a_crash_loop_is_given_up_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on, nobody waits for the failed one, and the end is an error."""
    monkeypatch.setattr("pynelive.bus.children.WINDOW_S", 600)  # five starts take a busy machine more than a minute
    events: list[str] = []
    path = written(tmp_path, source="serving", one="patient", broken="fault")
    async with running(path, echo=events.append) as (supervisor, task):
        await until(lambda: view(supervisor)["broken"].phase == "failed")
        assert (tmp_path / "starts").read_text().count("broken") == 5
        assert any("for the 5th time within 600 s: the disk is full: free some space" in said for said in events)
        await until(lambda: view(supervisor)["source"].phase == "done")
        assert view(supervisor)["one"].phase == "running"
    assert task.result() == 1


async def test_what_no_restart_can_mend_is_not_tried_again(tmp_path: Path) -> None:
    """Failed at once, with its sentence; the others go on, nobody waits for it, and the end is an error."""
    events: list[str] = []
    path = written(tmp_path, source="serving", one="patient", broken="hopeless")
    async with running(path, echo=events.append) as (supervisor, task):
        await until(lambda: view(supervisor)["source"].phase == "done")
        assert (tmp_path / "starts").read_text().count("broken") == 1
        assert (view(supervisor)["broken"].phase, view(supervisor)["one"].phase) == ("failed", "running")
        assert view(supervisor)["broken"].why == "the script is wrong: mend it"
    assert task.result() == 1
    assert any("the script is wrong: mend it" in line for line in supervisor.summary)


async def test_a_part_of_a_topology_waits_for_nobody_else(tmp_path: Path) -> None:
    """What is declared but not launched holds up neither its publisher nor the end."""
    path = written(tmp_path, source="serving", one="patient")
    supervisor = supervisor_of(path, only=["source"])
    assert await asyncio.wait_for(supervisor.run(), PATIENCE_S) == 0
    assert [(view.name, view.phase) for view in supervisor.views()] == [("source", "done")]


async def test_it_ends_when_all_that_is_left_waits_for_a_failed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynelive.bus.children.WINDOW_S", 600)
    monkeypatch.setattr("pynelive.bus.supervisor.STUCK_S", 0.5)
    supervisor = supervisor_of(written(tmp_path, source="fault", one="patient"))
    assert await asyncio.wait_for(supervisor.run(), PATIENCE_S) == 1
    assert [view.phase for view in supervisor.views()] == ["failed", "stopped"]


async def test_stopping_is_quick_in_order_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers last; neither a suspended process nor an endless loop is in the way."""
    monkeypatch.setattr("pynelive.bus.supervisor.STOP_S", 30)  # each has its 3 s even on a busy machine
    path = written(tmp_path, source="patient", one="patient", frozen="patient", runaway="runaway")
    async with running(path) as (supervisor, task):
        processes = [psutil.Process(view.pid) for view in supervisor.views()]
        os.kill(view(supervisor)["frozen"].pid, signal.SIGSTOP)
        began = time.monotonic()
        supervisor.stop()
        assert await task == 0
        assert time.monotonic() - began < PATIENCE_S
    assert not any(process.is_running() for process in processes)
    assert all(view.status is None or view.status.memory_mb == 0 for view in supervisor.views())
    ends = (tmp_path / "ends").read_text().split()
    assert sorted(ends) == ["frozen", "one", "source"]
    assert ends[-1] == "source"


async def test_a_silent_actor_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's endless loop is said, not killed."""
    monkeypatch.setattr("pynelive.bus.children.SILENT_S", 1.0)
    monkeypatch.setattr("pynelive.bus.supervisor.GRACE_S", 0.5)
    events: list[str] = []
    async with running(written(tmp_path, source="runaway"), echo=events.append) as (supervisor, _):
        await until(lambda: view(supervisor)["source"].phase == "stalled")
        assert view(supervisor)["source"].pid
    assert "silent" in events[0]
    assert "loop" not in events[0]  # it runs no script


def up_elsewhere(path: Path) -> subprocess.Popen[bytes]:
    """A supervisor in a process of its own, all of its actors running."""
    run_dir = RunDir(load(path))
    process = subprocess.Popen([sys.executable, path.with_name("tiny.py"), "up", path])

    async def ready() -> None:
        await until(lambda: all(view.phase == "running" for view in asked(run_dir)) and asked(run_dir))

    asyncio.run(ready())
    return process


def asked(run_dir: RunDir) -> list[View]:
    try:
        return ask(run_dir, Request("ps")).views
    except Fault:
        return []


def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """Also an endless loop is gone soon, and the bus can come up again."""
    path = written(tmp_path, source="patient", one="patient", loop="runaway")
    supervisor = up_elsewhere(path)
    children = psutil.Process(supervisor.pid).children(recursive=True)
    assert len(children) == 3
    supervisor.kill()
    supervisor.wait()
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in left)  # dead; reaping is up to init
    assert sorted((tmp_path / "ends").read_text().split()) == ["one", "source"]
    again = up_elsewhere(path)
    again.send_signal(signal.SIGINT)
    assert again.wait(PATIENCE_S) == 0


def test_commands_act_on_what_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bus a run directory, others beside it; ps, restart, apply, logs and stop, as a user types them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = written(tmp_path / "a", "a", source="patient", keep="patient", gone="patient", changed="patient")
    other = written(tmp_path / "b", "b", source="patient")
    supervisors = [up_elsewhere(one)]
    try:
        supervisors.append(up_elsewhere(other))
        with pytest.raises(Fault, match=rf"'a' is up already \(pid {supervisors[0].pid}, .*pynelive stop"):
            asyncio.run(supervisor_of(one).run())
        assert [bus.name for bus in live_buses()] == ["a", "b"]
        monkeypatch.chdir(tmp_path)
        with pytest.raises(Fault, match=r"choose with --bus: a .*, b "):
            find_run_dir(None)
        assert find_run_dir("b").root == RunDir(load(other)).root

        pids = {view["name"]: view["pid"] for view in json.loads(typed("ps", "--bus", "a", "--json"))}
        one.write_text(one.read_text() + "[[sink]]\nname = 1\n")
        assert typed("apply", str(one), code=None) != ""
        assert pids == {view.name: view.pid for view in asked(RunDir(one.parent / ".pynelive/a"))}
        written(one.parent, "a", source="patient", keep="patient", changed="lingering", new="patient")
        apply = Request("apply", path=str(one))  # as the command asks, once the plugins have agreed
        done = ask(RunDir(load(one)), apply).lines
        assert done == ["- gone stopped", "~ changed restarted", "+ new started"]
        assert ask(RunDir(load(one)), apply).lines == ["nothing changed"]
        now = {view.name: view.pid for view in asked(RunDir(load(one)))}
        assert list(now) == ["source", "keep", "changed", "new"]
        assert {name for name in pids if now.get(name) == pids[name]} == {"source", "keep"}

        assert typed("restart", "keep", "--bus", "a") == "keep restarted\n"
        assert "no actor 'nobody' is up on 'a'" in typed("restart", "nobody", "--bus", "a", code=None)
        heard = ["forgotten gone", *(f"expected {name} on demo:X@1" for name in ("new", "changed", "keep"))]
        wait_for(lambda: all(word in typed("logs", "source", "--bus", "a") for word in heard))
        assert "source   stopped  3 bars\n    all kept\n" in typed("stop", "--bus", "a")
        assert supervisors[0].wait(PATIENCE_S) == 0
        assert "'a' is not up" in typed("ps", "--bus", str(one), code=None)
    finally:
        for supervisor in supervisors:
            supervisor.terminate()
            supervisor.wait()


def typed(*words: str, code: int | None = 0) -> str:
    """What a command prints; the sentence of its fault if it fails as it should."""
    result = CliRunner().invoke(app, words)
    assert (result.exit_code == 0) == (code == 0), result.output
    return result.output if code == 0 else str(result.exception)


def test_detach_waits_until_scripts_have_met_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that warms up may still turn out to be faulty."""
    phases: list[Phase] = ["starting", "warming", "failed"]
    monkeypatch.setattr(operate, "ask", lambda run, request: Reply([View("ema", "runner", phases.pop(0))]))
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    [view] = operate._await_ready(RunDir(tmp_path), process)
    process.communicate(b"\n")
    assert view.phase == "failed"


def test_logs_rotate_and_read_as_one(tmp_path: Path) -> None:
    """In the order of time, a line once, also while they are being followed."""
    reader = LogReader(tmp_path)
    logs = [LogFile(tmp_path, name, max_bytes=1_500) for name in ("one", "two")]
    seen: list[str] = []
    for number in range(120):
        logs[number % 2].write(str(number))
        if number % 7 == 0:
            seen += [line.text for line in reader.fresh()]
    seen += [line.text for line in reader.fresh()]
    assert seen == [str(number) for number in range(120)]
    assert len(list(tmp_path.iterdir())) == 4
    for log in logs:
        log.close()
    reader.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_that_the_disk_does_not_take_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it when the complaint about that goes to the same disk, as that of `up --detach`."""
    (tmp_path / "one.log").symlink_to("/dev/full")
    log = LogFile(tmp_path, "one")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", Full())
        log.write("first")
        log.write("second")
    log.close()
    assert (log.lost, log.last) == (2, "second")


class Full(io.TextIOBase):
    """A file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
