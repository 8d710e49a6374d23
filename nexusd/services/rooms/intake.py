"""What is kept of what others say, however it came: by gossip, from a member that was asked, or in a batch.

    signed bytes -> decode, verify, read -> date, author, budget -> row -> commit -> event feed

Nothing is believed of whoever passes a message on. What is turned away leaves a tombstone where it would come again
and again; where its bearer lies, the bearer is to blame, and there is no tombstone: there is no such message.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import structlog
import trio

from nexusd.services.policy import Policy
from nexusd.services.ports import WallClock
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Referred
from nexusd.services.rooms.views import stored
from nexusd.store import Store
from nexusd.store.paging import Appended
from nexusd.store.room_rows import RoomRow
from nexusd_protocols import ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.bounds import placement
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.room import payloads

log = structlog.get_logger(__name__)

TURN_MESSAGES: Final = 8
"""Verified in a row before other tasks have their turn: about a millisecond. Not in a thread: beside a busy loop a
thread waits up to 5 ms for each signature (measured in `nexusd.host.pubsub`)."""
COMMIT_AT_ONCE: Final = 512
"""Messages of one transaction: about 50 ms in which nothing else is written."""
COMMIT_BYTES: Final = 4 << 20
"""And their bytes."""

AUTHOR_REFUSED: Final = "author_refused"
TOMBSTONES: Final = 10_000
"""Of one room. Anybody can sign what is refused, and bring it to one member alone, whose comparisons then find these
places again and again: so many take a hundred rounds of the 256 that there are. What is refused beyond them may come
again, and costs its verification."""


class _Dated(msgspec.Struct, frozen=True):
    timestamp: int | float


_dated: Final = msgspec.json.Decoder(_Dated)


@dataclass(frozen=True, slots=True)
class Turned:
    """A message that is not kept. `lie`: whoever brought it cannot have found it good. `bury`: it would be offered
    again and again."""

    reason: str
    timestamp: int = 0
    bury: bool = False
    lie: bool = False


class Entry(NamedTuple):
    """A message to be kept."""

    joined: Joined
    row: RoomRow


class Brought(NamedTuple):
    """A signed message as somebody gave it, and the timestamp that it was offered under, if it was."""

    raw: bytes
    timestamp: int | None = None


@dataclass(slots=True)
class Taken:
    """What became of messages that somebody brought. Digests of those that are on disk or were before, and of those
    turned away with the reason; `lies` are the reasons of those that their bearer is to blame for."""

    stored: int = 0
    known: int = 0
    refused: list[tuple[bytes, str]] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)


class Intake:
    """The one way into the log for what others say."""

    def __init__(self, *, store: Store, clock: WallClock, policy: Policy, referred: Referred, budget: int) -> None:
        """`budget` is how many bytes of signed messages one room may have."""
        self._store = store
        self._clock = clock
        self._policy = policy
        self._referred = referred
        self._budget = budget

    # --- judging ----------------------------------------------------------------------------------------------------
    def place(self, joined: Joined, message: SignedMessage, read: wire.RoomMessage, now: int) -> RoomRow | Turned:
        """A message that was read, as a row of the room's log, or why it is none. A row has its place in the budget
        from here on, so it must go to `keep`, or to `drop`."""
        if not isinstance(read.payload, payloads.HISTORY):
            return Turned("not_history", read.timestamp, lie=True)
        if fault := placement(read.timestamp, now, joined.horizon(now)):
            return Turned(fault, read.timestamp)
        raw = message.encode()
        if joined.log_bytes + joined.reserved_bytes + len(raw) > self._budget:
            return Turned("quota_exceeded", read.timestamp, bury=True)
        joined.reserved_bytes += len(raw)
        return stored(joined.room, message, raw, read, now)

    def examine(self, joined: Joined, raw: bytes, now: int, timestamp: int | None = None) -> RoomRow | Turned:
        """The same of bytes that somebody brought, which may be anything. `timestamp` is where its bearer filed it."""
        try:
            message = SignedMessage.decode(raw)
        except RemoteProtocolError as error:
            return Turned(error.code, lie=True)
        if message.topic != joined.topic:
            return Turned("wrong_room", lie=True)
        if not message.verify():
            return Turned("bad_signature", lie=True)
        read = wire.read(joined.topic, message.data, message.sender, now)
        if isinstance(read, wire.Ignored):
            # an honest member of a later version may keep what we cannot read
            timestamp = _date_of(message.data)
            if timestamp is None:
                return Turned(read.reason, lie=True)  # filed nowhere, so nobody can have offered it
            return Turned(read.reason, timestamp, bury=placement(timestamp, now, joined.horizon(now)) is None)
        if not self._policy.allows(message.sender):
            return Turned(AUTHOR_REFUSED, read.timestamp, bury=True)
        if timestamp is not None and read.timestamp != timestamp:
            return Turned("wrong_place", lie=True)  # there it would lack for ever
        return self.place(joined, message, read, now)

    async def knows(self, joined: Joined, timestamp: int, digest: bytes) -> bool:
        """Whether a message of that date and digest is here, or was refused. Raises StorageError."""
        return await self._store.log.knows(joined.agent.id, joined.room, timestamp, digest)

    # --- keeping ----------------------------------------------------------------------------------------------------
    async def keep(self, entries: Sequence[Entry]) -> Sequence[Appended | None]:
        """Store rows, all or none of them, and say what is new: for each where it went, or None. Raises OSError where
        the disk is full."""
        appended: Sequence[Appended | None] = [None] * len(entries)
        try:
            appended = await self._store.log.append_many(
                [(entry.joined.agent.id, entry.row) for entry in entries], now=self._clock()
            )
        except BaseException:
            for joined, _ in entries:
                joined.recount = True  # who is cancelled in the middle never learns what was stored
            raise
        finally:
            self.drop(entries)
        for (joined, row), found in zip(entries, appended, strict=True):
            if found is None:
                continue  # it was here
            joined.stored(len(row.signed), found.position)
            if found.cursor and row.kind == "chat" and row.references != "[]":
                self._referred(joined.room, row.sender, msgspec.json.decode(row.references, type=list[str]))
        for joined in dict.fromkeys(entry.joined for entry in entries if entry.joined.recount):
            with contextlib.suppress(OSError):
                joined.measured(*await self._store.log.measure(joined.agent.id, joined.room))
        return appended

    @staticmethod
    def drop(entries: Iterable[Entry]) -> None:
        """Give up the places of rows in the budget."""
        for joined, row in entries:
            joined.reserved_bytes -= len(row.signed)

    async def take(self, joined: Joined, brought: Iterable[Brought]) -> Taken:
        """Verify and store what somebody brought, a group at a time. Raises OSError where the disk is full; what was
        stored before that stays."""
        taken = Taken()
        entries: list[Entry] = []
        buried: list[tuple[int, bytes, str]] = []
        size = 0
        now = self._clock()
        try:
            for number, (raw, timestamp) in enumerate(brought, 1):
                if number % TURN_MESSAGES == 0:
                    await trio.lowlevel.checkpoint()
                found = self.examine(joined, raw, now, timestamp)
                if isinstance(found, Turned):
                    self._turn_away(found, raw, taken, buried)
                    continue
                entries.append(Entry(joined, found))
                size += len(raw)
                if len(entries) >= COMMIT_AT_ONCE or size >= COMMIT_BYTES:
                    group, entries = entries, []
                    await self._commit(group, taken)
                    size, now = 0, self._clock()
            group, entries = entries, []
            await self._commit(group, taken)
        finally:
            self.drop(entries)
        await self.bury(joined, buried)
        return taken

    async def bury(self, joined: Joined, buried: Sequence[tuple[int, bytes, str]]) -> None:
        """Leave tombstones of (timestamp, digest, reason), so that nobody brings it again, as long as there are not too
        many."""
        agent, room = joined.agent.id, joined.room
        for reason in dict.fromkeys(reason for _, _, reason in buried):
            items = [(timestamp, digest) for timestamp, digest, why in buried if why == reason]
            log.info("room_messages_refused", room=room, reason=reason, count=len(items))
            if joined.tombstones is None:
                joined.tombstones = await self._store.log.tombstones(agent, room)
            items = items[: max(0, TOMBSTONES - joined.tombstones)]
            if items:
                left = await self._store.log.refuse(agent, room, items, reason, now=self._clock())
                joined.tombstones = (joined.tombstones or 0) + left

    async def _commit(self, entries: Sequence[Entry], taken: Taken) -> None:
        if entries:
            # who follows the feed reads what was missed in the order of history, as far as it came together
            appended = await self.keep(sorted(entries, key=lambda entry: (entry.row.timestamp, entry.row.digest)))
            taken.stored += sum(found is not None for found in appended)
            taken.known += sum(found is None for found in appended)

    @staticmethod
    def _turn_away(found: Turned, raw: bytes, taken: Taken, buried: list[tuple[int, bytes, str]]) -> None:
        digest = hashlib.sha256(raw).digest()
        taken.refused.append((digest, found.reason))
        if found.lie:
            taken.lies.append(found.reason)
        if found.bury:
            buried.append((found.timestamp, digest, found.reason))


def _date_of(data: bytes) -> int | None:
    try:
        return int(ndjson.decode(data, _dated).timestamp)
    except (RemoteProtocolError, ValueError, OverflowError):
        return None
