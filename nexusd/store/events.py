"""The durable event log, for those who read it: a subscriber that comes back with its cursor misses nothing stored."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import apsw

from nexusd.store.database import Database
from nexusd.store.event_log import StoredKind
from nexusd.store.inbox import DM_SELECT, DmRow, dm_row
from nexusd.store.invocations import INVOCATION_SELECT, InvocationRow, invocation_row
from nexusd.store.paging import PAGE_CHARS
from nexusd.store.room_rows import ROOM_SELECT, RoomRow, room_row
from nexusd_protocols.identity import AgentId

EventRow = RoomRow | DmRow | InvocationRow

STORED_KINDS: Final[tuple[StoredKind, ...]] = ("room", "dm", "invoke")

ROWS_AT_ONCE: Final = 32
"""Rows fetched for a page before its size is looked at again: they are at most 16 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event and the row it is about, as that is now; None where there is none (joined, left). `room` and `peer` are
    '' where they do not apply; the peer of a room message is its sender."""

    cursor: int
    agent: AgentId
    kind: StoredKind
    type: str
    at: int
    room: str
    peer: str
    row: EventRow | None


EVENT_SELECT: Final = "SELECT cursor, agent, kind, type, at, room, peer, ref FROM events"
_PAGE: Final = " ORDER BY cursor LIMIT ?"
ALL: Final = EVENT_SELECT + " WHERE cursor > ?" + _PAGE
OF_KIND: Final = EVENT_SELECT + " WHERE cursor > ? AND kind = ?" + _PAGE
OF_ROOM: Final = EVENT_SELECT + " WHERE cursor > ? AND room = ? AND room <> ''" + _PAGE
OF_PEER: Final = EVENT_SELECT + " WHERE cursor > ? AND peer = ? AND peer <> ''" + _PAGE
OF_ROOM_AND_PEER: Final = EVENT_SELECT + " WHERE cursor > ? AND room = ? AND room <> '' AND +peer = ?" + _PAGE

_AT: Final = " WHERE position IN (SELECT value FROM json_each(?))"
_AT_ROOM: Final = " WHERE m.position IN (SELECT value FROM json_each(?))"
_ROWS: Final[dict[str, tuple[str, Callable[..., EventRow]]]] = {
    "room": (ROOM_SELECT + _AT_ROOM, room_row),
    "dm": (DM_SELECT + _AT, dm_row),
    "invoke": (INVOCATION_SELECT + _AT, invocation_row),
}


class Events:
    """The log of this node: one order for all its agents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self,
        *,
        after: int,
        limit: int,
        kinds: Collection[str] | None = None,
        room: str | None = None,
        peer: str | None = None,
    ) -> list[StoredEvent]:
        """Events behind the cursor `after` that pass all the filters, in order. May be fewer than `limit` when their
        rows are large; only an empty list says that there are no more. Kinds that are never stored match nothing."""
        stored = [kind for kind in STORED_KINDS if kinds is None or kind in kinds]

        def read(connection: apsw.Connection) -> list[StoredEvent]:
            heads = _heads(connection, after, limit, stored, room, peer)
            return list(_with_rows(connection, heads))

        if not stored:
            return []
        recent = self._database.watermark.value - after <= ROWS_AT_ONCE
        return await (self._database.read_recent(read) if recent else self._database.read(read))

    async def newest(self) -> int:
        """The cursor of the newest event on disk, 0 before the first."""
        return self._database.watermark.value

    async def oldest(self) -> int:
        """The cursor of the oldest event that is kept, 0 if there is none."""
        return await self._database.read(
            lambda connection: int(connection.execute("SELECT coalesce(min(cursor), 0) FROM events").get)
        )

    async def wait_beyond(self, cursor: int) -> int:
        """Wait until an event behind `cursor` is on disk, and return the newest cursor. Raises StorageClosedError."""
        return await self._database.watermark.wait_beyond(cursor)


_Head = tuple[int, str, str, str, int, str, str, int]


def _heads(
    connection: apsw.Connection,
    after: int,
    limit: int,
    kinds: list[StoredKind],
    room: str | None,
    peer: str | None,
) -> list[_Head]:
    """The next events without their rows. Each query walks one index in order of the cursor."""
    query = ALL
    bindings: list[str] = []
    if room is not None and peer is not None:
        query, bindings = OF_ROOM_AND_PEER, [room, peer]
    elif room is not None:
        query, bindings = OF_ROOM, [room]
    elif peer is not None:
        query, bindings = OF_PEER, [peer]
    elif len(kinds) < len(STORED_KINDS):
        each: list[Any] = [connection.execute(OF_KIND, (after, kind, limit)).fetchall() for kind in kinds]
        return list(itertools.islice(heapq.merge(*each), limit))
    found: list[_Head] = []
    while len(found) < limit:
        batch: list[Any] = connection.execute(query, (after, *bindings, limit)).fetchall()
        found += [head for head in batch if head[2] in kinds]
        if len(batch) < limit:
            break
        after = batch[-1][0]
    return found[:limit]


def _with_rows(connection: apsw.Connection, heads: list[_Head]) -> Iterator[StoredEvent]:
    """The events with their rows, until the page is full."""
    size = 0
    for start in range(0, len(heads), ROWS_AT_ONCE):
        part = heads[start : start + ROWS_AT_ONCE]
        rows = _rows(connection, part)
        for cursor, agent, kind, type_, at, room, peer, ref in part:
            row = rows.get((kind, ref))
            size += row.size if row is not None else 0
            if size > PAGE_CHARS and cursor != heads[0][0]:
                return
            yield StoredEvent(
                cursor=cursor,
                agent=AgentId(agent),
                kind=kind,  # type: ignore[arg-type] # only add_event writes it
                type=type_,
                at=at,
                room=room,
                peer=peer,
                row=row,
            )


def _rows(connection: apsw.Connection, heads: list[_Head]) -> dict[tuple[str, int], EventRow]:
    """The rows that events are about: one query for each kind."""
    found: dict[tuple[str, int], EventRow] = {}
    for kind, (query, make) in _ROWS.items():
        refs = [head[7] for head in heads if head[2] == kind and head[7]]
        if refs:
            columns: tuple[Any, ...]
            for columns in connection.execute(query, (f"[{','.join(map(str, refs))}]",)):
                found[kind, columns[0]] = make(*columns)
    return found
