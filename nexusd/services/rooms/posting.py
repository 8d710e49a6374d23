"""What this node's agents say: build, sign, commit, publish, in this order, so that what was answered is never lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nexusd.services.ports import Entropy, WallClock
from nexusd.services.rooms.intake import Entry, Intake, Turned
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.voice import Voice
from nexusd.store import Store
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import MessageId, uuid7
from nexusd_protocols.room import message as wire
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import RoomEditParams, RoomMessageParams, RoomSendParams, RoomSent

Build = Callable[[str, PeerId, MessageId, int], bytes]
"""A message of a topic, sender, id and timestamp."""

AHEAD_MS: Final = 1000
"""How far a burst of messages may run ahead of the clock; members take what is up to 320 s ahead."""


class Posting:
    """Says things in rooms."""

    def __init__(self, *, voice: Voice, intake: Intake, store: Store, clock: WallClock, entropy: Entropy) -> None:
        self._voice = voice
        self._intake = intake
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._last = 0

    async def send(self, joined: Joined, params: RoomSendParams) -> RoomSent | Refusal:
        """Say something."""
        return await self._post(
            joined,
            lambda topic, sender, message_id, now: wire.chat(
                topic=topic,
                sender=sender,
                message_id=message_id,
                timestamp=now,
                content=params.content,
                format=params.format,
                reply_to=params.reply_to,
                thread_id=params.thread_id,
                references=params.references,
            ),
        )

    async def edit(self, joined: Joined, params: RoomEditParams) -> RoomSent | Refusal:
        """Say something else in a message of this agent's. What was said before stays in the log."""
        if refusal := await self._not_ours(joined, params.message_id):
            return refusal
        return await self._post(
            joined,
            lambda topic, sender, message_id, now: wire.edit(
                topic=topic,
                sender=sender,
                message_id=message_id,
                timestamp=now,
                target=params.message_id,
                content=params.content,
                format=params.format,
            ),
        )

    async def retract(self, joined: Joined, params: RoomMessageParams) -> RoomSent | Refusal:
        """Take a message of this agent's back."""
        if refusal := await self._not_ours(joined, params.message_id):
            return refusal
        return await self._post(
            joined,
            lambda topic, sender, message_id, now: wire.retract(
                topic=topic, sender=sender, message_id=message_id, timestamp=now, target=params.message_id
            ),
        )

    async def open_room(self, joined: Joined) -> RoomSent | Refusal:
        """Leave word in the room's history of who made it."""
        return await self._post(
            joined,
            lambda topic, sender, message_id, now: wire.meta(
                topic=topic,
                sender=sender,
                message_id=message_id,
                timestamp=now,
                action="room:created",
                room_id=joined.room,
            ),
        )

    async def _not_ours(self, joined: Joined, message_id: str) -> Refusal | None:
        """Why the agent cannot change that message: it is not there, another's, or taken back."""
        own = joined.agent.signer.peer_id
        name = MessageId(message_id)
        # of its own alone: whatever others say under this id must not come in between
        versions = await self._store.log.versions(joined.agent.id, joined.room, name, sender=own)
        if not any(row.kind == "chat" for row in versions):
            others = [row.sender for row in await self._store.log.versions(joined.agent.id, joined.room, name)]
            if not others:
                return Refusal("message_unknown", f"No message {message_id} in {joined.room}")
            return Refusal("not_author", f"{others[0]} said that")
        if any(row.kind == "retract" for row in versions):
            return Refusal("refused", f"{message_id} was taken back")
        return None

    def _moment(self) -> int:
        """Now, and later than what was said before: a room stands in the order of its timestamps, in which two of one
        millisecond would change places half the time."""
        now = self._clock()
        self._last = self._last + 1 if now <= self._last < now + AHEAD_MS else now
        return self._last

    async def _post(self, joined: Joined, build: Build) -> RoomSent | Refusal:
        now = self._moment()
        sender = joined.agent.signer.peer_id
        message_id = MessageId(uuid7(now, self._entropy(10)))
        try:
            data = build(joined.topic, sender, message_id, now)
        except wire.MessageTooLargeError as error:
            return Refusal("too_large", str(error))
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        read = wire.read(joined.topic, data, sender, now)
        assert isinstance(read, wire.RoomMessage)
        message = await self._voice.sign(joined, data)
        row = self._intake.place(joined, message, read, now)
        if isinstance(row, Turned):
            return Refusal("quota_exceeded", f"The log of {joined.room} is full: {joined.log_bytes} bytes")
        (appended,) = await self._intake.keep([Entry(joined, row)])
        assert appended is not None  # a new UUID
        joined.messages += row.kind == "chat"
        peers = await self._voice.publish(joined, message)
        return RoomSent(message_id=message_id, cursor=appended.cursor, peers=peers)
