"""The commands that bring a topology up and act on what is up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from ..bus.actor import debugging, receive_topology, run_actor
from ..bus.children import ENTRY, View
from ..bus.control import Request, ask
from ..bus.discovery import announce_elsewhere
from ..bus.errors import Fault
from ..bus.hosts import chosen_host
from ..bus.logs import Line, LogReader
from ..bus.rundir import RunDir, find_run_dir, is_held, take_lock
from ..bus.supervisor import Supervisor, already_up
from ..bus.topology import Topology
from ..bus.warm import serve
from .app import host_option, topology_argument
from .names import actors
from .table import print_views, screen
from .validate import load

DETACH_S = 60.0
"""How long `up --detach` waits for every actor to be ready."""
FIRST_BAR_S = 10.0
"""How long it waits for scripts to take their first bar; a market may be closed."""

bus_option = click.option("--bus", metavar="NAME|DIR", help="A bus that is up, its folder or topology.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@topology_argument
@click.option(
    "--only", multiple=True, metavar="NAME", shell_complete=actors, help="Launch only this actor; repeatable."
)
@host_option
@click.option("--duration", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop so long after the launch.")
@click.option("--detach", is_flag=True, help="Return as soon as everything is ready.")
@click.option("--detached", is_flag=True, hidden=True)
@json_option
def up(
    topology: Path, only: Sequence[str], host: str, duration: float | None, detach: bool, detached: bool, as_json: bool
) -> int:
    """Check the topology, launch its actors, watch and restart them; Ctrl-C stops all in order."""
    checked = load(topology)
    if detach:
        return _detach(checked, only, chosen_host(checked, host), duration)
    form = "none" if detached else "json" if as_json else "auto"
    return asyncio.run(_up(checked, only, host, duration, form), debug=debugging())


async def _up(topology: Topology, only: Sequence[str], host: str, duration: float | None, form: str) -> int:
    shown = screen(form)
    supervisor = Supervisor(topology, only, echo=shown.event, host=host)
    supervisor.obey_signals()
    showing = asyncio.create_task(shown.follow(supervisor.views))
    try:
        code = await supervisor.run(duration)
    finally:
        showing.cancel()
        await asyncio.wait([showing])
    shown.summary(supervisor.summary)
    return code


def _detach(topology: Topology, only: Sequence[str], host: str, duration: float | None) -> int:
    run_dir = RunDir(topology)
    if is_held(run_dir.lock):
        raise Fault(already_up(run_dir))
    options = [text for name in only for text in ("--only", name)]
    options += ["--host", host] if host else []
    options += [] if duration is None else ["--duration", str(duration)]
    with (run_dir.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [*ENTRY, "up", str(topology.path), "--detached", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    views = _await_ready(run_dir, process)
    failed = [view for view in views if view.phase == "failed"]
    for view in failed:
        click.echo(f"{view.name} has failed: {view.why}", err=True)
    going = sum(view.pid > 0 for view in views)
    click.echo(f"'{run_dir.bus}' is up: {going} actors, pid {process.pid}; `pynelive stop` ends it")
    return int(bool(failed))


def _await_ready(run_dir: RunDir, process: subprocess.Popen[bytes]) -> list[View]:
    """The actors once none of them is starting any more, nor a script still to be loaded."""
    pause, views = threading.Event(), []
    for tenth in range(int(DETACH_S / 0.1)):
        if process.poll():
            raise Fault(f"'{run_dir.bus}' has failed to start: {_last_line(run_dir)}")
        try:
            views = ask(run_dir, Request("ps")).views
        except Fault:
            pass  # not listening yet, or done already
        untried = tenth < FIRST_BAR_S / 0.1 and any(map(_untried, views))
        if process.returncode == 0 or (views and not _starting(views) and not untried):
            return views
        pause.wait(0.1)
    raise Fault(f"'{run_dir.bus}' is up, but not ready after {DETACH_S:.0f} s: {', '.join(_starting(views))}")


def _starting(views: list[View]) -> list[str]:
    return [view.name for view in views if view.phase in ("starting", "restarting")]


def _untried(view: View) -> bool:
    """Whether its script may still turn out to be faulty at its first bar."""
    return view.phase == "warming" and not (view.status and view.status.bars)


def _last_line(run_dir: RunDir) -> str:
    lines = LogReader(run_dir.logs, "supervisor").fresh()
    return lines[-1].text if lines else "it said nothing"


@click.command()
@click.argument("name", shell_complete=actors)
@topology_argument
@click.option("--supervised", type=int, hidden=True)
@click.option("--warm", type=int, hidden=True)
def run(name: str, topology: Path, supervised: int | None, warm: int | None) -> int:
    """Run the actor NAME in the foreground: exactly what `up` launches."""
    if warm is not None:
        name, supervised = serve(name.strip(), warm)
    if supervised is not None:
        return run_actor(receive_topology(), name, supervised)
    checked = load(topology)
    announce_elsewhere(RunDir(checked), checked, checked.actor(name).host)
    return run_actor(checked, name)


@click.command()
@bus_option
@json_option
def ps(bus: str | None, as_json: bool) -> None:
    """Show the actors that are up."""
    views = ask(find_run_dir(bus), Request("ps")).views
    if as_json:
        click.echo(msgspec.json.encode(views))
    else:
        print_views(views)


@click.command()
@click.argument("name", required=False, default="", shell_complete=actors)
@bus_option
def stop(name: str, bus: str | None) -> None:
    """Stop what is up in order, consumers first; or only the actor NAME."""
    run_dir = find_run_dir(bus)
    _print(ask(run_dir, Request("stop", name=name)).lines)
    if not name and (lock := take_lock(run_dir.lock, retry_s=5)) is not None:
        os.close(lock)  # the supervisor has gone altogether: the bus can be brought up again


@click.command()
@click.argument("name", shell_complete=actors)
@bus_option
def restart(name: str, bus: str | None) -> None:
    """Restart the actor NAME, also one that has failed or was stopped."""
    _print(ask(find_run_dir(bus), Request("restart", name=name)).lines)


@click.command()
@topology_argument
def apply(topology: Path) -> None:
    """Start and stop only what changed in the topology; a faulty one changes nothing."""
    checked = load(topology)
    _print(ask(RunDir(checked), Request("apply", path=str(checked.path.resolve()))).lines)


@click.command()
@click.argument("name", required=False, shell_complete=actors)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, as long as the bus is up.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="COUNT", help="Only the last lines.")
@bus_option
@json_option
def logs(name: str | None, follow: bool, lines: int | None, bus: str | None, as_json: bool) -> None:
    """Show what the actor NAME has logged; without NAME all of them, in the order of time."""
    run_dir = find_run_dir(bus)
    known = sorted(path.stem for path in run_dir.logs.glob("*.log"))
    if name and name not in known:
        raise Fault(f"no log of '{name}' in {run_dir.logs}: there is {', '.join(known) or 'none'}")
    reader, pause = LogReader(run_dir.logs, name), threading.Event()
    first = reader.fresh()
    _print_logs(first if lines is None else first[len(first) - min(lines, len(first)) :], as_json)
    while follow and is_held(run_dir.lock):
        pause.wait(0.2)
        _print_logs(reader.fresh(), as_json)
    reader.close()


def _print_logs(lines: list[Line], as_json: bool) -> None:
    for line in lines:
        plain = f"{line.time} {line.name} | {line.text}"
        click.echo(msgspec.json.encode(line._asdict()) if as_json else plain)


def _print(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)
