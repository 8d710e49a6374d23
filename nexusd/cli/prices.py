"""What calls cost, in tables: one line for each price of which the caller chooses one."""

from __future__ import annotations

from collections.abc import Sequence

from nexusd_protocols.rpc.schema import PriceView


def cost(prices: Sequence[PriceView], *, free: bool | None) -> list[str]:
    """What it costs, a price a line. `free` is None where that is not known."""
    if free:
        return ["free"]
    if not prices:
        return ["unknown" if free is None else "paid"]
    first, *others = map(str, prices)
    return [first, *(f"or {each}" for each in others)]


def lines(row: Sequence[str], column: int, cost: Sequence[str]) -> list[list[str]]:
    """The row of a table with the first price in a column, and a row for each other one."""
    first = [*row[:column], cost[0], *row[column:]]
    return [first, *([""] * column + [each] + [""] * (len(row) - column) for each in cost[1:])]
