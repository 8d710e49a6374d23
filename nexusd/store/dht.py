"""What the node keeps of the DHT over a restart: what it tells of itself, and what it keeps for others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apsw
import msgspec

from nexusd.store.database import Database
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.providers import ProviderEntry
from nexusd_protocols.kad.records import StoredRecord
from nexusd_protocols.kad.renewals import Renewal, Sort
from nexusd_protocols.kad.saved import Saved

_addresses: Final = msgspec.json.Decoder(tuple[bytes, ...])

OWN: Final = "SELECT sort, key, value, due_at, failures FROM dht_own ORDER BY id"
RECORDS: Final = "SELECT key, value, peer, received_at FROM dht_records ORDER BY received_at, id"
PROVIDERS: Final = "SELECT key, peer, addresses, subnet, received_at FROM dht_providers ORDER BY received_at, id"


class Dht:
    """The node's part of the DHT."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Saved:
        """All of it, what came first first."""

        def read(connection: apsw.Connection) -> Saved:
            return Saved(
                own=[Renewal(*columns) for columns in connection.execute(OWN)],
                records=[
                    StoredRecord(key, value, PeerId(peer), at) for key, value, peer, at in connection.execute(RECORDS)
                ],
                providers=[
                    ProviderEntry(key, PeerId(peer), _addresses.decode(addresses), subnet, at)
                    for key, peer, addresses, subnet, at in connection.execute(PROVIDERS)
                ],
            )

        return await self._database.read(read)

    async def keep_own(self, renewal: Renewal) -> None:
        """Store what the node tells of itself, in the place of any of its sort and key."""
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO dht_own (sort, key, value, due_at, failures) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (sort, key) DO UPDATE SET value = excluded.value, due_at = excluded.due_at,"
                " failures = excluded.failures",
                (renewal.sort, renewal.key, renewal.value, renewal.due_at, renewal.failures),
            )
        )

    async def drop_own(self, sort: Sort, key: bytes) -> None:
        """The node tells of it no more."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM dht_own WHERE sort = ? AND key = ?", (sort, key))
        )

    async def keep_others(
        self,
        records: Iterable[tuple[bytes, StoredRecord | None]],
        providers: Iterable[tuple[tuple[bytes, PeerId], ProviderEntry | None]],
    ) -> None:
        """Follow changes of what is kept for others, all or none: by key, None for what is gone."""
        changed_records, changed_providers = tuple(records), tuple(providers)

        def write(connection: apsw.Connection) -> None:
            for key, record in changed_records:
                _follow_record(connection, key, record)
            for name, entry in changed_providers:
                _follow_provider(connection, *name, entry)

        await self._database.write(write)


def _follow_record(connection: apsw.Connection, key: bytes, record: StoredRecord | None) -> None:
    if record is None:
        connection.execute("DELETE FROM dht_records WHERE key = ?", (key,))
        return
    connection.execute(
        "INSERT INTO dht_records (key, value, peer, received_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, peer = excluded.peer,"
        " received_at = excluded.received_at",
        (record.key, record.value, record.peer, record.received_at),
    )


def _follow_provider(connection: apsw.Connection, key: bytes, peer: PeerId, entry: ProviderEntry | None) -> None:
    if entry is None:
        connection.execute("DELETE FROM dht_providers WHERE key = ? AND peer = ?", (key, peer))
        return
    connection.execute(
        "INSERT INTO dht_providers (key, peer, addresses, subnet, received_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (key, peer) DO UPDATE SET addresses = excluded.addresses, subnet = excluded.subnet,"
        " received_at = excluded.received_at",
        (key, peer, msgspec.json.encode(entry.addresses).decode(), entry.subnet, entry.received_at),
    )
