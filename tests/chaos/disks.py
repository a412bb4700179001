"""Small file systems of a world's own: they can be filled, and they lose at a power cut what a disk loses.

An ext4 in a file, on a loop device. What has not been synced is in the memory of the kernel and not in that file,
so a copy of the file at an instant is what a machine finds after the power has gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

_BLOCK, _SMALLEST = 1 << 20, 1024


@cache
def refused() -> str:
    """Why there can be no such disks here; nothing if there can."""
    if os.getuid() != 0:
        return "mounting needs root"
    missing = [tool for tool in ("mkfs.ext4", "losetup", "mount", "umount") if not shutil.which(tool)]
    if missing:
        return f"{missing[0]} is missing"
    tried = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


class Disk:
    """A mounted file system of so many MB."""

    def __init__(self, image: Path, where: Path, size_mb: int) -> None:
        self.where = where
        self._image = image
        self._ballast = where / "ballast"
        where.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(size_mb << 20)
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.where))

    def _unmount(self) -> None:
        while subprocess.run(["umount", str(self.where)], capture_output=True, check=False).returncode:
            time.sleep(0.02)  # somebody is just looking at it

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("wb") as file:
            size = _BLOCK
            while size:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                except OSError:
                    size = size // 2 if size > _SMALLEST else 0

    def free(self) -> None:
        """Give back what ``fill`` took."""
        self._ballast.unlink()

    def snapshot(self) -> Path:
        """What is on the disk now; every process that writes to it is suspended."""
        first, second = self._image.with_suffix(".a"), self._image.with_suffix(".b")
        _copy(self._image, first)
        while True:  # the kernel may write back in the middle of a copy: two that are equal had no such middle
            _copy(self._image, second)
            if first.read_bytes() == second.read_bytes():
                second.unlink()
                return first
            first, second = second, first

    def restore(self, snapshot: Path) -> None:
        """The power is back: the disk holds what it held."""
        self._unmount()
        snapshot.replace(self._image)
        self._mount()

    def close(self) -> None:
        """Unmount; the files are gone."""
        self._unmount()
        self._image.unlink()


def _copy(source: Path, target: Path) -> None:
    _run("cp", "--sparse=always", str(source), str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
