"""The demo whose history is kept on the disk, as that of a venue is."""

from __future__ import annotations

from pynelive.producers.demo import Demo


class Kept(Demo):
    """A demo that has an account."""

    name = "demo"

    @property
    def account(self) -> str:
        return "chaos"
