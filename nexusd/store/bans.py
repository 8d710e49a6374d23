"""Bans, over restarts. Which hold, and how many there may be, is not decided here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from nexusd.store.database import Database
from nexusd_protocols.identity import PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """A peer is refused from `since` until `until`, unix milliseconds. `times` counts the bans of this peer that are
    remembered, this one included; `by_hand`: a person imposed it."""

    peer: PeerId
    reason: str
    since: int
    until: int
    times: int = 1
    by_hand: bool = False


class Bans:
    """One row a peer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, ban: Ban) -> None:
        """Keep a ban, in place of the peer's last one."""
        values = (ban.peer, ban.reason, ban.since, ban.until, ban.times, ban.by_hand)
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO bans (peer, reason, since, until, times, by_hand) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (peer) DO UPDATE SET reason = excluded.reason, since = excluded.since,"
                " until = excluded.until, times = excluded.times, by_hand = excluded.by_hand",
                values,
            )
        )

    async def remove(self, peers: Iterable[PeerId]) -> None:
        """Forget them."""
        rows = [(peer,) for peer in peers]

        def write(connection: apsw.Connection) -> None:
            connection.executemany("DELETE FROM bans WHERE peer = ?", rows)

        await self._database.write(write)

    async def list(self) -> list[Ban]:
        """All that are kept, the oldest first."""
        return await self._database.read(
            lambda connection: [
                Ban(peer=PeerId(peer), reason=reason, since=since, until=until, times=times, by_hand=bool(by_hand))
                for peer, reason, since, until, times, by_hand in connection.execute(
                    "SELECT peer, reason, since, until, times, by_hand FROM bans ORDER BY since, id"
                )
            ]
        )
