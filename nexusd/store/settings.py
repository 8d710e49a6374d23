"""Small facts that a node, or one of its agents, keeps over restarts: its port, its profile."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from nexusd.store.database import Database
from nexusd_protocols.identity import AgentId

NODE = AgentId("")
"""Stands for the node itself."""


class Settings:
    """Text by key, for the node or for an agent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str, *, agent: AgentId = NODE) -> str | None:
        """The value, or None if it was never set."""

        def read(connection: apsw.Connection) -> str | None:
            value: str | None = connection.execute(
                "SELECT value FROM settings WHERE agent = ? AND key = ?", (agent, key)
            ).get
            return value

        return await self._database.read(read)

    async def set(self, key: str, value: str, *, agent: AgentId = NODE) -> None:
        """Store one value."""
        await self.set_many({key: value}, agent=agent)

    async def set_many(self, values: Mapping[str, str], *, agent: AgentId = NODE) -> None:
        """Store them all, or none."""
        rows = [(agent, key, value) for key, value in values.items()]

        def write(connection: apsw.Connection) -> None:
            connection.executemany(
                "INSERT INTO settings (agent, key, value) VALUES (?, ?, ?)"
                " ON CONFLICT (agent, key) DO UPDATE SET value = excluded.value",
                rows,
            )

        await self._database.write(write)
