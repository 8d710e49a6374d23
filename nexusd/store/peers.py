"""Peers that the node has seen, where they may be dialled, and which of them are blocked. The node's, not an agent's:
all its agents share its connections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import apsw
import msgspec

from nexusd.store.database import Database
from nexusd_protocols.identity import PeerId

PEER_ADDRESSES: Final = 16
"""Addresses kept for a peer, the latest seen. A host has a few for each of its interfaces."""

ADDRESS_CHARS: Final = 256
"""A relayed WebSocket address with two peer ids has about 200; longer ones are not kept."""

PEERS_KEPT: Final = 10_000
"""Peers kept when the stale are forgotten: anybody may make identities without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A peer was seen, and may be dialled at these addresses. `source` says how it was found."""

    peer: PeerId
    addresses: Sequence[str] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """What is known of a peer. `display_name` and `agent_version` are its own words ('' if it said nothing).
    `block_reason` is None unless it is blocked; a peer that was blocked and never seen has no times."""

    peer: PeerId
    addresses: tuple[str, ...] = ()
    source: str = ""
    agent_version: str = ""
    display_name: str = ""
    first_seen: int = 0
    last_seen: int = 0
    block_reason: str | None = None

    @property
    def blocked(self) -> bool:
        return self.block_reason is not None


PEER_SELECT: Final = (
    "SELECT peers.peer, addresses, source, agent_version, display_name, first_seen, last_seen, blocks.reason"
    " FROM peers LEFT JOIN blocks ON blocks.peer = peers.peer"
)

NEWEST: Final = PEER_SELECT + " ORDER BY last_seen DESC LIMIT ?"


class Peers:
    """The node's memory of peers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seen(self, peer: PeerId, *, addresses: Sequence[str] = (), source: str = "", now: int) -> None:
        """Note that a peer is there, and where."""
        await self.seen_all([Sighting(peer=peer, addresses=addresses, source=source)], now=now)

    async def seen_all(self, sightings: Iterable[Sighting], *, now: int) -> None:
        """Note many at once."""
        batch = tuple(sightings)

        def write(connection: apsw.Connection) -> None:
            for sighting in batch:
                _see(connection, sighting, now)

        await self._database.write(write)

    async def identified(self, peer: PeerId, agent_version: str, now: int) -> None:
        """Note the program that a peer says it runs."""
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO peers (peer, agent_version, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)"
                " ON CONFLICT (peer) DO UPDATE SET agent_version = ?2, last_seen = max(last_seen, ?3)",
                (peer, agent_version, now),
            )
        )

    async def named(self, peer: PeerId, display_name: str, now: int) -> None:
        """Note the name that a peer gives itself."""
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO peers (peer, display_name, first_seen, last_seen) VALUES (?1, ?2, ?3, ?3)"
                " ON CONFLICT (peer) DO UPDATE SET display_name = ?2, last_seen = max(last_seen, ?3)",
                (peer, display_name, now),
            )
        )

    async def get(self, peer: PeerId) -> PeerRow | None:
        """What is known of one peer, None if nothing is."""

        def read(connection: apsw.Connection) -> PeerRow | None:
            columns = connection.execute(PEER_SELECT + " WHERE peers.peer = ?", (peer,)).fetchone()
            if columns is not None:
                return _row(*columns)
            reason = connection.execute("SELECT reason FROM blocks WHERE peer = ?", (peer,)).get
            return None if reason is None else PeerRow(peer=peer, block_reason=reason)

        return await self._database.read(read)

    async def list(self, limit: int) -> list[PeerRow]:
        """Those seen, the latest first."""
        return await self._database.read(
            lambda connection: [_row(*columns) for columns in connection.execute(NEWEST, (limit,))]
        )

    async def forget_stale(self, before: int, *, keep: int = PEERS_KEPT) -> int:
        """Forget those not seen since `before`, and of the rest all but the `keep` latest. Blocks stay. Returns how
        many were forgotten."""

        def write(connection: apsw.Connection) -> int:
            connection.execute("DELETE FROM peers WHERE last_seen < ?", (before,))
            forgotten = int(connection.changes())
            connection.execute(
                "DELETE FROM peers WHERE id IN (SELECT id FROM peers ORDER BY last_seen DESC LIMIT -1 OFFSET ?)",
                (keep,),
            )
            return forgotten + int(connection.changes())

        return await self._database.write(write)

    async def block(self, peer: PeerId, reason: str, now: int) -> None:
        """Block a peer, seen or not; a new reason replaces the old one."""
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO blocks (peer, reason, blocked_at) VALUES (?, ?, ?)"
                " ON CONFLICT (peer) DO UPDATE SET reason = excluded.reason",
                (peer, reason, now),
            )
        )

    async def unblock(self, peer: PeerId) -> bool:
        """Returns whether the peer was blocked."""

        def write(connection: apsw.Connection) -> bool:
            connection.execute("DELETE FROM blocks WHERE peer = ?", (peer,))
            return bool(connection.changes())

        return await self._database.write(write)

    async def blocked(self) -> dict[PeerId, str]:
        """The blocked peers and why."""
        return await self._database.read(
            lambda connection: {
                PeerId(peer): reason
                for peer, reason in connection.execute("SELECT peer, reason FROM blocks ORDER BY peer")
            }
        )


_addresses: Final = msgspec.json.Decoder(tuple[str, ...])


def _see(connection: apsw.Connection, sighting: Sighting, now: int) -> None:
    known = connection.execute("SELECT addresses FROM peers WHERE peer = ?", (sighting.peer,)).get
    latest = [address for address in sighting.addresses if 0 < len(address) <= ADDRESS_CHARS]
    merged = dict.fromkeys([*latest, *(_addresses.decode(known) if known else ())])
    addresses = msgspec.json.encode(list(merged)[:PEER_ADDRESSES]).decode()
    connection.execute(
        "INSERT INTO peers (peer, addresses, source, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)"
        " ON CONFLICT (peer) DO UPDATE SET addresses = ?2, last_seen = max(last_seen, ?4),"
        " source = CASE WHEN source = '' OR ?3 IN ('manual', 'bootstrap') THEN ?3 ELSE source END",
        (sighting.peer, addresses, sighting.source, now),
    )


def _row(
    peer: str,
    addresses: str,
    source: str,
    agent_version: str,
    display_name: str,
    first_seen: int,
    last_seen: int,
    block_reason: str | None,
) -> PeerRow:
    return PeerRow(
        peer=PeerId(peer),
        addresses=_addresses.decode(addresses),
        source=source,
        agent_version=agent_version,
        display_name=display_name,
        first_seen=first_seen,
        last_seen=last_seen,
        block_reason=block_reason,
    )
