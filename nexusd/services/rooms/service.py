"""The rooms of this node's agents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog
import trio

from nexusd import __version__
from nexusd.agents import Agent, Agents
from nexusd.host.ports import HostError, Topics, Verdict
from nexusd.services.policy import Policy
from nexusd.services.ports import Emit, Entropy, LiveEvent, NameOf, PersonaOf, WallClock
from nexusd.services.rooms.admission import Admission
from nexusd.services.rooms.sequence import Sequence
from nexusd.services.rooms.views import room_member, room_stats, stored
from nexusd.services.views import room_message
from nexusd.store import Store
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import RoomId, parse_room_id, uuid7
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.room.presence import (
    HeartbeatDue,
    HeartbeatSent,
    MemberChanged,
    Output,
    PresenceReceived,
    Roster,
    Tick,
)
from nexusd_protocols.room.topics import META, room_topic
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    Done,
    ProfileGetParams,
    Room,
    RoomHistory,
    RoomHistoryParams,
    RoomMember,
    RoomMembers,
    RoomParams,
    RoomSendParams,
    RoomSent,
    RoomsList,
    RoomsStats,
    RoomStats,
    RoomStatsParams,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")
Figures = list[RoomStats]

ROOMS: Final = 256
"""Rooms that a node is in: each costs a mesh of its own and a heartbeat a minute."""
RECEIVED_BACKLOG: Final = 1024
"""Messages accepted and not yet committed. Beyond it their topic waits, and with it the mesh: nothing is dropped."""
COMMIT_AT_ONCE: Final = 256
LONELY_S: Final = 1.0
"""How often a room in which nobody heard us is looked at: the first neighbour hears of us then, not a minute later."""
UNHEARD_POINTS: Final = 1
"""For a message of a neighbour that is not listened to for its faults, and goes on: a flood of them ends in a ban."""
VERDICTS: Final = 2048
"""Messages that were judged and not yet delivered, so that none is parsed twice."""


@dataclass(slots=True, eq=False)
class _Joined:
    """A room that an agent is in."""

    agent: Agent
    room: RoomId
    topic: str
    joined_at: int
    messages: int
    roster: Roster = field(default_factory=Roster)
    unheard: bool = False
    """Whether our last presence reached no neighbour."""
    changed: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


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
        penalise: Callable[[PeerId, str, int], None],
    ) -> None:
        self._agents = agents
        self._topics = topics
        self._store = store
        self._emit = emit
        self._clock = clock
        self._entropy = entropy
        self._persona_of = persona_of
        self._name_of = name_of
        self._learn_name = learn_name
        self._policy = policy
        self._penalise = penalise
        self._admission = Admission()
        self._sequence = Sequence(store, clock)
        self._joined: dict[RoomId, _Joined] = {}
        self._judged: OrderedDict[bytes, wire.RoomMessage] = OrderedDict()
        self._received, self._to_commit = trio.open_memory_channel[tuple[_Joined, SignedMessage, wire.RoomMessage]](
            RECEIVED_BACKLOG
        )
        self._nursery: trio.Nursery | None = None
        self._changing = trio.Lock()
        """Held while a membership changes: memory, disk and network change together."""

    # --- life -------------------------------------------------------------------------------------------------------
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Enter the rooms that were joined before, and serve until cancelled."""
        await self._sequence.load()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._commit)
            await self._topics.join(META, self._judge_meta, self._deliver_meta)
            for agent in self._agents:
                for row in await self._store.rooms.joined(agent.id):
                    if refusal := self._policy.refuses_room(row.room):
                        log.warning("room_not_entered", room=row.room, reason=refusal.message)
                        continue
                    await self._enter(_Joined(agent, row.room, room_topic(row.room), row.joined_at, row.messages))
            task_status.started()

    async def say_goodbye(self) -> None:
        """Tell every room that we go, so that nobody waits two minutes to see it."""
        for joined in list(self._joined.values()):
            await self._publish_presence(joined, "offline")

    async def _to_its_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it in a task of this service: whoever asked may go away in the middle, and it is done all the same."""
        assert self._nursery is not None
        values: list[T] = []
        errors: list[Exception] = []
        over = trio.Event()

        async def do() -> None:
            try:
                values.append(await work())
            except Exception as error:
                errors.append(error)
            finally:
                over.set()

        self._nursery.start_soon(do)
        await over.wait()
        if errors:
            raise errors[0]
        if not values:
            raise trio.BrokenResourceError("the daemon is stopping")
        return values[0]

    async def _enter(self, joined: _Joined) -> None:
        assert self._nursery is not None
        self._joined[joined.room] = joined

        def judge(forwarder: PeerId, message: SignedMessage) -> Verdict:
            return self._judge(joined, forwarder, message)

        async def deliver(_: PeerId, message: SignedMessage) -> None:
            await self._deliver(joined, message)

        await self._topics.join(joined.topic, judge, deliver)
        self._nursery.start_soon(self._keep_roster, joined)

    # --- receiving --------------------------------------------------------------------------------------------------
    def _judge(self, joined: _Joined, forwarder: PeerId, message: SignedMessage) -> Verdict:
        """Before a message is passed on: quick, and on its author's account."""
        read = self._read(joined.topic, forwarder, message)
        if read is None:
            return "ignore"
        if isinstance(read, wire.Ignored):
            log.debug("room_message_ignored", room=joined.room, author=message.sender, reason=read.reason)
            return "ignore"
        self._judged[message.signature] = read
        if len(self._judged) > VERDICTS:
            self._judged.popitem(last=False)
        return "accept"

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

    async def _deliver(self, joined: _Joined, message: SignedMessage) -> None:
        read = self._judged.pop(message.signature, None)
        if read is None:
            again = wire.read(joined.topic, message.data, message.sender, self._clock())
            if isinstance(again, wire.Ignored):
                return
            read = again
        match read.payload:
            case wire.Chat():
                await self._received.send((joined, message, read))
            case wire.Presence() as presence:
                event = PresenceReceived(sender=read.sender, presence=presence, timestamp=read.timestamp)
                self._heard(joined, joined.roster.handle(event, self._clock()))
                if presence.agent_name:
                    await self._learn_name(read.sender, presence.agent_name)
            case _:
                pass  # capability, sync: read and bounded, nothing here acts on them

    async def _commit(self) -> None:
        """Store what was received, as many at once as are there: one fsync for all of them."""
        async for first in self._to_commit:
            batch = [first]
            while len(batch) < COMMIT_AT_ONCE:
                try:
                    batch.append(self._to_commit.receive_nowait())
                except trio.WouldBlock:
                    break
            now = self._clock()
            rows = [(joined.agent.id, stored(joined.room, message, read, now)) for joined, message, read in batch]
            try:
                appended = await self._store.log.append_many(rows, now=now)
            except OSError as error:
                # nothing was acknowledged to anyone; history sync brings it back once there is room
                log.error("room_messages_not_stored", count=len(rows), error=str(error))
                continue
            for (joined, _, _), result in zip(batch, appended, strict=True):
                joined.messages += result is not None

    def _judge_meta(self, forwarder: PeerId, message: SignedMessage) -> Verdict:
        return "accept" if isinstance(self._read(META, forwarder, message), wire.RoomMessage) else "ignore"

    async def _deliver_meta(self, _: PeerId, message: SignedMessage) -> None:
        read = wire.read(META, message.data, message.sender, self._clock())
        if isinstance(read, wire.RoomMessage) and isinstance(read.payload, wire.Meta):
            data = {"action": read.payload.action, "room": read.payload.room_id, "sender": read.sender}
            self._emit(LiveEvent(kind="room", type="announced", at=self._clock(), data=data, peer=read.sender))

    # --- presence ---------------------------------------------------------------------------------------------------
    async def _keep_roster(self, joined: _Joined) -> None:
        with joined.scope:
            while True:
                now = self._clock()
                outputs = joined.roster.handle(Tick(), now)
                self._heard(joined, outputs)
                greet = joined.unheard and bool(self._topics.peers(joined.topic))
                if greet or any(isinstance(output, HeartbeatDue) for output in outputs):
                    await self._publish_presence(joined, "online")
                joined.changed = trio.Event()
                wait_s = max(1, joined.roster.next_tick(self._clock()) - self._clock()) / 1000
                with trio.move_on_after(min(wait_s, LONELY_S) if joined.unheard else wait_s):
                    await joined.changed.wait()

    def _heard(self, joined: _Joined, outputs: list[Output]) -> None:
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

    async def announce(self, agent: AgentId) -> None:
        """Tell the rooms at once that an agent's name or capabilities changed."""
        for joined in list(self._joined.values()):
            if joined.agent.id == agent:
                await self._publish_presence(joined, "online")

    async def _publish_presence(self, joined: _Joined, status: wire.Status) -> None:
        persona = self._persona_of(joined.agent.id)
        now = self._clock()
        data = wire.presence(
            topic=joined.topic,
            sender=joined.agent.signer.peer_id,
            message_id=uuid7(now, self._entropy(10)),
            timestamp=now,
            status=status,
            capabilities=persona.capabilities,
            agent_name=persona.name,
            agent_type=persona.agent_type,
            version=__version__,
        )
        joined.roster.handle(HeartbeatSent(), now)
        try:
            message = await self._sign(joined, data)
        except OSError as error:
            log.warning("presence_not_sent", room=joined.room, error=str(error))  # the next heartbeat may be
            return
        joined.unheard = await self._publish(joined, message) == 0

    async def _sign(self, joined: _Joined, data: bytes) -> SignedMessage:
        return SignedMessage.sign(joined.agent.signer, joined.topic, data, await self._sequence.next())

    async def _publish(self, joined: _Joined, message: SignedMessage) -> int:
        try:
            return await self._topics.publish(message)
        except HostError as error:
            log.warning("publish_failed", room=joined.room, error=str(error))
            return 0

    # --- requests ---------------------------------------------------------------------------------------------------
    def names(self) -> list[str]:
        """The rooms that this node is in."""
        return sorted(self._joined)

    def _find(self, agent: str | None, room: str) -> _Joined | Refusal:
        found = self._name(agent, room)
        if isinstance(found, Refusal):
            return found
        acting, name = found
        joined = self._joined.get(name)
        if joined is None or joined.agent.id != acting.id:
            return Refusal("not_joined", f"Not a member of {name}: join it first")
        return joined

    def _name(self, agent: str | None, room: str) -> tuple[Agent, RoomId] | Refusal:
        acting = self._agents.find(agent)
        if isinstance(acting, Refusal):
            return acting
        try:
            return acting, parse_room_id(room)
        except ValueError as error:
            return Refusal("invalid_name", f"{room!r}: {error}")

    def _view(self, joined: _Joined) -> Room:
        return Room(
            room=joined.room,
            joined_at=joined.joined_at,
            messages=joined.messages,
            members_online=joined.roster.online() + 1,
        )

    async def join(self, params: RoomParams) -> Room | Refusal:
        """Join, on disk first; joining twice is joining once."""
        found = self._name(params.agent, params.room)
        if isinstance(found, Refusal):
            return found
        agent, name = found
        if refusal := self._policy.refuses_room(name):
            return refusal
        return await self._to_its_end(partial(self._join, agent, name))

    async def _join(self, agent: Agent, name: RoomId) -> Room | Refusal:
        async with self._changing:
            if name not in self._joined:
                if len(self._joined) >= ROOMS:
                    return Refusal("busy", f"This node is in {ROOMS} rooms already: leave one first")
                row = await self._store.rooms.join(agent.id, name, self._clock())
                await self._enter(_Joined(agent, name, room_topic(name), row.joined_at, row.messages))
            return self._view(self._joined[name])

    async def leave(self, params: RoomParams) -> Done | Refusal:
        """Leave; what was said stays in the log."""
        return await self._to_its_end(partial(self._leave, params))

    async def _leave(self, params: RoomParams) -> Done | Refusal:
        async with self._changing:
            joined = self._find(params.agent, params.room)
            if isinstance(joined, Refusal):
                return joined
            await self._store.rooms.leave(joined.agent.id, joined.room, self._clock())
            del self._joined[joined.room]
            joined.scope.cancel()
            await self._publish_presence(joined, "offline")
            await self._topics.leave(joined.topic)
            return Done()

    async def list(self, params: ProfileGetParams) -> RoomsList | Refusal:
        """The rooms of one agent."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        return RoomsList(rooms=[self._view(self._joined[RoomId(name)]) for name in self.names()])

    async def send(self, params: RoomSendParams) -> RoomSent | Refusal:
        """Build, sign, commit, publish: in this order, so that what was answered is never lost."""
        joined = self._find(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        now = self._clock()
        try:
            data = wire.chat(
                topic=joined.topic,
                sender=joined.agent.signer.peer_id,
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
        read = wire.read(joined.topic, data, joined.agent.signer.peer_id, now)
        assert isinstance(read, wire.RoomMessage)
        return await self._to_its_end(partial(self._send, joined, data, read, now))

    async def _send(self, joined: _Joined, data: bytes, read: wire.RoomMessage, now: int) -> RoomSent:
        message = await self._sign(joined, data)
        appended = await self._store.log.append(joined.agent.id, stored(joined.room, message, read, now), now=now)
        assert appended is not None  # a new UUID
        joined.messages += 1
        peers = await self._publish(joined, message)
        return RoomSent(message_id=read.message_id, cursor=appended.cursor, peers=peers)

    async def history(self, params: RoomHistoryParams) -> RoomHistory | Refusal:
        """A page of the log, also of a room that was left."""
        found = self._name(params.agent, params.room)
        if isinstance(found, Refusal):
            return found
        agent, name = found
        page = await self._store.log.history(
            agent.id, name, after=params.after, before=params.before, limit=params.limit
        )
        messages = [room_message(row, self._name_of) for row in page.rows]
        return RoomHistory(
            messages=messages,
            more=page.more,
            first=messages[0].position if messages else None,
            last=messages[-1].position if messages else None,
        )

    async def members(self, params: RoomParams) -> RoomMembers | Refusal:
        """This agent first, then whoever was heard, the last heard first."""
        joined = self._find(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        persona = self._persona_of(joined.agent.id)
        me = RoomMember(
            agent=joined.agent.id,
            name=persona.name,
            agent_type=persona.agent_type,
            status="online",
            capabilities=list(persona.capabilities),
            last_seen=self._clock(),
        )
        return RoomMembers(members=[me, *map(room_member, reversed(joined.roster.members()))])

    async def stats(self, params: RoomStatsParams) -> RoomsStats | Refusal:
        """How one room fares, or each."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        if params.room is None:
            return RoomsStats(rooms=self.figures(agent.id))
        joined = self._find(params.agent, params.room)
        if isinstance(joined, Refusal):
            return joined
        return RoomsStats(rooms=[each for each in self.figures(agent.id) if each.room == joined.room])

    def figures(self, agent: AgentId | None = None) -> Figures:
        """How the rooms fare that an agent is in, or any."""
        found = []
        for name in self.names():
            joined = self._joined[RoomId(name)]
            stats = self._topics.stats(joined.topic)
            if stats is not None and agent in (None, joined.agent.id):
                found.append(room_stats(joined.room, stats))
        return found
