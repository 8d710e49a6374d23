"""Blocks going in and out of the store: while there is room on the disk, and told to peers that wait for them."""

from __future__ import annotations

from collections.abc import Sequence

from nexusd.host.ports import BlockExchange
from nexusd.services.content.disk import Disk
from nexusd.services.ports import WallClock
from nexusd.store.blocks import Blocks
from nexusd.store.errors import StorageFullError
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId


class Shelf:
    """The store's blocks, as this service uses them. Implements `host.ports.BlockSource` for the exchange: whoever
    knows a CID may have its block."""

    def __init__(self, blocks: Blocks, disk: Disk, exchange: BlockExchange, clock: WallClock) -> None:
        self.blocks = blocks
        self.disk = disk
        self.exchange = exchange
        self._clock = clock

    async def put(self, blocks: Sequence[Block]) -> None:
        """Store blocks: they are on disk when this returns. Raises StorageFullError, StorageError."""
        if not blocks:
            return
        await self._check(blocks)
        await self.blocks.put(blocks, now=self._clock())
        self.exchange.arrived([block.cid for block in blocks])

    async def _check(self, blocks: Sequence[Block]) -> None:
        try:
            self.disk.check(sum(len(block.data) for block in blocks))
        except StorageFullError:
            # what is here takes no room, and what was removed has left some in the file: queries tell
            here = await self.blocks.has([block.cid for block in blocks])
            size = sum(len(block.data) for block in blocks if block.cid not in here)
            if size:
                self.disk.check(size, inside=await self.blocks.free_bytes())

    # --- host.ports.BlockSource ---------------------------------------------------------------------------------------

    async def size(self, cid: Cid, peer: PeerId) -> int | None:
        """Bytes of a block."""
        return await self.blocks.size(cid)

    async def get(self, cid: Cid, peer: PeerId) -> bytes | None:
        """A block's bytes."""
        block = await self.blocks.get(cid, links=False)
        return None if block is None else block.data
