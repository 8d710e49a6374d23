"""What reconciliation asks of a log, answered from the database: `nexusd_protocols.chatsync.index.Index`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Any, Final

import apsw

from nexusd.store.room_spans import END, SUM_MASK
from nexusd_protocols.chatsync.index import EMPTY, Item, Key, Summary
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import RoomId

OPENED_SPANS: Final = 64
"""Spans whose items are kept at hand, 5 MB: neighbouring ranges share the span that their border is in."""

SPANS: Final = "SELECT timestamp, digest, count, sum FROM room_spans WHERE log = ? ORDER BY timestamp, digest"
ITEMS: Final = (
    "SELECT timestamp, digest, position = 0 FROM room_items WHERE log = ? AND (timestamp, digest) >= (?, ?)"
    " AND (timestamp, digest) < (?, ?) ORDER BY timestamp, digest LIMIT ?"
)
KEYS: Final = (
    "SELECT timestamp, digest FROM room_items WHERE log = ? AND (timestamp, digest) >= (?, ?)"
    " AND (timestamp, digest) < (?, ?) ORDER BY timestamp, digest"
)
BATCHES: Final = (
    "SELECT b.hour, b.part, b.cid, b.messages FROM room_batches AS b"
    " JOIN room_hours AS h ON h.log = b.log AND h.hour = b.hour AND h.sealed = h.changes"
    " WHERE b.log = ? AND b.hour >= ? AND b.hour < ? ORDER BY b.hour, b.part LIMIT ?"
)


class SqlIndex:
    """The log of one room within one transaction: it shows nothing that was written after its making."""

    def __init__(self, connection: apsw.Connection, agent: AgentId, room: RoomId) -> None:
        self._connection = connection
        self._log = int(connection.execute("SELECT id FROM rooms WHERE agent = ? AND room = ?", (agent, room)).get or 0)
        self._starts: list[tuple[int, bytes]] = []
        self._counts: list[int] = []
        self._sums: list[int] = []
        self._read = False
        self._opened: dict[int, tuple[list[tuple[int, bytes]], list[int]]] = {}

    def summary(self, lower: Key, upper: Key) -> Summary:
        """Of all that is known in the range, tombstones too."""
        if upper <= lower:
            return EMPTY
        first, last = self._below(lower), self._below(upper)
        return Summary(last.count - first.count, (last.sum - first.sum) & SUM_MASK)

    def items(self, lower: Key, upper: Key, limit: int) -> list[Item]:
        """The first of the range, in ascending order, tombstones too."""
        rows = self._connection.execute(ITEMS, (self._log, *_within(lower), *_within(upper), limit))
        return [Item(timestamp, digest, bool(gone)) for timestamp, digest, gone in rows]

    def key_at(self, lower: Key, upper: Key, offset: int) -> Key:
        """Where the item with so many before it in the range is filed. Raises IndexError where there is none."""
        if not 0 <= offset < self.summary(lower, upper).count:
            raise IndexError("no such item in the range")
        position = self._below(lower).count + offset
        span = bisect_right(self._counts, position, 0, len(self._starts)) - 1
        keys, _ = self._open(span)
        return Key(*keys[position - self._counts[span]])

    def batches(self, lower: Key, upper: Key, limit: int) -> list[BatchRef]:
        """The first batches, by hour and part, of closed hours that lie wholly in the range, where the batches are
        those of what is held now."""
        lower, upper = _within(lower), _within(upper)
        first = -(-lower.timestamp // HOUR_MS)
        if lower > Key(first * HOUR_MS, b""):
            first += 1
        rows = self._connection.execute(BATCHES, (self._log, first, upper.timestamp // HOUR_MS, limit))
        return [BatchRef(hour, part, Cid.decode(cid), count) for hour, part, cid, count in rows]

    def _below(self, key: Key) -> Summary:
        """Of all that is filed before this place."""
        self._read_spans()
        span = bisect_right(self._starts, key) - 1
        if span < 0:
            return EMPTY
        if self._starts[span] == key:
            return Summary(self._counts[span], self._sums[span])
        keys, sums = self._open(span)
        at = bisect_left(keys, key)
        return Summary(self._counts[span] + at, (self._sums[span] + sums[at]) & SUM_MASK)

    def _read_spans(self) -> None:
        """The starts of all spans, and before each the count and the sum of all that is before it."""
        if self._read:
            return
        self._read = True
        rows: Any = self._connection.execute(SPANS, (self._log,)).fetchall()
        self._starts = [row[:2] for row in rows]
        self._counts = list(accumulate((row[2] for row in rows), initial=0))
        self._sums = list(accumulate((int.from_bytes(row[3], "big") for row in rows), initial=0))

    def _open(self, span: int) -> tuple[list[tuple[int, bytes]], list[int]]:
        """The keys of a span, and before each, and at the end, the sum of those before it."""
        opened = self._opened.get(span)
        if opened is None:
            end = self._starts[span + 1] if span + 1 < len(self._starts) else END
            rows: Any = self._connection.execute(KEYS, (self._log, *self._starts[span], *end)).fetchall()
            opened = rows, list(accumulate((int.from_bytes(digest, "big") for _, digest in rows), initial=0))
            if len(self._opened) >= OPENED_SPANS:
                self._opened.clear()
            self._opened[span] = opened
        return opened


def _within(key: Key) -> Key:
    """A place that SQLite has numbers for. Nothing is filed outside of them."""
    return min(max(key, Key(0, b"")), END)
