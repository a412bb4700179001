"""Where a bus keeps its things on this machine, and how a command finds a bus that is up.

A bus has a *run directory* (journals, discovery, logs) and, under the user's run-time directory, a folder for
its sockets, because the path of a unix socket ends at 107 characters. Liveness is a lock that is held, never
a file that exists: the kernel lets go of it whatever the death.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from . import topology
from .errors import Fault
from .folders import make_folder


class BusCard(msgspec.Struct, frozen=True):
    """``bus.json`` in the sockets folder: which supervisor is up, for commands without a topology."""

    name: str
    run_dir: str
    pid: int


class RunDir:
    """The folders of one bus; made when they are asked for, private to the user.

    :raises Fault: a folder cannot be made, or belongs to somebody else
    """

    def __init__(self, where: topology.Topology | Path) -> None:
        self.topology = None if isinstance(where, Path) else where
        self.root = (where if isinstance(where, Path) else where.run_dir).resolve()
        _private(self.root)
        self.bus = self._name() if isinstance(where, Path) else where.bus.name

    def _name(self) -> str:
        """As the supervisor has called the bus, if there was one."""
        try:
            return msgspec.json.decode(self.card.read_bytes(), type=BusCard).name
        except (OSError, msgspec.DecodeError):
            return self.root.name

    @property
    def logs(self) -> Path:
        """One log an actor, and the supervisor's."""
        return _private(self.root / "logs")

    @property
    def journals(self) -> Path:
        """The journals of the publishers."""
        return _private(self.root / "journal")

    @property
    def actors(self) -> Path:
        """Discovery: a card and a lock an actor."""
        return _private(self.root / "actors")

    @property
    def sockets(self) -> Path:
        """A short path for unix sockets."""
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=6).hexdigest()
        return _private(_private(_runtime_dir()) / digest)

    @property
    def host(self) -> str:
        """Which host of the topology this machine is, as was said when the bus came up; empty if it has none."""
        try:
            return (self.root / "host").read_text()
        except FileNotFoundError:
            return ""

    @host.setter
    def host(self, name: str) -> None:
        path = self.root / "host"
        if name:
            path.write_text(name)
        else:
            path.unlink(missing_ok=True)

    @property
    def lock(self) -> Path:
        """Held while a supervisor is up here."""
        return self.root / "supervisor.lock"

    @property
    def card(self) -> Path:
        """The registry's entry of this bus."""
        return self.sockets / "bus.json"


def _runtime_dir() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "pynelive" if given else Path(tempfile.gettempdir()) / f"pynelive-{os.getuid()}"


def host_folder(name: str) -> Path:
    """A run-time folder that all buses of this user on this machine share."""
    return _private(_private(_runtime_dir()) / name)


def cache_dir() -> Path:
    """Where this user's downloads are kept: ``PYNELIVE_CACHE``, else ``pynelive`` in the cache folder of the system."""
    if given := os.environ.get("PYNELIVE_CACHE"):
        return _private(Path(given).absolute())
    return _private(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pynelive")


def _private(folder: Path) -> Path:
    """Make the folder for this user alone, or make sure that it is so."""
    try:
        make_folder(folder, 0o700)
        found = folder.lstat()
    except OSError as error:
        raise Fault(f"{folder} cannot be made: {error.strerror}; set run_dir under [bus]") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Fault(f"{folder} is not a folder of yours: remove it, or set XDG_RUNTIME_DIR")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def take_lock(path: Path, retry_s: float = 1.0) -> int | None:
    """Hold the lock until the returned descriptor is closed or the process ends; None if another holds it.

    Somebody who only looks (:func:`is_held`) may be in the way for an instant, hence the retry. The file is
    never unlinked: two processes could then each hold "the" lock. A forked child has to close the descriptor.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline, pause = time.monotonic() + retry_s, threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            pause.wait(0.02)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def live_buses() -> list[BusCard]:
    """The buses of this user that are up, by name."""
    found = []
    for path in _runtime_dir().glob("*/bus.json"):
        try:
            card = msgspec.json.decode(path.read_bytes(), type=BusCard)
        except (OSError, msgspec.DecodeError):
            continue
        if is_held(Path(card.run_dir) / "supervisor.lock"):
            found.append(card)
    return sorted(found, key=lambda card: (card.name, card.run_dir))


def find_run_dir(bus: str | None) -> RunDir:
    """The run directory that a command means.

    ``bus`` or ``PYNELIVE_BUS`` is the name of a bus that is up, a topology file or a run directory; without
    it ``./topology.toml`` decides, else the only bus that is up.

    :raises Fault: it is not clear which bus is meant
    """
    bus = bus or os.environ.get("PYNELIVE_BUS")
    if bus:
        return _named(bus)
    if Path("topology.toml").is_file():
        return _of_file(Path("topology.toml"))
    cards = live_buses()
    if len(cards) == 1:
        return RunDir(Path(cards[0].run_dir))
    raise Fault(f"which bus? {_choices(cards)}")


def _named(bus: str) -> RunDir:
    path = Path(bus)
    if path.is_file():
        return _of_file(path)
    cards = live_buses()
    named = [card for card in cards if card.name == bus]
    if len(named) == 1:
        return RunDir(Path(named[0].run_dir))
    if path.is_dir():
        return RunDir(path)
    raise Fault(f"{f'{len(named)} buses are' if named else 'no bus is'} up as '{bus}': {_choices(cards)}")


def _of_file(path: Path) -> RunDir:
    """Of a topology that may have faults in this shell, such as a secret that only the other one has."""
    return RunDir(topology.read(path)[0])


def _choices(cards: list[BusCard]) -> str:
    if not cards:
        return "none is up; start one with `pynelive up`, or name a run directory with --bus"
    return "choose with --bus: " + ", ".join(f"{card.name} ({card.run_dir})" for card in cards)
