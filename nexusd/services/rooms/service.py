"""The rooms of this node's agents, as the doors ask for them; the parts beside do the work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import TypeVar

import structlog
import trio
from msgspec.structs import replace

from nexusd.agents import Agent, Agents
from nexusd.host.ports import BlockExchange, Streams, Topics
from nexusd.services.policy import Policy
from nexusd.services.ports import Emit, Entropy, NameOf, PersonaOf, Resolve, WallClock
from nexusd.services.rooms.amnesty import Amnesty
from nexusd.services.rooms.answering import Answering
from nexusd.services.rooms.attendance import Attendance
from nexusd.services.rooms.batches import Batches
from nexusd.services.rooms.conversation import Conversation
from nexusd.services.rooms.errands import Errands
from nexusd.services.rooms.exchange import Exchange
from nexusd.services.rooms.intake import Intake
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.membership import Membership
from nexusd.services.rooms.ports import Checkpointed, Penalise, Referred, RoomFor
from nexusd.services.rooms.posting import Posting
from nexusd.services.rooms.published import Published
from nexusd.services.rooms.receiving import Receiving
from nexusd.services.rooms.sealing import Sealing
from nexusd.services.rooms.sync import Sync
from nexusd.services.rooms.verification import Verification
from nexusd.services.rooms.views import room_stats
from nexusd.services.rooms.voice import Voice
from nexusd.services.screening import Screen
from nexusd.services.sequence import Sequence
from nexusd.store import Store
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.room.topics import META
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    Done,
    ProfileGetParams,
    Room,
    RoomCreateParams,
    RoomEditParams,
    RoomHistory,
    RoomHistoryParams,
    RoomMembers,
    RoomMessageParams,
    RoomMirrorParams,
    RoomParams,
    RoomSearchParams,
    RoomSendParams,
    RoomSent,
    RoomsList,
    RoomsStats,
    RoomStats,
    RoomStatsParams,
    RoomSynced,
    RoomSyncedPeer,
    RoomVerified,
    RoomVerifyParams,
    RoomVersions,
)

log = structlog.get_logger(__name__)

Figures = list[RoomStats]
SayT = TypeVar("SayT", RoomSendParams, RoomEditParams, RoomMessageParams)


class Rooms:
    """Joining, talking, listening, and who is there."""

    def __init__(
        self,
        *,
        agents: Agents,
        topics: Topics,
        store: Store,
        emit: Emit,
        clock: WallClock,
        entropy: Entropy,
        persona_of: PersonaOf,
        name_of: NameOf,
        learn_name: Callable[[PeerId, str], Awaitable[None]],
        policy: Policy,
        penalise: Penalise,
        resolve: Resolve,
        streams: Streams,
        exchange: BlockExchange,
        random: Random,
        referred: Referred,
        checkpointed: Checkpointed = lambda _room, _cid: None,
        changed: Callable[[], None] = lambda: None,
        screen: Screen | None = None,
        log_budget: int = 1 << 30,
        room_for: RoomFor = lambda _bytes: None,
    ) -> None:
        """`log_budget` is how many bytes of signed messages one room may have."""
        self._agents = agents
        self._topics = topics
        self._store = store
        self._name_of = name_of
        self._errands = Errands()
        self._screen = screen or Screen()
        self._sequence = Sequence(store, clock, "pubsub/seqno", per_ms=1_000_000, block=1 << 20)
        voice = Voice(topics, self._sequence)
        self._attendance = Attendance(
            topics=topics,
            voice=voice,
            emit=emit,
            clock=clock,
            entropy=entropy,
            persona_of=persona_of,
            learn_name=learn_name,
        )
        intake = Intake(store=store, clock=clock, policy=policy, referred=referred, budget=log_budget)
        self._receiving = Receiving(
            emit=emit, clock=clock, policy=policy, penalise=penalise, intake=intake, attendance=self._attendance
        )
        self._membership = Membership(
            agents=agents,
            topics=topics,
            store=store,
            clock=clock,
            policy=policy,
            receiving=self._receiving,
            attendance=self._attendance,
            changed=changed,
        )
        self._posting = Posting(voice=voice, intake=intake, store=store, clock=clock, entropy=entropy)
        self._sealing = Sealing(store=store, clock=clock, rooms=self._membership.all, checkpointed=checkpointed)
        self._sync = Sync(
            own=agents.first.signer.peer_id,
            topics=topics,
            exchange=Exchange(
                streams=streams,
                store=store,
                intake=intake,
                batches=Batches(exchange=exchange, topics=topics, intake=intake, penalise=penalise),
                clock=clock,
                entropy=entropy,
                penalise=penalise,
            ),
            random=random,
            rooms=self._membership.all,
            news=self._sealing.hurry,
        )
        self._answering = Answering(
            streams=streams,
            store=store,
            intake=intake,
            clock=clock,
            penalise=penalise,
            find=self._membership.of,
            served=self._sync.served,
        )
        self._published = Published(
            streams=streams,
            store=store,
            clock=clock,
            find=self._membership.of,
            penalise=penalise,
            room_for=room_for,
        )
        self._amnesty = Amnesty(store=store, rooms=self._membership.all)
        self._verification = Verification(store=store, sync=self._sync, sealing=self._sealing, name_of=name_of)
        self._conversation = Conversation(store=store, name_of=name_of, resolve=resolve)

    # --- life -------------------------------------------------------------------------------------------------------
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Enter the rooms that were joined before, and serve until cancelled."""
        await self._sequence.load()
        async with trio.open_nursery() as nursery:
            self._errands.start(nursery)
            nursery.start_soon(self._receiving.commit)
            await self._topics.join(META, self._receiving.judge_meta, self._receiving.deliver_meta)
            await self._membership.start(nursery)
            self._answering.start()
            self._published.start()
            nursery.start_soon(self._sync.run)
            nursery.start_soon(self._amnesty.run)
            nursery.start_soon(self._sealing.run)
            task_status.started()

    async def say_goodbye(self) -> None:
        """Tell every room that we go, so that nobody waits two minutes to see it."""
        await self._attendance.publish_all(self._membership.members(), "offline")

    async def announce(self, agent: AgentId) -> None:
        """Tell the rooms at once that an agent's name or capabilities changed."""
        await self._attendance.publish_all(
            (joined for joined in self._membership.members() if joined.agent.id == agent), "online"
        )

    def readmitted(self) -> None:
        """A peer is refused no more: what it said may come. Never waits."""
        self._amnesty.declare()

    # --- membership -------------------------------------------------------------------------------------------------
    def names(self) -> list[str]:
        """The rooms that this node is in."""
        return [joined.room for joined in self._membership]

    def kept(self) -> list[Joined]:
        """The rooms that this node is in, or keeps a copy of."""
        return self._membership.all()

    def offering(self, capability: str) -> list[PeerId]:
        """Members of rooms whose presence named a capability, the last heard of first."""
        heard: dict[PeerId, int] = {}
        for joined in self._membership:
            for member in joined.roster.members():
                if capability in member.capabilities and member.status != "offline":
                    heard[member.agent] = max(member.last_seen, heard.get(member.agent, 0))
        return sorted(heard, key=lambda peer: -heard[peer])

    async def join(self, params: RoomParams) -> Room | Refusal:
        """Join, on disk first; joining twice is joining once."""
        found = self._membership.name(params.agent, params.room)
        if isinstance(found, Refusal):
            return found
        return await self._errands.run(partial(self._join, *found))

    async def _join(self, agent: Agent, name: RoomId) -> Room | Refusal:
        return await self._view(await self._membership.join(agent, name))

    async def create(self, params: RoomCreateParams) -> Room | Refusal:
        """Join on these terms, and leave word in the history of who made the room."""
        found = self._membership.name(params.agent, params.room)
        if isinstance(found, Refusal):
            return found
        return await self._errands.run(partial(self._create, *found, params))

    async def _create(self, agent: Agent, name: RoomId, params: RoomCreateParams) -> Room | Refusal:
        joined = await self._membership.create(agent, name, description=params.description, retention=params.retention)
        if not isinstance(joined, Refusal):
            await self._posting.open_room(joined)
        return await self._view(joined)

    async def mirror(self, params: RoomMirrorParams) -> Room | Refusal:
        """Keep a copy of a room for others, or end that."""
        found = self._membership.name(params.agent, params.room)
        if isinstance(found, Refusal):
            return found
        return await self._errands.run(partial(self._mirror, *found, params))

    async def _mirror(self, agent: Agent, name: RoomId, params: RoomMirrorParams) -> Room | Refusal:
        if params.off:
            return await self._view(await self._membership.mirror_no_more(agent, name))
        return await self._view(await self._membership.mirror(agent, name, params.retention))

    async def _view(self, joined: Joined | Refusal) -> Room | Refusal:
        if isinstance(joined, Refusal):
            return joined
        joined.messages = await self._store.log.count(joined.agent.id, joined.room)
        return joined.view()

    async def leave(self, params: RoomParams) -> Done | Refusal:
        """Leave; what was said stays in the log."""
        return await self._errands.run(partial(self._membership.leave, params.agent, params.room)) or Done()

    async def list(self, params: ProfileGetParams) -> RoomsList | Refusal:
        """The rooms of one agent."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        for row in await self._store.rooms.kept(agent.id):
            if (joined := self._membership.of(row.room)) is not None:
                joined.messages = row.messages
        return RoomsList(rooms=[joined.view() for joined in self._membership])

    async def members(self, params: RoomParams) -> RoomMembers | Refusal:
        """This agent first, then whoever was heard, the last heard first."""
        joined = self._membership.find(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        return RoomMembers(members=self._attendance.members(joined))

    # --- what is said -----------------------------------------------------------------------------------------------
    async def send(self, params: RoomSendParams) -> RoomSent | Refusal:
        """Say something; what was answered is on disk."""
        content = self._screen.text(params.content, meant=params.anyway)
        if isinstance(content, Refusal):
            return content
        return await self._say(replace(params, content=content), self._posting.send)

    async def edit(self, params: RoomEditParams) -> RoomSent | Refusal:
        """Say something else in a message of this agent's."""
        content = self._screen.text(params.content, meant=params.anyway)
        if isinstance(content, Refusal):
            return content
        return await self._say(replace(params, content=content), self._posting.edit)

    async def retract(self, params: RoomMessageParams) -> RoomSent | Refusal:
        """Take a message of this agent's back."""
        return await self._say(params, self._posting.retract)

    async def _say(
        self, params: SayT, say: Callable[[Joined, SayT], Awaitable[RoomSent | Refusal]]
    ) -> RoomSent | Refusal:
        joined = self._membership.member(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        return await self._errands.run(partial(say, joined, params))

    async def history(self, params: RoomHistoryParams) -> RoomHistory | Refusal:
        """A page of the log, also of a room that was left."""
        found = self._membership.name(params.agent, params.room)
        return found if isinstance(found, Refusal) else await self._conversation.history(*found, params)

    async def search(self, params: RoomSearchParams) -> RoomHistory | Refusal:
        """Messages of a room that hold every word."""
        found = self._membership.name(params.agent, params.room)
        return found if isinstance(found, Refusal) else await self._conversation.search(*found, params)

    async def versions(self, params: RoomMessageParams) -> RoomVersions | Refusal:
        """Everything that was signed about one message."""
        found = self._membership.name(params.agent, params.room)
        return found if isinstance(found, Refusal) else await self._conversation.versions(*found, params)

    async def sync(self, params: RoomParams) -> RoomSynced | Refusal:
        """Catch up with the members now."""
        joined = self._membership.find(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        compared = await self._sync.ask(joined)
        peers = [
            RoomSyncedPeer(
                peer=each.peer,
                peer_name=self._name_of(each.peer),
                received=each.found.received if each.found else 0,
                sent=each.found.sent if each.found else 0,
                error=each.error or None,
            )
            for each in compared
        ]
        return RoomSynced(peers=peers, messages=await self._store.log.count(joined.agent.id, joined.room))

    async def verify(self, params: RoomVerifyParams) -> RoomVerified | Refusal:
        """Prove a room's history."""
        joined = self._membership.find(params.agent, params.room)
        return joined if isinstance(joined, Refusal) else await self._verification.verify(joined, params.peers)

    # --- figures ----------------------------------------------------------------------------------------------------
    async def stats(self, params: RoomStatsParams) -> RoomsStats | Refusal:
        """How one room fares, or each."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        if params.room is None:
            return RoomsStats(rooms=self.figures(agent.id))
        joined = self._membership.find(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        return RoomsStats(rooms=[each for each in self.figures(agent.id) if each.room == joined.room])

    def figures(self, agent: AgentId | None = None) -> Figures:
        """How the rooms fare that an agent is in, or any."""
        found = []
        for joined in self._membership:
            stats = self._topics.stats(joined.topic)
            if stats is not None and agent in (None, joined.agent.id):
                found.append(room_stats(joined.room, stats))
        return found
