"""What others say, from the mesh to the disk.

mesh -> judge (before it is passed on) -> deliver -> queue -> commit, many at once -> event feed
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
import trio

from nexusd.host.ports import Verdict
from nexusd.services.policy import Policy
from nexusd.services.ports import Emit, LiveEvent, WallClock
from nexusd.services.rooms.admission import Admission
from nexusd.services.rooms.attendance import Attendance
from nexusd.services.rooms.intake import Entry, Intake, Turned
from nexusd.services.rooms.joined import Joined
from nexusd_protocols import limits
from nexusd_protocols.history.bounds import placement
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.room import payloads
from nexusd_protocols.room.topics import META

log = structlog.get_logger(__name__)

RECEIVED_BACKLOG: Final = 1024
"""Messages accepted and not yet committed. Beyond it their topic waits, and with it the mesh: nothing is dropped."""
COMMIT_AT_ONCE: Final = 256
UNHEARD_POINTS: Final = 1
"""For a message of a neighbour that is not listened to for its faults, and goes on: a flood of them ends in a ban."""
RECEIVED_BYTES: Final = 16 * limits.MIB
"""And their bytes: a thousand of the largest are a quarter of a GiB."""
VERDICTS: Final = 2048
"""Messages that were judged and not yet delivered, so that none is parsed twice."""
VERDICT_BYTES: Final = 16 * limits.KIB
"""Larger ones are: where a topic waits, what it drops would be remembered here."""

FRESH_MS: Final = 60_000
"""Younger messages are told from their repetitions by the mesh, which remembers what it saw for twice as long."""

_Received = tuple[Joined, SignedMessage, wire.RoomMessage]


class Receiving:
    """Judges, delivers and keeps the messages of all rooms."""

    def __init__(
        self,
        *,
        emit: Emit,
        clock: WallClock,
        policy: Policy,
        penalise: Callable[[PeerId, str, int], None],
        intake: Intake,
        attendance: Attendance,
    ) -> None:
        self._intake = intake
        self._emit = emit
        self._clock = clock
        self._policy = policy
        self._penalise = penalise
        self._attendance = attendance
        self._admission = Admission()
        self._judged: OrderedDict[bytes, wire.RoomMessage] = OrderedDict()
        self._received_bytes = 0
        self._kept = trio.Event()
        self._received, self._to_commit = trio.open_memory_channel[_Received](RECEIVED_BACKLOG)

    # --- rooms ------------------------------------------------------------------------------------------------------
    def judge(self, joined: Joined, forwarder: PeerId, message: SignedMessage) -> Verdict | Awaitable[Verdict]:
        """Before a message is passed on: quick, and on its author's account. What was said a while ago is looked up
        first: anybody can say it again, and it need not go round again."""
        read = self._read(joined.topic, forwarder, message)
        if read is None:
            return "ignore"
        if isinstance(read, wire.Ignored):
            log.debug("room_message_ignored", room=joined.room, author=message.sender, reason=read.reason)
            return "ignore"
        now = self._clock()
        if _is_over(joined, read, now):
            return "ignore"
        if isinstance(read.payload, payloads.HISTORY) and read.timestamp < now - FRESH_MS:
            return self._judge_old(joined, message, read)
        return self._accept(message, read)

    async def _judge_old(self, joined: Joined, message: SignedMessage, read: wire.RoomMessage) -> Verdict:
        try:
            known = await self._intake.knows(joined, read.timestamp, message.digest)
        except OSError as error:
            log.warning("room_messages_not_read", room=joined.room, error=str(error))
            return "ignore"  # a member brings it back
        return "ignore" if known else self._accept(message, read)

    def _accept(self, message: SignedMessage, read: wire.RoomMessage) -> Verdict:
        if len(message.data) <= VERDICT_BYTES:
            self._judged[message.signature] = read
        if len(self._judged) > VERDICTS:
            self._judged.popitem(last=False)
        return "accept"

    async def deliver(self, joined: Joined, message: SignedMessage) -> None:
        """A message that was accepted."""
        read = self._judged.pop(message.signature, None)
        if read is None:
            again = wire.read(joined.topic, message.data, message.sender, self._clock())
            if isinstance(again, wire.Ignored):
                return
            read = again
        match read.payload:
            case payloads.Chat() | payloads.Edit() | payloads.Retract() | payloads.Meta():
                while self._received_bytes > RECEIVED_BYTES:
                    await self._kept.wait()
                self._received_bytes += len(message.data)
                await self._received.send((joined, message, read))
            case payloads.Presence() as presence:
                await self._attendance.hear(joined, read, presence)
            case _:
                pass  # capability, sync: read and bounded, nothing here acts on them

    async def commit(self) -> None:
        """Store what was received, as many at once as are there: one fsync for all of them. Runs until cancelled."""
        async for first in self._to_commit:
            batch = [first]
            while len(batch) < COMMIT_AT_ONCE:
                try:
                    batch.append(self._to_commit.receive_nowait())
                except trio.WouldBlock:
                    break
            try:
                await self._keep(batch)
            finally:
                self._received_bytes -= sum(len(message.data) for _, message, _ in batch)
                self._kept.set()
                self._kept = trio.Event()

    async def _keep(self, batch: Sequence[_Received]) -> None:
        entries: list[Entry] = []
        refused: list[tuple[Joined, SignedMessage, Turned]] = []
        now = self._clock()
        for joined, message, read in batch:
            found = self._intake.place(joined, message, read, now)
            if isinstance(found, Turned):
                refused.append((joined, message, found))
            else:
                entries.append(Entry(joined, found))
        try:
            if entries:
                await self._intake.keep(entries)
            for joined, message, turned in refused:
                if turned.bury:
                    await self._intake.bury(joined, [(turned.timestamp, message.digest, turned.reason)])
        except OSError as error:
            # nothing was acknowledged to anyone; a member brings it back once there is room
            log.error("room_messages_not_stored", count=len(batch), error=str(error))

    # --- news of the network ----------------------------------------------------------------------------------------
    def judge_meta(self, forwarder: PeerId, message: SignedMessage) -> Verdict:
        """As `judge`."""
        return "accept" if isinstance(self._read(META, forwarder, message), wire.RoomMessage) else "ignore"

    async def deliver_meta(self, _: PeerId, message: SignedMessage) -> None:
        """Tell who listens; nothing of it is kept."""
        read = wire.read(META, message.data, message.sender, self._clock())
        if isinstance(read, wire.RoomMessage) and isinstance(read.payload, payloads.Meta):
            data = {"action": read.payload.action, "room": read.payload.room_id, "sender": read.sender}
            self._emit(LiveEvent(kind="room", type="announced", at=self._clock(), data=data, peer=read.sender))

    # --- authors ----------------------------------------------------------------------------------------------------
    def _read(self, topic: str, forwarder: PeerId, message: SignedMessage) -> wire.RoomMessage | wire.Ignored | None:
        """The message, a fault of its author, or None where nothing of the author's is read now."""
        now = self._clock()
        author = message.sender
        if not self._policy.allows(author) or self._admission.refuses(author, now):
            if forwarder == author:
                self._penalise(author, "not_listened_to", UNHEARD_POINTS)
            return None
        read = wire.read(topic, message.data, author, now)
        if isinstance(read, wire.Ignored):
            self._admission.charge(author, read.penalty, now)
            # an honest neighbour passes on what others wrote, and anybody can repeat an author's old message
            if forwarder == author:
                self._penalise(author, read.reason, read.penalty)
        return read


def _is_over(joined: Joined, read: wire.RoomMessage, now: int) -> bool:
    """Whether a message is of a time that nothing is kept of, or says who was there once."""
    if isinstance(read.payload, payloads.HISTORY):
        return placement(read.timestamp, now, joined.horizon(now)) is not None
    if read.timestamp < now - limits.PRESENCE_AGE_MS:
        return True
    if not isinstance(read.payload, payloads.Presence):
        return False
    member = joined.roster.get(read.sender)
    return member is not None and read.timestamp <= member.timestamp
