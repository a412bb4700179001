"""Named places where the process dies on request: how the tests prove what survives a kill -9.

``PYNELIVE_FAILPOINT=journal.after-append:3`` kills the process with SIGKILL the third time it comes there;
with ``@FILE`` behind it only once, until somebody removes FILE. Without the variable a place costs one
comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_SPEC = os.environ.get("PYNELIVE_FAILPOINT", "")
ACTIVE = bool(_SPEC)
_place, _, _once = _SPEC.partition("@")
_name, _, _count = _place.partition(":")
_left = int(_count or 1)


def hit(name: str) -> None:
    """Die here if the environment says so; hot paths ask ``ACTIVE`` first."""
    global _left
    if name != _name or (_once and Path(_once).exists()):
        return
    _left -= 1
    if _left > 0:
        return
    if _once:
        Path(_once).touch()
    os.kill(os.getpid(), signal.SIGKILL)
