"""How a script's plots look and what it has drawn: PyneCore's descriptions, and how they change."""

from __future__ import annotations

from typing import Any

from ..bus.messages import Drawing, Meta
from . import pynecore

Fields = dict[str, Any]


class Looks:
    """What a script's run looks like so far; each question is answered with what is new."""

    def __init__(self) -> None:
        self._revision = 0
        self._styles: Fields = {}
        self._drawn: pynecore.Drawn = {}

    def metas(self, time_ms: int) -> Meta | None:
        """The plots that were not described yet, or are to be drawn otherwise now."""
        self._revision, plots = pynecore.changed_metas(self._revision)
        described = tuple({name: value for name, value in plot.items() if name != "t"} for plot in plots)
        return Meta(time_ms, described) if described else None

    def styles(self, keep: bool) -> Fields:
        """The colours that differ from those of the last bar that was kept."""
        styles = pynecore.styles()
        news = {name: style for name, style in styles.items() if self._styles.get(name, ...) != style} if styles else {}
        if keep and news:
            self._styles |= news
        return news

    def drawings(self, time_ms: int, keep: bool) -> tuple[Drawing, ...]:
        """How what is drawn differs from the last bar that was kept."""
        if not (self._drawn or pynecore.draws()):
            return ()
        drawn = pynecore.drawings(self._drawn)
        said = []
        for key, now in drawn.items():
            if (before := self._drawn.get(key)) is None:
                said.append(Drawing(time_ms, "create", *key, _set(now[1])))
            elif before is not now and before[1] != now[1]:
                said.append(Drawing(time_ms, "update", *key, _changed(before[1], now[1])))
        said += [Drawing(time_ms, "delete", *key) for key in self._drawn if key not in drawn]
        if keep:
            self._drawn = drawn
        return tuple(said)


def _set(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _changed(before: Fields, fields: Fields) -> Fields:
    """The fields that differ; of a table's cells those, and the place of each that was cleared."""
    news = {name: value for name, value in fields.items() if before.get(name) != value}
    if "cells" in news:
        known = {(cell["col"], cell["row"]): cell for cell in before["cells"]}
        cells = {(cell["col"], cell["row"]): cell for cell in fields["cells"]}
        gone = [{"col": col, "row": row} for col, row in known.keys() - cells.keys()]
        news["cells"] = [cell for place, cell in cells.items() if known.get(place) != cell] + sorted(gone, key=str)
    return news
