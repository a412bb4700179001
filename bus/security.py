"""Keys of hosts, and the door that a publisher opens for other hosts: tcp with CURVE, for keys of the topology alone.

A host's secret key is a file of its user outside the topology's folder; the topology holds public keys only. Whoever
connects proves its key in ZeroMQ's handshake, and ZeroMQ asks the gate of the process whether that key may come in.
While there is no gate nobody may. Before a publisher says where it is, it tries its own doors as a stranger.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import sockets
from .endpoints import near
from .errors import Fault, TopologyError
from .hosts import Door
from .names import NO_NAME, is_name
from .secrets import Secret
from .sockets import Curve, Reader, Socket

if TYPE_CHECKING:
    from .topology import Topology

log = logging.getLogger("pynelive")
_TRIAL_S = 10.0
_SAID_S = 60.0


# --- keys on the disk -------------------------------------------------------------------------------------------------


def secret_path(host: str) -> Path:
    """The secret key of a host: in the folder ``PYNELIVE_KEYS``, else in ``pynelive/keys`` of the configuration."""
    if given := os.environ.get("PYNELIVE_KEYS"):
        folder = Path(given)
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pynelive" / "keys"
    return folder.absolute() / f"{host}.secret"


def make_key(host: str) -> str:
    """Make the pair of a host and keep the secret one, or take the pair that is there; the public one.

    :raises Fault: it cannot be written, the one that is there is of no use, or the name is none
    """
    if not is_name(host):
        raise Fault(f"{host!r} {NO_NAME}")
    path, curve = secret_path(host), sockets.new_curve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return read_key(path).public
    except OSError as error:
        raise Fault(f"{path} cannot be written: {error.strerror}; set PYNELIVE_KEYS") from None
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"{curve.secret}\n")
        file.flush()
        os.fsync(descriptor)
    return curve.public


def read_key(path: Path) -> Curve:
    """The pair whose secret key a file holds.

    :raises Fault: there is no such file, others may read it, or it holds no key
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            secret = file.read(100).strip().decode("ascii", "replace")
    except OSError as error:
        mend = f"`pynelive keys {path.stem}` makes one"
        raise Fault(f"the secret key {path} cannot be read: {error.strerror}; {mend}") from None
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Fault(f"the secret key {path} is open to others: make it yours alone with chmod 600, or make a new one")
    try:
        return Curve(sockets.public_of(secret), Secret(secret))
    except ValueError:
        mend = f"move it away, and `pynelive keys {path.stem}` makes one"
        raise Fault(f"{path} is no secret key: {mend}") from None


def key_of(host: str, public: str) -> Curve:
    """The pair of this host, whose public key the topology has.

    :raises TopologyError: the secret key is not to be had, or is that of another public one
    """
    try:
        curve = read_key(secret_path(host))
    except Fault as fault:
        raise TopologyError([f"[hosts.{host}]: {fault}"]) from None
    if curve.public != public:
        raise TopologyError([
            f'[hosts.{host}], key: does not belong to {secret_path(host)}, whose public key is "{curve.public}"'
        ])  # fmt: skip
    return curve


def check_key(topology: Topology, host: str) -> None:
    """Make sure that this host can prove who it is.

    :raises TopologyError: it cannot
    """
    if host and topology.hosts[host].key:
        key_of(host, topology.hosts[host].key)


def connecting_keys(path: str, server: str) -> Curve | None:
    """The keys for a connection to a publisher of another host; None if it is one of this host.

    :raises Fault: this host's secret key is not to be had
    """
    return read_key(Path(path))._replace(server=server) if server else None


# --- the door ---------------------------------------------------------------------------------------------------------


class Gate(Reader):
    """Answers ZeroMQ's question whether a key may come in, on the running loop; when it is closed nobody may.

    :param domain: the only one that is answered for
    :param allowed: public keys (Z85)
    """

    def __init__(self, domain: str, allowed: frozenset[str]) -> None:
        self.refused = 0
        self._domain = domain.encode()
        self._allowed = allowed
        self._said = math.inf
        super().__init__(sockets.bind_gate(), self._judge)

    def _judge(self, version: bytes) -> None:
        request, domain, address, _identity, mechanism, *credentials = sockets.other_parts(self._socket)
        known = (domain, mechanism) == (self._domain, b"CURVE") and sockets.z85(credentials[0]) in self._allowed
        self._socket.send_multipart([version, request, b"200" if known else b"400", b"", b"", b""])
        self.poke()
        if not known:
            self._note(address.decode(errors="replace"))

    def _note(self, address: str) -> None:
        """Say it now and then: a scanner must not fill the disk."""
        self.refused += 1
        if time.monotonic() - self._said > _SAID_S:
            self._said = time.monotonic()
            log.warning("a stranger from %s was refused (%d so far): its key is in no [hosts]", address, self.refused)

    def watch(self) -> None:
        """Say from now on who was refused: until now it was only this publisher's own trial."""
        self.refused, self._said = 0, -math.inf

    def close(self) -> None:
        """Let nobody in any more."""
        if self._open:
            sockets.unbind_gate(self._socket)
        super().close()


async def open_door(door: Door, name: str, router: Socket, pub: Socket) -> Gate:
    """Let the other hosts in, once strangers were seen to stay out.

    :param name: the publisher's
    :raises Fault: it cannot listen there, lets strangers in, or does not let in whom it should
    """
    curve, domain = key_of(door.host, door.key), f"pynelive/{name}"
    gate = Gate(domain, door.allowed)
    try:
        for kind, socket, endpoint in (("DEALER", router, door.control_bind), ("SUB", pub, door.pub_bind)):
            sockets.bind_between_hosts(socket, endpoint, curve, domain)
            await _try_door(kind, near(sockets.endpoint_of(socket)), curve._replace(server=curve.public))
    except BaseException:
        gate.close()
        raise
    gate.watch()
    log.info("%s listens for other hosts on %s and %s", name, door.control_bind, door.pub_bind)
    return gate


async def _try_door(kind: str, endpoint: str, friend: Curve) -> None:
    """Over the real socket: nobody without a key, nobody with an unknown key, but a host of the topology."""
    stranger = sockets.new_curve()._replace(server=friend.server)
    tries = (_comes_in(kind, endpoint, curve) for curve in (None, stranger, friend))
    keyless, unknown, known = await asyncio.gather(*tries)
    if keyless or unknown:
        how = "without a key" if keyless else "with any key"
        raise Fault(f"{endpoint} lets strangers in {how}: nothing is published")
    if not known:
        raise Fault(f"{endpoint} does not let in a host of the topology: nothing is published")


async def _comes_in(kind: str, endpoint: str, curve: Curve | None) -> bool:
    answer = asyncio.get_running_loop().create_future()

    def heard(part: bytes) -> None:
        came = sockets.came_in(part)
        if came is not None and not answer.done():
            answer.set_result(came)

    socket, monitor = sockets.knock(kind, endpoint, curve)
    reader = Reader(monitor, heard)
    try:
        async with asyncio.timeout(_TRIAL_S):
            return bool(await answer)
    except TimeoutError:
        raise Fault(f"{endpoint} does not answer its own publisher: nothing is published") from None
    finally:
        sockets.forget_knock(socket)
        reader.close()
