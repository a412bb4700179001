"""The sink `web`: hands what it is given to the server of the dashboard."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bus.calls import Start
from ...bus.errors import Fault, Hopeless
from ...bus.messages import Instrument
from ...bus.rundir import RunDir
from ...bus.topology import Topology
from ..contract import Delivery, Sink
from .desk import Desk
from .live import Live
from .server import Server, is_loopback
from .state import Web

PORT = 8765
_LAST_PORT = 65_535
_AT_ONCE = 2_000
"""Messages that the server takes before it looks after the browsers again."""


class WebSink(Sink):
    """Shows; it never steers, and keeps nothing."""

    @dataclass
    class Config:
        """:param host: the address that it listens on; one beyond this machine needs a token
        :param port: by default 8765, or a free one if that is in use; 0 is any
        :param token: what a browser must show once; ``{ env = "NAME" }`` keeps it out of the file
        :param bars: closed bars that are kept of a stream; older ones are asked of the bus
        """

        host: str = "127.0.0.1"
        port: int | None = None
        token: str = ""
        bars: int = 100_000

    forming = True
    stays = True

    @classmethod
    def problems(cls, config: Any) -> list[str]:
        """A host that is none, or lets others in without a token; a port or a number of bars that is out of range."""
        found = []
        if not _is_host(config.host):
            found.append(f"option 'host': there is no machine '{config.host}': give an address of this one, "
                         "or leave it out")
        elif not (is_loopback(config.host) or config.token):
            found.append(f"option 'token' is missing: host = \"{config.host}\" lets others in; set one, such as "
                         "token = { env = \"PYNELIVE_TOKEN\" }, or leave 127.0.0.1")
        if not 0 <= (config.port or 0) <= _LAST_PORT:
            found.append(f"option 'port' is {config.port}: give one from 1 to {_LAST_PORT}, or 0 for any")
        if config.bars < 1:
            found.append(f"option 'bars' is {config.bars}: at least 1 has to be kept")
        return found

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._server: Server | None = None

    def attach(self, run: RunDir, topology: Topology, name: str) -> None:
        """Serve from now on, whatever there is.

        :raises Hopeless: the port is in use, or not for everyone
        :raises Fault: the address is not of this machine, or not yet
        """
        self._taken = port_file(run, name)
        before = _port_in(self._taken)
        listening = _listening(self.config.host, self.config.port, before)
        port = listening.getsockname()[1]
        self._taken.write_text(str(port))
        self.address = _url(self.config.host, port)
        if self.config.port is None and port not in (PORT, before):
            self.address += f"  ({PORT} is in use)"
        live = Live()
        site = Web(Desk(self.config.bars, live.tell), live, run, topology, name)
        self._server = Server(site, listening, self.config.token)
        self._server.start()

    def open(self, stream: str, instrument: Instrument | None) -> Start:
        """Begin with what the journals still have of what is shown."""
        assert self._server
        if self._server.call(self._server.site.desk.open, stream, instrument) is None:
            return Start(last=0)
        return Start(picture=True) if stream.startswith("run:") else Start(last=self.config.bars, kept=True)

    def write(self, batch: Sequence[Delivery]) -> None:
        """Give it to the server; returns when the stores have it."""
        assert self._server
        for at in range(0, len(batch), _AT_ONCE):
            self._server.call(self._server.site.desk.take, batch[at : at + _AT_ONCE])

    def close(self) -> None:
        """Let go of the browsers."""
        if self._server:
            self._server.stop()
            if self.config.port is not None:
                self._taken.unlink(missing_ok=True)


def port_file(run: RunDir, name: str) -> Path:
    """Where the dashboard of this name writes its port down: one that it may choose it keeps."""
    return run.root / f"{name}.port"


def _listening(host: str, port: int | None, before: int) -> socket.socket:
    """Where browsers look for it already, if it was there before; else where it was told.

    :raises Hopeless: the port is in use, or not for everyone
    :raises Fault: the address is not of this machine, or not yet
    """
    if not port and before:
        try:
            return _bound(host, before)
        except OSError:
            pass  # somebody else has it by now
    try:
        return _bound(host, PORT if port is None else port)
    except OSError as error:
        if port is None:
            return _listening(host, 0, 0)
        said = f"{host}:{port} cannot be listened on ({(error.strerror or str(error)).partition(' (')[0]})"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise Hopeless(f"{said}: choose another port, or leave it out for a free one") from None
        raise Fault(f"{said}: host must be an address of this machine") from None


def _is_host(name: str) -> bool:
    """Not that it is this machine: its addresses may come later, and those of another host are not known here."""
    try:
        socket.getaddrinfo(name or None, 0)
    except OSError as error:
        return error.errno == socket.EAI_AGAIN  # nobody could be asked
    except UnicodeError:
        return False
    return True


def _bound(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _port_in(taken: Path) -> int:
    """The port of the server before this one; 0 if there is none to keep."""
    try:
        return int(taken.read_text())
    except (OSError, ValueError):
        return 0


def _url(host: str, port: int) -> str:
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
