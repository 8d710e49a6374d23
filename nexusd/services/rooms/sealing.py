"""Closed hours of a room become batches, batches days, and days a checkpoint: objects that anybody can ask for by name.

    dirty hour -> its messages -> batches -> blocks on disk -> named in the log -> day -> checkpoint -> pinned

Whoever holds the same messages makes the same objects, so nothing here is said to anybody. What comes late for an hour
makes it dirty again. The last checkpoint is pinned, with all below it; the one before it is let go. The batches of a
day that has more of them than its object has room for are in no checkpoint: they are pinned beside it, below shelves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
import trio

from nexusd.services.ports import WallClock
from nexusd.services.rooms.hours import batches_of
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Checkpointed
from nexusd.store import Store
from nexusd.store.blocks import Pin
from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.content.retention import expires_at
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import DAY_HOURS, closed_before, hour_of
from nexusd_protocols.history.checkpoint import make_checkpoint
from nexusd_protocols.history.day import DayRef, day_of, make_day
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.rate import Rate

log = structlog.get_logger(__name__)

OWNER: Final = "history:"
"""Before a room's id: for whom its objects are kept. They count against the room's log, and not what is kept for
others."""
SEAL_S: Final = 60.0
"""Between looks at what has closed."""
TELL_S: Final = 55.0
"""Between two checkpoints of a room that others are told of."""
SETTLE_S: Final = 5.0
"""After news: who catches up gets more, and an hour is sealed once."""
HOURS: Final = 1 << 20
"""More than there are since the first one that history has room for."""
HOURS_AT_ONCE: Final = 48
"""Sealed before the days above them are made."""
SHELF_BATCHES: Final = limits.DAY_BATCHES
"""Named by one shelf: an object of 1 MiB."""
PINS: Final = 4096
"""Of one room that are looked at: a checkpoint, and a shelf for each two million messages in a day."""
_DAY: Final = ", day "
"""In the name of a shelf's pin, before its day. No room's id has a space."""
AGAIN_BYTES: Final = (64.0 * limits.MIB, 256.0 * limits.KIB)
"""Written anew of hours that were sealed before: so many at once, and a second. What comes late for a full hour has
all of it made again, and anybody may send one such message after the other."""


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
        self._again = Rate(*AGAIN_BYTES, trio.current_time())
        self._sealing = trio.Lock()
        """One at a time: two would each name a head, and the last to write need not be the newer."""

    async def run(self) -> None:
        """Look at all rooms about once a minute, until cancelled."""
        while True:
            for joined in self._rooms():
                try:
                    await self.trim(joined)
                    await self.seal(joined, all_of_it=False)
                    await self._tell(joined)
                except OSError as error:
                    log.warning("room_not_sealed", room=joined.room, error=str(error))  # the disk is full; next time
            with trio.move_on_after(SEAL_S):
                await self._changed.wait()
                await trio.sleep(SETTLE_S)
            self._changed = trio.Event()

    async def _tell(self, joined: Joined) -> None:
        """Say which the newest checkpoint is: twenty peers are told of each, and each late word makes another."""
        now = trio.current_time()
        if now < joined.told_at + TELL_S:
            return
        if (head := await self._store.batches.head(joined.agent.id, joined.room)) is not None:
            joined.told_at = now
            self._checkpointed(joined.room, head)

    def hurry(self) -> None:
        """Something came that may be of closed hours: look soon."""
        self._changed.set()

    async def seal(self, joined: Joined, *, all_of_it: bool = True) -> bool:
        """Make what is missing, unless `all_of_it` only what is worth its writing now. Returns whether anything was."""
        async with self._sealing:
            return await self._seal(joined, all_of_it)

    async def _seal(self, joined: Joined, all_of_it: bool) -> bool:
        now = self._clock()
        hours = await self._store.batches.dirty_hours(joined.agent.id, joined.room, closed_before(now), HOURS)
        made = False
        for start in range(0, len(hours), HOURS_AT_ONCE):
            sealed: dict[int, int] = {}
            for hour in hours[start : start + HOURS_AT_ONCE]:
                if (changes := await self._seal_hour(joined, hour, now, all_of_it)) is not None:
                    sealed[hour] = changes
            if sealed:
                # until the days above them are on disk the hours stay dirty: whatever ends this is made good next time
                await self._seal_days(joined, sorted({day_of(hour) for hour in sealed}), now, sealed)
                made = True
        return made

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
            joined.measured(*await self._store.log.measure(joined.agent.id, joined.room))
            joined.tombstones = None
            await self._seal_days(joined, [day_of(hour_of(joined.horizon(now)))], now)
        joined.trimmed = joined.horizon(now)

    async def _seal_hour(self, joined: Joined, hour: int, now: int, all_of_it: bool) -> int | None:
        """Returns the state of the hour that was sealed, None for another time."""
        agent, room = joined.agent.id, joined.room
        before = await self._store.batches.batch_refs(agent, room, from_hour=hour, to_hour=hour + 1, limit=1)
        if before and self._again.turn(trio.current_time(), 0) and not all_of_it:
            return None
        written = 0

        async def put(blocks: Sequence[Block]) -> None:
            nonlocal written
            written += sum(len(block.data) for block in blocks)
            await self._store.blocks.put(blocks, now=now)

        found = await batches_of(self._store, joined, hour, put)
        if before:
            self._again.turn(trio.current_time(), written)
        if found is None:
            return None
        await self._store.batches.save_batches(agent, room, hour, 0, found.refs)
        return found.changes

    async def _seal_days(
        self, joined: Joined, days: Sequence[int], now: int, sealed: Mapping[int, int] | None = None
    ) -> None:
        agent, room = joined.agent.id, joined.room
        refs: list[DayRef] = []
        blocks: list[Block] = []
        shelves: dict[Cid, int] = {}
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
                refs.append(DayRef(day, Cid.of(DAG_CBOR, b""), 0))
                made = [_shelf(found[at : at + SHELF_BATCHES]) for at in range(0, len(found), SHELF_BATCHES)]
                shelves |= dict.fromkeys((shelf.cid for shelf in made), day)
                blocks += made
                continue
            refs.append(ref)
            blocks.append(block)
        whole = {ref.day: ref for ref in await self._store.batches.days(agent, room)} | {ref.day: ref for ref in refs}
        kept = [ref for ref in whole.values() if ref.count]
        head = make_checkpoint(room, kept) if kept else None
        await self._store.blocks.put([*blocks, head] if head else blocks, now=now)
        await self._pin(joined, head.cid if head else None, shelves, days, now)
        await self._store.batches.save_days(agent, room, refs, head.cid if head else None, sealed=sealed)

    async def _pin(
        self, joined: Joined, head: Cid | None, shelves: Mapping[Cid, int], days: Sequence[int], now: int
    ) -> None:
        """Keep this checkpoint and the shelves of these days, and let go what was kept in their place: in this order,
        so that at no moment there is none. Without a checkpoint the last one stays."""
        agent, owner, name = joined.agent.id, f"{OWNER}{joined.room}", f"history of {joined.room}"
        first = day_of(hour_of(joined.horizon(now)))
        kept = {cid: f"{name}{_DAY}{day}" for cid, day in shelves.items()} | ({head: name} if head else {})
        before = (await self._store.blocks.pins(agent, owner, limit=PINS)).rows
        for old in before:
            _, on_a_shelf, day = old.name.partition(_DAY)
            if (int(day) >= first and int(day) not in days) if on_a_shelf else head is None:
                kept[old.cid] = old.name
        for cid, of in kept.items():
            pin = Pin(
                agent=agent,
                owner=owner,
                cid=cid,
                retention=joined.retention,
                name=of,
                size=joined.log_bytes if of == name else 0,
                expires_at=expires_at(joined.retention, now),
            )
            await self._store.blocks.pin(pin, now=now)
        for old in before:
            if old.cid not in kept:
                await self._store.blocks.unpin(agent, owner, old.cid)


def _shelf(batches: Sequence[BatchRef]) -> Block:
    """Nobody asks for it: it names batches so that whatever keeps it keeps them."""
    cids = [batch.cid for batch in batches]
    return Block.of(DAG_CBOR, dag_cbor.encode(list(cids)), cids)
