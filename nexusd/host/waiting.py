"""Tasks that wait: for something to change, by what they wait for, and for a lock."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import trio

KeyT = TypeVar("KeyT", bound=Hashable | None)


async def acquire(lock: trio.Lock) -> None:
    """Take a lock; a free one at once, where Trio's own call costs each caller a turn of the scheduler. Release it."""
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


class Waiting(Generic[KeyT]):
    """Nothing is kept of a key for which nobody waits, so nothing of it leaks, whoever is cancelled."""

    def __init__(self) -> None:
        self._events: dict[KeyT, trio.Event] = {}

    def __len__(self) -> int:
        """Keys for which somebody waits."""
        return len(self._events)

    async def wait(self, key: KeyT) -> None:
        """Until `wake` is called for the key."""
        event = self._events.get(key)
        if event is None:
            event = self._events[key] = trio.Event()
        try:
            await event.wait()
        finally:
            if self._events.get(key) is event and not event.statistics().tasks_waiting:
                del self._events[key]

    def wake(self, key: KeyT) -> None:
        """Wake all who wait for it."""
        event = self._events.pop(key, None)
        if event is not None:
            event.set()
