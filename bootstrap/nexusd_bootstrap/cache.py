"""Peers that this node knows from before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

from nexusd_bootstrap.candidate import ADDRESSES, Candidate
from nexusd_protocols.identity import PeerId

CACHED_PEERS: Final = 50
"""The first that are tried after a start; whoever keeps the peers tries the rest in its own time."""


class Cache:
    """Offers the remembered peers once, in the order in which they are given: the best first."""

    name: Final = "cache"

    def __init__(
        self,
        load: Callable[[], Awaitable[Iterable[tuple[PeerId, Iterable[str]]]]],
        *,
        max_peers: int = CACHED_PEERS,
    ) -> None:
        """`load` reads the peers with their addresses (without /p2p) from wherever they are kept."""
        self._load = load
        self._max_peers = max_peers
        self._offered = 0

    async def run(
        self,
        found: trio.MemorySendChannel[Candidate],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """See `Source.run`. Raises what `load` raises."""
        self._offered = 0
        task_status.started()
        for peer, addresses in await self._load():
            if self._offered >= self._max_peers:
                return
            kept = tuple(addresses)[:ADDRESSES]
            if kept:
                await found.send(Candidate(peer, kept, self.name))
                self._offered += 1

    def describe(self) -> str:
        """See `Source.describe`."""
        return f"{self._offered} remembered peers offered"
