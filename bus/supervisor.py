"""What `pynelive up` is: launch every actor, watch them, start the dead again, stop all in order.

A topology is finished when every actor has ended by itself. One that has failed for good makes the end an
error, but the others go on as long as there is something for them to do.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from . import topology as topologies
from .children import ENTRY, Child, View
from .control import Reply, Request, serving
from .discovery import announce_elsewhere
from .errors import Fault, TopologyError
from .graph import outline
from .hosts import chosen_host, wiring
from .logs import LogFile
from .rundir import BusCard, RunDir, take_lock
from .security import check_key
from .specs import ActorSpec
from .summary import summarize
from .topology import Topology
from .warm import WarmParent

TICK_S = 0.2
GRACE_S = 3.0
"""What an actor is given to stop in order."""
QUIET_S = 2.5
"""What the consumers are given to get what the producers have said."""
STOP_S = 4.8
"""In which everything has stopped: consumers first, then producers."""
STUCK_S = 5.0
"""How long actors that wait only for failed ones may show no progress before the end."""

LACKING_S = 2.0
"""How long a consumer is given to say that it has found a stream whose publisher has ended."""


class Supervisor:
    """Runs a host's actors of a topology, all or only the named, until they end or are told to stop."""

    def __init__(
        self,
        topology: Topology,
        only: Sequence[str] = (),
        entry: Sequence[str] = ENTRY,
        echo: Callable[[str], None] = lambda line: None,
        host: str = "",
    ) -> None:
        """:param echo: is given every event in words, besides the log
        :param host: which host of the topology this is, if it has hosts

        :raises TopologyError: ``only`` names an actor that is not here, or ``host`` has no key to show
        """
        self.topology = topology
        self.run_dir = RunDir(topology)
        self.summary: list[str] = []
        self._entry, self._echo = entry, echo
        self._host = chosen_host(topology, host)
        check_key(topology, self._host)
        self._only = {self._here(topology.actor(name)).name for name in only}
        self._children: dict[str, Child] = {}
        self._warm = WarmParent(topology.path, entry, self._say)
        self._forgotten: set[str] = set()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._changing = asyncio.Lock()
        self._idle: tuple[int, float] | None = None
        self._lacking: dict[tuple[str, str, float], float] = {}
        """Since when a process of a consumer lacks a stream of a publisher that has ended."""

    async def run(self, duration_s: float | None = None) -> int:
        """Launch, watch and stop; the exit code: 1 if an actor has failed for good.

        :raises Fault: the same bus is up already
        """
        lock = take_lock(self.run_dir.lock)
        if lock is None:
            raise Fault(already_up(self.run_dir))
        self._log = LogFile(self.run_dir.logs, "supervisor")
        try:
            async with serving(self.run_dir, self._answer):
                self._register()
                announce_elsewhere(self.run_dir, self.topology, self._host)
                self._start(self._wanted(self.topology))
                await self._watch(duration_s)
                await self._stop_all()
                self.summary = list(summarize(self.views()))
                self._ended.set()
        finally:
            await self._warm.close()
            self.run_dir.card.unlink(missing_ok=True)
            self._log.close()
            os.close(lock)
        return int(self.failed)

    @property
    def failed(self) -> bool:
        """Whether an actor has failed for good."""
        return any(child.phase == "failed" for child in self._children.values())

    def stop(self) -> None:
        """End everything in order; ``run`` then returns."""
        self._stop.set()

    def obey_signals(self) -> None:
        """Stop in order at Ctrl-C, SIGTERM or a terminal that closes; at the second signal by force."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupted)

    def _interrupted(self) -> None:
        if self._stop.is_set():
            for child in self._children.values():
                child.kill()
        self.stop()

    def views(self) -> list[View]:
        """Every actor as it is now, in the order of the topology."""
        order = {spec.name: place for place, spec in enumerate(self.topology.actors)}
        children = sorted(self._children.values(), key=lambda child: order.get(child.name, len(order)))
        return [child.view(_megabytes(self.run_dir.journals / child.name)) for child in children]

    def _say(self, text: str) -> None:
        self._log.write(text)
        self._echo(text)

    def _register(self) -> None:
        card = BusCard(self.topology.bus.name, str(self.run_dir.root), os.getpid())
        self.run_dir.card.write_bytes(msgspec.json.encode(card))

    def _wanted(self, topology: Topology) -> list[ActorSpec]:
        here = [spec for spec in topology.actors if spec.host == self._host]
        return [spec for spec in here if not self._only or spec.name in self._only]

    def _here(self, spec: ActorSpec) -> ActorSpec:
        if spec.host != self._host:
            raise TopologyError([f"--only {spec.name}: that is an actor of the host '{spec.host}'"])
        return spec

    def _start(self, specs: Iterable[ActorSpec]) -> None:
        for spec in specs:
            log = LogFile(self.run_dir.logs, spec.name)
            fork = self._warm.fork if self._warm.forks(spec) else None
            self._children[spec.name] = Child(self.topology, spec, log, self._say, self._entry, fork)
        here = {spec.name for spec in self.topology.actors if spec.host == self._host}
        self._forgotten.update(here - set(self._children))
        for spec in specs:
            self._expect(spec.name)
            self._children[spec.name].launch(self._forgotten)

    def _expect(self, consumer: str) -> None:
        """The publishers of its streams, and only they, have to wait for it: it is new, changed, or starts again."""
        self._forgotten.discard(consumer)
        for child in self._children.values():
            streams = [name for name in self._published(child) if consumer in self.topology.consumers(name)]
            expected = f"expect {msgspec.json.encode([consumer, *streams]).decode()}"
            child.command(expected if streams else f"forget {consumer}")

    def _expect_anew(self, before: Topology) -> None:
        """Another topology: whoever left it is not waited for, and those of other hosts for what they read by now."""
        for name in sorted({spec.name for spec in before.actors} - {spec.name for spec in self.topology.actors}):
            self._forget(name)
        for spec in self.topology.actors:
            if spec.host != self._host:
                self._expect(spec.name)

    def _forget(self, consumer: str) -> None:
        """No publisher has to wait for it any more, neither those that run nor those that will start."""
        if consumer not in self._forgotten:
            self._forgotten.add(consumer)
            for child in self._children.values():
                child.command(f"forget {consumer}")

    async def _watch(self, duration_s: float | None) -> None:
        deadline = time.monotonic() + (math.inf if duration_s is None else duration_s)
        while not self._stop.is_set() and time.monotonic() < deadline and not self._finished():
            self._tend()
            try:
                await asyncio.wait_for(self._stop.wait(), min(TICK_S, max(deadline - time.monotonic(), 0)))
            except TimeoutError:
                pass

    def _tend(self) -> None:
        for child in self._children.values():
            child.look()
            if child.phase in ("failed", "done"):  # done: what is still to come in some of its streams it does not want
                self._forget(child.name)
            if child.phase == "draining" and self._all_served(child):
                child.command("stop")
            if child.phase == "done":
                self._revive(child)

    def _all_served(self, publisher: Child) -> bool:
        """Whether its consumers have all ended, so that it waits for nobody: an ack died with its process.

        What has become of those on other hosts only they themselves can say.
        """
        names = {name for stream in self._published(publisher) for name in self.topology.consumers(stream)}
        consumers = [self._children[name] for name in names if name in self._children]
        elsewhere = any(self.topology.actor(name).host != self._host for name in names)
        return bool(consumers) and not elsewhere and all(child.phase in ("done", "failed") for child in consumers)

    def _revive(self, publisher: Child) -> None:
        """Start a publisher that has ended by itself again, if a consumer does not find it.

        That one had died when it had all but the end. Each process of a consumer is served so once, and after it had
        time to say what it has found.
        """
        streams = set(self._published(publisher)) if publisher.status and publisher.status.bars else set()
        consumers = {name for stream in streams for name in self.topology.consumers(stream)} & self._children.keys()
        for consumer in (self._children[name] for name in consumers):
            found = {stream.stream for stream in consumer.status.streams} if consumer.status else set()
            lacks = streams.intersection(self.topology.consumed(consumer.spec)) - found
            case = publisher.name, consumer.name, consumer.since
            if consumer.over or not lacks:
                self._lacking.pop(case, None)
            elif time.monotonic() - self._lacking.setdefault(case, time.monotonic()) > LACKING_S:
                self._lacking[case] = math.inf
                self._say(f"{publisher.name} is started again: {consumer.name} had not come to its end")
                publisher.launch(self._forgotten | {child.name for child in self._children.values() if child.over})
                return

    def _published(self, child: Child) -> list[str]:
        return self.topology.published(child.spec)

    def _finished(self) -> bool:
        if self._changing.locked():
            return False
        return all(child.over for child in self._children.values()) or self._stuck()

    def _stuck(self) -> bool:
        """Whether all that is left waits for actors that have failed for good, and has nothing else to do."""
        left = [child for child in self._children.values() if not child.over]
        if not self.failed or not {child.name for child in left} <= self._starving():
            self._idle = None
            return False
        bars = sum(child.status.bars for child in left if child.status)
        if self._idle is None or self._idle[0] != bars:
            self._idle = bars, time.monotonic()
        return time.monotonic() - self._idle[1] >= STUCK_S

    def _starving(self) -> set[str]:
        """The failed actors, and those that wait for the end of a stream that one of these owns."""
        starving = {child.name for child in self._children.values() if child.phase == "failed"}
        while True:
            dry = {stream for name in starving for stream in self._published(self._children[name])}
            more = {c.name for c in self._children.values() if dry & set(self.topology.consumed(c.spec))}
            if more <= starving:
                return starving
            starving |= more

    async def _stop_all(self) -> None:
        deadline = time.monotonic() + STOP_S
        await self._hush()
        children = self._children.values()
        await _stop_each((child for child in children if child.role != "producer"), deadline)
        await _stop_each((child for child in children if child.role == "producer"), deadline)
        for child in children:
            child.log.close()

    async def _hush(self) -> None:
        """Let the producers say nothing new, and the consumers get what was said: then all have the same."""
        deadline = time.monotonic() + QUIET_S
        loud = [child for child in self._children.values() if child.role == "producer"]
        for child in loud:
            child.command("quiet")
        while loud and time.monotonic() < deadline:
            await asyncio.sleep(TICK_S / 2)
            for child in loud:
                child.look()
            loud = [c for c in loud if not (c.over or (c.status and c.status.state == "quiet"))]

    async def _answer(self, request: Request) -> Reply:
        match request.do:
            case "ps":
                return Reply(self.views())
            case "graph":
                return Reply(outline=outline(self.topology))
            case "stop" if not request.name:
                self.stop()
                await self._ended.wait()
                return Reply(lines=self.summary, code=int(self.failed))
            case "stop":
                return Reply(lines=await self._stop_one(request.name))
            case "restart":
                return Reply(lines=await self._restart(request.name))
            case "apply":
                return Reply(lines=await self.apply(topologies.load(Path(request.path))))

    def _child(self, name: str) -> Child:
        if name not in self._children:
            known = ", ".join(self._children)
            raise Fault(f"no actor '{name}' is up on '{self.topology.bus.name}': there is {known}")
        return self._children[name]

    async def _stop_one(self, name: str) -> list[str]:
        child = self._child(name)
        async with self._changing:
            await child.stop(GRACE_S)
        return [f"{name} {child.phase}"]

    async def _restart(self, name: str) -> list[str]:
        child = self._child(name)
        async with self._changing:
            await child.stop(GRACE_S)
            self._expect(name)
            child.restarts += 1
            child.launch(self._forgotten)
        return [f"{name} restarted"]

    async def apply(self, topology: Topology) -> list[str]:
        """Start what is new, stop what is gone, start again what has changed; what was done, a line an actor.

        :raises Fault: the bus itself has changed, or this host is gone from it or has another key
        """
        if (topology.bus, topology.run_dir) != (self.topology.bus, self.topology.run_dir):
            raise Fault("[bus] itself has changed: `pynelive stop`, then `pynelive up`")
        check_key(topology, chosen_host(topology, self._host))
        old = {name: (child.spec, wiring(self.topology, child.spec)) for name, child in self._children.items()}
        new = {spec.name: (spec, wiring(topology, spec)) for spec in self._wanted(topology)}
        gone = [name for name in old if name not in new]
        changed = [name for name in new if name in old and new[name] != old[name]]
        added = [name for name in new if name not in old]
        async with self._changing:
            leaving = [self._children[name] for name in (*gone, *changed)]
            await _stop_each(leaving, time.monotonic() + GRACE_S)
            before, self.topology = self.topology, topology
            announce_elsewhere(self.run_dir, topology, self._host)
            for child in leaving:
                child.log.close()
                del self._children[child.name]
            for child in self._children.values():
                child.topology = topology
            self._expect_anew(before)
            self._start([new[name][0] for name in (*changed, *added)])
        marks = (("-", gone, "stopped"), ("~", changed, "restarted"), ("+", added, "started"))
        lines = [f"{mark} {name} {done}" for mark, names, done in marks for name in names]
        return lines or ["nothing changed"]


async def _stop_each(children: Iterable[Child], deadline: float) -> None:
    grace_s = min(GRACE_S, deadline - time.monotonic())
    await asyncio.gather(*(child.stop(grace_s) for child in children))


def _megabytes(folder: Path) -> float:
    """The disk that the files of a folder use."""
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass  # retention has just removed it
    return round(sizes / 2**20, 2)


def already_up(run_dir: RunDir) -> str:
    """The sentence for who tries to bring a bus up twice."""
    try:
        pid = str(msgspec.json.decode(run_dir.card.read_bytes(), type=BusCard).pid)
    except (OSError, msgspec.DecodeError):
        pid = "unknown"
    return f"'{run_dir.bus}' is up already (pid {pid}, {run_dir.root}): `pynelive stop` ends it"
