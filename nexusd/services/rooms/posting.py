"""What this node's agents say: build, sign, commit, publish, in this order, so that what was answered is never lost."""

from __future__ import annotations

from nexusd.services.ports import Entropy, WallClock
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.views import stored
from nexusd.services.rooms.voice import Voice
from nexusd.store import Store
from nexusd_protocols.ids import uuid7
from nexusd_protocols.room import message as wire
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import RoomSendParams, RoomSent


class Posting:
    """Says things in rooms."""

    def __init__(self, *, voice: Voice, store: Store, clock: WallClock, entropy: Entropy) -> None:
        self._voice = voice
        self._store = store
        self._clock = clock
        self._entropy = entropy

    async def send(self, joined: Joined, params: RoomSendParams) -> RoomSent | Refusal:
        """Say something."""
        now = self._clock()
        sender = joined.agent.signer.peer_id
        try:
            data = wire.chat(
                topic=joined.topic,
                sender=sender,
                message_id=uuid7(now, self._entropy(10)),
                timestamp=now,
                content=params.content,
                format=params.format,
                reply_to=params.reply_to,
                thread_id=params.thread_id,
                references=params.references,
            )
        except wire.MessageTooLargeError as error:
            return Refusal("too_large", str(error))
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        read = wire.read(joined.topic, data, sender, now)
        assert isinstance(read, wire.RoomMessage)
        message = await self._voice.sign(joined, data)
        appended = await self._store.log.append(joined.agent.id, stored(joined.room, message, read, now), now=now)
        assert appended is not None  # a new UUID
        joined.messages += 1
        peers = await self._voice.publish(joined, message)
        return RoomSent(message_id=read.message_id, cursor=appended.cursor, peers=peers)
