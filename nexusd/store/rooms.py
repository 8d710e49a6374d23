"""Rooms that an agent joined or mirrors, and how long it keeps what is said there. What was said is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from nexusd.store.database import Database
from nexusd.store.event_log import add_event
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import RoomId


@dataclass(frozen=True, slots=True)
class JoinedRoom:
    """A room of which an agent keeps something. `messages` counts those that history shows, `bytes` those of all signed
    messages. Nothing that is dated before `horizon` is kept any more. `mirror`: it is kept for others too."""

    room: RoomId
    joined_at: int
    messages: int
    joined: bool = True
    retention: RetentionClass = "archival"
    description: str = ""
    mirror: bool = False
    horizon: int = 0
    bytes: int = 0


_SELECT: Final = (
    "SELECT room, joined_at, messages, joined, retention, description, mirror, horizon, bytes FROM rooms"
    " WHERE agent = ?"
)
JOINED: Final = _SELECT + " AND joined = 1 ORDER BY room"
KEPT: Final = _SELECT + " ORDER BY room"
ONE: Final = _SELECT + " AND room = ?"


def _room(
    room: str,
    joined_at: int,
    messages: int,
    joined: int,
    retention: RetentionClass,
    description: str,
    mirror: int,
    horizon: int,
    size: int,
) -> JoinedRoom:
    return JoinedRoom(
        RoomId(room), joined_at, messages, bool(joined), retention, description, bool(mirror), horizon, size
    )


class Rooms:
    """Each agent's memberships."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def join(self, agent: AgentId, room: RoomId, now: int) -> JoinedRoom:
        """Make the agent a member; nothing changes if it is one."""

        def write(connection: apsw.Connection) -> JoinedRoom:
            connection.execute(
                "INSERT INTO rooms (agent, room, joined, joined_at) VALUES (?, ?, 1, ?)"
                " ON CONFLICT (agent, room) DO UPDATE SET joined = 1, joined_at = excluded.joined_at WHERE joined = 0",
                (agent, room, now),
            )
            if connection.changes():
                add_event(connection, agent=agent, kind="room", type_="joined", at=now, room=room)
            return _one(connection, agent, room)

        return await self._database.write(write)

    async def leave(self, agent: AgentId, room: RoomId, now: int) -> bool:
        """End the membership; the log stays. Returns whether there was one."""

        def write(connection: apsw.Connection) -> bool:
            connection.execute(
                "UPDATE rooms SET joined = 0 WHERE agent = ? AND room = ? AND joined = 1",
                (agent, room),
            )
            left = bool(connection.changes())
            if left:
                add_event(connection, agent=agent, kind="room", type_="left", at=now, room=room)
            return left

        return await self._database.write(write)

    async def configure(
        self,
        agent: AgentId,
        room: RoomId,
        *,
        retention: RetentionClass | None = None,
        description: str | None = None,
        mirror: bool | None = None,
    ) -> JoinedRoom:
        """Change how a room is kept, joined or not; None leaves a thing as it is. Nothing is forgotten by it: that is
        `RoomLog.expire`."""

        def write(connection: apsw.Connection) -> JoinedRoom:
            connection.execute("INSERT OR IGNORE INTO rooms (agent, room) VALUES (?, ?)", (agent, room))
            connection.execute(
                "UPDATE rooms SET retention = coalesce(?, retention), description = coalesce(?, description),"
                " mirror = coalesce(?, mirror) WHERE agent = ? AND room = ?",
                (retention, description, mirror, agent, room),
            )
            return _one(connection, agent, room)

        return await self._database.write(write)

    async def joined(self, agent: AgentId) -> list[JoinedRoom]:
        """The rooms that the agent is a member of, by name."""
        return await self._list(JOINED, agent)

    async def kept(self, agent: AgentId) -> list[JoinedRoom]:
        """All rooms of which something is kept, those too that were left or are mirrored only, by name."""
        return await self._list(KEPT, agent)

    async def get(self, agent: AgentId, room: RoomId) -> JoinedRoom | None:
        """One room, joined or not; None if nothing is kept of it."""

        def read(connection: apsw.Connection) -> JoinedRoom | None:
            row: Any = connection.execute(ONE, (agent, room)).fetchone()
            return None if row is None else _room(*row)

        return await self._database.read(read)

    async def _list(self, query: str, agent: AgentId) -> list[JoinedRoom]:
        def read(connection: apsw.Connection) -> list[JoinedRoom]:
            rows: Any = connection.execute(query, (agent,))
            return [_room(*columns) for columns in rows]

        return await self._database.read(read)


def _one(connection: apsw.Connection, agent: AgentId, room: RoomId) -> JoinedRoom:
    row: Any = connection.execute(ONE, (agent, room)).fetchone()
    return _room(*row)
