"""docs/chaos.md: what came of which harm."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .faults import KINDS
from .oracle import Outcome
from .proofs import PROOFS, Proof

PAGE = Path(__file__).parent.parent.parent / "docs" / "chaos.md"
_HEAD = """\
# The chaos lab

Written by `make chaos WRITE=1`. A world of {actors} real processes (three producers, recorders, scripts) and of readers
that use the Python API is brought up, harm is done to it, and in the end everything that it has left behind is
compared with a world that was left alone: every recording, plot and list of trades byte for byte, every message that a
reader was given and that a script has said one by one. The same seed does the same harm in the same order; when exactly
it meets a process is up to the machine. A difference is printed with the line that does the same again.

```sh
make chaos                                   # 200 faults, seed 1
make chaos FAULTS=50 SEED=7 KINDS=kill,power # some kinds only
make chaos SEED=7 FAULTS=50 ONLY=12          # one fault of that plan, or ONLY=0-24
make chaos FAULTS=0 PROOF=joins,stall:60     # see below; a number says how many, or for how many seconds
```

{date}, {machine}

| seed | faults | met nothing | minutes | lost | doubled | out of order | changed | files that differ |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|
{seeds}

A fault that found nothing to harm (a process that had just ended, a step that was not reached) is counted apart. What
came of the worlds in which a kind of harm was done:

| kind | what is done | times | met nothing | lost | doubled | out of order | changed | files that differ |
|---|---|--:|--:|--:|--:|--:|--:|--:|
{kinds}
{refused}{proofs}"""

_PROVED = """
Promises that take their time (`make chaos FAULTS=0 PROOF=all`):

| proof | what is done | measured | lost | doubled | out of order | changed | files that differ |
|---|---|---|--:|--:|--:|--:|--:|
"""


@dataclass
class Row:
    """A line of a table: how many faults met something, how many nothing, and what came of their worlds."""

    count: int = 0
    missed: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    seconds: float = 0.0

    def add(self, count: int, missed: int, outcome: Outcome) -> None:
        """Another world: so many faults have met something, so many have not."""
        self.count += count
        self.missed += missed
        self.outcome += outcome

    @property
    def done(self) -> str:
        """How often, as a table shows it."""
        return f"{self.count} | {self.missed}"

    @property
    def cells(self) -> str:
        """The outcome as a table shows it."""
        return " | ".join(map(str, self.outcome.counts))


def write(
    actors: int, seeds: dict[int, Row], kinds: dict[str, Row], refused: dict[str, str], proofs: dict[str, Proof]
) -> None:
    """Write the page."""
    PAGE.write_text(
        _HEAD.format(
            actors=actors,
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=_machine(),
            seeds="\n".join(
                f"| {seed} | {row.done} | {row.seconds / 60:.1f} | {row.cells} |" for seed, row in seeds.items()
            ),
            kinds="\n".join(
                f"| `{name}` | {KINDS[name].says} | {row.done} | {row.cells} |" for name, row in kinds.items()
            ),
            refused="".join(f"\nLeft out there: `{name}` ({why}).\n" for name, why in refused.items()),
            proofs=_PROVED + "\n".join(_proved(name, proof) for name, proof in proofs.items()) + "\n" if proofs else "",
        )
    )


def _proved(name: str, proof: Proof) -> str:
    what = (PROOFS[name].__doc__ or "").rstrip(".")
    measured = "; ".join((proof.said, *proof.broken))
    return f"| `{name}` | {what} | {measured} | {' | '.join(map(str, proof.outcome.counts))} |"


def _machine() -> str:
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {system}"
