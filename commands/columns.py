"""Which columns of a table fit into a terminal: what matters least goes, and nothing that stays is cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

GAP = 2
_LEAST = 12


class Layout:
    """The columns of a table that stay.

    :param titles: of all columns
    :param rows: the cells of all columns
    :param may_go: titles of columns that are not worth a cut, the first to go first; of those an empty one goes before
    :param room: the width of the terminal
    :param elastic: the title of a column whose cells may be cut, down to a few letters
    """

    def __init__(
        self, titles: Sequence[str], rows: Sequence[Sequence[str | Text]], may_go: Sequence[str], room: int,
        elastic: str = "",
    ) -> None:  # fmt: skip
        full = [max(map(_width, cells)) for cells in zip(titles, *rows, strict=True)]
        widths = dict(zip(titles, full, strict=True))
        filled = {title for title, *cells in zip(titles, *rows, strict=True) if any(map(_width, cells))}
        least = widths | ({elastic: min(widths[elastic], _LEAST)} if elastic else {})
        self.gone: list[str] = []
        self._titles, self._elastic = titles, elastic
        for title in sorted(may_go, key=lambda title: title in filled):
            if self._needed(least) > room:
                self.gone.append(title)
        self.places = [place for place, title in enumerate(titles) if title not in self.gone]
        self.needed = self._needed(least)
        """The width without which something is cut."""
        self.width = max(self.needed, min(room, self._needed(widths)))
        """What the table takes."""
        self.left = self.width - self.needed + least.get(elastic, 0)
        """What the elastic column takes."""
        self.missing = [title for title in titles if title in self.gone and title in filled]

    def table(self, rows: Sequence[Sequence[str | Text]], left: Collection[str], framed: bool = False) -> Table:
        """The rows in the columns that stay.

        :param left: the titles of columns of words; those of numbers are aligned at the right
        :param framed: with a line below the titles
        """
        made = Table(box=box.SIMPLE_HEAD if framed else None, show_edge=False, pad_edge=False,
                     padding=(0, 1, 0, 0) if framed else (0, 1))  # fmt: skip
        for title in (self._titles[place] for place in self.places):
            room = self.left if title == self._elastic else None
            made.add_column(title, justify="left" if title in left else "right", no_wrap=True, max_width=room)
        for row in rows:
            made.add_row(*(as_text(row[place]) for place in self.places))
        return made

    def apology(self) -> str:
        """What is said of columns that hold something and went."""
        return f"not shown here: {', '.join(self.missing)} (a wider terminal, or --json)"

    def _needed(self, widths: dict[str, int]) -> int:
        kept = [widths[title] for title in self._titles if title not in self.gone]
        return sum(kept) + GAP * (len(kept) - 1)


def as_text(cell: str | Text) -> Text:
    """A cell as it is shown: what is in brackets is no colour."""
    return Text(cell) if isinstance(cell, str) else cell


def _width(cell: str | Text) -> int:
    return cell_len(cell if isinstance(cell, str) else cell.plain)
