"""One process a venue and key: who holds it, on this machine.

A venue counts what an address and a key ask of it, so one process counts along and everybody else asks that one.
It holds a lock as long as it lives, and a card beside it says where it can be asked.
"""

from __future__ import annotations

import asyncio
import os
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct

from ..bus.errors import Hopeless
from ..bus.rundir import host_folder, is_held, take_lock


class Holder(Struct, frozen=True):
    """Who asks a venue; ``run_dir`` is of its bus, empty if it can be asked nothing itself."""

    account: str
    actor: str
    pid: int
    run_dir: str = ""

    def __str__(self) -> str:
        where = f" of the bus in {self.run_dir}" if self.run_dir else ""
        return f"'{self.actor}'{where} (pid {self.pid})"


class VenueClaim:
    """The exclusive right to ask a venue with a key, held until ``release``; of nothing for an empty account."""

    def __init__(self, card: Path, fd: int | None) -> None:
        self._card = card
        self._fd = fd

    @classmethod
    async def take(cls, account: str, actor: str, run_dir: Path | None = None) -> VenueClaim:
        """Take the lock; a second is given to a predecessor that is dying.

        :param account: of the provider; empty where nobody counts, and then nothing is locked
        :param run_dir: of the bus on which the actor answers
        :raises Hopeless: another process has it
        """
        if not account:
            return cls(Path(), None)
        card = _card(account)
        fd = await asyncio.to_thread(take_lock, card.with_suffix(".lock"))
        if fd is None:
            raise Hopeless(_refusal(account))
        fresh = card.with_suffix(f".{os.getpid()}.new")
        fresh.touch(0o600)
        fresh.write_bytes(msgspec.json.encode(Holder(account, actor, os.getpid(), str(run_dir or ""))))
        fresh.replace(card)
        return cls(card, fd)

    def release(self) -> None:
        """Give the venue back."""
        if self._fd is not None:
            self._card.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def holder(account: str) -> Holder | None:
    """Who has the venue now; None if it can be had."""
    if not account:
        return None
    card = _card(account)
    if not is_held(card.with_suffix(".lock")):
        return None
    try:
        return msgspec.json.decode(card.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None  # it has come, or goes, in this instant


def _card(account: str) -> Path:
    return host_folder("venues") / f"{blake2b(account.encode(), digest_size=8).hexdigest()}.json"


def _refusal(account: str) -> str:
    who = holder(account)
    return (
        f"{account} is asked by {who or 'another process'} already, and one process a venue and key keeps within its "
        "limits: put these streams into that producer, or stop it"
    )
