"""One topology on several hosts: a folder, a key and a supervisor each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from unittest.mock import patch

from pynelive.bus.security import make_key
from topologies import COMMAND, Bench

randrange = SystemRandom().randrange


def loopback() -> str:
    """An address of this machine that nothing else uses, so that ports can be chosen freely."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return f"127.{randrange(1, 255)}.{randrange(256)}.{randrange(1, 255)}"


class Hosts:
    """Hosts that share a topology, each as a :class:`Bench`.

    :param tables: the actors, each with its ``host``
    :param addresses: by host; one that is empty only reads
    :param prefix: by host, what runs a command there
    """

    def __init__(
        self,
        folder: Path,
        tables: str,
        addresses: Mapping[str, str],
        prefix: Callable[[str], Sequence[str]] = lambda host: (),
    ) -> None:
        self.folder = folder
        declared = ""
        for number, (host, address) in enumerate(addresses.items()):
            with patch.dict(os.environ, self.environment(host)):
                declared += f'[hosts.{host}]\nkey = "{make_key(host)}"\n'
            declared += f'address = "{address}"\nport = {5600 + 20 * number}\n' if address else ""
        self.benches = {host: Bench(folder / host, declared + tables, prefix(host)) for host in addresses}

    def environment(self, host: str) -> dict[str, str]:
        """Each has only its own secret key."""
        return {"PYNELIVE_HOST": host, "PYNELIVE_KEYS": str(self.folder / host / "keys")}

    def start(self, host: str) -> subprocess.Popen[str]:
        """``pynelive up`` on that host."""
        return self.benches[host].start(**self.environment(host))

    def _command(self, host: str, *words: str) -> str:
        """What a command prints on that host."""
        environment = {**os.environ, **self.environment(host)}
        done = subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def secret(self, host: str) -> Path:
        """The host's secret key."""
        return self.folder / host / "keys" / f"{host}.secret"

    def renew(self, host: str) -> None:
        """Give the host another key; the old one is kept beside it."""
        before = self._command(host, "keys", host)
        self.secret(host).rename(self.secret(host).with_suffix(".old"))
        self.replace(before, self._command(host, "keys", host))

    def replace(self, old: str, new: str) -> None:
        """Change the file of every host."""
        for bench in self.benches.values():
            bench.path.write_text(bench.path.read_text().replace(old, new))

    def apply(self, *hosts: str) -> None:
        """``pynelive apply`` on these hosts, one after the other, or on all."""
        for host in hosts or self.benches:
            self._command(host, "apply", str(self.benches[host].path))

    def digests(self) -> dict[str, str]:
        """SHA-256 of every recording, plot and list of trades of all hosts."""
        return {name: digest for bench in self.benches.values() for name, digest in bench.digests().items()}
