"""Figures of several rounds, and the rows that they come to.

The cases of a table run one after the other in each round, so that what the machine does meanwhile meets all of them,
and a ratio is taken within its round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")
Figures = dict[str, list[float]]
"""By case, what it came to in each round."""


def rounds(count: int, cases: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """All cases, one after the other, so many times."""
    found: dict[str, list[T]] = {name: [] for name in cases}
    for _ in range(count):
        for name, case in cases.items():
            found[name].append(case())
    return found


@dataclass(frozen=True)
class Row:
    """One line of the results: a figure of ours, what it is compared with, and the goal that was set for the ratio."""

    id: str
    what: str
    ours: str
    reference: str = ""
    ratio: float | None = None
    goal: float | None = None
    at_most: bool = False
    """Whether the goal is an upper bound, as for times; else it is a lower one, as for rates."""

    @property
    def ok(self) -> bool | None:
        """Whether the goal is reached, if there is one; None where nothing was measured."""
        if self.goal is None:
            return True
        if self.ratio is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


def part(figures: Mapping[str, list[Sequence[float]]], at: int) -> Figures:
    """One of several figures that each case came to."""
    return {name: [each[at] for each in found] for name, found in figures.items()}


def compare(
    row: str, what: str, figures: Figures, ours: str, beside: str, unit: str, goal: float | None = None,
    at_most: bool = False,
) -> Row:  # fmt: skip
    """The row of two cases: medians of both, and the median of the ratios of each round."""
    ratio = median(a / b for a, b in zip(figures[ours], figures[beside], strict=True))
    said = [f"{shown(median(figures[name]))} {unit}" for name in (ours, beside)]
    return Row(row, what, said[0], said[1], round(ratio, 3), goal, at_most)


def shown(figure: float) -> str:
    """Three digits that matter, at least."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
