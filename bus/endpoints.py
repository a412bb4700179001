"""Addresses as ZeroMQ writes them: ``ipc://PATH`` and ``tcp://HOST:PORT``."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from .errors import Fault


def refuse_remote(endpoint: str) -> None:
    """Let only addresses of this machine pass.

    :raises Fault: the address could be reached from elsewhere
    """
    try:
        parts = urlsplit(endpoint)
        if parts.scheme == "ipc":
            return
        loopback = parts.scheme == "tcp" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Fault(
            f"{endpoint} is refused: tcp beyond this machine would carry the bars unencrypted to anyone; "
            "use ipc://…, tcp://127.0.0.1:PORT, or [hosts] with keys"
        )


def clear(*endpoints: str) -> None:
    """Remove what sockets have left in the file system."""
    for endpoint in endpoints:
        if endpoint.startswith("ipc://"):
            Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)


def tcp(host: str, port: int) -> str:
    """An address on tcp; one of IPv6 is written in brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def is_ip(address: str) -> bool:
    """Whether it is a number, not a name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def near(endpoint: str) -> str:
    """Where this machine itself reaches what listens there on all of its addresses."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
