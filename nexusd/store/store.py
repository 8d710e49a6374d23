"""The store of one node: a database for what it knows and one for blocks, and an object for each kind of thing kept.

Every method is async, safe to call from any number of tasks, and returns after its write is on disk. Everything that
belongs to an agent names it. Times are arguments: the store knows no clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from nexusd.store.bans import Bans
from nexusd.store.blocks import Blocks
from nexusd.store.blocks.layout import blocks_layout
from nexusd.store.capabilities import Capabilities
from nexusd.store.database import Database
from nexusd.store.dht import Dht
from nexusd.store.errors import StorageFailedError
from nexusd.store.events import Events
from nexusd.store.inbox import Inbox
from nexusd.store.invocations import Invocations
from nexusd.store.ledger import Ledger, Metering, Purchases, Standings
from nexusd.store.peers import Peers
from nexusd.store.room_batches import RoomBatches
from nexusd.store.room_log import RoomLog
from nexusd.store.rooms import Rooms
from nexusd.store.settings import Settings
from nexusd.store.watermark import Watermark


class Store:
    """Open it with `Store.open`; a lock on the data directory keeps a second daemon from doing the same."""

    def __init__(self, database: Database, blocks: Database) -> None:
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
        self.ledger = Ledger(database)
        self.standings = Standings(database)
        self.purchases = Purchases(database)
        self.metering = Metering(database)
        self.blocks = Blocks(blocks)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, vfs: str = "", exclusive: bool = False) -> AsyncIterator[Store]:
        """Open the store in that file, and its blocks in the one beside it (`blocks_path`), making or migrating them if
        need be; leaving finishes what was asked and closes them. Raises NewerStoreError, StorageCorruptError,
        StorageError. The options are `Database.open`'s."""
        async with (
            Database.open(path, watermark=Watermark("events"), vfs=vfs, exclusive=exclusive) as database,
            Database.open(
                blocks_path(path), watermark=Watermark("pins"), layout=blocks_layout(), vfs=vfs, exclusive=exclusive
            ) as blocks,
        ):
            yield cls(database, blocks)

    async def backup(self, path: Path) -> None:
        """Copy all of it to a new file, and one for the blocks beside it, while it stays in use. The blocks are of a
        later moment than the rest, so that nothing is missing that the rest names. Raises FileExistsError,
        StorageError."""
        if blocks_path(path).exists():
            raise FileExistsError(f"{blocks_path(path)} exists already")
        await self.database.backup(path)
        await self.blocks.database.backup(blocks_path(path))

    async def wait_failed(self) -> StorageFailedError:
        """Wait until the disk has failed so that nothing can be stored any more: reason to stop the daemon."""
        failures: list[StorageFailedError] = []

        async def wait(database: Database) -> None:
            failures.append(await database.wait_failed())
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, self.database)
            nursery.start_soon(wait, self.blocks.database)
        return failures[0]

    @property
    def failed(self) -> bool:
        """Whether the disk has failed so that nothing is stored any more."""
        return self.database.failed or self.blocks.database.failed


def blocks_path(path: Path) -> Path:
    """Where the blocks of a store are: `store-blocks.sqlite` beside `store.sqlite`."""
    return path.with_name(f"{path.stem}-blocks{path.suffix}")
