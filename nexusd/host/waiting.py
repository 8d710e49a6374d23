"""Tasks that wait: for something to change, by what they wait for, and for a lock."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import trio

KeyT = TypeVar("KeyT", bound=Hashable | None)


class Turns:
    """A lock that costs little where nobody contends for it: Trio's own takes a turn of the scheduler to acquire, and
    keeps a list of holders. Whoever waits gets it in order. Release it in the task that has it, and always."""

    def __init__(self) -> None:
        self.taken = False
        self._queue = trio.lowlevel.ParkingLot()
        self._waiting = 0

    async def take(self) -> None:
        """Have it. Cancelled, the caller does not."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.taken:
            self._waiting += 1
            try:
                await self._queue.park()  # whoever releases hands it over
            finally:
                self._waiting -= 1
        self.taken = True

    def release(self) -> None:
        """Hand it to the next."""
        self.taken = bool(self._waiting and self._queue.unpark())

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *exc: object) -> None:
        self.release()


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
