"""The folder of one call of the lab, and all that may be left of one that was interrupted or killed.

The folder is called ``chaos-PID-…`` and its ``lock`` is held as long as that process lives. Processes that were begun
in it, file systems that are mounted in it and networks of that pid are its own, so that who finds it can tidy up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pynelive.bus.rundir import is_held, take_lock

from .world import wait_for

_NETWORKS = Path("/run/netns")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for this call; in the end nothing is left but what was kept of a run that differed.

    Set ``XDG_RUNTIME_DIR`` to ``rt`` in it before anything is started: by that its processes are known. A signal does
    not interrupt the end.
    """
    made = Path(tempfile.mkdtemp(prefix="new-chaos-"))
    lock = take_lock(made / "lock")
    assert lock is not None
    folder = made.rename(made.with_name(f"chaos-{os.getpid()}-{made.name.rpartition('-')[2]}"))
    try:
        yield folder
    finally:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        tidy(folder)
        os.close(lock)
        for number, handler in before.items():
            signal.signal(number, handler)


def dead() -> list[Path]:
    """The folders of calls that were killed."""
    found = Path(tempfile.gettempdir()).glob("chaos-[0-9]*-*/lock")
    return [lock.parent for lock in found if lock.stat().st_uid == os.getuid() and not is_held(lock)]


def tidy(folder: Path) -> None:
    """End its processes, unmount its disks, remove its networks, and all files but those of a run that differed."""
    wait_for(lambda: not _killed(folder), "its processes are gone")
    wait_for(lambda: not _unmounted(folder), "its disks are unmounted")
    for space in _NETWORKS.glob(f"pl{folder.name.split('-')[1]}-*"):
        subprocess.run(["ip", "netns", "del", space.name], capture_output=True, check=False)
    for path in folder.iterdir():
        if path.is_dir() and path.suffix != ".kept":
            shutil.rmtree(path)
        elif path.is_file() and path.name != "lock":
            path.unlink()
    (folder / "lock").unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _killed(folder: Path) -> list[psutil.Process]:
    """Kill what is left; what was there to be killed."""
    runtime = str(folder / "rt")
    left = [
        process for process in psutil.process_iter(["environ"])
        if process.pid != os.getpid() and (process.info["environ"] or {}).get("XDG_RUNTIME_DIR") == runtime
    ]  # fmt: skip
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    return left


def _unmounted(folder: Path) -> list[str]:
    """Unmount what is left; what was mounted."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    mine = [where for where in mounted if where.startswith(f"{folder}/")]
    for where in mine:
        subprocess.run(["umount", where], capture_output=True, check=False)
    return mine
