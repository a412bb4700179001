"""Who publishes on this machine: one JSON file a publisher, and a lock that it holds as long as it lives.

The lock file is a separate one that is never removed. The operating system drops the lock with the process,
also after kill -9, so a lock that can be had means that its publisher is gone, whatever the JSON says. Publishers of
other hosts are announced by this host's supervisor, as the topology says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from pathlib import Path

import msgspec
from msgspec import Struct

from . import failpoints
from .errors import Fault
from .hosts import chosen_host, doors_elsewhere
from .rundir import RunDir, find_run_dir, is_held, take_lock
from .security import check_key, secret_path
from .topology import Topology


class Announcement(Struct, frozen=True):
    """Where a publisher can be asked.

    One of another host has that publisher's public key, the file with the secret key of this host, and the bus that it
    must be of; its epoch and process are not known here, and it has no lock.
    """

    name: str
    control: str
    epoch: int = 0
    pid: int = 0
    server_key: str = ""
    client_key: str = ""
    bus: str = ""

    @property
    def remote(self) -> bool:
        """Whether the publisher is on another host."""
        return bool(self.server_key)

    @property
    def place(self) -> str:
        """The publisher in words, with what tells where to look for it."""
        return f"'{self.name}' {f'on {self.control}' if self.remote else f'(pid {self.pid})'}"


class Claim:
    """The exclusive right to publish under a name, held until ``release``."""

    def __init__(self, run: RunDir, name: str, fd: int) -> None:
        self._path = run.actors / f"{name}.json"
        self._name = name
        self._fd = fd

    @classmethod
    async def take(cls, run: RunDir, name: str) -> Claim:
        """Take the lock; a second is given to a predecessor that is dying, or to somebody's look at it.

        :raises Fault: the name is taken
        """
        fd = await asyncio.to_thread(take_lock, run.actors / f"{name}.lock")
        if fd is None:
            raise Fault(
                f"'{name}' is already publishing in {run.root}: stop it, or give this actor another name"
            )
        return cls(run, name, fd)

    def announce(self, control: str, epoch: int) -> None:
        """Write where the publisher listens, at once and whole."""
        failpoints.hit("discovery.before-announcement")
        _write(self._path, Announcement(self._name, control, epoch, os.getpid()))

    def release(self, forget: bool = False) -> None:
        """Take the announcement back and give up the lock; ``forget`` is for names that are never used again."""
        self._path.unlink(missing_ok=True)
        if forget:
            self._path.with_suffix(".lock").unlink()
        os.close(self._fd)


def _write(path: Path, announcement: Announcement) -> None:
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.touch(0o600)
    fresh.write_bytes(msgspec.json.encode(announcement))
    fresh.replace(path)


def announce_elsewhere(run: RunDir, topology: Topology, host: str) -> None:
    """Write which host this is and where it reaches the others' publishers; remove those that are there no more."""
    doors, key = doors_elsewhere(topology, host), str(secret_path(host))
    run.host = host
    for name, door in doors.items():
        there = Announcement(name, door.control, server_key=door.key, client_key=key, bus=door.bus)
        _write(run.actors / f"{name}.json", there)
    for name, announcement in publishers(run).items():
        if announcement.remote and name not in doors:
            (run.actors / f"{name}.json").unlink(missing_ok=True)


def find_bus(bus: str | None, host: str = "") -> RunDir:
    """The bus that a program attaches to; on a machine where none is up, as ``host`` of the topology that is named.

    :raises Fault: it is not clear which bus, or which host this is
    """
    run = find_run_dir(bus)
    if run.topology and run.topology.hosts and not is_held(run.lock):
        chosen = chosen_host(run.topology, host)
        check_key(run.topology, chosen)
        announce_elsewhere(run, run.topology, chosen)
    return run


def is_alive(run: RunDir, announcement: Announcement) -> bool:
    """Whether the publisher lives; of one on another host only its heartbeats and answers tell."""
    return announcement.remote or is_held(run.actors / f"{announcement.name}.lock")


def publishers(run: RunDir, names: Collection[str] | None = None) -> dict[str, Announcement]:
    """All, or those of the names, that have announced themselves; one that was killed stays until it is back."""
    found = {}
    paths = run.actors.glob("*.json") if names is None else (run.actors / f"{name}.json" for name in names)
    for path in sorted(paths):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Announcement)
        except (OSError, msgspec.MsgspecError):
            continue  # just removed, or not ours
    return found


def require_up(run: RunDir) -> None:
    """Refuse to attach to a bus where nobody publishes.

    :raises Fault: no publisher lives there
    """
    if not any(is_alive(run, announcement) for announcement in publishers(run).values()):
        raise Fault(f"the bus '{run.bus}' ({run.root}) is not up: start it with `pynelive up`, or name another (--bus)")
