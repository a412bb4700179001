"""Which harm is done when: all of it follows from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from .faults import KINDS


class Fault(NamedTuple):
    """One fault of a plan.

    :param wait_s: how long after the one before it
    :param luck: decides everything else about it
    """

    number: int
    kind: str
    wait_s: float
    luck: int


def allowed(kinds: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Which of the kinds can be done here, and why the others cannot."""
    refused = {name: why for name in kinds if (why := KINDS[name].refused())}
    return [name for name in kinds if name not in refused], refused


def plan(seed: int, count: int, kinds: Sequence[str]) -> list[Fault]:
    """A sequence of faults; each kind comes at least once if there is room."""
    rng = Random(f"plan {seed}")
    chosen = [*kinds, *rng.choices(kinds, [KINDS[name].weight for name in kinds], k=max(count - len(kinds), 0))]
    rng.shuffle(chosen)
    return [
        Fault(number, kind, rng.uniform(0.05, 1.2), rng.getrandbits(32)) for number, kind in enumerate(chosen[:count])
    ]


def rounds(faults: Sequence[Fault], size: int) -> list[Sequence[Fault]]:
    """The faults in as many worlds as they need."""
    return [faults[at : at + size] for at in range(0, len(faults), size)]
