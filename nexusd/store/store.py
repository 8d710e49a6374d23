"""The store of one node: one database, and one object for each kind of thing kept in it.

Every method is async, safe to call from any number of tasks, and returns after its write is on disk. Everything that
belongs to an agent names it. Times are arguments: the store knows no clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nexusd.store.bans import Bans
from nexusd.store.capabilities import Capabilities
from nexusd.store.database import Database
from nexusd.store.dht import Dht
from nexusd.store.errors import StorageFailedError
from nexusd.store.events import Events
from nexusd.store.inbox import Inbox
from nexusd.store.invocations import Invocations
from nexusd.store.peers import Peers
from nexusd.store.room_batches import RoomBatches
from nexusd.store.room_log import RoomLog
from nexusd.store.rooms import Rooms
from nexusd.store.settings import Settings
from nexusd.store.watermark import Watermark


class Store:
    """Open it with `Store.open`; a lock on the data directory keeps a second daemon from doing the same."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.settings = Settings(database)
        self.rooms = Rooms(database)
        self.log = RoomLog(database)
        self.batches = RoomBatches(database)
        self.inbox = Inbox(database)
        self.peers = Peers(database)
        self.bans = Bans(database)
        self.capabilities = Capabilities(database)
        self.invocations = Invocations(database)
        self.events = Events(database)
        self.dht = Dht(database)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, vfs: str = "", exclusive: bool = False) -> AsyncIterator[Store]:
        """Open the store in that file, making or migrating it if need be; leaving finishes what was asked and closes
        it. Raises NewerStoreError, StorageCorruptError, StorageError. The options are `Database.open`'s."""
        async with Database.open(path, watermark=Watermark("events"), vfs=vfs, exclusive=exclusive) as database:
            yield cls(database)

    async def backup(self, path: Path) -> None:
        """Copy all of it to a new file, while it stays in use. Raises FileExistsError, StorageError."""
        await self.database.backup(path)

    async def wait_failed(self) -> StorageFailedError:
        """Wait until the disk has failed so that nothing can be stored any more: reason to stop the daemon."""
        return await self.database.wait_failed()

    @property
    def failed(self) -> bool:
        """Whether the disk has failed so that nothing is stored any more."""
        return self.database.failed
