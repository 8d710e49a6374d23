"""Rooms that an agent joined. What was said in them is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apsw

from nexusd.store.database import Database
from nexusd.store.event_log import add_event
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import RoomId


@dataclass(frozen=True, slots=True)
class JoinedRoom:
    """A room that an agent is a member of. `messages` counts those stored."""

    room: RoomId
    joined_at: int
    messages: int


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
            row: Any = connection.execute(
                "SELECT joined_at, messages FROM rooms WHERE agent = ? AND room = ?", (agent, room)
            ).fetchone()
            return JoinedRoom(room, *row)

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

    async def joined(self, agent: AgentId) -> list[JoinedRoom]:
        """The agent's rooms, by name."""

        def read(connection: apsw.Connection) -> list[JoinedRoom]:
            rows = connection.execute(
                "SELECT room, joined_at, messages FROM rooms WHERE agent = ? AND joined = 1 ORDER BY room", (agent,)
            )
            return [JoinedRoom(RoomId(room), joined_at, messages) for room, joined_at, messages in rows]

        return await self._database.read(read)
