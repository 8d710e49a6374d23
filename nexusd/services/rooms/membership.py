"""Which rooms this node's agents are in, or keep copies of: in memory, on disk and on the network alike.

A mirror is subscribed and syncs as a member does, and says nothing: whoever keeps a copy for others is not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
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
from nexusd.store.rooms import JoinedRoom
from nexusd_protocols.content.retention import RetentionClass
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
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when this node is in other rooms than before, or in one on other terms."""
        self._agents = agents
        self._topics = topics
        self._store = store
        self._clock = clock
        self._policy = policy
        self._receiving = receiving
        self._attendance = attendance
        self._changed = changed
        self._joined: dict[RoomId, Joined] = {}
        self._nursery: trio.Nursery | None = None
        self._changing = trio.Lock()
        """Held while a membership changes: memory, disk and network change together."""

    async def start(self, nursery: trio.Nursery) -> None:
        """Enter the rooms that were joined before, and run what belongs to a room in this nursery."""
        self._nursery = nursery
        for agent in self._agents:
            for row in await self._store.rooms.kept(agent.id):
                if not row.joined and not row.mirror:
                    continue
                if refusal := self._policy.refuses_room(row.room):
                    log.warning("room_not_entered", room=row.room, reason=refusal.message)
                    continue
                await self._enter(_entered(agent, row))

    def __iter__(self) -> Iterator[Joined]:
        """By name."""
        return iter([self._joined[name] for name in sorted(self._joined)])

    def all(self) -> list[Joined]:
        """Those that an agent is in, and those that are mirrored."""
        return list(self)

    def members(self) -> list[Joined]:
        """Those that an agent is a member of."""
        return [joined for joined in self if not joined.mirror]

    def find(self, agent: str | None, room: str) -> Joined | Refusal:
        """The room, which must have been joined, or be mirrored."""
        found = self.name(agent, room)
        if isinstance(found, Refusal):
            return found
        acting, name = found
        joined = self._joined.get(name)
        if joined is None or joined.agent.id != acting.id:
            return Refusal("not_joined", f"Not a member of {name}: join it first")
        return joined

    def member(self, agent: str | None, room: str) -> Joined | Refusal:
        """The same, and the agent must be in it: a mirror says nothing."""
        joined = self.find(agent, room)
        if isinstance(joined, Joined) and joined.mirror:
            return Refusal("not_joined", f"Only a copy of {joined.room} is kept: join it first")
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

    def of(self, room: str) -> Joined | None:
        """The room, whichever agent is in it."""
        return self._joined.get(RoomId(room))

    async def create(
        self, agent: Agent, name: RoomId, *, description: str, retention: RetentionClass
    ) -> Joined | Refusal:
        """Join a room that this agent is not in, on these terms."""
        if refusal := self._policy.refuses_room(name):
            return refusal
        async with self._change():
            if (there := self._joined.get(name)) is not None and not there.mirror:
                return Refusal("refused", f"This daemon is in {name} already")
            return await self._join(agent, name, description=description, retention=retention)

    async def join(self, agent: Agent, name: RoomId) -> Joined | Refusal:
        """Join, on disk first; joining twice is joining once."""
        if refusal := self._policy.refuses_room(name):
            return refusal
        async with self._change():
            there = self._joined.get(name)
            return there if there is not None and not there.mirror else await self._join(agent, name)

    async def _join(
        self,
        agent: Agent,
        name: RoomId,
        *,
        description: str | None = None,
        retention: RetentionClass | None = None,
    ) -> Joined | Refusal:
        if refusal := self._full(name):
            return refusal
        if description is not None or retention is not None:
            await self._store.rooms.configure(agent.id, name, description=description, retention=retention)
        row = await self._store.rooms.join(agent.id, name, self._clock())
        there = self._joined.get(name)
        if there is None:
            return await self._enter(_entered(agent, row))
        # from a copy to a member: the topic and the log are the same
        there.mirror, there.joined_at = False, row.joined_at
        there.retention, there.description = row.retention, row.description
        there.unheard = True
        there.changed.set()
        return there

    async def mirror(self, agent: Agent, name: RoomId, retention: RetentionClass) -> Joined | Refusal:
        """Keep a copy for others. Of a room that was joined there is one already: only the class changes."""
        if refusal := self._policy.refuses_room(name):
            return refusal
        async with self._change():
            if refusal := self._full(name):
                return refusal
            row = await self._store.rooms.configure(agent.id, name, retention=retention, mirror=True)
            there = self._joined.get(name)
            if there is None:
                return await self._enter(_entered(agent, row))
            there.retention = row.retention
            return there

    async def mirror_no_more(self, agent: Agent, name: RoomId) -> Joined | Refusal:
        """End the copy; what was kept stays in the log. Of a room that was joined nothing changes but the word."""
        async with self._change():
            there = self._joined.get(name)
            row = await self._store.rooms.get(agent.id, name)
            if there is None or row is None or not row.mirror:
                return Refusal("not_joined", f"No copy of {name} is kept")
            await self._store.rooms.configure(agent.id, name, mirror=False)
            if there.mirror:
                await self._exit(there)
                there.mirror = False
            return there

    async def leave(self, agent: str | None, room: str) -> Refusal | None:
        """Leave; what was said stays in the log, and where a copy is kept, that goes on."""
        async with self._change():
            joined = self.find(agent, room)
            if isinstance(joined, Refusal):
                return joined
            if joined.mirror:
                return Refusal("not_joined", f"Only a copy of {joined.room} is kept: `nexus room mirror --off` ends it")
            await self._store.rooms.leave(joined.agent.id, joined.room, self._clock())
            row = await self._store.rooms.get(joined.agent.id, joined.room)
            del self._joined[joined.room]
            joined.end()
            await self._attendance.publish(joined, "offline")
            await self._topics.leave(joined.topic)
            if row is not None and row.mirror:
                await self._enter(_entered(joined.agent, row))
            return None

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        async with self._changing:
            yield
        self._changed()

    def _full(self, name: RoomId) -> Refusal | None:
        if name in self._joined or len(self._joined) < ROOMS:
            return None
        return Refusal("busy", f"This node is in {ROOMS} rooms already: leave one first")

    async def _exit(self, joined: Joined) -> None:
        del self._joined[joined.room]
        joined.end()
        await self._topics.leave(joined.topic)

    async def _enter(self, joined: Joined) -> Joined:
        assert self._nursery is not None
        self._joined[joined.room] = joined

        def judge(forwarder: PeerId, message: SignedMessage) -> Verdict | Awaitable[Verdict]:
            return self._receiving.judge(joined, forwarder, message)

        async def deliver(_: PeerId, message: SignedMessage) -> None:
            await self._receiving.deliver(joined, message)

        await self._topics.join(joined.topic, judge, deliver)
        self._nursery.start_soon(self._live, joined)
        return joined

    async def _live(self, joined: Joined) -> None:
        with joined.scope:
            await self._attendance.keep(joined)


def _entered(agent: Agent, row: JoinedRoom) -> Joined:
    return Joined(
        agent,
        row.room,
        room_topic(row.room),
        row.joined_at,
        row.messages,
        log_bytes=row.bytes,
        mirror=not row.joined,
        retention=row.retention,
        description=row.description,
    )
