"""Capabilities that the daemon serves itself (a command, a chat endpoint), kept over restarts."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from nexusd.store.database import Database
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName


@dataclass(frozen=True, slots=True)
class CapabilityRow:
    """`spec` is JSON: how it is served, as the service wrote it."""

    name: CapabilityName
    spec: str
    put_at: int


class Capabilities:
    """Each agent's capabilities."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, agent: AgentId, name: CapabilityName, spec: str, now: int) -> None:
        """Store one, in the place of any of that name."""
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO capabilities (agent, name, spec, put_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (agent, name) DO UPDATE SET spec = excluded.spec, put_at = excluded.put_at",
                (agent, name, spec, now),
            )
        )

    async def remove(self, agent: AgentId, name: CapabilityName) -> bool:
        """Returns whether there was one."""

        def write(connection: apsw.Connection) -> bool:
            connection.execute("DELETE FROM capabilities WHERE agent = ? AND name = ?", (agent, name))
            return bool(connection.changes())

        return await self._database.write(write)

    async def list(self, agent: AgentId) -> list[CapabilityRow]:
        """All of the agent's, by name."""

        def read(connection: apsw.Connection) -> list[CapabilityRow]:
            rows = connection.execute(
                "SELECT name, spec, put_at FROM capabilities WHERE agent = ? ORDER BY name", (agent,)
            )
            return [CapabilityRow(CapabilityName(name), spec, put_at) for name, spec, put_at in rows]

        return await self._database.read(read)
