"""How much room a journal has left on its file system: a warning before growth is refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from .journal import Journal

log = logging.getLogger("pynelive")
_SHARE: Final = 0.05
_SEGMENTS: Final = 2
_RELIEF: Final = 1.25
"""By so much the room must be above the limit again, or the warning would come and go."""


def room(place: Path | int) -> tuple[int, int]:
    """The size of a file system and what is free of it, in bytes; of a path, or of a file that is open."""
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


class DiskWatch:
    """Looks after the room of one publisher's journal."""

    def __init__(self, name: str) -> None:
        self.warning = ""
        """What is to be said as long as there is too little room."""
        self._name = name

    def look(self, journal: Journal) -> None:
        """Warn, once, when less is free than 5 % of the file system or twice the next segment."""
        total, free = room(journal.segments[-1].fd)
        limit = max(total * _SHARE, journal.next_size * _SEGMENTS)
        if free < limit and not self.warning:
            self.warning = (
                f"only {free / 2**20:,.0f} MB free for the journal in {journal.folder}: "
                "free some space, or see `pynelive journal ls`"
            )
            log.warning("%s: %s", self._name, self.warning)
        elif self.warning and free > limit * _RELIEF:
            self.warning = ""
            log.info("%s: the disk of the journal has room again", self._name)
