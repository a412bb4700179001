"""The command `pynelive`: the table of its commands, and how a failure becomes a sentence and an exit code.

A command's module is imported when that command is called, so that help and completion stay instant.
A command returns its exit code; None is 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from .. import __version__
from ..bus.errors import Fault, TopologyError

COMMANDS = {
    "up": ("operate:up", "Check the topology, launch its actors, watch and restart them."),
    "check": ("check:check", "Find every fault of a topology at once, or print its graph."),
    "plan": ("plan:plan", "Say which streams, connections and questions to venues some scripts need."),
    "run": ("operate:run", "Run one actor in the foreground."),
    "keys": ("keys:keys", "Make the key pair of a host."),
    "init": ("init:init", "Write a topology and its scripts to start from."),
    "ps": ("operate:ps", "Show the actors that are up."),
    "top": ("top:top", "Watch what is up: actors, streams and logs, on a terminal."),
    "stop": ("operate:stop", "Stop what is up, in order."),
    "restart": ("operate:restart", "Restart one actor."),
    "logs": ("operate:logs", "Show what an actor has logged."),
    "apply": ("operate:apply", "Start and stop only what changed in the topology."),
    "streams": ("streams:streams", "List what is on the bus and who follows it: state, rate, lag, last bar."),
    "tail": ("attach:tail", "Attach to streams and print them."),
    "record": ("attach:record", "Attach a recorder to a running bus."),
    "exec": ("attach:exec_script", "Attach a script to a running bus."),
    "web": ("web:web", "Show a running bus in the browser."),
    "journal": ("journal:journal", "Show, export and clean what the publishers have kept."),
    "verify": ("verify:verify", "Replay a run and compare it, or a recording, with what was published."),
    "merge": ("merge:merge", "Merge recordings of one stream."),
    "quarantine": ("quarantine:quarantine", "Show the bars that were rejected, and why."),
    "symbols": ("symbols:symbols", "List the symbols of a provider, or its venues."),
    "download": ("download:download", "Download the past of a stream into a file."),
    "check-strategy": ("check_strategy:check_strategy", "Find out whether a strategy of backtesting.py looks ahead."),
    "providers": ("providers:providers", "List the providers, what they can do and how they are set."),
    "new-provider": ("new_provider:new_provider", "Write a provider that works, and its test, to begin with."),
    "completion": ("completion:completion", "Print the completion script of a shell."),
}
"""Name → where its command is, and what it does in one line."""


class Commands(click.Group):
    """A group of stubs out of ``COMMANDS``; only the one that is called is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, None, rest
        module, _, attribute = COMMANDS[name][0].partition(":")
        return name, getattr(import_module(f".{module}", __package__), attribute), rest


app = Commands(
    "pynelive",
    commands={name: click.Command(name, short_help=line) for name, (_, line) in COMMANDS.items()},
    help="The live bus for Pine scripts. Without TOPOLOGY the file is ./topology.toml.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
click.version_option(__version__, message="%(prog)s %(version)s")(app)

topology_argument = click.argument(
    "topology", type=click.Path(path_type=Path), default=Path("topology.toml"), metavar="[TOPOLOGY]"
)
"""The decorator of every command that reads a topology."""

host_option = click.option(
    "--host", default="", metavar="NAME", help="Which of the topology's [hosts] this machine is. Else PYNELIVE_HOST."
)
"""The decorator of every command that is of one host."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 failed, 2 wrong use or topology, 130 interrupted."""
    try:
        code = app.main(args, prog_name="pynelive", standalone_mode=False)
    except TopologyError as error:
        return _say("\n".join(f"pynelive: {problem}" for problem in error.problems), 2)
    except Fault as error:
        return _say(f"pynelive: {error}", 1)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
