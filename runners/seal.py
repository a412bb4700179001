"""The fingerprint of what a run has said: SHA-256 over the messages, one after the other."""

from __future__ import annotations

from hashlib import sha256
from typing import get_args

from ..bus.messages import End, Executed, Message, Said, Seal
from ..bus.wire import decode, encode

_SAID = frozenset(get_args(Said))
EVERY_BARS = 100
"""Closed bars from one seal to the next."""
_MOST_FRESH = 1_000


def canonical(message: Message) -> bytes:
    """A message as it stands in a record of its own, and as who reads it would write it: 0 and 0.0 are the same."""
    return encode(decode(encode((message,))))


class Fingerprint:
    """Of all messages that were added so far; many are digested at once, so that no bar has to wait for that."""

    def __init__(self) -> None:
        self._digest = sha256()
        self._fresh: list[Message] = []
        self._bars = self._time_ms = self._messages = 0

    def add(self, message: Message) -> None:
        """Add what a script has said; its closed bars are counted."""
        if type(message) is Executed:
            if message.bar.closed:
                self._bars += 1
                self._time_ms = message.bar.time_ms
        elif type(message) in _SAID:
            self._fresh.append(message)
            if len(self._fresh) >= _MOST_FRESH:
                self._digest_fresh()

    def sealed(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Add all that is said at once, and put the seal behind it that may be due; the end's stands before it."""
        before = self._bars // EVERY_BARS
        for message in messages:
            self.add(message)
        if type(messages[-1]) is End:
            return (*messages[:-1], self.now(), messages[-1])
        return (*messages, self.now()) if self._bars // EVERY_BARS > before else messages

    def now(self) -> Seal:
        """The seal of all that was added."""
        self._digest_fresh()
        return Seal(self._time_ms, self._messages, self._digest.hexdigest())

    def _digest_fresh(self) -> None:
        self._digest.update(b"".join(map(canonical, self._fresh)))
        self._messages += len(self._fresh)
        self._fresh.clear()
