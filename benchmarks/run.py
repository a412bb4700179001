"""Run the benchmarks: `python benchmarks/run.py [--only P1,P2] [--rounds 5]`.

Writes `benchmarks/results/latest.json` and `docs/benchmarks.md`. Every figure is a ratio to a reference that ran in
the same round on the same machine, a median over the rounds: absolute figures say more about the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import bar_path

ROOT = Path(__file__).parent
SUITES = {"P1": bar_path.measure, "P2": bar_path.measure}


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


def page(rows: list[dict[str, object]], rounds: int) -> str:
    """The results as docs/benchmarks.md."""
    head = [
        "# Benchmarks",
        "",
        "Written by `make bench`; run it to get your own. Both sides of a ratio ran in the same rounds, one after the",
        f"other, and the ratio is the median of {rounds} rounds. Read the ratios: absolute figures say more about the",
        "machine. `bare pyzmq + msgspec` sends the same frames without journal, numbers, checks or repair, so the",
        "distance to 1 is what the guarantees cost. `C` is a program of ours against the very libzmq that the pyzmq",
        "wheel ships. The receiver's checksum over every decoded field must equal the bars' and that of the journal",
        "read again.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}",
        "",
        "| id | what | ratio | goal | bars/s |",
        "|---|---|--:|--:|--:|",
    ]
    body = [
        f"| {row['id']} | {row['what']} | {row['ratio']} | "
        + ("" if row["goal"] is None else f"≥ {row['goal']}{'' if row['ok'] else ', missed'}")
        + f" | {row['bars_per_s']:,} |"
        for row in rows
    ]
    return "\n".join([*head, *body, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name] or list(SUITES)
    if unknown := [name for name in wanted if name not in SUITES]:
        print(f"unknown benchmark {', '.join(unknown)}: there is {', '.join(SUITES)}", file=sys.stderr)
        return 2
    rows = [row for suite in dict.fromkeys(SUITES[name] for name in wanted) for row in suite(given.rounds)]
    rows.sort(key=lambda row: str(row["id"]))
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    results = ROOT / "results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    (ROOT.parent / "docs" / "benchmarks.md").write_text(page(rows, given.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
