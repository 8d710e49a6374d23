"""The log of each room: what was said in it.

Each message is kept as it was signed (canonical protobuf, named by its SHA-256) beside the fields that are shown, so
that history can be verified and handed on without trusting whoever stored it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import apsw

from nexusd.store.database import Database
from nexusd.store.event_log import add_event
from nexusd.store.paging import Appended, Page, PagedQuery
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import MessageId, RoomId


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRow:
    """A chat message. `position` is given by the store. `reply_to` and `thread_id` are '' where there is none,
    `references` is a JSON array of text, `digest` the SHA-256 of `signed`."""

    room: RoomId
    message_id: MessageId
    sender: PeerId
    timestamp: int
    received_at: int
    content: str
    format: str
    reply_to: str = ""
    thread_id: str = ""
    references: str = "[]"
    digest: bytes
    signed: bytes
    position: int = 0

    @property
    def size(self) -> int:
        """What it counts against PAGE_CHARS."""
        return len(self.content)


ROOM_SELECT: Final = (
    "SELECT position, room, message_id, sender, timestamp, received_at, content, format, reply_to, thread_id, refs,"
    " digest, signed FROM room_messages"
)


def room_row(
    position: int,
    room: str,
    message_id: str,
    sender: str,
    timestamp: int,
    received_at: int,
    content: str,
    format_: str,
    reply_to: str,
    thread_id: str,
    references: str,
    digest: bytes,
    signed: bytes,
) -> RoomRow:
    """A row from the columns of ROOM_SELECT."""
    return RoomRow(
        position=position,
        room=RoomId(room),
        message_id=MessageId(message_id),
        sender=PeerId(sender),
        timestamp=timestamp,
        received_at=received_at,
        content=content,
        format=format_,
        reply_to=reply_to,
        thread_id=thread_id,
        references=references,
        digest=digest,
        signed=signed,
    )


HISTORY: Final = PagedQuery(ROOM_SELECT + " WHERE agent = ? AND room = ?", room_row)


class RoomLog:
    """Each agent's logs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, agent: AgentId, row: RoomRow, *, now: int) -> Appended | None:
        """Add a message to the agent's log of `row.room`, with its event. None if there is one of that sender and id
        already: it is kept as it is. `row.position` is ignored."""
        return await self._database.write(lambda connection: _append(connection, agent, row, now))

    async def append_many(self, rows: Iterable[tuple[AgentId, RoomRow]], *, now: int) -> list[Appended | None]:
        """Add many messages at once, all or none of them on disk: for each what `append` would return."""
        batch = tuple(rows)
        return await self._database.write(
            lambda connection: [_append(connection, agent, row, now) for agent, row in batch]
        )

    async def history(
        self, agent: AgentId, room: RoomId, *, after: int | None = None, before: int | None = None, limit: int
    ) -> Page[RoomRow]:
        """A page of the log, oldest first: behind `after`, or up to before `before`, or the newest."""
        return await self._database.read(
            lambda connection: HISTORY.read(connection, (agent, room), after=after, before=before, limit=limit)
        )

    async def count(self, agent: AgentId, room: RoomId) -> int:
        """Messages in the log."""
        return await self._database.read(
            lambda connection: int(
                connection.execute("SELECT messages FROM rooms WHERE agent = ? AND room = ?", (agent, room)).get or 0
            )
        )


def _append(connection: apsw.Connection, agent: AgentId, row: RoomRow, now: int) -> Appended | None:
    connection.execute(
        "INSERT INTO room_messages (agent, room, message_id, sender, timestamp, received_at, content, format,"
        " reply_to, thread_id, refs, digest, signed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (agent, room, sender, message_id) DO NOTHING",
        (
            agent,
            row.room,
            row.message_id,
            row.sender,
            row.timestamp,
            row.received_at,
            row.content,
            row.format,
            row.reply_to,
            row.thread_id,
            row.references,
            row.digest,
            row.signed,
        ),
    )
    if not connection.changes():
        return None
    position = int(connection.last_insert_rowid())
    connection.execute(
        "INSERT INTO rooms (agent, room, messages) VALUES (?, ?, 1)"
        " ON CONFLICT (agent, room) DO UPDATE SET messages = messages + 1",
        (agent, row.room),
    )
    cursor = add_event(
        connection, agent=agent, kind="room", type_="message", at=now, room=row.room, peer=row.sender, ref=position
    )
    return Appended(position, cursor)
