"""The proof that a room's history is all there, and all true.

every message: its digest, its author's signature, its place        (nobody has to be believed)
every batch, day and checkpoint: made anew from the messages        (its name is what it should be)
every object on the disk: still what its name says
what the disk has damaged: had again from a member, if one has it   (its digest says what it was)
members: compared with until nothing differs, then the same set     (equal fingerprints)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Final, Literal

import structlog
import trio

from nexusd.services.ports import NameOf
from nexusd.services.rooms.exchange import Exchanged
from nexusd.services.rooms.hours import batches_of, nothing
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.sealing import Sealing
from nexusd.services.rooms.sync import Compared, Sync
from nexusd.store import Store
from nexusd_protocols.chatsync.index import Index, Item, Key
from nexusd_protocols.chatsync.ranges import MAX_KEY
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.checkpoint import make_checkpoint
from nexusd_protocols.history.day import DayRef, day_of, make_day
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.rpc.schema import RoomAgreement, RoomFault, RoomVerified

log = structlog.get_logger(__name__)

PAGE: Final = 256
"""Messages read together."""
TURN: Final = 8
"""Verified in a row before other tasks have their turn."""
FAULTS: Final = 100
"""Listed; the others are counted."""
ROUNDS: Final = 4
"""Comparisons with one member until nothing differs: while messages are under way, something may."""
MENDED: Final = 512
"""Damaged messages that are had again in one go: 32 MiB of the largest."""
DAMAGED: Final = "not what its digest says"
_FOR_EVER: Final = 1 << 53

What = Literal["message", "batch", "day", "checkpoint"]


@dataclass(slots=True)
class _Findings:
    messages: int = 0
    batches: int = 0
    days: int = 0
    head: Cid | None = None
    faults: list[RoomFault] = field(default_factory=list)
    fault_count: int = 0
    damaged: dict[bytes, int] = field(default_factory=dict)
    """Digests and dates of messages that are not what their digests say."""

    def fault(self, what: What, name: object, reason: str) -> None:
        self.fault_count += 1
        if len(self.faults) < FAULTS:
            self.faults.append(RoomFault(what=what, name=str(name), reason=reason))


class Verification:
    """Verifies rooms."""

    def __init__(self, *, store: Store, sync: Sync, sealing: Sealing, name_of: NameOf) -> None:
        self._store = store
        self._sync = sync
        self._sealing = sealing
        self._name_of = name_of

    async def verify(self, joined: Joined, peers: int) -> RoomVerified:
        """All of it, and as many members."""
        began = trio.current_time()
        seal = partial(self._sealing.seal, joined)
        compared = await self._sync.ask(joined, peers, rounds=ROUNDS, seal=seal) if peers else []
        found = _Findings()
        await self._messages(joined, found)
        if mended := await self._mend(joined, found.damaged, [each.peer for each in compared if each.found]):
            found = _Findings()
            await self._messages(joined, found)
        await self._objects(joined, found)
        agreements = [self._agreement(each) for each in compared]
        return RoomVerified(
            room=joined.room,
            sound=not found.fault_count,
            agreed=all(each.outcome != "differs" for each in agreements),
            messages=found.messages,
            mended=mended,
            batches=found.batches,
            days=found.days,
            head=str(found.head) if found.head else None,
            fault_count=found.fault_count,
            faults=found.faults,
            peers=agreements,
            duration_ms=round((trio.current_time() - began) * 1000),
        )

    # --- messages ---------------------------------------------------------------------------------------------------
    async def _messages(self, joined: Joined, found: _Findings) -> None:
        log, agent, room = self._store.log, joined.agent.id, joined.room
        lower = Key(0, b"")
        while items := await log.read_index(agent, room, partial(_page, lower)):
            held = [item for item in items if not item.gone]
            signed = await log.signed(agent, room, [item.digest for item in held])
            for number, item in enumerate(held):
                if number % TURN == 0:
                    await trio.lowlevel.checkpoint()
                found.messages += 1
                if fault := _message_fault(joined.topic, item, signed.get(item.digest)):
                    found.fault("message", item.digest.hex(), fault)
                if fault == DAMAGED and len(found.damaged) < MENDED:
                    found.damaged[item.digest] = item.timestamp
            last = items[-1]
            lower = Key(last.timestamp, last.digest + b"\0")

    async def _mend(self, joined: Joined, damaged: dict[bytes, int], peers: Sequence[PeerId]) -> int:
        """Have damaged messages again from members that answered. Whatever nobody gives stays as it is: what is left
        of it may still be of use to a person."""
        mended = 0
        left = dict(damaged)
        for peer in peers:
            if not left:
                break
            given = await self._sync.fetch(joined, peer, list(left))
            items = [
                (left.pop(digest), digest, raw)
                for digest, raw in given.items()
                if digest in left and hashlib.sha256(raw).digest() == digest
            ]
            try:
                mended += await self._store.log.mend(joined.agent.id, joined.room, items)
            except OSError as error:
                log.warning("room_not_mended", room=joined.room, error=str(error))
                break
        if mended:
            log.info("room_messages_mended", room=joined.room, count=mended)
        return mended

    # --- objects ----------------------------------------------------------------------------------------------------
    async def _objects(self, joined: Joined, found: _Findings) -> None:
        store, agent, room = self._store.batches, joined.agent.id, joined.room
        dirty = set(await store.dirty_hours(agent, room, 1 << 40, 1 << 30))
        refs = await store.batch_refs(agent, room, limit=1 << 30)
        found.batches = len(refs)
        for hour, group in groupby(refs, lambda ref: ref.hour):
            named = list(group)
            if hour not in dirty:
                await self._hour(joined, hour, named, found)
            for ref in named:
                await self._on_disk("batch", ref.cid, found)
        days = await store.days(agent, room)
        # of a room whose last message has gone the last checkpoint stays named
        found.days, found.head = len(days), await store.head(agent, room) if days else None
        unsettled = {day_of(hour) for hour in dirty}
        below = {day: list(group) for day, group in groupby(refs, lambda ref: day_of(ref.hour))}
        for day in days:
            if day.day not in unsettled and not await _is_day_of(room, day, below.get(day.day, [])):
                found.fault("day", day.cid, "not that of its batches")
            await self._on_disk("day", day.cid, found)
        if found.head is not None:
            if make_checkpoint(room, days).cid != found.head:
                found.fault("checkpoint", found.head, "not that of its days")
            await self._on_disk("checkpoint", found.head, found)

    async def _hour(self, joined: Joined, hour: int, named: Sequence[BatchRef], found: _Findings) -> None:
        made = await batches_of(self._store, joined, hour, nothing)
        if made is not None and made.refs != list(named):
            found.fault("batch", named[0].cid, f"hour {hour} is not sealed into what is held of it")

    async def _on_disk(self, what: What, cid: Cid, found: _Findings) -> None:
        if await self._store.blocks.get(cid, links=False) is None:
            found.fault(what, cid, "damaged or missing on the disk")

    # --- members ----------------------------------------------------------------------------------------------------
    def _agreement(self, compared: Compared) -> RoomAgreement:
        peer, found = compared.peer, compared.found
        if found is None or not found.lower < found.upper:
            # who says that it keeps nothing of this time would agree to anything
            detail = compared.error if found is None else "it keeps nothing of the time that is kept here"
            return RoomAgreement(peer=peer, peer_name=self._name_of(peer), outcome="no_answer", detail=detail)
        return RoomAgreement(
            peer=peer,
            peer_name=self._name_of(peer),
            outcome="equal" if found.equal and found.sealed is not False else "differs",
            detail=_detail(found),
            since=found.lower.timestamp,
            until=found.upper.timestamp,
            messages=found.summary.count,
            fingerprint=found.summary.fingerprint.hex(),
            head=str(found.head) if found.head else None,
            received=found.received,
        )


async def _is_day_of(room: RoomId, day: DayRef, batches: Sequence[BatchRef]) -> bool:
    try:
        made, _ = await trio.to_thread.run_sync(make_day, room, batches)
    except ValueError:  # none, not all parts of an hour, or more than a day has room for
        return False
    return made == day


def _detail(found: Exchanged) -> str:
    if not found.complete:
        return "there is too much to compare in one go: verify again"
    return "it makes other objects of the same sums" if found.equal and found.sealed is False else ""


def _page(lower: Key, index: Index) -> list[Item]:
    return index.items(lower, MAX_KEY, PAGE)


def _message_fault(topic: str, item: Item, raw: bytes | None) -> str | None:
    if raw is None:
        return "missing"
    if hashlib.sha256(raw).digest() != item.digest:
        return DAMAGED
    try:
        message = SignedMessage.decode(raw)
    except RemoteProtocolError as error:
        return error.code
    if not message.verify():
        return "bad_signature"
    # by the clock of its own day: what was good then is good for ever
    read = wire.read(topic, message.data, message.sender, _FOR_EVER)
    if isinstance(read, wire.Ignored):
        return read.reason
    return None if read.timestamp == item.timestamp else "filed under another time"
