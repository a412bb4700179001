"""One topology on several hosts: all of it arrives, encrypted, and nobody else gets a byte."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

import msgspec
import psutil
import pytest
import zmq
from hostile import knock_till_it_leaves, shake_hands
from networks import Network, missing
from pynelive.bus import security, sockets
from pynelive.bus.calls import Info, encode_call
from pynelive.bus.discovery import announce_elsewhere, find_bus, publishers
from pynelive.bus.errors import Fault, Hopeless, TopologyError
from pynelive.bus.hosts import Door, chosen_host, door_of, wiring
from pynelive.bus.messages import Instrument
from pynelive.bus.ohlcv import last_time_ms
from pynelive.bus.publisher import Publisher
from pynelive.bus.rundir import RunDir
from pynelive.bus.security import Gate, check_key, key_of, make_key, read_key
from pynelive.bus.sockets import Curve
from pynelive.bus.supervisor import Supervisor
from pynelive.bus.topology import Topology, load, read
from several import Hosts, loopback
from support import STREAM, Taken, make_bar, publishing, wait_until
from topologies import COMMAND, Bench, running, wait_for

SKIP = missing()
ACTORS = """
[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1", "AAPL@1"]
options = { speed = SPEED, bars = 250 }
host = "a"

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
options = { dir = "data" }
host = "b"

[[runner]]
name = "ema"
script = "EXAMPLES/ema_cross.py"
stream = "demo:BTC/USDT@1"
host = "c"

[[sink]]
name = "said"
type = "jsonl"
streams = ["run:*"]
options = { path = "said.jsonl" }
host = "b"
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The same actors on one host, done."""
    tables = "\n".join(line for line in ACTORS.splitlines() if not line.startswith("host"))
    bench = Bench(tmp_path_factory.mktemp("alone"), tables.replace("SPEED", "0"))
    assert bench.up(XDG_RUNTIME_DIR=str(tmp_path_factory.mktemp("rt"))).code == 0
    return bench


def plots(folder: Path) -> list[Any]:
    """What the script has said of each bar, whenever it was."""
    lines = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
    return [line["message"] for line in lines if line["kind"] in ("plot", "signal")]


# --- several hosts ----------------------------------------------------------------------------------------------------


def test_three_hosts_end_as_one_does(tmp_path: Path, alone: Bench) -> None:
    """Producer, recorder and script on a host each, encrypted: the same bytes, and every host ends by itself."""
    hosts = Hosts(tmp_path, ACTORS.replace("SPEED", "0"), {"a": loopback(), "b": "", "c": loopback()})
    ups = {host: hosts.start(host) for host in hosts.benches}
    ended = {host: hosts.benches[host].end(up) for host, up in ups.items()}
    assert {host: end.code for host, end in ended.items()} == dict.fromkeys("abc", 0), ended
    assert hosts.digests() == alone.digests()
    assert plots(tmp_path / "b") == plots(alone.folder)


@pytest.mark.skipif(bool(SKIP), reason=SKIP)
def test_a_cable_is_pulled_and_put_back(tmp_path: Path, alone: Bench) -> None:
    """Three machines: the recorder's is cut off in the middle, says so, and ends with the same bytes."""
    with Network("a", "b", "c") as net, ExitStack() as running_hosts:
        addresses = {"a": net.address("a"), "b": "", "c": net.address("c")}
        tables = ACTORS.replace("SPEED", "120")
        hosts = Hosts(tmp_path, tables, addresses, lambda host: net.command(host, []))
        a, b = hosts.benches["a"], hosts.benches["b"]
        ups = {
            host: running_hosts.enter_context(running(bench, **hosts.environment(host)))
            for host, bench in hosts.benches.items()
        }
        wait_for(lambda: bars(b, "recorder") > 5)
        net.cut("b")
        wait_for(lambda: "silent" in states(b, "recorder"))
        before = bars(a, "demo")
        wait_for(lambda: bars(a, "demo") > before + 5)
        net.mend("b")
        hosts.replace("speed = 120", "speed = 0")
        hosts.apply("a")
        ended = {host: hosts.benches[host].end(up) for host, up in ups.items()}
    assert {host: end.code for host, end in ended.items()} == dict.fromkeys("abc", 0), ended
    assert "is silent" in b.log("recorder")
    assert hosts.digests() == alone.digests()
    assert plots(tmp_path / "b") == plots(alone.folder)


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(lossy := missing(lossy=True)), reason=lossy)
def test_cables_that_lose_packets(tmp_path: Path, alone: Bench) -> None:
    """Every tenth packet is lost and each is late: the same bytes."""
    with Network("a", "b", "c", loss=0.1, delay_ms=5) as net:
        addresses = {"a": net.address("a"), "b": "", "c": net.address("c")}
        hosts = Hosts(tmp_path, ACTORS.replace("SPEED", "0"), addresses, lambda host: net.command(host, []))
        ups = {host: hosts.start(host) for host in hosts.benches}
        ended = {host: hosts.benches[host].end(up, 240) for host, up in ups.items()}
    assert {host: end.code for host, end in ended.items()} == dict.fromkeys("abc", 0), ended
    assert hosts.digests() == alone.digests()


def bars(bench: Bench, actor: str) -> int:
    """How many an actor has published or got, by what ``ps`` says."""
    status = bench.ps().get(actor, {}).get("status") or {}
    return int(status.get("bars", 0))


def states(bench: Bench, actor: str) -> set[str]:
    """How its streams are, by what ``ps`` says."""
    status = bench.ps().get(actor, {}).get("status") or {}
    return {stream["state"] for stream in status.get("streams", ())}


def test_what_many_strangers_do_to_a_publisher(tmp_path: Path, alone: Bench) -> None:
    """Thousands of handshakes that lead nowhere: a good peer misses nothing, and they leave no memory behind."""
    tables = ACTORS.replace("SPEED", "0").replace('host = "c"', 'host = "b"')
    hosts = Hosts(tmp_path, tables, {"a": loopback(), "b": ""})
    a, b = hosts.benches.values()
    with ThreadPoolExecutor(1) as crowd, ExitStack() as stack:  # the crowd leaves when the publisher has
        up_a = stack.enter_context(running(a, **hosts.environment("a")))
        wait_for(lambda: bars(a, "demo"))
        publisher = psutil.Process(a.ps()["demo"]["pid"])  # which waits for those on the other host
        door = door_of(topology := load(a.path), topology.actor("demo"))
        assert door
        shake_hands(door.pub, 500)
        before = publisher.memory_info().rss
        shake_hands(door.pub, 4000)
        assert publisher.memory_info().rss - before < 16 << 20
        strangers = crowd.submit(knock_till_it_leaves, door.pub)
        up_b = stack.enter_context(running(b, **hosts.environment("b")))
        ended = [a.end(up_a), b.end(up_b)]
        assert strangers.result() > 0
    assert [end.code for end in ended] == [0, 0], ended
    assert hosts.digests() == alone.digests()


# --- strangers --------------------------------------------------------------------------------------------------------


TWO = """
[hosts.a]
address = "ADDRESS"
key = "KEY_A"

[hosts.b]
key = "KEY_B"

[[producer]]
name = "demo"
provider = "demo"
streams = ["BTC/USDT@1"]
host = "a"

[[sink]]
name = "recorder"
type = "ohlcv"
streams = ["demo:*"]
host = "b"
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Topology:
    """A topology of two hosts, whose secret keys are both here."""
    monkeypatch.setenv("PYNELIVE_KEYS", str(tmp_path / "keys"))
    text = TWO.replace("ADDRESS", loopback()).replace("KEY_A", make_key("a")).replace("KEY_B", make_key("b"))
    (tmp_path / "topology.toml").write_text(text)
    return load(tmp_path / "topology.toml")


def the_door(topology: Topology) -> Door:
    """That of its producer."""
    door = door_of(topology, topology.actor("demo"))
    assert door
    return door


@asynccontextmanager
async def at_the_door(topology: Topology) -> AsyncIterator[Publisher]:
    """The producer's publisher, open to the other host."""
    publisher = Publisher(RunDir(topology), "demo", door=the_door(topology))
    try:
        await publisher.open()
        publisher.publish(STREAM, Instrument("BTC/USDT", "1"))
        yield publisher
    finally:
        await publisher.close()


def elsewhere(topology: Topology, folder: Path, host: str = "b") -> RunDir:
    """The run directory of another host."""
    run = RunDir(folder)
    announce_elsewhere(run, topology, host)
    return run


class Caller:
    """Subscribes to everything and asks, with the keys that it has; counts what comes."""

    def __init__(self, door: Door, curve: Curve | None) -> None:
        (self.sub, watch_sub), (self.dealer, watch_dealer) = (
            sockets.knock(kind, endpoint, curve) for kind, endpoint in (("SUB", door.pub), ("DEALER", door.control))
        )
        self.monitors = {watch_sub: False, watch_dealer: False}
        sockets.subscribe(self.sub, b"")
        sockets.send(self.dealer, encode_call(Info()))

    def refused(self) -> bool:
        """Whether both connections were ended by the publisher."""
        for monitor in self.monitors:
            while monitor.poll(0):
                came_in = sockets.came_in(monitor.recv_multipart()[0])
                assert not came_in
                self.monitors[monitor] |= came_in is False
        return all(self.monitors.values())

    def heard(self) -> int:
        """All that came, in messages."""
        return self.sub.poll(0) + self.dealer.poll(0)

    def close(self) -> None:
        for socket in (self.sub, self.dealer):
            sockets.forget_knock(socket)
        for monitor in self.monitors:
            monitor.close()


async def test_who_never_answers_is_named(two: Topology, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A declared publisher that nobody has reached: its streams are shown so, the log and the refusal to attach say
    which address does not answer; once it answers, it is no longer so."""
    run = elsewhere(two, tmp_path / "b")
    place = f"'demo' on {the_door(two).control}"
    async with publishing(run, "local") as local:
        local.publish(STREAM, make_bar(1))
        taken = Taken(run, [STREAM, "demo:ETH@1"])
        await wait_until(lambda: taken.closed() == [1])
        with pytest.raises(Fault, match=f"nobody who answers publishes .*{place} does not answer; there is {STREAM}"):
            await taken.subscriber.all_found(1.0)
        await wait_until(lambda: bool(taken.subscriber.unheard(two)))
        assert [(row.stream, row.state) for row in taken.subscriber.unheard(two)] == [(STREAM, "never answered")]
        async with at_the_door(two):
            await wait_until(lambda: not taken.subscriber.unheard(two))
            await wait_until(lambda: f"{place} answers" in caplog.text)
        await taken.subscriber.close()
    assert f"{place} does not answer yet" in caplog.text


def is_free(door: Door) -> bool:
    """Whether one can listen there again."""
    for endpoint in (door.control_bind, door.pub_bind):
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        try:
            create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            continue
        return False
    return True


async def test_nothing_is_taken_of_another_bus(two: Topology, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A publisher of the same name, hosts, keys and ports, but of another topology: one sentence, also for who attaches
    now; the stream is silent until its own publisher is back, and then it goes on where it was."""
    (tmp_path / "other.toml").write_text('[bus]\nname = "other"\n' + two.path.read_text())
    other, run, door = load(tmp_path / "other.toml"), elsewhere(two, tmp_path / "b"), the_door(two)
    taken, late = Taken(run, [STREAM]), Taken(run, [STREAM])
    mine = [*range(10), *range(20, 30)]

    async def says(topology: Topology, numbers: range, *happened: Callable[[], bool]) -> None:
        await wait_until(lambda: is_free(door))
        async with at_the_door(topology) as publisher:
            publisher.publish(STREAM, *map(make_bar, numbers))
            for each in happened:
                await wait_until(each)

    await says(two, range(10), lambda: taken.closed() == late.closed() == mine[:10])
    await late.subscriber.close()
    late = Taken(run, [STREAM])
    both = taken.subscriber.links, late.subscriber.links
    await says(
        other, range(10, 20), lambda: all("demo" in links and bool(links["demo"].foreign) for links in both),
        lambda: [cursor.shown for cursor in taken.subscriber.cursors] == ["silent"],
    )  # fmt: skip
    said = f"'demo' on {door.control} is of the bus 'other' and not of 'default'"
    with pytest.raises(Fault, match=said):
        await late.subscriber.all_found(0)
    await says(two, range(20, 30), lambda: taken.closed() == late.closed() == mine)
    assert caplog.text.count(said) == 2, "once for each subscriber"
    for each in (taken, late):
        await each.subscriber.close()


async def test_who_has_everything_hears_of_the_end(two: Topology, tmp_path: Path) -> None:
    """A publisher that ends says so to its consumers elsewhere: none has to find out by its silence."""
    publisher = Publisher(RunDir(two), "demo", {"recorder": [STREAM], "other": [STREAM]}, door=the_door(two))
    await publisher.open()
    publisher.publish(STREAM, Instrument("BTC/USDT", "1"), *map(make_bar, range(100)))
    run = elsewhere(two, tmp_path / "b")
    taken, behind = Taken(run, [STREAM], consumer="recorder", acks=True), Taken(run, [STREAM], consumer="other")
    await wait_until(lambda: publisher.lags() == {"recorder": 0, "other": 101} and len(behind.closed()) == 100)
    behind.subscriber.ack({STREAM: (publisher.epoch, 50)})
    await wait_until(lambda: publisher.lags() == {"recorder": 0, "other": 51})
    await publisher.close()
    await wait_until(taken.subscriber.links["demo"].acked.is_set)
    assert not behind.subscriber.links["demo"].acked.is_set()
    for each in (taken, behind):
        await each.subscriber.close()


async def test_a_subscriber_is_shown_by_the_name_of_its_host(two: Topology, tmp_path: Path) -> None:
    """As [hosts] calls it, on this host and on the other one; else by the machine's own name."""
    runs = elsewhere(two, RunDir(two).root, "a"), elsewhere(two, tmp_path / "b")
    async with at_the_door(two) as publisher:
        subscribers = [Taken(run, [STREAM]).subscriber for run in runs]
        await wait_until(lambda: [peer.host for peer in publisher.peers.listed()] == ["a", "b"])
        for subscriber in subscribers:
            await subscriber.close()


async def test_strangers_get_nothing(two: Topology, tmp_path: Path) -> None:
    """No key, an unknown key, a wrong key of the publisher: not one message; the right one gets all, and so do local
    ones without keys. When the gate is gone nobody new gets in, and who is in stays."""
    door, friend = the_door(two), key_of("b", two.hosts["b"].key)
    unknown, other = sockets.new_curve(), sockets.new_curve()
    async with at_the_door(two) as publisher:
        local, remote = Taken(RunDir(two), ["demo:*"]), Taken(elsewhere(two, tmp_path / "b"), ["demo:*"])
        callers = {
            "no key": Caller(door, None),
            "unknown key": Caller(door, unknown._replace(server=door.key)),
            "wrong server": Caller(door, friend._replace(server=other.public)),
        }
        publisher.publish(STREAM, *map(make_bar, range(50)))
        for caller in callers.values():
            await wait_until(caller.refused)
        publisher.publish(STREAM, *map(make_bar, range(50, 100)))
        await wait_until(lambda: local.closed() == remote.closed() == list(range(100)))
        assert {name: caller.heard() for name, caller in callers.items()} == dict.fromkeys(callers, 0)
        assert publisher.gate
        assert publisher.gate.refused == 2

        publisher.gate.close()
        callers["no gate"] = Caller(door, friend._replace(server=door.key))
        await wait_until(callers["no gate"].refused)
        publisher.publish(STREAM, *map(make_bar, range(100, 110)))
        await wait_until(lambda: local.closed() == remote.closed() == list(range(110)))
        assert {name: caller.heard() for name, caller in callers.items()} == dict.fromkeys(callers, 0)
        for taken in (local, remote):
            await taken.subscriber.close()
        for caller in callers.values():
            caller.close()


async def test_without_a_gate_nobody_ever_comes_in(two: Topology) -> None:
    """Not even the right key, on a socket that is bound while no gate is there."""
    door, curve = the_door(two), key_of("a", two.hosts["a"].key)
    pub, router = sockets.context().socket(zmq.XPUB), sockets.context().socket(zmq.ROUTER)
    for socket, endpoint in ((pub, door.pub_bind), (router, door.control_bind)):
        sockets.bind_between_hosts(socket, endpoint, curve, "pynelive/demo")
    caller = Caller(door, key_of("b", two.hosts["b"].key)._replace(server=door.key))
    await wait_until(caller.refused)
    pub.send(b"b1/anything")
    assert (caller.heard(), router.poll(0)) == (0, 0)
    caller.close()
    pub.close(linger=0)
    router.close(linger=0)


def everybody(gate: Gate, version: bytes) -> None:
    """A judge who says yes."""
    request = sockets.other_parts(gate._socket)[0]
    gate._socket.send_multipart([version, request, b"200", b"", b"", b""])
    gate.poke()


def without_keys(socket: zmq.Socket[bytes], endpoint: str, curve: Curve, domain: str) -> None:
    """A socket that forgets the encryption."""
    socket.bind(endpoint)


def without_domain(socket: zmq.Socket[bytes], endpoint: str, curve: Curve, domain: str) -> None:
    """A socket that asks the gate for nobody in particular."""
    socket.curve_server, socket.curve_publickey = 1, curve.public.encode()
    socket.curve_secretkey = curve.secret.encode()
    socket.bind(endpoint)


@pytest.mark.parametrize(
    ("place", "name", "fake", "said"),
    [
        (Gate, "_judge", everybody, "with any key"),
        (sockets, "bind_between_hosts", without_domain, "does not let in"),
        (sockets, "bind_between_hosts", without_keys, "without a key"),
        (Gate, "_judge", lambda gate, version: sockets.other_parts(gate._socket), "does not answer"),
    ],
)
async def test_a_door_that_lets_strangers_in_is_never_announced(
    two: Topology, monkeypatch: pytest.MonkeyPatch, place: object, name: str, fake: Callable[..., object], said: str
) -> None:
    """The publisher tries its own doors first, and refuses to publish; so it does behind one that never answers."""
    monkeypatch.setattr(place, name, fake)
    if said == "does not answer":
        monkeypatch.setattr(security, "_TRIAL_S", 0.5)
    with pytest.raises(Fault, match=said):
        async with at_the_door(two):
            pass
    assert publishers(RunDir(two)) == {}


async def test_one_gate_a_process(two: Topology) -> None:
    """A second one would be deaf: it is refused."""
    gate = Gate("pynelive/x", frozenset())
    with pytest.raises(Fault, match="a process of its own"):
        async with at_the_door(two):
            pass
    gate.close()


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    """`pynelive keys` writes the secret key for this user alone, prints the public one, again too, and overwrites
    nothing."""
    environment = {**os.environ, "PYNELIVE_KEYS": str(tmp_path / "keys")}
    again = [
        subprocess.run([*COMMAND, "keys", "a"], env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    path = tmp_path / "keys" / "a.secret"
    assert [done.returncode for done in again] == [0, 0]
    assert again[1].stdout == again[0].stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert again[0].stdout.startswith("[hosts.a]\nkey = ")
    assert path.read_text().strip() not in again[0].stdout + again[0].stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "No such file.*pynelive keys a"),
        (lambda path: path.chmod(0o640), "chmod 600"),
        (lambda path: path.write_text("nonsense"), "is no secret key"),
        (lambda path: path.write_text(sockets.new_curve().secret), "does not belong"),
    ],
)
def test_a_host_that_cannot_prove_who_it_is(
    two: Topology, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """One sentence with the place and the mend, before anything starts; the secret is not in it."""
    path = tmp_path / "keys" / "a.secret"
    secret = path.read_text().strip()
    spoil(path)
    with pytest.raises(TopologyError, match=said) as caught:
        Supervisor(two, host="a")
    assert secret not in str(caught.value)
    check_key(two, "b")


def test_a_missing_key_is_said_before_anything_starts(two: Topology, tmp_path: Path) -> None:
    """By `up` and `check`, in one sentence."""
    (tmp_path / "keys" / "a.secret").unlink()
    for command in ("up", "check"):
        argv = [*COMMAND, command, str(two.path), "--host", "a"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done


def test_which_host_this_is(two: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command says, else the environment; never guessed."""
    monkeypatch.delenv("PYNELIVE_HOST", raising=False)
    with pytest.raises(Hopeless, match=r"which one this is \(a, b\)"):
        Supervisor(two)
    with pytest.raises(Hopeless, match="no host 'bb': did you mean 'b'"):
        Supervisor(two, host="bb")
    with pytest.raises(Hopeless, match="an actor of the host 'b'"):
        Supervisor(two, ["recorder"], host="a")
    monkeypatch.setenv("PYNELIVE_HOST", "b")
    assert [chosen_host(two, given) for given in ("", "a")] == ["b", "a"]


def test_every_fault_of_the_hosts_at_once(two: Topology) -> None:
    """Each names its place; the hosts' faults stand beside the others."""
    key = two.hosts["a"].key
    two.path.write_text(f"""
        [hosts.a]
        key = "{key}"
        [hosts.b]
        key = "{key}"
        address = "no address"
        prot = 1
        [hosts.c]
        [[producer]]
        name = "demo"
        provider = "demo"
        streams = ["BTC/USDT@1"]
        host = "a"
        [[sink]]
        name = "one"
        type = "ohlcv"
        streams = ["demo:*"]
        host = "b"
        [[sink]]
        name = "two"
        type = "csv"
        streams = ["demo:*"]
        [[sink]]
        name = "three"
        type = "csv"
        streams = ["nothing"]
        host = "bb"
    """)
    assert [problem.split(":")[0] for problem in read(two.path)[1]] == [
        "[hosts.b]",  # prot
        "[[sink]] three, streams",
        "[[sink]] two",  # no host
        "[[sink]] three, host",
        "[hosts.b], address",
        "[hosts.b], key",
        "[hosts.c]",  # no key
        "[hosts.a]",  # no address, and b reads from it
    ]


def test_apply_restarts_whom_another_key_concerns(two: Topology) -> None:
    """The publishers, whose doors must let it in or no more, and the actors of the host itself; nobody else."""
    text = two.path.read_text()
    two.path.write_text(text.replace(two.hosts["b"].key, sockets.new_curve().public))
    new = load(two.path)
    changed = [spec.name for spec in new.actors if wiring(new, spec) != wiring(two, spec)]
    assert changed == ["demo", "recorder"]
    two.path.write_text(text.replace("[hosts.b]", f'[hosts.c]\nkey = "{sockets.new_curve().public}"\n[hosts.b]'))
    new = load(two.path)
    assert [spec.name for spec in new.actors if wiring(new, spec) != wiring(two, spec)] == ["demo"]


def test_all_addresses_of_the_machine_are_those_of_ipv6_too(two: Topology) -> None:
    """``bind = "*"`` beside an address of IPv6: the others would find nobody there on IPv4."""
    two.path.write_text(re.sub(r'address = ".*"', 'address = "fd00::1"\nbind = "*"', two.path.read_text()))
    door = the_door(load(two.path))
    assert (door.control_bind, door.control) == ("tcp://[::]:5600", "tcp://[fd00::1]:5600")


def test_apply_waits_no_more_for_whom_another_host_has_lost(tmp_path: Path) -> None:
    """A producer waits at its end for a recorder elsewhere that never starts; once it is out of the file it ends."""
    tables = ACTORS.replace("SPEED", "0").split("[[runner]]")[0]
    hosts = Hosts(tmp_path, tables, {"a": loopback(), "b": ""})
    a = hosts.benches["a"]
    with running(a, **hosts.environment("a")) as up:
        wait_for(lambda: a.ps().get("demo", {}).get("phase") == "draining")
        a.path.write_text(a.path.read_text().split("[[sink]]")[0])
        subprocess.run([*COMMAND, "apply", str(a.path)], env={**os.environ, **hosts.environment("a")}, check=True)
        assert a.end(up).code == 0


# --- discovery --------------------------------------------------------------------------------------------------------


async def test_a_bus_is_found_from_another_host(
    two: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program names the topology and its host, nothing is up here, and it reads; what left is forgotten."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "topology.toml").write_text(two.path.read_text())
    monkeypatch.setenv("PYNELIVE_HOST", "b")
    async with at_the_door(two) as publisher:
        publisher.publish(STREAM, make_bar(1))
        run = find_bus(str(tmp_path / "b" / "topology.toml"))
        taken = Taken(run, [STREAM])
        await wait_until(lambda: taken.closed() == [1])
        await taken.subscriber.close()
    assert publishers(run)["demo"].remote
    announce_elsewhere(run, msgspec.structs.replace(two, producers=()), "b")
    assert publishers(run) == {}


# --- what happens to a publisher elsewhere ----------------------------------------------------------------------------


SLOW = ACTORS.replace("SPEED", "120").split("[[runner]]")[0]
"""Producer and recorder, and time for what is done to them."""


def recordings(bench: Bench) -> dict[str, str]:
    """The digests of its recordings alone."""
    return {name: digest for name, digest in bench.digests().items() if name.startswith("data/")}


def last_bar(bench: Bench) -> int:
    """When the last bar opens that it has recorded."""
    return max(last_time_ms(path) or 0 for path in bench.folder.glob("data/*.ohlcv"))


def test_keys_are_replaced_while_bars_flow(tmp_path: Path, alone: Bench) -> None:
    """New keys for both hosts, applied on one after the other: the old one is shut out, and not a bar is missing."""
    hosts = Hosts(tmp_path, SLOW, {"a": loopback(), "b": ""})
    a, b = hosts.benches.values()
    with running(a, **hosts.environment("a")) as up_a, running(b, **hosts.environment("b")) as up_b:
        wait_for(lambda: bars(b, "recorder") > 5)
        old = read_key(hosts.secret("b"))
        for host in hosts.benches:
            hosts.renew(host)
        hosts.apply()
        before = last_bar(b)
        wait_for(lambda: last_bar(b) > before)
        door = the_door(load(a.path))
        caller = Caller(door, old._replace(server=door.key))
        wait_for(caller.refused)
        assert caller.heard() == 0
        caller.close()
        hosts.replace("speed = 120", "speed = 0")
        hosts.apply("a")  # the other one may be done before it could be told
        ended = [a.end(up_a), b.end(up_b)]
    assert [end.code for end in ended] == [0, 0], ended
    assert hosts.digests() == recordings(alone)


def test_a_publisher_elsewhere_is_frozen_and_goes_on(tmp_path: Path, alone: Bench) -> None:
    """For longer than a connection lives: the other host says that it is silent, and ends with the same bytes."""
    hosts = Hosts(tmp_path, SLOW, {"a": loopback(), "b": ""})
    a, b = hosts.benches.values()
    with running(a, **hosts.environment("a")) as up_a, running(b, **hosts.environment("b")) as up_b:
        wait_for(lambda: bars(b, "recorder") > 5)
        publisher, recorder = psutil.Process(a.ps()["demo"]["pid"]), psutil.Process(b.ps()["recorder"]["pid"])
        before = connections(recorder)
        publisher.suspend()
        wait_for(lambda: "silent" in states(b, "recorder"))
        wait_for(lambda: not before & connections(recorder))
        publisher.resume()
        hosts.replace("speed = 120", "speed = 0")
        hosts.apply("a")  # the other one may be done before it could be told
        ended = [a.end(up_a), b.end(up_b)]
    assert [end.code for end in ended] == [0, 0], ended
    assert "is silent" in b.log("recorder")
    assert hosts.digests() == recordings(alone)


def connections(process: psutil.Process) -> set[Any]:
    """The own ends of all its connections to other hosts."""
    return {one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED}
