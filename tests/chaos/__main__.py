"""``make chaos FAULTS=200 SEED=1``: harm done to real runs, and what came of it.

The same seed does the same harm in the same order; when exactly it meets the processes is up to the machine. Any
difference from the undisturbed run is printed with the line that does the same again, and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from .faults import ACTORS, KINDS
from .oracle import Outcome, Result
from .page import Row, write
from .plan import Fault, allowed, plan, rounds
from .proofs import PROOFS, Proof
from .world import PRODUCERS, RUNNERS, Size, World, pause, undisturbed, world


def harm(here: World, fault: Fault) -> None:
    """Do one fault, and say so."""
    pause(fault.wait_s)
    here.tend()
    done = KINDS[fault.kind].do(here, Random(fault.luck))
    print(f"  #{fault.number:<4} {fault.kind:<11} {done}", flush=True)


def run(folder: Path, seed: int, size: Size, faults: Sequence[Fault], calm: Result) -> Outcome:
    """One world and its faults; how it differs from the undisturbed one."""
    with world(folder, seed, size) as here:
        here.frail = Random(faults[0].luck).choice((PRODUCERS, RUNNERS))
        try:
            for fault in faults:
                harm(here, fault)
            outcome = here.judge(calm)
        except TimeoutError as error:
            outcome = Outcome(lost=1, notes=[f"it hangs: {error}", here.log("supervisor")])
        if outcome:
            _keep(here)
    return outcome


def _keep(here: World) -> None:
    kept = here.folder.with_name(f"{here.folder.name}.kept")
    shutil.copytree(here.folder, kept, ignore=shutil.ignore_patterns("*.img"))
    print(f"  what it has left behind is kept in {kept}")


class Lab:
    """All worlds of one call."""

    def __init__(self, given: argparse.Namespace, root: Path) -> None:
        self._given, self._root = given, root
        self._size = Size(given.bars, given.rate)
        wanted = given.kinds.replace(",", " ").split() or list(KINDS)
        self.allowed, self.refused = allowed(wanted)
        self.kinds = {kind: Row() for kind in self.allowed}
        self.seeds: dict[int, Row] = {}
        self.proofs: dict[str, Proof] = {}

    def seed(self, seed: int) -> None:
        """All faults of one seed."""
        began, row = time.monotonic(), self.seeds.setdefault(seed, Row())
        first, _, last = self._given.only.partition("-")
        faults = plan(seed, self._given.faults, self.allowed)
        if first:
            faults = faults[int(first) : int(last or first) + 1]
        calm = self._calm(seed, self._size)
        for number, some in enumerate(rounds(faults, self._given.round)):
            print(f"seed {seed}, world {number}", flush=True)
            outcome = run(self._root / f"{seed}-{number}", seed, self._size, some, calm)
            row.add(len(some), outcome)
            for kind, count in Counter(fault.kind for fault in some).items():
                self.kinds[kind].add(count, outcome)
            self._say(seed, some, outcome)
        row.seconds = time.monotonic() - began
        print(f"{row.count} faults, seed {seed}, {row.seconds:.0f} s: {row.outcome}", flush=True)

    def prove(self, name: str, seed: int) -> None:
        """One of the long proofs."""
        print(f"proof {name}", flush=True)
        self.proofs[name] = proof = PROOFS[name](self._root / name, seed, lambda size: self._calm(seed, size))
        print(f"  {proof.said}: {proof.outcome}", *proof.outcome.notes, sep="\n    ", flush=True)

    def _calm(self, seed: int, size: Size) -> Result:
        return undisturbed(self._root / f"{seed}-{size.bars}-calm", seed, size)

    def _say(self, seed: int, faults: Sequence[Fault], outcome: Outcome) -> None:
        print(f"  {outcome}", flush=True)
        if outcome:
            print("\n".join(f"    {note}" for note in outcome.notes))
            kinds = f" KINDS='{self._given.kinds}'" if self._given.kinds else ""
            only = f"{faults[0].number}-{faults[-1].number}"
            print(f"  again: make chaos SEED={seed} FAULTS={self._given.faults}{kinds} ONLY={only}", flush=True)


def main() -> int:
    given = _arguments()
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ.update(XDG_RUNTIME_DIR=_private(root / "rt"), PYNELIVE_CACHE=_private(root / "cache"))
    lab = Lab(given, root)
    for kind, why in lab.refused.items():
        print(f"left out: {kind} ({why})")
    first, _, last = given.seed.partition("..")
    for seed in range(int(first), int(last or first) + 1) if given.faults else ():
        lab.seed(seed)
    for name in list(PROOFS) if given.proof == "all" else given.proof.replace(",", " ").split():
        lab.prove(name, int(first))
    if given.write:
        write(len(ACTORS), lab.seeds, lab.kinds, lab.refused, lab.proofs)
    if any(row.outcome for row in lab.seeds.values()) or any(proof.outcome for proof in lab.proofs.values()):
        return 1
    shutil.rmtree(root)
    return 0


def _private(folder: Path) -> str:
    folder.mkdir(mode=0o700)
    return str(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", default="1", help="or FIRST..LAST")
    parser.add_argument("--kinds", default="", help=f"of {' '.join(KINDS)}")
    parser.add_argument("--only", default="", help="the number of one fault, or FIRST-LAST: a part of the plan")
    parser.add_argument("--round", type=int, default=25, help="faults a world")
    parser.add_argument("--bars", type=int, default=6000, help="of each stream")
    parser.add_argument("--rate", type=float, default=40, help="bars a second of each stream")
    parser.add_argument("--proof", default="", help=f"long proofs behind the faults: all, or of {' '.join(PROOFS)}")
    parser.add_argument("--write", action="store_true", help="write docs/chaos.md")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # nothing is left running or mounted
    sys.exit(main())
