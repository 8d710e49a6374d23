"""What was refused because of its author may come once the author is refused no more.

A tombstone does not say whose message it stands for. So whenever somebody is let in again, and at the start, when rules
may be others than before and bans may be over, all of that reason go; what is still refused is brought once more, and
buried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog
import trio

from nexusd.services.rooms.intake import AUTHOR_REFUSED
from nexusd.services.rooms.joined import Joined
from nexusd.store import Store

log = structlog.get_logger(__name__)

SETTLE_S: Final = 5.0
"""Bans end in groups; each time costs a look at all that is known of each room."""


class Amnesty:
    """For all rooms."""

    def __init__(self, *, store: Store, rooms: Callable[[], Sequence[Joined]]) -> None:
        self._store = store
        self._rooms = rooms
        self._due = trio.Event()
        self._due.set()

    def declare(self) -> None:
        """Somebody is refused no more. Never waits."""
        self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            for joined in self._rooms():
                try:
                    await self.grant(joined)
                except OSError as error:
                    log.warning("room_tombstones_kept", room=joined.room, error=str(error))  # until the next time
            await trio.sleep(SETTLE_S)

    async def grant(self, joined: Joined) -> None:
        """Forget whom this room refused. The next comparison brings what that was."""
        forgiven = await self._store.log.forgive(joined.agent.id, joined.room, AUTHOR_REFUSED)
        if forgiven:
            joined.tombstones = None
            log.info("room_tombstones_cleared", room=joined.room, reason=AUTHOR_REFUSED, count=forgiven)
