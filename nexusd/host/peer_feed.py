"""Peer events to any number of readers, none of which can hold up the host or another."""

from __future__ import annotations

from collections import deque
from typing import Final
from weakref import WeakSet

import structlog
import trio

from nexusd.host.ports import PeerEvent

_log = structlog.get_logger(__name__)

BACKLOG: Final = 4096
"""Events kept for a reader that is behind: every peer of a full node twenty times over."""


class PeerEvents:
    """One reader's view: an async iterator that ends when the host does."""

    def __init__(self, size: int = BACKLOG) -> None:
        self._queue: deque[PeerEvent] = deque()
        self._size = size
        self._wake = trio.Event()
        self._closed = False
        self.dropped = 0

    def __aiter__(self) -> PeerEvents:
        return self

    async def __anext__(self) -> PeerEvent:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._wake = trio.Event()
            await self._wake.wait()
        return self._queue.popleft()

    def put(self, event: PeerEvent) -> None:
        """Append an event; the oldest goes if the reader is too far behind."""
        if len(self._queue) >= self._size:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("peer_events_dropped", backlog=self._size)
        self._queue.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the iteration once everything was read."""
        self._closed = True
        self._wake.set()


class PeerFeed:
    """Where the host announces; a reader that nobody holds any more is forgotten."""

    def __init__(self) -> None:
        self._readers: WeakSet[PeerEvents] = WeakSet()
        self._closed = False

    def subscribe(self) -> PeerEvents:
        """All events from now on."""
        reader = PeerEvents()
        if self._closed:
            reader.close()
        self._readers.add(reader)
        return reader

    def announce(self, event: PeerEvent) -> None:
        """Hand an event to every reader."""
        for reader in list(self._readers):
            reader.put(event)

    def close(self) -> None:
        """No more events will come."""
        self._closed = True
        for reader in list(self._readers):
            reader.close()
