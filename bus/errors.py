"""The errors that end an actor, each one clear sentence."""

from __future__ import annotations

from collections.abc import Sequence


class Fault(Exception):
    """Something that a person has to mend: names thing, place and mend; the actor exits with 1."""


class Hopeless(Fault):
    """Nothing that a restart could mend: the actor exits with 2 and is not started again."""


class Again(Fault):
    """Nothing is wrong, and the actor wants to be started anew: it exits with 3, and its supervisor does so at once."""


class TopologyError(Hopeless):
    """All faults of a topology or of an actor's options at once; the command exits with 2."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
