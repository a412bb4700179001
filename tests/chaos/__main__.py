"""``make chaos FAULTS=200 SEED=1``: harm done to real runs, and what came of it.

The same seed does the same harm in the same order; when exactly it meets the processes is up to the machine. Any
difference from the undisturbed run is printed with the line that does the same again, and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NoReturn

from .faults import ACTORS, KINDS, Missed
from .leftovers import dead, own_folder, tidy
from .oracle import Outcome, Result
from .page import Row, write
from .plan import Fault, allowed, plan, rounds
from .proofs import PROOFS, Proof, refused
from .world import PRODUCERS, RUNNERS, Size, World, pause, undisturbed, world


def harm(here: World, fault: Fault) -> bool:
    """Do one fault, and say so; whether it has met anything."""
    pause(fault.wait_s)
    here.tend()
    try:
        done, met = KINDS[fault.kind].do(here, Random(fault.luck)), True
    except Missed as missed:
        done, met = f"nothing: {missed}", False
    print(f"  #{fault.number:<4} {fault.kind:<11} {done}", flush=True)
    return met


def run(folder: Path, seed: int, size: Size, faults: Sequence[Fault], calm: Result) -> tuple[Outcome, list[Fault]]:
    """One world and its faults; how it differs from the undisturbed one, and the faults that have met something."""
    met: list[Fault] = []
    with world(folder, seed, size) as here:
        here.frail = Random(faults[0].luck).choice((PRODUCERS, RUNNERS))
        try:
            met.extend(fault for fault in faults if harm(here, fault))
            outcome = here.judge(calm)
        except TimeoutError as error:
            outcome = Outcome(lost=1, notes=[f"it hangs: {error}", here.log("supervisor")])
        if outcome:
            _keep(here)
    return outcome, met


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
        self._calms: dict[tuple[int, int], Result] = {}

    def seed(self, seed: int) -> None:
        """All faults of one seed."""
        began, row = time.monotonic(), self.seeds.setdefault(seed, Row())
        faults = plan(seed, self._given.faults, self.allowed)
        if self._given.only:
            faults = [faults[number] for number in _part(self._given.only)]
        calm = self._calm(seed, self._size)
        for number, some in enumerate(rounds(faults, self._given.round)):
            print(f"seed {seed}, world {number}", flush=True)
            outcome, met = run(self._root / f"{seed}-{number}", seed, self._size, some, calm)
            row.add(len(met), len(some) - len(met), outcome)
            done = Counter(fault.kind for fault in met)
            for kind, count in Counter(fault.kind for fault in some).items():
                self.kinds[kind].add(done[kind], count - done[kind], outcome)
            self._say(seed, some, outcome)
        row.seconds = time.monotonic() - began
        missed = f" and {row.missed} that met nothing" if row.missed else ""
        print(f"{row.count} faults{missed}, seed {seed}, {row.seconds:.0f} s: {row.outcome}", flush=True)

    def prove(self, given: str, seed: int) -> None:
        """One of the long proofs, at its usual length or at the one that stands behind a colon."""
        name, _, length = given.partition(":")
        if why := refused(name):
            self.refused[name] = why
            print(f"left out: {name} ({why})", flush=True)
            return
        print(f"proof {given}", flush=True)
        lengths = [int(length)] if length else []
        try:
            proof = PROOFS[name](self._root / name, seed, lambda size: self._calm(seed, size), *lengths)
        except TimeoutError as error:
            proof = Proof(Outcome(lost=1), "it did not end", [f"it hangs: {error}"])
        self.proofs[name] = proof
        print(f"  {proof.said}: {proof.outcome}", *proof.outcome.notes, *proof.broken, sep="\n    ", flush=True)
        if not proof.holds:
            (self._root / name).rename(self._root / f"{name}.kept")

    def _calm(self, seed: int, size: Size) -> Result:
        """The undisturbed world of a size; at what pace its bars come makes no difference."""
        if (seed, size.bars) not in self._calms:
            self._calms[seed, size.bars] = undisturbed(self._root / f"{seed}-{size.bars}-calm", seed, size)
        return self._calms[seed, size.bars]

    def _say(self, seed: int, faults: Sequence[Fault], outcome: Outcome) -> None:
        print(f"  {outcome}", flush=True)
        if outcome:
            print("\n".join(f"    {note}" for note in outcome.notes))
            kinds = f" KINDS='{self._given.kinds}'" if self._given.kinds else ""
            only = f"{faults[0].number}-{faults[-1].number}"
            print(f"  again: make chaos SEED={seed} FAULTS={self._given.faults}{kinds} ONLY={only}", flush=True)


def main() -> int:
    given = _arguments()
    for folder in dead():
        print(f"what a killed run has left is removed: {folder}", flush=True)
        tidy(folder)
    with own_folder() as root:
        os.environ.update(XDG_RUNTIME_DIR=_private(root / "rt"), PYNELIVE_CACHE=_private(root / "cache"))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a process of visitors has many sockets
        return _work(Lab(given, root), given)


def _work(lab: Lab, given: argparse.Namespace) -> int:
    for kind, why in lab.refused.items():
        print(f"left out: {kind} ({why})")
    first, _, last = given.seed.partition("..")
    for seed in range(int(first), int(last or first) + 1) if given.faults else ():
        lab.seed(seed)
    for name in list(PROOFS) if given.proof == "all" else given.proof.replace(",", " ").split():
        lab.prove(name, int(first))
    if given.write:
        write(len(ACTORS), lab.seeds, lab.kinds, lab.refused, lab.proofs)
    wrong = any(row.outcome for row in lab.seeds.values()) or not all(proof.holds for proof in lab.proofs.values())
    return int(wrong)


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
    parser.add_argument("--proof", default="", help=f"long proofs: all, or of {' '.join(PROOFS)}; NAME:N is so long")
    parser.add_argument("--write", action="store_true", help="write docs/chaos.md")
    given = parser.parse_args()
    for name, asked, there in (("KINDS", given.kinds, KINDS), ("PROOF", given.proof, {**PROOFS, "all": None})):
        for word in asked.replace(",", " ").split():
            if word.partition(":")[0] not in there:
                _refuse(parser, f"{name}={word} is unknown: there is {' '.join(there)}")
    if given.only and not ((part := _part(given.only)) and part[-1] < given.faults):
        has = f"has the numbers 0 to {given.faults - 1}" if given.faults else "is empty"
        _refuse(parser, f"ONLY={given.only} is no part of the plan, which {has}: give one number, or FIRST-LAST")
    return given


def _part(only: str) -> range:
    """The numbers that are meant; none if it says no numbers."""
    first, _, last = only.partition("-")
    return range(int(first), int(last or first) + 1) if f"{first}{last}".isdecimal() else range(0)


def _refuse(parser: argparse.ArgumentParser, sentence: str) -> NoReturn:
    parser.exit(2, f"{parser.prog}: {sentence}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # nothing is left running or mounted
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
