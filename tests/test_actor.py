"""An actor's process: exit codes, the last word on the status pipe, signals and the lifeline."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from pynelive.bus.handover import topology_line, topology_of
from pynelive.bus.specs import BusSpec, SinkSpec
from pynelive.bus.status import Status
from pynelive.bus.topology import Topology, load

PATIENCE_S = 100
TINY = '''
"""One role for every mood, and the part of the command line that plays it."""
import asyncio, sys
from pynelive.bus import actor
from pynelive.bus.actor import receive_topology, run_actor
from pynelive.bus.errors import Fault, Hopeless, TopologyError
from pynelive.bus.status import Status

class Tiny:
    def __init__(self, topology, spec):
        self.name, self.mood, self.state = spec.name, spec.options["mood"], "starting"
    def prepare(self):
        if self.mood == "wrong":
            raise TopologyError(["[[sink]] 'it': no such folder"])
    async def run(self, stop):
        self.state = "running"
        print("running", flush=True)
        if self.mood == "fault":
            raise Fault("the disk is full: free some space")
        if self.mood == "hopeless":
            raise Hopeless("the script is wrong: mend it")
        if self.mood == "bug":
            {}["key"]
        if self.mood == "runaway":
            actor.ORPHAN_S = 1.0
        while self.mood == "runaway":
            pass
        if self.mood != "done":
            await stop.wait()
        print("closed in order", flush=True)
    def status(self):
        return Status(self.name, "sink", self.state, summary=["all kept"])
    def quiet(self):
        print("quiet", flush=True)
    def forget(self, consumer):
        print("forgotten", consumer, flush=True)
    def expect(self, consumer, streams):
        print("expected", consumer, *streams, flush=True)
    def reload(self):
        pass

sys.exit(run_actor(receive_topology(), sys.argv[1], int(sys.argv[2]), {"sink": "__main__:Tiny"}))
'''


class Actor:
    """A process with a sink of some mood, and the test as its supervisor."""

    def __init__(self, folder: Path, mood: str) -> None:
        script = folder / "tiny.py"
        script.write_text(TINY)
        self.status_in, status_out = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, script, "it", str(status_out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[status_out],
            env={**os.environ, "PYNELIVE_DEBUG": "1"},
        )
        os.close(status_out)
        spec = SinkSpec("it", "tiny", ("*",), {"mood": mood})
        self.tell(topology_line(Topology(folder / "topology.toml", BusSpec(), sinks=(spec,))))

    def tell(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def let_go(self) -> None:
        """What the kernel does when a supervisor dies."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None

    def printed(self) -> bytes:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        return self.process.stdout.readline() if ready else b"nothing in time"

    def end(self) -> tuple[int, Status, str]:
        """Its exit code, last status and standard error."""
        self.process.wait(PATIENCE_S)  # before its lifeline is let go of
        _, errors = self.process.communicate()
        with os.fdopen(self.status_in, "rb") as pipe:
            last = pipe.read().splitlines()[-1]
        return self.process.returncode, msgspec.json.decode(last, type=Status), errors.decode()


@pytest.mark.parametrize(
    ("mood", "code", "said"),
    [
        ("done", 0, ""),
        ("fault", 1, "the disk is full: free some space"),
        ("bug", 1, "KeyError: 'key'"),
        ("hopeless", 2, "the script is wrong: mend it"),
        ("wrong", 2, "[[sink]] 'it': no such folder"),
    ],
)
def test_an_end_is_an_exit_code_and_a_last_word(tmp_path: Path, mood: str, code: int, said: str) -> None:
    found, status, errors = Actor(tmp_path, mood).end()
    assert (found, status.said) == (code, said)
    assert status.state == ("failed" if code else "done")
    assert ("Traceback" in errors) == (mood == "bug")
    assert said in errors


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "stop", "supervisor gone"])
def test_a_stop_is_an_end_in_order(tmp_path: Path, way: str) -> None:
    actor = Actor(tmp_path, "patient")
    assert actor.printed() == b"running\n"
    actor.tell(b"forget other\n")
    assert actor.printed() == b"forgotten other\n"
    actor.tell(b'expect ["other","demo:X Y@1"]\n')
    assert actor.printed() == b"expected other demo:X Y@1\n"
    actor.tell(b"quiet\n")
    assert actor.printed() == b"quiet\n"
    if way == "stop":
        actor.tell(b"stop\n")
    elif way == "supervisor gone":
        actor.let_go()
    else:
        actor.process.send_signal(signal.Signals[way])
    code, status, errors = actor.end()
    assert (code, status.state, status.summary) == (0, "done", ["all kept"])
    assert "Traceback" not in errors  # on a busy machine asyncio's debug mode complains of slow steps


def test_a_busy_loop_cannot_outlive_the_supervisor_nor_a_second_ctrl_c(tmp_path: Path) -> None:
    orphan, impatient = Actor(tmp_path, "runaway"), Actor(tmp_path, "runaway")
    for actor in (orphan, impatient):
        assert actor.printed() == b"running\n"
    orphan.let_go()
    for _ in range(5 * PATIENCE_S):  # two that the kernel had to keep would be one
        impatient.process.send_signal(signal.SIGINT)
        try:
            impatient.process.wait(0.2)
            break
        except subprocess.TimeoutExpired:
            pass
    assert impatient.process.wait(PATIENCE_S) == 1
    assert orphan.process.wait(PATIENCE_S) == 1
    for actor in (orphan, impatient):
        actor.process.communicate()
        os.close(actor.status_in)


def test_a_topology_is_handed_over_whole(tmp_path: Path) -> None:
    """What a child runs is what its supervisor runs, and a secret is one there too."""
    path = tmp_path / "topology.toml"
    path.write_text(
        '[[producer]]\nname = "it"\nprovider = "demo"\nstreams = ["X@1"]\n'
        'options = { key = { env = "KEY" }, keys = [{ env = "KEY" }], speed = inf }\njournal.max_mb = 1\n'
    )
    (tmp_path / ".env").write_text("KEY=hush\n")
    topology = load(path)
    line = topology_line(topology)
    assert line.count(b"\n") == 1
    assert topology_of(line) == topology
    options = topology_of(line).producers[0].options
    assert (options["key"], options["keys"]) == ("hush", ["hush"])
    assert "hush" not in repr(topology_of(line))
