"""The index in the database answers like the one in memory, whatever was added, buried, forgotten and sealed, and
however ranges are cut; and its sums stay few."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from unittest import mock

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.store import room_spans
from nexusd.store.room_index import SqlIndex
from nexusd.store.room_scribe import scribe
from nexusd.store.schema import Layout, migrate, shipped_migrations
from nexusd_protocols.chatsync.index import Item, Key, MemoryIndex
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS, hour_of
from tests.unit.store.messages import HALL, LAB, message
from tests.unit.store.people import ALICE, ALICES_SECOND

HOURS = 5

# few digests and dates, so that they meet; dates within the hours, at their borders, and one another's
timestamps = st.builds(
    lambda hour, at: hour * HOUR_MS + at, st.integers(0, HOURS - 1), st.sampled_from([0, 1, 2, 777, HOUR_MS - 1])
)
digests = st.integers(0, 15).map(lambda number: hashlib.sha256(bytes([number])).digest())
items = st.tuples(timestamps, digests)
changes = st.one_of(
    st.tuples(st.just("add"), st.lists(items, max_size=30, unique=True)),
    st.tuples(st.just("bury"), st.lists(items, max_size=4)),
    st.tuples(st.just("forgive"), st.lists(items, max_size=4)),
    st.tuples(st.just("expire"), st.one_of(timestamps, st.integers(0, HOURS * HOUR_MS))),
    st.tuples(st.just("seal"), st.tuples(st.integers(0, HOURS - 1), st.integers(0, 3))),
)
keys = st.builds(
    Key,
    st.one_of(timestamps, st.sampled_from([-1, HOURS * HOUR_MS, 1 << 62, 1 << 70])),
    st.one_of(st.just(b""), digests, digests.map(lambda digest: digest[:3]), st.just(b"\xff" * 32)),
)
ranges = st.tuples(keys, keys)


class Pair:
    """A log, and what it should be."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.memory = MemoryIndex()
        migrate(connection, 0, Layout(shipped_migrations()))
        self.add([(3, bytes(32))])  # others' logs are not in the way
        with scribe(connection) as writing:
            for agent, room in ((ALICE, HALL), (ALICES_SECOND, LAB)):
                writing.append(agent, message(1, room=room), 1)

    def sql(self) -> SqlIndex:
        return SqlIndex(self.connection, ALICE, LAB)

    def add(self, rows: list[tuple[int, bytes]]) -> None:
        with scribe(self.connection) as writing:
            for timestamp, digest in rows:
                row = replace(message(0), timestamp=timestamp, digest=digest, message_id=digest.hex())
                appended = writing.append(ALICE, row, 1)
                assert (appended is not None) == self.memory.add(timestamp, digest)

    def bury(self, rows: list[tuple[int, bytes]]) -> None:
        with scribe(self.connection) as writing:
            for timestamp, digest in rows:
                hour = hour_of(timestamp)
                item = Item(timestamp, digest, False)
                was_here = item in self.memory.items(Key(timestamp, digest), Key(timestamp, digest + b"\0"), 1)
                sealed = [ref for ref in self.memory.batches(Key(0, b""), Key(1 << 60, b""), 99) if ref.hour == hour]
                writing.bury(ALICE, LAB, timestamp, digest, "unwanted", 1)
                self.memory.bury(timestamp, digest)
                if sealed and not was_here:
                    self.memory.seal(hour, sealed)  # what was not held was in no batch

    def forgive(self, rows: list[tuple[int, bytes]]) -> None:
        batches = dict(self.memory._batches)
        items = self.memory.items(Key(0, b""), Key(1 << 60, b""), 999)
        gone = {Item(timestamp, digest, True) for timestamp, digest in rows}
        with scribe(self.connection) as writing:
            for item in gone:
                assert not writing.forgive(ALICE, LAB, *item[:2], "another reason")
                assert writing.forgive(ALICE, LAB, *item[:2], "unwanted") == (item in items)
        self.memory = MemoryIndex(item for item in items if item not in gone)
        for hour, refs in batches.items():
            self.memory.seal(hour, refs)  # no batch has what is not held

    def expire(self, horizon: int) -> None:
        while True:
            with scribe(self.connection) as writing:
                if writing.expire(ALICE, LAB, horizon, 7) < 7:
                    break
        hour = hour_of(horizon)
        sealed = [ref for ref in self.memory.batches(Key(0, b""), Key(1 << 60, b""), 99) if ref.hour == hour]
        gone = self.memory.items(Key(hour * HOUR_MS, b""), Key(horizon, b""), 999)
        self.memory.expire(horizon)
        if sealed and all(item.gone for item in gone):
            self.memory.seal(hour, sealed)  # nothing of what is in the batches went, though the hour was cut

    def seal(self, hour_and_parts: tuple[int, int]) -> None:
        hour, parts = hour_and_parts
        if not self.connection.execute(
            "SELECT 1 FROM room_hours JOIN rooms ON rooms.id = log WHERE agent = ? AND room = ? AND hour = ?",
            (ALICE, LAB, hour),
        ).get:
            return
        refs = [BatchRef(hour, part, Cid(DAG_CBOR, bytes([hour, part]) * 16), part + 1) for part in range(parts)]
        log = self.connection.execute("SELECT id FROM rooms WHERE agent = ? AND room = ?", (ALICE, LAB)).get
        self.connection.execute("DELETE FROM room_batches WHERE log = ? AND hour = ?", (log, hour))
        for ref in refs:
            self.connection.execute(
                "INSERT INTO room_batches VALUES (?, ?, ?, ?, ?)", (log, hour, ref.part, ref.cid.encode(), ref.count)
            )
        self.connection.execute("UPDATE room_hours SET sealed = changes WHERE log = ? AND hour = ?", (log, hour))
        self.memory.seal(hour, refs)


@pytest.fixture(autouse=True)
def small_spans() -> Iterator[None]:
    with mock.patch.object(room_spans, "SPAN_ITEMS", 6):
        yield


@given(
    history=st.lists(changes, max_size=12), asked=st.lists(ranges, min_size=1, max_size=8), offset=st.integers(0, 40)
)
def test_the_index_is_that_of_memory(history, asked, offset) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        pair = Pair(connection)
        for name, value in history:
            getattr(pair, name)(value)
        sql, memory = pair.sql(), pair.memory
        for lower, upper in [*asked, (Key(0, b""), Key(1 << 60, b""))]:
            assert sql.summary(lower, upper) == memory.summary(lower, upper)
            assert sql.items(lower, upper, 999) == memory.items(lower, upper, 999)
            assert sql.items(lower, upper, 3) == memory.items(lower, upper, 3)
            assert sql.batches(lower, upper, 4) == memory.batches(lower, upper, 4)
            for at in {0, offset, memory.summary(lower, upper).count - 1}:
                if 0 <= at < memory.summary(lower, upper).count:
                    assert sql.key_at(lower, upper, at) == memory.key_at(lower, upper, at)
                else:
                    with pytest.raises(IndexError):
                        sql.key_at(lower, upper, at)


@given(history=st.lists(changes, max_size=12))
def test_each_span_says_what_is_in_it_and_none_is_too_large(history) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        pair = Pair(connection)
        for name, value in history:
            getattr(pair, name)(value)
        log = connection.execute("SELECT id FROM rooms WHERE agent = ? AND room = ?", (ALICE, LAB)).get
        rows = connection.execute(
            "SELECT timestamp, digest, count, sum FROM room_spans WHERE log = ? ORDER BY timestamp, digest", (log,)
        ).fetchall()
        assert rows[0][:2] == (0, b"")
        starts = [Key(*row[:2]) for row in rows] + [Key(1 << 60, b"")]
        for (_, _, count, total), lower, upper in zip(rows, starts, starts[1:], strict=False):
            summary = pair.memory.summary(lower, upper)
            assert (count, total) == (summary.count, summary.sum.to_bytes(32, "big"))
            assert count <= room_spans.SPAN_ITEMS


def test_messages_in_order_fill_their_spans(small_spans) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        pair = Pair(connection)
        for number in range(60):
            pair.add([(10 + number, bytes([number]) * 32)])
        spans = connection.execute("SELECT count FROM room_spans WHERE log = 1 ORDER BY timestamp").fetchall()
        assert [count for (count,) in spans] == [6] * 10 + [1]


def test_an_index_of_nothing() -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        migrate(connection, 0, Layout(shipped_migrations()))
        index = SqlIndex(connection, ALICE, LAB)
        whole = Key(0, b""), Key(1 << 60, b"")
        assert index.summary(*whole) == MemoryIndex().summary(*whole)
        assert index.items(*whole, 9) == index.batches(*whole, 9) == []
        with pytest.raises(IndexError):
            index.key_at(*whole, 0)
