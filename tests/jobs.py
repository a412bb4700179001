"""Jobs for tests/script_host.py: scripts, bars and updates, and what came of them."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
FILES = ("plot.csv", "trades.csv", "strategy.csv")

Bars = list[list[Any]]
Result = dict[str, Any]
Run = Callable[..., list[Result]]

DAILY = {"ticker": "AAPL", "timeframe": "1D", "kind": "stock", "prefix": "NASDAQ", "mincontract": 1.0}
CRYPTO = {"ticker": "BTCUSDT", "timeframe": "5", "prefix": "BINANCE", "currency": "USDT"}


def runs_in(tmp_path: Path) -> Run:
    """Run jobs in processes of their own; a job's result with the folder of its files."""

    def run(*jobs: dict[str, Any]) -> list[Result]:
        jobs = tuple({"output": str(tmp_path / f"{number}"), **job} for number, job in enumerate(jobs))
        (tmp_path / "jobs.json").write_text(json.dumps(jobs))
        command = [sys.executable, "-P", str(HERE / "script_host.py"), str(tmp_path / "jobs.json")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return [json.loads((Path(job["output"]) / "result.json").read_text()) | job for job in jobs]

    return run


def daily_bars(count: int) -> Bars:
    """AAPL's first trading days in the sample, as their venue had them."""
    packed = resources.files("bokeh_sampledata") / "_data" / "stocks.csv.gz"
    with packed.open("rb") as file:
        rows = [row.split(",") for row in gzip.decompress(file.read()).decode().splitlines()]
    apple = [row for row in rows if row[0] == "AAPL"][:count]
    return [[_midnight(day), *map(float, prices)] for _, day, *prices, _ in apple]


def crypto_bars(count: int) -> Bars:
    """Real 5-minute bars, where they are at hand."""
    folder = Path(os.environ.get("PYNELIVE_SHARED_DATA", HERE.parent.parent / "shared" / "data"))
    if not (path := folder / "BTCUSDT_5m.csv").is_file():
        pytest.skip("the 5-minute bars are not here (PYNELIVE_SHARED_DATA)")
    with path.open() as file:
        rows = list(csv.reader(file))[1 : count + 1]
    return [[int(row[0]), *map(float, row[1:])] for row in rows]


def with_forming(bars: Bars, transition: int) -> tuple[Bars, int]:
    """Three forming updates before each closed live bar: the open, then a way to either end."""
    updates: Bars = list(bars[:transition])
    for time_ms, first, high, low, last, volume in bars[transition:]:
        updates.append([time_ms, first, first, first, first, 0.0, False])
        updates.append([time_ms, first, high, first, high, volume / 4, False])
        updates.append([time_ms, first, high, low, low, volume / 2, False])
        updates.append([time_ms, first, high, low, last, volume])
    return updates, transition


def make_job(script: str, bars: Bars, transition: int, **more: Any) -> dict[str, Any]:
    job = {"mode": "host", "script": script, "instrument": DAILY, "bars": bars, "transition": transition}
    return job | more


def _midnight(day: str) -> int:
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)


def files_of(result: Result) -> dict[str, bytes]:
    paths = [Path(result["output"]) / name for name in FILES]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def write_script(folder: Path, text: str, name: str = "probe.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def looks_of(path: Path) -> dict[int, dict[str, Any]]:
    """How PyneCore's own file of a run says that the chart looks behind each bar."""
    metas: dict[str, Any] = {}
    styles: dict[str, Any] = {}
    drawings: dict[str, Any] = {}
    looks: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        kind = (record := json.loads(line)).pop("t")
        if kind == "meta":
            metas[record["id"]] = record
        elif kind == "bar":
            styles |= record.get("c", {})
            look = {"values": record["v"], "metas": {**metas}, "styles": {**styles}, "drawings": {**drawings}}
            looks[record["time"]] = look
        elif kind == "ev":
            name = f"{record['obj']} {record['id']}"
            drawings.pop(name, None)
            if record["op"] != "delete":
                drawings[name] = plain(record["s"])
            look["drawings"] = {**drawings}
    return looks


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and name != "id"}
