"""Sequence numbers for pubsub that never repeat, whatever the clock does and however the daemon ended.

Numbers begin at the clock's nanoseconds, so that a node that lost its disk goes on above its old ones; a block of them
is reserved on disk before its first is used, so that a clock that went back cannot repeat one.
"""

from __future__ import annotations

from typing import Final

from nexusd.services.ports import WallClock
from nexusd.store import Store

_KEY: Final = "pubsub/seqno"
_BLOCK: Final = 1 << 20


class Sequence:
    """One counter for all authors of this node."""

    def __init__(self, store: Store, clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self._last = 0
        self._reserved = 0

    async def load(self) -> None:
        """Continue above what was reserved before."""
        self._last = max(int(await self._store.settings.get(_KEY) or 0), self._clock() * 1_000_000)
        self._reserved = self._last

    async def next(self) -> int:
        """A number that was never given before."""
        self._last += 1
        number = self._last
        if number > self._reserved:
            reserve = number + _BLOCK
            await self._store.settings.set(_KEY, str(reserve))
            self._reserved = max(self._reserved, reserve)
        return number
