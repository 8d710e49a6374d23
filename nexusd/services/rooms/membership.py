"""Which rooms this node's agents are in: in memory, on disk and on the network alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog
import trio

from nexusd.agents import Agent, Agents
from nexusd.host.ports import Topics, Verdict
from nexusd.services.policy import Policy
from nexusd.services.ports import WallClock
from nexusd.services.rooms.attendance import Attendance
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.receiving import Receiving
from nexusd.store import Store
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId, parse_room_id
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room.topics import room_topic
from nexusd_protocols.rpc.codes import Refusal

log = structlog.get_logger(__name__)

ROOMS: Final = 256
"""Rooms that a node is in: each costs a mesh of its own and a heartbeat a minute."""


class Membership:
    """The rooms that were joined."""

    def __init__(
        self,
        *,
        agents: Agents,
        topics: Topics,
        store: Store,
        clock: WallClock,
        policy: Policy,
        receiving: Receiving,
        attendance: Attendance,
    ) -> None:
        self._agents = agents
        self._topics = topics
        self._store = store
        self._clock = clock
        self._policy = policy
        self._receiving = receiving
        self._attendance = attendance
        self._joined: dict[RoomId, Joined] = {}
        self._nursery: trio.Nursery | None = None
        self._changing = trio.Lock()
        """Held while a membership changes: memory, disk and network change together."""

    async def start(self, nursery: trio.Nursery) -> None:
        """Enter the rooms that were joined before, and run what belongs to a room in this nursery."""
        self._nursery = nursery
        for agent in self._agents:
            for row in await self._store.rooms.joined(agent.id):
                if refusal := self._policy.refuses_room(row.room):
                    log.warning("room_not_entered", room=row.room, reason=refusal.message)
                    continue
                await self._enter(Joined(agent, row.room, room_topic(row.room), row.joined_at, row.messages))

    def __iter__(self) -> Iterator[Joined]:
        """By name."""
        return iter([self._joined[name] for name in sorted(self._joined)])

    def find(self, agent: str | None, room: str) -> Joined | Refusal:
        """The room, which must have been joined."""
        found = self.name(agent, room)
        if isinstance(found, Refusal):
            return found
        acting, name = found
        joined = self._joined.get(name)
        if joined is None or joined.agent.id != acting.id:
            return Refusal("not_joined", f"Not a member of {name}: join it first")
        return joined

    def name(self, agent: str | None, room: str) -> tuple[Agent, RoomId] | Refusal:
        """What a request names, whether it was joined or not."""
        acting = self._agents.find(agent)
        if isinstance(acting, Refusal):
            return acting
        try:
            return acting, parse_room_id(room)
        except ValueError as error:
            return Refusal("invalid_name", f"{room!r}: {error}")

    async def join(self, agent: Agent, name: RoomId) -> Joined | Refusal:
        """Join, on disk first; joining twice is joining once."""
        if refusal := self._policy.refuses_room(name):
            return refusal
        async with self._changing:
            if name not in self._joined:
                if len(self._joined) >= ROOMS:
                    return Refusal("busy", f"This node is in {ROOMS} rooms already: leave one first")
                row = await self._store.rooms.join(agent.id, name, self._clock())
                await self._enter(Joined(agent, name, room_topic(name), row.joined_at, row.messages))
            return self._joined[name]

    async def leave(self, agent: str | None, room: str) -> Refusal | None:
        """Leave; what was said stays in the log."""
        async with self._changing:
            joined = self.find(agent, room)
            if isinstance(joined, Refusal):
                return joined
            await self._store.rooms.leave(joined.agent.id, joined.room, self._clock())
            del self._joined[joined.room]
            joined.scope.cancel()
            await self._attendance.publish(joined, "offline")
            await self._topics.leave(joined.topic)
            return None

    async def _enter(self, joined: Joined) -> None:
        assert self._nursery is not None
        self._joined[joined.room] = joined

        def judge(forwarder: PeerId, message: SignedMessage) -> Verdict:
            return self._receiving.judge(joined, forwarder, message)

        async def deliver(_: PeerId, message: SignedMessage) -> None:
            await self._receiving.deliver(joined, message)

        await self._topics.join(joined.topic, judge, deliver)
        self._nursery.start_soon(self._attendance.keep, joined)
