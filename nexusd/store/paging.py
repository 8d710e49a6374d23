"""Pages of an append-only table, by position: forward behind one, backward before one, or the newest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import apsw


class Sized(Protocol):
    """A row that says what it counts against PAGE_CHARS."""

    @property
    def size(self) -> int: ...


RowT = TypeVar("RowT", bound=Sized)

PAGE_CHARS: Final = 512 * 1024
"""Characters of content in one page. JSON makes at most six bytes of one, so a page fits the socket's 4 MiB line."""


class Appended(NamedTuple):
    """Where an append went: `position` in its own table, `cursor` in the event log."""

    position: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Page(Generic[RowT]):
    """Rows, oldest first, and whether another page follows in the direction asked for."""

    rows: list[RowT]
    more: bool


class PagedQuery(Generic[RowT]):
    """A SELECT that ends in a WHERE clause, read by pages.

    The first column is `position`; `make` builds a row from the columns. A page ends early when it is full, but always
    has a row if there is one.
    """

    def __init__(self, select: str, make: Callable[..., RowT]) -> None:
        self.forward = select + " AND position > ? AND position < ? ORDER BY position LIMIT ?"
        self.backward = select + " AND position < ? ORDER BY position DESC LIMIT ?"
        self._make = make

    def read(
        self,
        connection: apsw.Connection,
        bindings: Sequence[Any],
        *,
        after: int | None,
        before: int | None,
        limit: int,
    ) -> Page[RowT]:
        """`after` reads forward from behind it (up to `before`, if both are given), `before` the page that ends there;
        neither: the newest."""
        if limit < 1:
            raise ValueError("a page has at least one row")
        end = _LAST if before is None else before
        if after is None:
            page = take_page(connection.execute(self.backward, (*bindings, end, limit + 1)), limit, self._make)
            page.rows.reverse()
            return page
        return take_page(connection.execute(self.forward, (*bindings, after, end, limit + 1)), limit, self._make)


def take_page(cursor: Any, limit: int, make: Callable[..., RowT]) -> Page[RowT]:
    """The first rows of a query, until the page is full: at least one if there is one."""
    rows: list[RowT] = []
    size = 0
    for columns in cursor:
        row = make(*columns)
        size += row.size
        if rows and (len(rows) == limit or size > PAGE_CHARS):
            cursor.close(True)
            return Page(rows, True)
        rows.append(row)
    return Page(rows, False)


_LAST: Final = (1 << 63) - 1
