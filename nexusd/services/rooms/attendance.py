"""Who is in a room: what others say of themselves is kept, and our agents say that they are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec
import structlog
import trio

from nexusd import __version__
from nexusd.host.ports import Topics
from nexusd.services.ports import Emit, Entropy, LiveEvent, PersonaOf, WallClock
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.views import room_member
from nexusd.services.rooms.voice import Voice
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import uuid7
from nexusd_protocols.room import message as wire
from nexusd_protocols.room import payloads
from nexusd_protocols.room.presence import (
    HeartbeatDue,
    HeartbeatSent,
    MemberChanged,
    Output,
    PresenceReceived,
    Tick,
)
from nexusd_protocols.rpc.schema import RoomMember

log = structlog.get_logger(__name__)

LONELY_S: Final = 1.0
"""How often a room in which nobody heard us is looked at: the first neighbour hears of us then, not a minute later."""


class Attendance:
    """The rosters of all rooms."""

    def __init__(
        self,
        *,
        topics: Topics,
        voice: Voice,
        emit: Emit,
        clock: WallClock,
        entropy: Entropy,
        persona_of: PersonaOf,
        learn_name: Callable[[PeerId, str], Awaitable[None]],
    ) -> None:
        self._topics = topics
        self._voice = voice
        self._emit = emit
        self._clock = clock
        self._entropy = entropy
        self._persona_of = persona_of
        self._learn_name = learn_name

    async def keep(self, joined: Joined) -> None:
        """Say that the agent is there, if it is, and notice who falls silent, until cancelled."""
        while True:
            now = self._clock()
            outputs = joined.roster.handle(Tick(), now)
            self._tell(joined, outputs)
            greet = joined.unheard and bool(self._topics.peers(joined.topic))
            due = greet or any(isinstance(output, HeartbeatDue) for output in outputs)
            if due and not joined.mirror:
                await self.publish(joined, "online")
            joined.changed = trio.Event()
            wait_s = max(1, joined.roster.next_tick(self._clock()) - self._clock()) / 1000
            with trio.move_on_after(min(wait_s, LONELY_S) if joined.unheard else wait_s):
                await joined.changed.wait()

    async def hear(self, joined: Joined, read: wire.RoomMessage, presence: payloads.Presence) -> None:
        """Somebody says that it is there, or goes. What gossip brings late says nothing about now."""
        before = joined.roster.get(read.sender)
        event = PresenceReceived(sender=read.sender, presence=presence, timestamp=read.timestamp)
        self._tell(joined, joined.roster.handle(event, self._clock()))
        if presence.agent_name and joined.roster.get(read.sender) is not before:
            await self._learn_name(read.sender, presence.agent_name)

    async def publish_all(self, rooms: Iterable[Joined], status: payloads.Status) -> None:
        """Tell several rooms."""
        for joined in list(rooms):
            await self.publish(joined, status)

    async def publish(self, joined: Joined, status: payloads.Status) -> None:
        """Tell a room that the agent is there, or goes. One at a time, so that what is said last is what holds."""
        async with joined.speaking:
            await self._publish(joined, status)

    async def _publish(self, joined: Joined, status: payloads.Status) -> None:
        persona = self._persona_of(joined.agent.id)
        now = self._clock()
        joined.spoke_at = max(now, joined.spoke_at + 1)  # of two in one millisecond, the second is the newer
        data = wire.presence(
            topic=joined.topic,
            sender=joined.agent.signer.peer_id,
            message_id=uuid7(now, self._entropy(10)),
            timestamp=joined.spoke_at,
            status=status,
            capabilities=persona.capabilities,
            agent_name=persona.name,
            agent_type=persona.agent_type,
            version=__version__,
        )
        joined.roster.handle(HeartbeatSent(), now)
        try:
            message = await self._voice.sign(joined, data)
        except OSError as error:
            log.warning("presence_not_sent", room=joined.room, error=str(error))  # the next heartbeat may be
            return
        joined.unheard = await self._voice.publish(joined, message) == 0

    def members(self, joined: Joined) -> list[RoomMember]:
        """The agent itself first, then whoever was heard, the last heard first."""
        persona = self._persona_of(joined.agent.id)
        me = RoomMember(
            agent=joined.agent.id,
            name=persona.name,
            agent_type=persona.agent_type,
            status="online",
            capabilities=list(persona.capabilities),
            last_seen=self._clock(),
        )
        others = [room_member(member) for member in reversed(joined.roster.members())]
        return others if joined.mirror else [me, *others]

    def _tell(self, joined: Joined, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, MemberChanged):
                member = output.member
                data = {**msgspec.to_builtins(room_member(member)), "room": joined.room}
                self._emit(
                    LiveEvent(
                        kind="presence",
                        type="changed",
                        at=self._clock(),
                        data=data,
                        room=joined.room,
                        peer=member.agent,
                    )
                )
        joined.changed.set()
