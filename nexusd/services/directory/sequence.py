"""Numbers for pointers, each higher than all before it: the newest pointer of an issuer wins everywhere.

Numbers begin at the clock's milliseconds, so that a node that lost its disk goes on above its old ones; a block of them
is reserved on disk before its first is used, so that neither a clock that went back nor a crash repeats one.
"""

from __future__ import annotations

from typing import Final

from nexusd.services.ports import WallClock
from nexusd.store import Store

_KEY: Final = "directory/seq"
_BLOCK: Final = 1000


class Sequence:
    """One counter for all pointers of this node."""

    def __init__(self, store: Store, clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self._last = 0
        self._reserved = 0

    async def load(self) -> None:
        """Continue above what was reserved before."""
        self._last = self._reserved = max(int(await self._store.settings.get(_KEY) or 0), self._clock())

    async def next(self) -> int:
        """A number that was never given before. Raises OSError."""
        self._last += 1
        number = self._last
        if number > self._reserved:
            reserve = number + _BLOCK
            await self._store.settings.set(_KEY, str(reserve))
            self._reserved = max(self._reserved, reserve)
        return number

    def exceed(self, number: int) -> None:
        """Others know a higher one: the disk was lost, and the clock was ahead once."""
        self._last = max(self._last, number)
