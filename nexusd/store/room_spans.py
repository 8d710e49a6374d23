"""Sums over a log, kept as it grows, so that a sum over a million messages reads some thousand rows.

A span says how many items there are from its start up to the next span's, and the sum of their digests. The first span
starts before everything, so that each place belongs to one. Items that are added change one span; one that has grown
too large is cut.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import apsw

from nexusd_protocols.chatsync.index import Key

SPAN_ITEMS: Final = 512
"""Items in a full span: reading one costs about as much as the row of one more would."""

SUM_MASK: Final = (1 << 256) - 1
FIRST: Final = Key(0, b"")

AT: Final = (
    "SELECT timestamp, digest, count, sum FROM room_spans WHERE log = ? AND (timestamp, digest) <= (?, ?)"
    " ORDER BY timestamp DESC, digest DESC LIMIT 1"
)
NEXT: Final = (
    "SELECT timestamp, digest FROM room_spans WHERE log = ? AND (timestamp, digest) > (?, ?)"
    " ORDER BY timestamp, digest LIMIT 1"
)
_PUT: Final = "INSERT OR REPLACE INTO room_spans (log, timestamp, digest, count, sum) VALUES (?, ?, ?, ?, ?)"
_ITEMS: Final = (
    "SELECT timestamp, digest FROM room_items WHERE log = ? AND (timestamp, digest) >= (?, ?)"
    " AND (timestamp, digest) < (?, ?) ORDER BY timestamp, digest"
)
END: Final = Key((1 << 63) - 1, b"")
"""Behind everything."""


def digest_sum(digests: Iterable[bytes]) -> int:
    """As big-endian integers, modulo 2^256."""
    return sum(int.from_bytes(digest, "big") for digest in digests) & SUM_MASK


def add_to_spans(connection: apsw.Connection, log: int, keys: Iterable[Key]) -> None:
    """Count what was just put into room_items."""
    ordered = sorted(keys)
    while ordered:
        start, count, total = _span_of(connection, log, ordered[0])
        following: Any = connection.execute(NEXT, (log, *start)).fetchone()
        end = END if following is None else Key(*following)
        added = bisect_left(ordered, end)
        count += added
        total += digest_sum(key.digest for key in ordered[:added])
        if count > SPAN_ITEMS:
            _cut(connection, log, start, end)
        else:
            _put(connection, log, start, count, total)
        del ordered[:added]


def take_from_spans(connection: apsw.Connection, log: int, key: Key) -> None:
    """Count one no more that was just taken out of room_items."""
    start, count, total = _span_of(connection, log, key)
    _put(connection, log, start, count - 1, total - digest_sum([key.digest]))


def drop_from_spans(connection: apsw.Connection, log: int, horizon: Key) -> None:
    """Count no more what was filed before `horizon`, which was just taken out of room_items."""
    start, _, _ = _span_of(connection, log, horizon)
    following: Any = connection.execute(NEXT, (log, *start)).fetchone()
    rest: list[Any] = connection.execute(
        _ITEMS, (log, *start, *(END if following is None else Key(*following)))
    ).fetchall()
    connection.execute(
        "DELETE FROM room_spans WHERE log = ? AND (timestamp, digest) <= (?, ?)",
        (log, *start),
    )
    _put(connection, log, FIRST, len(rest), digest_sum(digest for _, digest in rest))


def _span_of(connection: apsw.Connection, log: int, key: Key) -> tuple[Key, int, int]:
    row: Any = connection.execute(AT, (log, *key)).fetchone()
    if row is None:
        return FIRST, 0, 0
    return Key(row[0], row[1]), row[2], int.from_bytes(row[3], "big")


def _cut(connection: apsw.Connection, log: int, start: Key, end: Key) -> None:
    """Make several of one. The last span of a log is cut into full ones, because most messages come behind it; others
    in halves, because what came in between once may do so again."""
    size = SPAN_ITEMS if end == END else SPAN_ITEMS // 2
    items: Any = connection.execute(_ITEMS, (log, *start, *end))
    at: Key | None = start
    while part := list(islice(items, size)):
        _put(connection, log, at or Key(*part[0]), len(part), digest_sum(digest for _, digest in part))
        at = None


def _put(connection: apsw.Connection, log: int, start: Key, count: int, total: int) -> None:
    connection.execute(_PUT, (log, *start, count, (total & SUM_MASK).to_bytes(32, "big")))
