"""What a link needs of the subscriber that it works for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from .calls import Start
from .cursor import Cursor
from .messages import Message


class Taker(Protocol):
    """What a link needs of the one that uses it."""

    def wanted(self, stream: str) -> bool:
        """Whether this stream is subscribed to."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All streams that begin with one of these are wanted: one subscription each."""

    @property
    def begin(self) -> Callable[[Cursor], Awaitable[Start]]:
        """Says where to begin in a stream that is seen for the first time."""

    def greeted(self, publisher: str) -> None:
        """The publisher has said what it has."""

    def fail(self, error: BaseException) -> None:
        """``begin`` has raised."""

    @property
    def deliver(self) -> Callable[[Cursor, list[Message]], None]:
        """Takes messages: in order, each once; a forming bar comes alone.

        None at all if those before ``cursor.next`` are not wanted, or came under an earlier epoch: their publisher
        has to hear that too.
        """

    @property
    def older(self) -> Callable[[Cursor, list[Message]], None]:
        """Takes bars that are older than what the journal keeps, before all others."""
