"""What is kept, for whom, for how long, and how much of it there may be.

What this node's own agents put or keep is limited by the disk. What is kept for others (a room's batches, content that
messages refer to) has budgets: one for all of it, one for each room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from nexusd.agents import Agents
from nexusd.host.ports import HostError
from nexusd.services.content.ports import Names
from nexusd.services.content.shelf import Shelf
from nexusd.services.ports import WallClock
from nexusd.store.blocks import Pin
from nexusd.store.errors import QuotaExceededError
from nexusd_protocols import limits
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import RetentionClass, expires_at
from nexusd_protocols.identity import AgentId

log = structlog.get_logger(__name__)

USER: Final = "user"
CACHE: Final = "cache"
UPLOAD: Final = "upload"
ROOM: Final = "room:"
PINS: Final = 64
"""Pins of one CID that are looked at: an agent has a few."""
PROVIDED: Final = 512
"""Roots of ours that the DHT is told of: half of what it tells in all, the rest is the directory's."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Bytes kept for others, and of these for one room."""

    total: int
    room: int


class Keeping:
    """Pins of this node's agents."""

    def __init__(self, agents: Agents, shelf: Shelf, names: Names, budgets: Budgets, clock: WallClock) -> None:
        self._agents = agents
        self._shelf = shelf
        self._names = names
        self._clock = clock
        self.budgets: Final = budgets
        self._provided: dict[Cid, None] = {}

    async def pin(
        self, agent: AgentId, owner: str, cid: Cid, retention: RetentionClass, *, name: str = "", size: int = 0
    ) -> Pin:
        """Keep something from now on, in place of what that owner said of it before; it is on disk when this returns.
        Raises QuotaExceededError for a room's that is over a budget."""
        now = self._clock()
        pin = Pin(
            agent=agent,
            owner=owner,
            cid=cid,
            retention=retention,
            name=name,
            size=size,
            created_at=now,
            expires_at=expires_at(retention, now),
        )
        await self.check(agent, owner, cid, size)
        await self._shelf.blocks.pin(pin, now=now)
        return pin

    async def load(self) -> None:
        """Find what the DHT was told of before."""
        for agent in self._agents:
            after = 0
            while True:
                page = await self._shelf.blocks.pins(agent.id, USER, after=after, limit=limits.PAGE_ROWS)
                for pin in page.rows:
                    self._provided[pin.cid] = None
                    after = pin.position
                if not page.more:
                    break
        while len(self._provided) > PROVIDED:
            del self._provided[next(iter(self._provided))]

    async def withdraw_expired(self) -> None:
        """Tell the DHT no more of what is not kept any longer."""
        for cid in list(self._provided):
            if not await self._pins_of(cid):
                await self.withdraw(cid)

    async def _pins_of(self, cid: Cid) -> list[Pin]:
        return await self._shelf.blocks.pins_of(cid, PINS)

    async def check(self, agent: AgentId, owner: str, cid: Cid, size: int) -> None:
        """Raises QuotaExceededError if something of so many bytes, kept for a room, would be over a budget. What is
        kept of it already does not count."""
        if not owner.startswith(ROOM):
            return
        before = [pin.size for pin in await self._pins_of(cid) if (pin.agent, pin.owner) == (agent, owner)]
        left, total = await self.left(owner)
        if size - sum(before) > left:
            raise QuotaExceededError(
                f"{owner.removeprefix(ROOM)} has {self.budgets.room} bytes of this host (storage_room)"
                if left < total
                else f"Others have {self.budgets.total} bytes of this host (storage_total)"
            )

    async def left(self, owner: str) -> tuple[int, int]:
        """Bytes that may still be kept for a room, and for others altogether."""
        kept = await self._shelf.blocks.owners()
        others = sum(pinned.bytes for name, pinned in kept.items() if name.startswith(ROOM))
        own = kept[owner].bytes if owner in kept else 0
        total = max(0, self.budgets.total - others)
        return min(total, max(0, self.budgets.room - own)), total

    async def provide(self, cid: Cid) -> None:
        """Tell the DHT that this node has it; the oldest of too many is told of no more."""
        self._provided.pop(cid, None)
        self._provided[cid] = None
        try:
            if len(self._provided) > PROVIDED:
                oldest = next(iter(self._provided))
                del self._provided[oldest]
                await self._names.stop_providing(str(oldest))
            await self._names.provide(str(cid))
        except (HostError, OSError, ValueError) as error:
            # whoever is connected can have it all the same
            log.info("content_not_announced", cid=str(cid), error=str(error))

    async def withdraw(self, cid: Cid) -> None:
        """Tell the DHT of it no more."""
        self._provided.pop(cid, None)
        try:
            await self._names.stop_providing(str(cid))
        except (HostError, OSError, ValueError) as error:
            log.info("content_not_withdrawn", cid=str(cid), error=str(error))
