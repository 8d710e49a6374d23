"""Numbers that rise and never repeat, whatever the clock does and however the daemon ended.

They begin at the clock, so that a node that lost its disk goes on above its old ones; a block of them is reserved on
disk before its first is used, so that neither a clock that went back nor a crash repeats one.
"""

from __future__ import annotations

from nexusd.services.ports import WallClock
from nexusd.store import Store


class Sequence:
    """One counter of this node. `key` is its name in the store; the clock gives `per_ms` numbers a millisecond; `block`
    of them are reserved at once."""

    def __init__(self, store: Store, clock: WallClock, key: str, *, per_ms: int, block: int) -> None:
        self._store = store
        self._clock = clock
        self._key = key
        self._per_ms = per_ms
        self._block = block
        self._last = 0
        self._reserved = 0

    async def load(self) -> None:
        """Continue above what was reserved before."""
        kept = int(await self._store.settings.get(self._key) or 0)
        self._last = self._reserved = max(kept, self._clock() * self._per_ms)

    async def next(self) -> int:
        """A number that was never given before. Raises OSError."""
        self._last += 1
        number = self._last
        if number > self._reserved:
            reserve = number + self._block
            await self._store.settings.set(self._key, str(reserve))
            self._reserved = max(self._reserved, reserve)
        return number

    def exceed(self, number: int) -> None:
        """Others know a higher one: the disk was lost, and the clock was ahead once."""
        self._last = max(self._last, number)
