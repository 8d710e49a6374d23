"""Pages against the plain list they are cut from."""

from dataclasses import dataclass

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.store.paging import PAGE_CHARS, Page, PagedQuery


@dataclass(frozen=True)
class Row:
    position: int
    size: int


QUERY = PagedQuery("SELECT position, size FROM items WHERE owner = ?", Row)


def table(positions, size=1):
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE items (position INTEGER PRIMARY KEY, owner TEXT, size INTEGER)")
    connection.executemany("INSERT INTO items VALUES (?, 'alice', ?)", [(position, size) for position in positions])
    connection.execute("INSERT INTO items VALUES (1000, 'bob', 1)")
    return connection


def read(connection, *, after=None, before=None, limit) -> Page:
    return QUERY.read(connection, ("alice",), after=after, before=before, limit=limit)


edges = st.none() | st.integers(0, 60)


@settings(deadline=None, derandomize=True)
@given(st.sets(st.integers(1, 50), max_size=30), edges, edges, st.integers(1, 12))
def test_pages_are_slices(positions, after, before, limit) -> None:
    fits = sorted(
        position
        for position in positions
        if (after is None or position > after) and (before is None or position < before)
    )
    expected = fits[-limit:] if after is None else fits[:limit]
    page = read(table(positions), after=after, before=before, limit=limit)
    assert [row.position for row in page.rows] == expected
    assert page.more == (len(fits) > limit)


@settings(deadline=None, derandomize=True)
@given(st.sets(st.integers(1, 50), max_size=30), st.integers(1, 7))
def test_walking_either_way_meets_every_row_once(positions, limit) -> None:
    connection = table(positions)
    forward, after = [], 0
    while True:
        page = read(connection, after=after, limit=limit)
        forward += [row.position for row in page.rows]
        if not page.more:
            break
        after = page.rows[-1].position
    backward, before = [], None
    while True:
        page = read(connection, before=before, limit=limit)
        backward = [row.position for row in page.rows] + backward
        if not page.more:
            break
        before = page.rows[0].position
    assert forward == backward == sorted(positions)


def test_a_page_ends_when_it_is_full() -> None:
    connection = table(range(1, 11), size=PAGE_CHARS // 3)
    page = read(connection, after=0, limit=10)
    assert [row.position for row in page.rows] == [1, 2, 3]
    assert page.more
    page = read(connection, limit=10)
    assert [row.position for row in page.rows] == [8, 9, 10]
    assert page.more


def test_a_page_has_a_row_however_large() -> None:
    connection = table([1, 2], size=PAGE_CHARS * 2)
    assert read(connection, after=0, limit=10) == Page([Row(1, PAGE_CHARS * 2)], True)
    assert read(connection, after=1, limit=10) == Page([Row(2, PAGE_CHARS * 2)], False)


def test_a_page_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        read(table([]), limit=0)
