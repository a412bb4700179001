"""The sink `web`: hands what it is given to the server of the dashboard."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bus.calls import Start
from ...bus.errors import Fault, TopologyError
from ...bus.messages import Instrument
from ...bus.rundir import RunDir
from ...bus.topology import Topology
from ..contract import Delivery, Sink
from .desk import Desk
from .live import Live
from .server import Server, is_loopback
from .state import Web

PORT = 8765
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

        def __post_init__(self) -> None:
            problems = []
            if not (is_loopback(self.host) or self.token):
                problems.append(f"option 'host' is \"{self.host}\", which lets others in: set a token, such as "
                                "token = { env = \"PYNELIVE_TOKEN\" }, or leave 127.0.0.1")
            if not 0 <= (self.port or 0) <= 65535:
                problems.append(f"option 'port' is {self.port}: write 1 to 65535, or 0 for any")
            if self.bars < 1:
                problems.append(f"option 'bars' is {self.bars}: at least one has to be kept")
            if problems:
                raise TopologyError(problems)

    forming = True
    stays = True

    def __init__(self, config: Any, base: Path) -> None:
        super().__init__(config, base)
        self._server: Server | None = None

    def attach(self, run: RunDir, topology: Topology, name: str) -> None:
        """Serve from now on, whatever there is.

        :raises Fault: the port is in use
        """
        self._taken = run.root / f"{name}.port"
        listening = _listening(self.config.host, self.config.port, self._taken)
        port = listening.getsockname()[1]
        self._taken.write_text(str(port))
        self.address = _url(self.config.host, port)
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
            self._taken.unlink(missing_ok=True)


def _listening(host: str, port: int | None, taken: Path) -> socket.socket:
    """Where browsers look for it already, if it is after a kill; else where it was told.

    :raises Fault: the address is not of this machine, or its port is in use
    """
    if not port and (before := _port_in(taken)):
        try:
            return _bound(host, before)
        except OSError:
            pass  # somebody else has it by now
    try:
        return _bound(host, PORT if port is None else port)
    except OSError as error:
        if port is None:
            return _listening(host, 0, taken)
        raise Fault(f"{host}:{port} cannot be listened on ({error.strerror or error}): "
                    "choose another host or port, or leave the port out for a free one") from None


def _bound(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _port_in(taken: Path) -> int:
    """The port that a killed server has left there; 0 if none has."""
    try:
        return int(taken.read_text())
    except (OSError, ValueError):
        return 0


def _url(host: str, port: int) -> str:
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
