"""Closed hours of a room become batches, batches days, and days a checkpoint: objects that anybody can ask for by name.

    dirty hour -> its messages -> batches -> blocks on disk -> named in the log -> day -> checkpoint -> pinned

Whoever holds the same messages makes the same objects, so nothing here is said to anybody. What comes late for an hour
makes it dirty again. The last checkpoint is pinned, with all below it; the one before it is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from nexusd.services.ports import WallClock
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Checkpointed
from nexusd.store import Store
from nexusd.store.blocks import Pin
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.content.retention import expires_at
from nexusd_protocols.history import batch as batches
from nexusd_protocols.history.bounds import DAY_HOURS, closed_before, hour_of
from nexusd_protocols.history.checkpoint import make_checkpoint
from nexusd_protocols.history.day import DayRef, day_of, make_day
from nexusd_protocols.history.errors import HistoryError

log = structlog.get_logger(__name__)

OWNER: Final = "history:"
"""Before a room's id: for whom its objects are kept. They count against the room's log, and not what is kept for
others."""
SEAL_S: Final = 60.0
"""Between looks at what has closed."""
SETTLE_S: Final = 5.0
"""After news: who catches up gets more, and an hour is sealed once."""
HOURS_AT_ONCE: Final = 48
"""Sealed before the days above them are made."""
IN_A_THREAD: Final = 2000
"""Messages of an hour whose hashing (10 ms) is too long for the loop."""


class Sealing:
    """Seals all rooms."""

    def __init__(
        self, *, store: Store, clock: WallClock, rooms: Callable[[], Sequence[Joined]], checkpointed: Checkpointed
    ) -> None:
        self._store = store
        self._clock = clock
        self._rooms = rooms
        self._checkpointed = checkpointed
        self._changed = trio.Event()
        self._sealing = trio.Lock()
        """One at a time: two would each name a head, and the last to write need not be the newer."""

    async def run(self) -> None:
        """Look at all rooms about once a minute, until cancelled."""
        while True:
            for joined in self._rooms():
                try:
                    await self.trim(joined)
                    await self.seal(joined)
                    if (head := await self._store.batches.head(joined.agent.id, joined.room)) is not None:
                        self._checkpointed(joined.room, head)
                except OSError as error:
                    log.warning("room_not_sealed", room=joined.room, error=str(error))  # the disk is full; next time
            with trio.move_on_after(SEAL_S):
                await self._changed.wait()
                await trio.sleep(SETTLE_S)
            self._changed = trio.Event()

    def hurry(self) -> None:
        """Something came that may be of closed hours: look soon."""
        self._changed.set()

    async def seal(self, joined: Joined) -> bool:
        """Make what is missing. Returns whether anything was."""
        async with self._sealing:
            return await self._seal(joined)

    async def _seal(self, joined: Joined) -> bool:
        now = self._clock()
        sealed = False
        while hours := await self._store.batches.dirty_hours(
            joined.agent.id, joined.room, closed_before(now), HOURS_AT_ONCE
        ):
            for hour in hours:
                await self._seal_hour(joined, hour, now)
            await self._seal_days(joined, sorted({day_of(hour) for hour in hours}), now)
            sealed = True
        return sealed

    async def trim(self, joined: Joined) -> None:
        """Forget what is older than the room's log is kept, here and in the checkpoint."""
        async with self._sealing:
            await self._trim(joined)

    async def _trim(self, joined: Joined) -> None:
        now = self._clock()
        if joined.horizon(now) == joined.trimmed:
            return
        gone = await self._store.log.expire(joined.agent.id, joined.room, joined.horizon(now))
        if gone:
            log.info("room_trimmed", room=joined.room, forgotten=gone)
            joined.log_bytes = await self._store.log.log_bytes(joined.agent.id, joined.room)
            joined.tombstones = None
            await self._seal_days(joined, [day_of(hour_of(joined.horizon(now)))], now)
        joined.trimmed = joined.horizon(now)

    async def _seal_hour(self, joined: Joined, hour: int, now: int) -> None:
        held = await self._store.batches.signed_of_hour(joined.agent.id, joined.room, hour)
        work = partial(batches.batches, joined.room, hour, held.signed)
        made = await trio.to_thread.run_sync(work) if len(held.signed) > IN_A_THREAD else work()
        await self._store.blocks.put([block for _, block in made], now=now)
        await self._store.batches.save_batches(
            joined.agent.id, joined.room, hour, held.changes, [ref for ref, _ in made]
        )

    async def _seal_days(self, joined: Joined, days: Sequence[int], now: int) -> None:
        agent, room = joined.agent.id, joined.room
        refs: list[DayRef] = []
        blocks: list[Block] = []
        for day in days:
            found = await self._store.batches.batch_refs(
                agent, room, from_hour=day * DAY_HOURS, to_hour=(day + 1) * DAY_HOURS, limit=1 << 30
            )
            if not found:
                refs.append(DayRef(day, Cid.of(DAG_CBOR, b""), 0))  # all of it was buried
                continue
            try:
                ref, block = make_day(room, found)
            except HistoryError as error:
                # more than one object has room for: the day's batches are to be had, and no checkpoint names them
                log.warning("room_day_not_sealed", room=room, day=day, reason=str(error))
                continue
            refs.append(ref)
            blocks.append(block)
        whole = {ref.day: ref for ref in await self._store.batches.days(agent, room)} | {ref.day: ref for ref in refs}
        kept = [ref for ref in whole.values() if ref.count]
        head = make_checkpoint(room, kept) if kept else None
        await self._store.blocks.put([*blocks, head] if head else blocks, now=now)
        if head is not None:
            await self._pin(joined, head.cid, now)
        await self._store.batches.save_days(agent, room, refs, head.cid if head else None)

    async def _pin(self, joined: Joined, head: Cid, now: int) -> None:
        """Keep this one and let go those before it: in this order, so that at no moment there is none."""
        agent = joined.agent.id
        owner = f"{OWNER}{joined.room}"
        pin = Pin(
            agent=agent,
            owner=owner,
            cid=head,
            retention=joined.retention,
            name=f"history of {joined.room}",
            size=joined.log_bytes,
            expires_at=expires_at(joined.retention, now),
        )
        await self._store.blocks.pin(pin, now=now)
        for old in (await self._store.blocks.pins(agent, owner, limit=100)).rows:
            if old.cid != head:
                await self._store.blocks.unpin(agent, owner, old.cid)
