"""What stands of a script's stream: all that somebody who comes late must know before the next message.

The stream says what changes. Its picture is what that adds up to: the run, how each plot looks, the values and
colours of the last bar, the drawings that stand and a strategy's account. Whoever begins behind the stream's first
message is told the picture first, as messages of the same kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from .messages import Account, Drawing, Executed, Message, Meta, Plot, Run, State

Fields = dict[str, Any]


class Picture:
    """The messages of one stream, folded: what each kind of them adds up to."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.run: Run | None = None
        self.bars = 0
        self.state: State | None = None
        self.metas: dict[str, Fields] = {}
        self._described_ms = 0
        self._styles: dict[str, Any] = {}
        self._plot: Plot | None = None
        self.drawn: dict[tuple[str, int], Drawing] = {}
        self.account: Account | None = None
        self.statistics: dict[str, Any] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Fold what is said next."""
        for message in messages:
            if type(message) is Plot:
                self._plot = message
                self._styles |= message.styles
            elif type(message) is Executed:
                self.bars += message.bar.closed
            elif type(message) is Drawing:
                self._draw(message)
            elif type(message) is Account:
                self.account = message
                self.statistics |= message.statistics
            else:
                self._take_rare(message)

    def _take_rare(self, message: Message) -> None:
        if type(message) is Meta:
            self._described_ms = message.time_ms
            self.metas |= {plot["id"]: plot for plot in message.plots}
        elif type(message) is State:
            self.state = message
        elif type(message) is Run:  # another one begins: nothing of the last one stands
            self._clear()
            self.run, self.bars = message, message.bars

    def _draw(self, drawing: Drawing) -> None:
        key = (drawing.kind, drawing.id)
        if drawing.op == "delete":
            self.drawn.pop(key, None)
            return
        known = self.drawn.get(key) if drawing.op == "update" else None
        fields = changed(known.fields, drawing.fields) if known else drawing.fields
        self.drawn[key] = Drawing(drawing.time_ms, "create", drawing.kind, drawing.id, fields)

    def messages(self) -> list[Message]:
        """The picture, in the order in which a script says such things."""
        said: list[Message | None] = [self.run and structs.replace(self.run, bars=self.bars), self.state]
        if self.metas:
            said.append(Meta(self._described_ms, tuple(self.metas.values())))
        if self._plot:
            said.append(structs.replace(self._plot, styles=self._styles))
        said += self.drawn.values()
        if self.account:
            said.append(structs.replace(self.account, statistics=self.statistics))
        return [message for message in said if message is not None]


def changed(fields: Fields, news: Fields) -> Fields:
    """A drawing's fields after an ``update``; of a table's cells, only those that have changed are in it."""
    after = {**fields, **news}
    if "cells" in news and "cells" in fields:
        cells = {(cell["col"], cell["row"]): cell for cell in (*fields["cells"], *news["cells"])}
        after["cells"] = [cell for cell in cells.values() if len(cell) > 2]  # one that was cleared is its place alone
    return {name: value for name, value in after.items() if value is not None}
