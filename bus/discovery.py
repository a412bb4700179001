"""Who publishes on this machine: one JSON file a publisher, and a lock that it holds as long as it lives.

The lock file is a separate one that is never removed. The operating system drops the lock with the process,
also after kill -9, so a lock that can be had means that its publisher is gone, whatever the JSON says.
"""

from __future__ import annotations

import asyncio
import os

import msgspec
from msgspec import Struct

from .errors import Fault
from .rundir import RunDir, is_held, take_lock


class Announcement(Struct, frozen=True):
    """Where a publisher can be asked."""

    name: str
    control: str
    epoch: int
    pid: int


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
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        fresh.touch(0o600)
        fresh.write_bytes(msgspec.json.encode(Announcement(self._name, control, epoch, os.getpid())))
        fresh.replace(self._path)

    def release(self, forget: bool = False) -> None:
        """Take the announcement back and give up the lock; ``forget`` is for names that are never used again."""
        self._path.unlink(missing_ok=True)
        if forget:
            self._path.with_suffix(".lock").unlink()
        os.close(self._fd)


def is_alive(run: RunDir, name: str) -> bool:
    """Whether the publisher lives."""
    return is_held(run.actors / f"{name}.lock")


def publishers(run: RunDir) -> dict[str, Announcement]:
    """All that have announced themselves, by name; one that was killed stays until it is back."""
    found = {}
    for path in sorted(run.actors.glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Announcement)
        except (OSError, msgspec.MsgspecError):
            continue  # just removed, or not ours
    return found


def require_up(run: RunDir) -> None:
    """Refuse to attach to a bus where nobody publishes.

    :raises Fault: no publisher lives there
    """
    if not any(is_alive(run, name) for name in publishers(run)):
        raise Fault(f"the bus '{run.bus}' ({run.root}) is not up: start it with `pynelive up`, or name another (--bus)")
