"""The event feed: what is stored is read from the log behind a cursor, what is live is handed out as it happens.

A stored event (room message, direct message, finished call) survives a reader's absence; a live one (peer, presence,
progress) is for whoever listens now. Live channels are bounded: what finds a reader's full is lost to that reader, and
counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from nexusd.services.ports import LiveEvent, NameOf
from nexusd.services.views import event_view
from nexusd.store import Store
from nexusd_protocols.rpc.schema import EventKind

LIVE_BACKLOG = 1024
"""Live events that one reader may be behind: a burst of presence from a room of that size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event of the log, ready for a door."""

    cursor: int
    kind: EventKind
    type: str
    at: int
    data: Any


@dataclass(slots=True)
class _Listener:
    send: trio.MemorySendChannel[LiveEvent]
    kinds: Collection[EventKind] | None
    room: str | None
    peer: str | None

    def wants(self, event: LiveEvent) -> bool:
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.room is None or event.room == self.room)
            and (self.peer is None or event.peer == self.peer)
        )


class Events:
    """Stored events by cursor, live events by listening."""

    def __init__(self, store: Store, name_of: NameOf) -> None:
        self._store = store
        self._name_of = name_of
        self._listeners: dict[int, _Listener] = {}
        self._next_key = 0
        self.lost = 0
        """Live events that a reader was too far behind for, since the start."""

    def emit(self, event: LiveEvent) -> None:
        """Hand a live event to everyone who listens for it; never waits."""
        for listener in list(self._listeners.values()):
            if listener.wants(event):
                try:
                    listener.send.send_nowait(event)
                except trio.WouldBlock:
                    self.lost += 1
                except trio.BrokenResourceError:
                    continue  # it is leaving

    @asynccontextmanager
    async def subscribe_live(
        self, kinds: Collection[EventKind] | None = None, room: str | None = None, peer: str | None = None
    ) -> AsyncIterator[trio.MemoryReceiveChannel[LiveEvent]]:
        """Receive live events while the context is held."""
        send, receive = trio.open_memory_channel[LiveEvent](LIVE_BACKLOG)
        key = self._next_key
        self._next_key += 1
        self._listeners[key] = _Listener(send, kinds, room, peer)
        try:
            async with receive:
                yield receive
        finally:
            del self._listeners[key]
            send.close()

    async def read(
        self,
        *,
        after: int,
        kinds: Collection[EventKind] | None = None,
        room: str | None = None,
        peer: str | None = None,
        limit: int = 200,
    ) -> list[StoredEvent]:
        """Stored events behind a cursor, oldest first: at most `limit`, fewer where they are large, none at the end."""
        rows = await self._store.events.read(after=after, limit=limit, kinds=kinds, room=room, peer=peer)
        return [
            StoredEvent(cursor=row.cursor, kind=row.kind, type=row.type, at=row.at, data=event_view(row, self._name_of))
            for row in rows
        ]

    def newest(self) -> int:
        """The cursor of the newest stored event; 0 where there is none."""
        return self._store.database.watermark.value

    async def wait_beyond(self, cursor: int) -> int:
        """Wait until something is stored behind the cursor; the newest cursor then."""
        return await self._store.events.wait_beyond(cursor)
