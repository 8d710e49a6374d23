"""A day of a room: the batches of its hours. (specs/history.md §3)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import DAY_HOURS
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.history.record import Record, fields_of, link, number, read_record, rows
from nexusd_protocols.ids import RoomId

SCHEMA: Final = "nexus:room-day:v2"

_FIELDS: Final = frozenset({"day", "hours"})
_HOUR: Final = frozenset({"batches", "counts", "hour"})


class DayRef(msgspec.Struct, frozen=True, order=True):
    """One day (unix days, UTC) of a room: the name of its object, and how many messages its batches have."""

    day: int
    cid: Cid
    count: int


class Day(msgspec.Struct, frozen=True):
    """The batches of a day, by hour and part; each hour's parts are all there."""

    day: int
    batches: tuple[BatchRef, ...]


def day_of(hour: int) -> int:
    """The unix day of a unix hour."""
    return hour // DAY_HOURS


def make_day(room: RoomId, batches: Sequence[BatchRef]) -> tuple[DayRef, Block]:
    """The object of all batches of one day, in any order. Raises ValueError where they are not that, and
    HistoryError `too_many` for more than fit into one object."""
    ordered = sorted(batches)
    days = {day_of(batch.hour) for batch in ordered}
    if len(days) != 1:
        raise ValueError("batches of one day expected")
    if len(ordered) > limits.DAY_BATCHES:
        raise HistoryError("too_many", f"over {limits.DAY_BATCHES} batches in a day")
    (day,) = days
    value: dag_cbor.Value = {
        "schema": SCHEMA,
        "room": room,
        "day": day,
        "hours": [_written(hour, list(each)) for hour, each in groupby(ordered, lambda batch: batch.hour)],
    }
    block = Block.of(DAG_CBOR, dag_cbor.encode(value), [batch.cid for batch in ordered])
    return DayRef(day, block.cid, sum(batch.count for batch in ordered)), block


def _written(hour: int, batches: list[BatchRef]) -> dag_cbor.Value:
    if [batch.part for batch in batches] != list(range(len(batches))):
        raise ValueError("all parts of an hour expected, each once")
    # a byte for each count: a day of 20,000 batches is read in a quarter of a second, and not in two
    return {
        "hour": hour,
        "batches": [batch.cid for batch in batches],
        "counts": bytes(batch.count for batch in batches),
    }


def read_day(block: Block, *, room: RoomId) -> Day:
    """Take apart what somebody made. The counts are its maker's word.

    Raises HistoryError `too_large`, `bad_object`, `wrong_room`, `too_many`, `unsorted`, `wrong_hour`.
    """
    record = read_record(block, SCHEMA, _FIELDS, room, max_bytes=limits.BLOCK_BYTES, items=256 + limits.DAY_BATCHES)
    day = number(record, "day")
    batches: list[BatchRef] = []
    last = -1
    for value in rows(record, "hours", DAY_HOURS):
        row = fields_of(value, _HOUR)
        hour = number(row, "hour")
        if day_of(hour) != day:
            raise HistoryError("wrong_hour", "an hour of another day")
        if hour <= last:
            raise HistoryError("unsorted", "hours ascend")
        last = hour
        batches += _read(hour, row)
    if len(batches) > limits.DAY_BATCHES:
        raise HistoryError("too_many", f"over {limits.DAY_BATCHES} batches in a day")
    return Day(day, tuple(batches))


def _read(hour: int, row: Record) -> Iterator[BatchRef]:
    cids, counts = rows(row, "batches", limits.DAY_BATCHES), row["counts"]
    if not isinstance(counts, bytes) or len(counts) != len(cids):
        raise HistoryError("bad_object", "counts has a byte for each batch")
    for part, (cid, count) in enumerate(zip(cids, counts, strict=True)):
        if not 1 <= count <= limits.BATCH_MESSAGES:
            raise HistoryError("bad_object", f"a batch has 1 to {limits.BATCH_MESSAGES} messages")
        yield BatchRef(hour, part, link(cid), count)
