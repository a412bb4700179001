"""Run a topology against venues on this machine: ``python -m venues.up examples/lab.toml --faults 50``.

Each producer of the topology gets a local venue for its streams, which it finds by the references
``{ env = "LAB_<VENUE>_HTTP" }`` and ``…_WS``. All of them live by one clock, the producers too. In the end every
recording is compared with what was true at its venue.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pynelive.bus.names import Key, parse_key
from pynelive.bus.rundir import is_held
from pynelive.bus.specs import ProducerSpec
from pynelive.bus.topology import Topology, read
from pynelive.producers import clock
from pynelive.producers.sessions import EPOCH_MS

from . import capitalcom
from .__main__ import VENUES
from .client import Lab, TrueBar, lab
from .faults import Plan
from .recordings import Difference, Values, difference, recorded

MARK = ".laboratory"
"""The file in a folder by which it is known that a laboratory has made it, and may remove it."""

STARTING_S = 60.0
"""How long (real time) to wait for the first bar of every stream, before a duration begins."""
SETTLING_S = 90.0
"""How long (real time) the recordings have for catching up with the venues before the end."""

_LOOK_S = 0.2
_STOPPING_S = 60.0
_MINUTES = 300
"""Over how many bars the faults are spread, if no duration is given: five minutes at the usual speed."""

class Served(NamedTuple):
    """One stream of the topology, and where it is true."""

    stream: str
    symbol: str
    timeframe: str
    venue: Lab

    def truth(self, since_ms: int | None = None) -> list[TrueBar]:
        """Its bars that have closed since the venue's beginning, or a time."""
        return self.venue.truth(self.symbol, self.timeframe, since_ms)


def main() -> int:
    """Start the venues and the topology, wait, compare: 0 if all is equal, 1 if not, 2 if it cannot start."""
    options = _options()
    topology, _ = read(options.topology)  # its addresses are not in the environment yet; `up` tells what else is wrong
    if problem := _prepared(topology):
        print(f"venues.up: {problem}", file=sys.stderr)
        return 2
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what the venues inherit: Ctrl-C is for the topology
    os.environ[clock.VARIABLE] = f"{EPOCH_MS},{time.time()!r},{options.speed!r}"
    with ExitStack() as stack:
        served = _serve(topology, stack, options)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
        environment = _environment(topology, served)
        print(f"attach from another terminal: {_attaching(topology, environment)}", flush=True)
        _write(environment, topology.run_dir / "environment")
        process = subprocess.Popen(
            [sys.executable, "-m", "pynelive", "up", str(topology.path)], env=environment, start_new_session=True
        )
        if options.duration:
            _wait(process, stop, STARTING_S, lambda: all(_recorded(topology, one) for one in served))
        _wait(process, stop, options.duration or math.inf)
        targets = [_last_bar(one) for one in served]
        print("comparing the recordings with the truth …", flush=True)
        stop.clear()
        _wait(process, stop, SETTLING_S, lambda: all(found.none for found in _differences(topology, served, targets)))
        code = _ended(process)
        differences = _differences(topology, served, targets)
        _tell(served, differences)
    words = [_word(found) for found in differences]
    return code or int("NOT EQUAL" in words or "equal" not in words)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="venues.up", description=__doc__)
    parser.add_argument("topology", type=Path)
    parser.add_argument("--speed", type=float, default=60.0, help="how much faster than real time the venues live")
    parser.add_argument("--faults", type=int, default=0, help="how many random faults each venue has")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--duration", type=float, help="seconds from the first bars to the end; else Ctrl-C ends it")
    return parser.parse_args()


# The beginning -----------------------------------------------------------------------------------------------------


def _prepared(topology: Topology) -> str:
    """Make the folders of a run afresh: the clock begins anew, so the bars of the former run would be in the way.

    What is wrong, if that cannot be: only what a laboratory has made is removed.
    """
    if is_held(topology.run_dir / "supervisor.lock"):
        return f"the laboratory in {topology.run_dir} is up already: stop that one first"
    if _recordings(topology) is None:
        return f"{topology.path} has no [[sink]] of type ohlcv: without a recorder there is nothing to compare"
    folders = [topology.run_dir, *(topology.resolve(str(spec.options.get("dir", "data"))) for spec in topology.sinks)]
    folders += [topology.resolve(spec.output) for spec in topology.runners]
    for folder in folders:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).exists():
            return f"{folder} has files that no laboratory has made: name another folder in {topology.path}"
    for folder in folders:
        if folder.is_dir():
            print(f"removing what the former laboratory has left in {folder.resolve()}")
            shutil.rmtree(folder)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
    return ""


def _serve(topology: Topology, stack: ExitStack, options: argparse.Namespace) -> list[Served]:
    """Start a venue for each producer."""
    bars = int((options.duration * options.speed / 60) if options.duration else _MINUTES)
    served = []
    for number, spec in enumerate(topology.producers):
        keys = {key: _key(spec, key) for key in spec.streams}
        symbols = dict.fromkeys(key.symbol for key in keys.values())
        if _venue(spec) not in VENUES:
            continue  # it needs none, such as the demo
        plan = Plan.random(options.seed + number, options.faults, ["*"], frames=bars * 3, bars=max(bars * 3 // 4, 2))
        venue = lab(_venue(spec), *symbols, epoch_ms=0, faults=plan.faults)
        stack.enter_context(venue)
        served += [Served(f"{spec.provider}:{text}", *key, venue) for text, key in keys.items()]
    return served


def _recordings(topology: Topology) -> Path | None:
    """The folder of the first recorder."""
    dirs = [spec.options.get("dir", "data") for spec in topology.sinks if spec.type == "ohlcv"]
    return topology.resolve(str(dirs[0])) if dirs else None


def _venue(spec: ProducerSpec) -> str:
    """``binance`` for ``BINANCE:BTC/USDT@1`` of ccxt; of other providers their name."""
    return spec.streams[0].partition(":")[0].lower() if spec.provider == "ccxt" else spec.provider


def _key(spec: ProducerSpec, text: str) -> Key:
    """The stream's symbol, as its venue has it, and its timeframe."""
    key = parse_key(text)
    return key._replace(symbol=key.symbol.partition(":")[2]) if spec.provider == "ccxt" else key


def _environment(topology: Topology, served: Sequence[Served]) -> dict[str, str]:
    """What the topology needs: its venues' addresses and who may log in there; and nothing that real runs use.

    A real producer of the same venue would hold its lock, and downloads would be kept for real ones: so the run-time
    folder and the cache are the laboratory's own.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"pynelive-lab-{os.getuid()}"
    runtime.mkdir(mode=0o700, exist_ok=True)
    environment = {
        **os.environ, "XDG_RUNTIME_DIR": str(runtime), "PYNELIVE_CACHE": str(topology.run_dir.resolve() / "cache"),
        "LAB_IDENTIFIER": capitalcom.IDENTIFIER, "LAB_PASSWORD": capitalcom.PASSWORD, "LAB_KEY": capitalcom.API_KEY,
    }  # fmt: skip
    for one in served:
        name = one.venue.spec.venue.upper()
        path = "/connect" if name == "CAPITALCOM" else ""
        environment |= {f"LAB_{name}_HTTP": one.venue.http, f"LAB_{name}_WS": one.venue.ws + path}
    return environment


def _attaching(topology: Topology, environment: Mapping[str, str]) -> str:
    """A command that works wherever it is typed, beside another topology too."""
    command = Path(sys.executable).with_name("pynelive")
    runtime = shlex.quote(environment["XDG_RUNTIME_DIR"])
    return f"XDG_RUNTIME_DIR={runtime} {shlex.quote(str(command))} streams --bus {topology.bus.name}"


def _write(environment: Mapping[str, str], path: Path) -> None:
    """For another shell: where the venues are, and the clock, for downloads and for looking at the faults."""
    mine = [name for name in environment if name.startswith(("LAB_", "PYNELIVE_", "XDG_RUNTIME"))]
    path.write_text("".join(f"export {name}={shlex.quote(environment[name])}\n" for name in sorted(mine)))


# The end -----------------------------------------------------------------------------------------------------------


def _wait(
    process: subprocess.Popen[bytes], stop: threading.Event, patience_s: float,
    happened: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Until it has happened, somebody wants the end, the topology is over, or time is."""
    until_s = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < until_s and not happened() and not stop.wait(_LOOK_S):
        pass


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Stop the topology; its exit code."""
    for _ in range(2):  # the second time is by force
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            return process.wait(_STOPPING_S)
        except subprocess.TimeoutExpired:
            pass
    process.kill()
    return process.wait()


def _last_bar(one: Served) -> int:
    """Which bar of the venue has closed last."""
    bars = one.truth()
    return bars[-1].time_ms if bars else 0


def _recorded(topology: Topology, one: Served) -> dict[int, Values]:
    folder = _recordings(topology)
    assert folder is not None
    return recorded(folder, one.stream)[0]


def _differences(topology: Topology, served: Sequence[Served], targets: Sequence[int]) -> list[Difference]:
    """What is not as it was at the venues, a stream each."""
    found = []
    for one, until_ms in zip(served, targets, strict=True):
        got = _recorded(topology, one)
        truth = one.truth(min(got, default=None))
        found.append(difference(got, {bar.time_ms: bar[2:] for bar in truth}, until_ms))
    return found


def _tell(served: Sequence[Served], differences: Sequence[Difference]) -> None:
    names = [*Difference._fields, "faults"]
    print(f"{'stream':<32}" + "".join(f"{name:>9}" for name in names))
    for one, found in zip(served, differences, strict=True):
        counts = "".join(f"{count:>9,}" for count in (*found, len(one.venue.fired())))
        print(f"{one.stream:<32}{counts}  {_word(found)}")


def _word(found: Difference) -> str:
    if not (found.bars or found.behind):
        return "no bar yet"  # of an hour, after a minute
    return "equal" if found.none else "NOT EQUAL"


if __name__ == "__main__":
    sys.exit(main())
