"""Blocks from here, or else from peers: those that are connected, those that were named, those that the DHT names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final, Self

import structlog
import trio

from nexusd.host.ports import BlockSession, HostError, NotFoundError
from nexusd.services.content.ports import Names
from nexusd.services.content.shelf import Shelf
from nexusd.services.work import at_leisure
from nexusd_protocols.content.block import Block, read_block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId

log = structlog.get_logger(__name__)

BLOCK_SECONDS: Final = 30.0
"""For one block, from whoever has it: the largest one over a line of 600 kbit/s."""


class Fetcher:
    """One task's, or several tasks', way to the blocks below a root. Hold it in `async with`. Nothing is asked of
    anybody until something is missing here."""

    def __init__(self, shelf: Shelf, names: Names, root: Cid, peers: Iterable[PeerId] = ()) -> None:
        self._shelf = shelf
        self._names = names
        self._root = root
        self._peers = set(peers)
        self._session: BlockSession | None = None
        self._searching = trio.Lock()
        self._searched = False
        self.fetched = 0
        """Bytes that came from peers."""

    @property
    def peers(self) -> int:
        """Peers that were named, by whoever asked or by the DHT."""
        return len(self._peers)

    def add_peers(self, peers: Iterable[PeerId]) -> None:
        """Ask these too."""
        more = set(peers) - self._peers
        self._peers |= more
        if self._session is not None and more:
            self._session.add_peers(more)

    async def block(self, cid: Cid, *, timeout: float = BLOCK_SECONDS) -> Block:
        """The block, from here or stored before this returns. Raises HostError, BlockError, StorageError."""
        return await self._shelf.blocks.get(cid) or await self.fetch(cid, timeout=timeout)

    async def fetch(self, cid: Cid, *, timeout: float = BLOCK_SECONDS) -> Block:
        """The same, of a block that is not here."""
        session = await self._open()
        try:
            data = await session.get(cid, timeout=timeout)
        except NotFoundError:
            if not await self.search():
                raise
            data = await session.get(cid, timeout=timeout)
        block = await at_leisure(len(data), partial(read_block, cid, data))
        await self._shelf.put([block])
        self.fetched += len(data)
        return block

    async def search(self, *, again: bool = False) -> bool:
        """Ask the DHT who has the root, once unless `again`. Returns whether it named anybody new."""
        async with self._searching:
            if self._searched and not again:
                # another task has just searched: what it found is being asked
                return True
            try:
                found = await self._names.find_providers(str(self._root))
            except (HostError, ValueError) as error:
                log.debug("providers_unknown", cid=str(self._root), error=str(error))
                found = []
            self._searched = True
            new = {provider.peer for provider in found} - self._peers
            self.add_peers(new)
            return bool(new)

    async def _open(self) -> BlockSession:
        if self._session is None:
            self._session = await self._shelf.exchange.session().__aenter__()
            self._session.add_peers(self._peers)
        return self._session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.__aexit__(*exc)


def first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    """One of the errors of several tasks, which fail together for one reason."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error
