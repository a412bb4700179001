"""What stands of a script's stream: all that somebody who comes late must know before the next message.

The stream says what changes. Its picture is what that adds up to: the run, how each plot looks, the values and
colours of the last bar, the drawings that stand and a strategy's account. Whoever begins behind the stream's first
message is told the picture first, as messages of the same kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from .messages import Account, Drawing, Message, Meta, Plot, Run, State

Fields = dict[str, Any]


class Picture:
    """The messages of one stream, folded."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._run: Run | None = None
        self._state: State | None = None
        self._metas: dict[str, Fields] = {}
        self._described_ms = 0
        self._styles: dict[str, Any] = {}
        self._plot: Plot | None = None
        self._drawn: dict[tuple[str, int], Drawing] = {}
        self._account: Account | None = None
        self._statistics: dict[str, Any] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Fold what is said next."""
        for message in messages:
            if type(message) is Plot:
                self._plot = message
                self._styles |= message.styles
            elif type(message) is Drawing:
                self._draw(message)
            elif type(message) is Account:
                self._account = message
                self._statistics |= message.statistics
            elif type(message) is Meta:
                self._described_ms = message.time_ms
                self._metas |= {plot["id"]: plot for plot in message.plots}
            elif type(message) is State:
                self._state = message
            elif type(message) is Run:  # another one begins: nothing of the last one stands
                self._clear()
                self._run = message

    def _draw(self, drawing: Drawing) -> None:
        key = (drawing.kind, drawing.id)
        if drawing.op == "delete":
            self._drawn.pop(key, None)
            return
        known = self._drawn.get(key) if drawing.op == "update" else None
        fields = changed(known.fields, drawing.fields) if known else drawing.fields
        self._drawn[key] = Drawing(drawing.time_ms, "create", drawing.kind, drawing.id, fields)

    def messages(self) -> list[Message]:
        """The picture, in the order in which a script says such things."""
        said: list[Message | None] = [self._run, self._state]
        if self._metas:
            said.append(Meta(self._described_ms, tuple(self._metas.values())))
        if self._plot:
            said.append(structs.replace(self._plot, styles=self._styles))
        said += self._drawn.values()
        if self._account:
            said.append(structs.replace(self._account, statistics=self._statistics))
        return [message for message in said if message is not None]


def changed(fields: Fields, news: Fields) -> Fields:
    """A drawing's fields after an ``update``; of a table's cells, only those that have changed are in it."""
    after = {**fields, **news}
    if "cells" in news and "cells" in fields:
        cells = {(cell["col"], cell["row"]): cell for cell in (*fields["cells"], *news["cells"])}
        after["cells"] = [cell for cell in cells.values() if len(cell) > 2]  # one that was cleared is its place alone
    return {name: value for name, value in after.items() if value is not None}
