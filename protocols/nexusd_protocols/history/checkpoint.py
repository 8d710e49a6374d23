"""A checkpoint: the days of a room, and so all of its closed hours. (specs/history.md §4)

A tree, not a chain: checkpoint -> days -> batches -> messages, three steps and no more, however long the room has
talked. Who holds the same messages makes the same tree, so two members that compare one CID have compared everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.day import DayRef, day_of, make_day
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.history.record import fields_of, link, number, read_record, rows
from nexusd_protocols.ids import RoomId

SCHEMA: Final = "nexus:room-checkpoint:v2"

_FIELDS: Final = frozenset({"days"})
_ROW: Final = frozenset({"cid", "count", "day"})
_ROW_ITEMS: Final = 8
_DAY_MESSAGES: Final = limits.DAY_BATCHES * limits.BATCH_MESSAGES


@dataclass(frozen=True, slots=True)
class Tree:
    """The objects above some batches: the checkpoint, the days below it, and how many messages there are."""

    head: Block
    days: tuple[tuple[DayRef, Block], ...]
    count: int

    @property
    def blocks(self) -> list[Block]:
        """All of them, those below first."""
        return [*(block for _, block in self.days), self.head]


def make_checkpoint(room: RoomId, days: Iterable[DayRef]) -> Block:
    """The object of these days, in any order. Raises ValueError for none, or one of them twice."""
    ordered = sorted(days)
    if not ordered or any(last.day == each.day for last, each in pairwise(ordered)):
        raise ValueError("days expected, each once")
    value: dag_cbor.Value = {
        "schema": SCHEMA,
        "room": room,
        "days": [{"cid": each.cid, "count": each.count, "day": each.day} for each in ordered],
    }
    return Block.of(DAG_CBOR, dag_cbor.encode(value), [each.cid for each in ordered])


def tree(room: RoomId, batches: Iterable[BatchRef]) -> Tree | None:
    """The objects above these batches; None above none. Raises HistoryError as `make_day`."""
    days = tuple(make_day(room, list(each)) for _, each in groupby(sorted(batches), lambda batch: day_of(batch.hour)))
    if not days:
        return None
    refs = [ref for ref, _ in days]
    return Tree(make_checkpoint(room, refs), days, sum(ref.count for ref in refs))


def head(room: RoomId, batches: Iterable[BatchRef]) -> Cid | None:
    """The name of the checkpoint above these batches: what two members compare."""
    made = tree(room, batches)
    return None if made is None else made.head.cid


def read_checkpoint(block: Block, *, room: RoomId) -> tuple[DayRef, ...]:
    """The days that somebody's checkpoint names, ascending. Their counts are its maker's word.

    Raises HistoryError `too_large`, `bad_object`, `wrong_room`, `too_many`, `unsorted`.
    """
    record = read_record(
        block,
        SCHEMA,
        _FIELDS,
        room,
        max_bytes=limits.BLOCK_BYTES,
        items=16 + _ROW_ITEMS * limits.CHECKPOINT_DAYS,
    )
    days = []
    for value in rows(record, "days", limits.CHECKPOINT_DAYS):
        row = fields_of(value, _ROW)
        days.append(DayRef(number(row, "day"), link(row["cid"]), number(row, "count", least=1, most=_DAY_MESSAGES)))
    if any(last.day >= each.day for last, each in pairwise(days)):
        raise HistoryError("unsorted", "days ascend")
    return tuple(days)
