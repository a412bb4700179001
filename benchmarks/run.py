"""Run the benchmarks: `python benchmarks/run.py [--only P1,P2] [--rounds 5]`.

Writes `benchmarks/results/latest.json` and `docs/benchmarks.md`. Every figure is a ratio to a reference that ran in
the same round on the same machine, a median over the rounds: absolute figures say more about the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent
FEWEST = 5
"""Rounds, for results that are kept: a median of fewer says too little."""
LATEST = ROOT / "results" / "latest.json"
PAGE = ROOT.parent / "docs" / "benchmarks.md"
SUITES = {
    "P1": "bar_path", "P2": "bar_path", "P3": "peers", "P4": "latency", "P5": "decisions", "P6": "fanout",
    "P7": "replay", "P8": "join", "P9": "streams", "P10": "density", "P11": "recorder", "P12": "dashboard",
    "P13": "memory", "P14": "secured", "P15": "strangers", "P16": "strategies",
}  # fmt: skip
"""The file that measures each; a file says what it does (TITLE, ABOUT), and ``measure(rounds)`` gives its rows."""

HEAD = """# Benchmarks

Written by `make bench`; run it to get your own, or a part of it by `make bench ONLY=P1,P4`. Both sides of a ratio ran
in the same rounds, one after the other, and the ratio is the median of the rounds' ratios; the figures beside it are
medians too. Read the ratios: absolute figures say more about the machine. `÷` says what stands below the line, `≥` and
`≤` what the goal asks of the ratio.

Goals that are missed are marked so. What they miss is mostly the interpreter's time for each message: with one bar a
frame the journal, the number, the checksum and the check of both cost as much again as all the rest, and what is shared
by many bars in C is not shared in Python. A replay is decoded into objects here, which memcpy has no part in. A live
market needs none of it: 10,000 symbols that close together are read in less than a second.
"""


def machine() -> str:
    """Where the figures come from."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyzmq", "msgspec"))
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} × {model}, {system}, {versions}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


# --- results ----------------------------------------------------------------------------------------------------------


def suite_of(row: str) -> str:
    """``P3`` of ``P3-nats``."""
    return row.partition("-")[0]


def measured(suite: ModuleType, rounds: int) -> list[dict[str, Any]]:
    """The rows of one file, as they are kept."""
    at = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "rounds": rounds}
    rows = [{**asdict(row), "ok": row.ok, **at} for row in suite.measure(rounds)]
    for row in rows:
        print(json.dumps({key: row[key] for key in ("id", "what", "ours", "reference", "ratio", "goal", "ok")},
                         ensure_ascii=False), flush=True)  # fmt: skip
    return rows


def known() -> list[dict[str, Any]]:
    """What was measured before, on this machine: figures of two machines are no table."""
    try:
        rows: list[dict[str, Any]] = json.loads(LATEST.read_text())
    except FileNotFoundError:
        return []
    return [row for row in rows if row.get("machine") == machine()]


def in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """P2 before P11."""

    def key(row: dict[str, Any]) -> list[str | int]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", row["id"])]

    return sorted(rows, key=key)


def keep(rows: list[dict[str, Any]]) -> None:
    """Write the results and the page."""
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    PAGE.write_text(page(rows))


# --- the page ---------------------------------------------------------------------------------------------------------


def page(rows: list[dict[str, Any]]) -> str:
    """The results as docs/benchmarks.md."""
    parts = [HEAD, f"{machine()}\n"]
    for name in dict.fromkeys(SUITES.values()):
        of_suite = [row for row in rows if SUITES[suite_of(row["id"])] == name]
        if of_suite:
            suite = import_module(name)
            parts += [f"## {suite.TITLE}\n{suite.ABOUT}", _table(of_suite)]
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    dates = " and ".join(sorted({f"{row['date']}, {row['rounds']} rounds" for row in rows}))
    lines = [f"{dates}:\n", "| id | what | ours | reference | ratio | goal |", "|---|---|--:|--:|--:|--:|"]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:g}"
        cells = (row["id"], row["what"], row["ours"], row["reference"], ratio, _goal(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _goal(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return ""
    return f"{'≤' if row['at_most'] else '≥'} {row['goal']:g}{', missed' if row['ok'] is False else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--rounds", type=int, default=FEWEST, help=f"with fewer than {FEWEST} nothing is written")
    given = parser.parse_args()
    wanted = [name.strip() for name in given.only.split(",") if name.strip()] or list(SUITES)
    if unknown := [name for name in wanted if name not in SUITES]:
        print(f"unknown benchmark {', '.join(unknown)}: there is {', '.join(SUITES)}", file=sys.stderr)
        return 2
    rows = known()
    for name in dict.fromkeys(SUITES[name] for name in wanted):
        rows = [row for row in rows if SUITES[suite_of(row["id"])] != name]
        rows = in_order(rows + measured(import_module(name), given.rounds))
        if given.rounds >= FEWEST:
            keep(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
