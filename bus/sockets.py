"""ZeroMQ sockets as this project uses them; the only file that imports zmq.

Plain sockets on asyncio by their file descriptor, which is edge-triggered: after a wake-up one reads until
nothing is left, or comes back by ``call_soon``; a send may swallow the edge, so whoever sends on a socket
that is also read calls ``poke``. Options are set before bind or connect, later they would not apply. The
reasons for each are measured (docs/wire.md).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from .endpoints import clear, refuse_remote
from .errors import Fault

# PyneCore's import hook prefers pyzmq's _zmq.py to the compiled module beside it, which breaks pyzmq.
_finders = sys.meta_path[:]
sys.meta_path[:] = [finder for finder in _finders if not type(finder).__module__.startswith("pynecore.")]
try:
    import zmq
    from zmq.utils import z85 as _z85
finally:
    sys.meta_path[:] = _finders

Socket: TypeAlias = zmq.Socket[bytes]
_context: tuple[int, zmq.Context[zmq.Socket[bytes]]] | None = None
_HIGH_WATER = 10_000
_LARGEST_REQUEST = 256 << 10
_LARGEST_FRAME = 64 << 20
_BUDGET = 256
_BETWEEN_HOSTS: Final = {
    "HEARTBEAT_IVL": 1000, "HEARTBEAT_TIMEOUT": 3000, "HEARTBEAT_TTL": 3000, "HANDSHAKE_IVL": 2000, "TCP_KEEPALIVE": 1,
    "TCP_KEEPALIVE_IDLE": 30, "TCP_KEEPALIVE_INTVL": 10, "TCP_KEEPALIVE_CNT": 3, "CONNECT_TIMEOUT": 2000,
}  # fmt: skip
"""A peer that is frozen or cut off is let go of after 3 s, a connection that does not come about after 2 s."""
_EVENT_SIZE: Final = 6
_GATE: Final = "inproc://zeromq.zap.01"


class Curve(NamedTuple):
    """The keys (Z85) of one end of an encrypted connection; ``server`` is the other end's, where that listens."""

    public: str
    secret: str
    server: str = ""


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """The process's one context, made at first use, so that a forked child gets its own."""
    global _context
    if _context is None or _context[0] != os.getpid():
        _context = (os.getpid(), zmq.Context())
        _context[1].set(zmq.MAX_SOCKETS, 4096)
    return _context[1]


def has_ipc() -> bool:
    """Whether this platform's ZeroMQ speaks ``ipc://``."""
    return bool(zmq.has("ipc")) and hasattr(os, "getuid")


def own_endpoint(folder: Path, name: str, transport: str) -> str:
    """Where to listen on this machine; the one place that knows what a platform can do.

    :param folder: for ipc sockets; the name is hashed, since their paths end at 107 characters
    :param transport: ``ipc``, ``tcp``, or ``auto`` for the best that there is
    """
    if transport == "tcp" or (transport == "auto" and not has_ipc()):
        return "tcp://127.0.0.1:*"
    return f"ipc://{folder}/{sha256(name.encode()).hexdigest()[:16]}"


def _socket(kind: int, **options: int) -> zmq.Socket[bytes]:
    socket = context().socket(kind)
    socket.linger = 0
    _set(socket, options)
    return socket


def _set(socket: zmq.Socket[bytes], options: dict[str, int]) -> None:
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)


def bind_pub(endpoint: str) -> zmq.Socket[bytes]:
    """The XPUB of a publisher: never blocks, tells every subscription and its end."""
    socket = _socket(
        zmq.XPUB, SNDHWM=_HIGH_WATER, XPUB_VERBOSER=1, MAXMSGSIZE=4096, BACKLOG=1024, HANDSHAKE_IVL=2000,
        LINGER=1000,
    )  # fmt: skip
    return _bind(socket, endpoint)


def bind_router(endpoint: str) -> zmq.Socket[bytes]:
    """The ROUTER of a publisher: answers, and drops what a slow asker does not take."""
    socket = _socket(
        zmq.ROUTER, SNDHWM=64, RCVHWM=_HIGH_WATER, MAXMSGSIZE=_LARGEST_REQUEST, BACKLOG=1024,
        HANDSHAKE_IVL=2000, LINGER=1000,
    )  # fmt: skip
    return _bind(socket, endpoint)


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> zmq.Socket[bytes]:
    refuse_remote(endpoint)
    before = os.umask(0o177)
    try:
        clear(endpoint)  # the holder of the lock owns the path
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise Fault(f"cannot listen on {endpoint}: {error.strerror}") from None
    finally:
        os.umask(before)
    return socket


def new_curve() -> Curve:
    """A new pair of keys."""
    public, secret = zmq.curve_keypair()
    return Curve(public.decode(), secret.decode())


def public_of(secret: str) -> str:
    """The public key that belongs to a secret one.

    :raises ValueError: it is no key
    """
    try:
        return zmq.curve_public(secret.encode()).decode()
    except zmq.ZMQError as error:
        raise ValueError(error.strerror) from None


def bind_between_hosts(socket: zmq.Socket[bytes], endpoint: str, curve: Curve, domain: str) -> None:
    """Listen on tcp too, encrypted, for those whom the process's gate lets into this domain; without a gate nobody.

    What has been bound before stays as it is: ZeroMQ takes these options when it binds.
    """
    _set(socket, _BETWEEN_HOSTS)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt_string(zmq.CURVE_PUBLICKEY, curve.public)
    socket.setsockopt_string(zmq.CURVE_SECRETKEY, curve.secret)
    socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # else everybody is let in when the gate is away
    try:
        _tcp(socket, endpoint)
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise Fault(f"cannot listen on {endpoint}: {error.strerror}") from None


def bind_gate() -> zmq.Socket[bytes]:
    """Where ZeroMQ asks who may come in (ZAP, rfc.zeromq.org/spec/27); one a process."""
    socket = _socket(zmq.REP)
    try:
        socket.bind(_GATE)
    except zmq.ZMQError:
        socket.close()
        raise Fault("this process has a publisher for other hosts already: each needs a process of its own") from None
    return socket


def unbind_gate(socket: zmq.Socket[bytes]) -> None:
    """Be away at once, not only when the socket is closed in the background."""
    socket.unbind(_GATE)


def knock(kind: str, endpoint: str, curve: Curve | None) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """Try once to come in as a ``SUB`` or ``DEALER``; the second socket tells by :func:`came_in` how it went."""
    socket = _socket(getattr(zmq, kind), RECONNECT_IVL=-1)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    if curve:
        _set_keys(socket, curve)
    _tcp(socket, endpoint)
    socket.connect(endpoint)
    return socket, monitor


def forget_knock(socket: zmq.Socket[bytes]) -> None:
    """Close the first of the two."""
    socket.disable_monitor()
    socket.close()


def came_in(event: bytes) -> bool | None:
    """What a part of a message of a monitor says; None if it says nothing of that."""
    number = int.from_bytes(event[:2], sys.byteorder) if len(event) == _EVENT_SIZE else 0
    return {int(zmq.EVENT_HANDSHAKE_SUCCEEDED): True, int(zmq.EVENT_DISCONNECTED): False}.get(number)


def z85(key: bytes) -> str:
    """A key as people write it."""
    return _z85.encode(key).decode()


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    """Where a bound socket really listens."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def other_parts(socket: zmq.Socket[bytes]) -> list[bytes]:
    """What is left of a message whose first part has been read."""
    parts: list[bytes] = []
    while socket.getsockopt(zmq.RCVMORE):
        parts.append(socket.recv(zmq.NOBLOCK))
    return parts


def _connect(socket: zmq.Socket[bytes], endpoint: str, curve: Curve | None) -> zmq.Socket[bytes]:
    try:
        if curve is None:
            refuse_remote(endpoint)
        else:
            _set(socket, _BETWEEN_HOSTS)
            _set_keys(socket, curve)
            _tcp(socket, endpoint)
        socket.connect(endpoint)
    except Fault:
        socket.close()
        raise
    except (zmq.ZMQError, UnicodeEncodeError) as error:
        socket.close()
        raise Fault(f"cannot connect to {endpoint}: {error}") from None
    return socket


def _set_keys(socket: zmq.Socket[bytes], curve: Curve) -> None:
    socket.setsockopt_string(zmq.CURVE_SERVERKEY, curve.server)
    socket.setsockopt_string(zmq.CURVE_PUBLICKEY, curve.public)
    socket.setsockopt_string(zmq.CURVE_SECRETKEY, curve.secret)


def _tcp(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Keys protect a connection of this kind only; an address in brackets is one of IPv6."""
    if not endpoint.startswith("tcp://"):
        raise Fault(f"{endpoint} is no address between hosts: that is tcp://ADDRESS:PORT")
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))


def connect_sub(endpoint: str, curve: Curve | None = None) -> zmq.Socket[bytes]:
    """A SUB: its subscriptions are messages too, so its own send limit is off."""
    socket = _socket(
        zmq.SUB, RCVHWM=_HIGH_WATER, SNDHWM=0, RECONNECT_IVL=20, RECONNECT_IVL_MAX=500,
        MAXMSGSIZE=_LARGEST_FRAME,
    )  # fmt: skip
    return _connect(socket, endpoint, curve)


def connect_dealer(endpoint: str, curve: Curve | None = None) -> zmq.Socket[bytes]:
    """A DEALER for requests; thrown away when an answer is late, so that old answers never come.

    IMMEDIATE stays off: a request may wait for the connection, else the first one after a connect is refused.
    """
    socket = _socket(
        zmq.DEALER, RECONNECT_IVL=20, RECONNECT_IVL_MAX=500, MAXMSGSIZE=_LARGEST_FRAME, LINGER=500
    )
    return _connect(socket, endpoint, curve)


def sender(socket: zmq.Socket[bytes]) -> Callable[[bytes], object]:
    """The compiled send of a socket that never blocks; pyzmq's Python layer above it costs as much again."""
    return super(zmq.Socket, socket).send


def send(socket: zmq.Socket[bytes], data: bytes) -> bool:
    """Send without waiting; False if the socket cannot take it now."""
    try:
        socket.send(data, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def answer(socket: zmq.Socket[bytes], asker: bytes, data: bytes) -> bool:
    """Send from a ROUTER to one asker without waiting; False if it is gone or does not read."""
    try:
        socket.send_multipart([asker, data], zmq.NOBLOCK)
    except zmq.ZMQError:
        return False
    return True


class Reader:
    """Hands every message that arrives on a socket to ``handle``, on the running loop.

    :param handle: gets one message; on a ROUTER the parts are joined to ``(asker, data)``
    """

    def __init__(self, socket: zmq.Socket[bytes], handle: Callable[[bytes], None]) -> None:
        self._socket = socket
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._open = True
        self.paused = False
        self._fd = socket.fileno()
        self._loop.add_reader(self._fd, self._drain)
        self.poke()

    def poke(self) -> None:
        """Look once more soon: after a send on the same socket, and after a pause."""
        if not self._scheduled and self._open:
            self._scheduled = True
            self._loop.call_soon(self._again)

    def _again(self) -> None:
        self._scheduled = False
        self._drain()

    def _drain(self) -> None:
        receive, handle, now = self._socket.recv, self._handle, zmq.NOBLOCK
        try:
            for _ in range(_BUDGET):
                if self.paused or not self._open:
                    return
                handle(receive(now))
        except zmq.Again:
            return
        self.poke()

    def close(self) -> None:
        """Stop reading and close the socket."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._socket.close()


class RouterReader(Reader):
    """A reader of a ROUTER: ``handle_from(asker, data)``; what is not exactly two parts comes as no data."""

    def __init__(self, socket: zmq.Socket[bytes], handle_from: Callable[[bytes, bytes], None]) -> None:
        self._handle_from = handle_from
        super().__init__(socket, self._first)

    def _first(self, asker: bytes) -> None:
        parts = other_parts(self._socket)
        self._handle_from(asker, parts[0] if len(parts) == 1 else b"")


def subscribe(socket: zmq.Socket[bytes], topic: bytes, stop: bool = False) -> None:
    """Subscribe to a topic, or stop."""
    socket.setsockopt(zmq.UNSUBSCRIBE if stop else zmq.SUBSCRIBE, topic)
