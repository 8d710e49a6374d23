"""What is measured, how often, and how it is printed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Sample = Mapping[str, float]
"""Figure key to value."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. The ratio is above 1 where we are better."""

    key: str
    title: str
    unit: str
    more_is_better: bool = True

    def ratio(self, ours: float, theirs: float) -> float:
        if ours == theirs:
            return 1.0
        better, worse = (ours, theirs) if self.more_is_better else (theirs, ours)
        return better / worse if worse else float("inf")


def cost(of: Figure) -> Figure:
    """The row beside it: processor time of all processes of a side, for each message, call or event of that work."""
    return Figure(f"{of.key}-cpu", "… processor time of each", "µs", more_is_better=False)


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that one piece of work gives. Each side is called with its rig and `quick`."""

    name: str
    figures: Sequence[Figure]
    ours: Callable[[Any, bool], Sample]
    js: Callable[[Any, bool], Sample]
    note: str = ""
    """What a reader must know to compare the two sides."""


@dataclass(slots=True)
class Series:
    """The samples of one figure on both sides."""

    ours: list[float] = field(default_factory=list)
    js: list[float] = field(default_factory=list)


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile; `share` from 0 to 1."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value != value:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = number(statistics.median(values))
    return middle if len(values) < 2 else f"{middle} ({number(min(values))}–{number(max(values))})"


def table(groups: Sequence[Group], series: Mapping[str, Series]) -> str:
    """A Markdown table: median (lowest–highest) of each side, and the ratio of the medians."""
    rows = [("measure", "unit", "nexusd", "js-libp2p", "ratio")]
    for group in groups:
        for figure in group.figures:
            found = series[figure.key]
            ratio = (
                f"{figure.ratio(statistics.median(found.ours), statistics.median(found.js)):.2f}"
                if found.ours and found.js
                else "-"
            )
            rows.append((figure.title, figure.unit, _cell(found.ours), _cell(found.js), ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for index, row in enumerate(rows):
        # words to the left, numbers to the right
        cells = [cell.ljust(widths[at]) if at < 2 else cell.rjust(widths[at]) for at, cell in enumerate(row)]
        lines.append("| " + " | ".join(cells) + " |")
        if index == 0:
            rules = ["-" * (width + 2) if at < 2 else "-" * (width + 1) + ":" for at, width in enumerate(widths)]
            lines.append("|" + "|".join(rules) + "|")
    return "\n".join(lines)
