"""Programs of different versions: what each can say to the other, whatever its version.

Three things never change: a call begins with its version, a frame has its version behind the topic's zero byte, and
``Refused`` is read by every version.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Refused(Struct, frozen=True, array_like=True, tag="refused"):
    """The answer to a call of a version that ``publisher`` does not speak, and those that it does."""

    publisher: str
    versions: list[int]


def advice(publisher: str, theirs: Sequence[int], ours: int) -> str:
    """Who speaks what, and what is to be done."""
    newer = max(theirs, default=0) > ours
    mend = "upgrade pynelive here" if newer else f"restart '{publisher}' with the pynelive that is here"
    spoken = " and ".join(map(str, theirs)) or "none"
    return f"'{publisher}' speaks version {spoken} of the wire, and this program version {ours}: {mend}"
