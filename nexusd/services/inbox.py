"""Direct messages between agents, each acknowledged once it is on the receiver's disk.

    send:    commit `sending` -> stream -> ack -> commit `stored`      (no ack from a published peer: `unconfirmed`)
    receive: stream -> commit -> ack                                    (a repeated message is acknowledged again)

Peers of this release keep one stream for all messages to a peer; published ones take one message a stream.

This is the seam of what comes later: encryption wraps the content between the service and the machine, and offline
delivery takes up messages that ended `failed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import structlog
import trio
from msgspec.structs import replace

from nexusd.agents import Agent, Agents
from nexusd.host.ports import (
    Channel,
    ConnectionLostError,
    HostError,
    NotTakenError,
    Pipeline,
    Streams,
    UnsupportedError,
)
from nexusd.services.ports import Entropy, NameOf, Resolve, WallClock, refusal_of
from nexusd.services.screening import Screen
from nexusd.services.views import direct_message
from nexusd.store import Store
from nexusd.store.inbox import IncomingDm, SentStatus
from nexusd_protocols import limits
from nexusd_protocols.dm.frames import MANY, PROTOCOL, Code
from nexusd_protocols.dm.many_receiver import Answer, ManyReceiver
from nexusd_protocols.dm.many_sender import ManySender
from nexusd_protocols.dm.receiver import Ack, DmReceiver, Received, Refuse
from nexusd_protocols.dm.sender import Acknowledged, DmSender, DmSenderEvent, Message, Refused, Unconfirmed
from nexusd_protocols.errors import LimitExceededError, RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import MessageId, uuid7
from nexusd_protocols.machine import StreamMachine
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import DmList, DmListParams, DmSendParams, DmSent

log = structlog.get_logger(__name__)

ACK_S: Final = 15.0
"""How long a sender waits for the acknowledgement: a disk that is slow to sync, not a person."""

CORRESPONDENTS: Final = 10_000
"""Peers remembered as written to: as many as are remembered at all."""
IDLE_S: Final = 60.0
"""How long the receiver keeps a stream on which no message comes: longer than a person thinks about an answer."""
ATTEMPTS: Final = 2
"""Streams that one message is sent on: the first may be just ending. The receiver knows a message that it has."""

Handed = Literal["stored", "unconfirmed"]
"""How far a message came that was not refused."""


@dataclass(slots=True)
class _Delivery:
    """How far a message came, for when its sender stops waiting."""

    handed_over: bool = False
    shared: bool = False
    """On a stream whose receiver knows a message that it has: it may be sent again."""


_SENDER = Channel[DmSenderEvent, Message]
_RECEIVER = Channel[Received, Ack | Refuse]
_MANY_RECEIVER = Channel[Received, Sequence[Answer]]
_PIPELINE = Pipeline[DmSenderEvent, Message]


class Inbox:
    """Direct messages of this node's agents."""

    def __init__(
        self,
        *,
        agents: Agents,
        streams: Streams,
        store: Store,
        clock: WallClock,
        entropy: Entropy,
        admit: Resolve,
        resolve: Resolve,
        name_of: NameOf,
        screen: Screen | None = None,
    ) -> None:
        self._screen = screen or Screen()
        self._agents = agents
        self._local = PeerId(agents.first.id)
        self._streams = streams
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._admit = admit
        self._resolve = resolve
        self._name_of = name_of
        self._written_to: set[PeerId] = set()
        self._pipelines: dict[PeerId, _PIPELINE] = {}

    async def load(self) -> None:
        """Say of what a crash left half sent that it failed, and listen."""
        for agent in self._agents:
            await self._store.inbox.fail_unfinished(agent.id, now=self._clock())
            self._written_to |= await self._store.inbox.correspondents(agent.id, CORRESPONDENTS)
        self._streams.handle(PROTOCOL, lambda peer: DmReceiver(self._local, peer), self._receive)
        self._streams.handle(MANY, lambda peer: ManyReceiver(self._local, peer), self._receive_many)

    def wrote_to(self, peer: PeerId) -> bool:
        """Whether one of this node's agents has written to the peer. What a peer writes to us makes it no friend."""
        return peer in self._written_to

    # --- receiving --------------------------------------------------------------------------------------------------
    async def _receive(self, channel: _RECEIVER) -> None:
        message = await channel.receive()
        if message is None:
            return
        agent = self._agents.first.id if message.to_agent is None else message.to_agent
        if not self._agents.hosts(agent):
            await channel.send(Refuse(Code.NOT_FOUND, "that agent does not live here"))
            return
        try:
            appended = await self._store.inbox.receive(
                agent,
                peer=channel.peer,
                sender=message.sender,
                message_id=MessageId(message.message_id),
                content=message.content,
                format=message.content_format,
                now=self._clock(),
            )
        except OSError as error:
            log.error("dm_not_stored", peer=channel.peer, error=str(error))
            await channel.send(Refuse(Code.INTERNAL, "the message could not be stored"))
            return
        await channel.send(Ack())
        await channel.close_write()
        log.debug("dm_received", peer=channel.peer, message=message.message_id, repeated=appended is None)

    async def _receive_many(self, channel: _MANY_RECEIVER) -> None:
        """Messages that come together share a commit; while it is made, the next gather."""
        while True:
            message = None
            with trio.move_on_after(IDLE_S):
                message = await channel.receive()
            if message is None:
                return
            await channel.send(await self._commit(channel.peer, [message, *channel.ready()]))

    async def _commit(self, peer: PeerId, messages: Sequence[Received]) -> list[Answer]:
        answers = {
            message.message_id: Answer(message.message_id, Code.NOT_FOUND, "that agent does not live here")
            for message in messages
            if not self._agents.hosts(message.to_agent or self._agents.first.id)
        }
        rows = [
            IncomingDm(
                agent=message.to_agent or self._agents.first.id,
                peer=peer,
                sender=message.sender,
                message_id=MessageId(message.message_id),
                content=message.content,
                format=message.content_format,
            )
            for message in messages
            if message.message_id not in answers
        ]
        try:
            await self._store.inbox.receive_all(rows, now=self._clock())
        except OSError as error:
            log.error("dm_not_stored", peer=peer, error=str(error))
            refused = [Answer(row.message_id, Code.INTERNAL, "the message could not be stored") for row in rows]
            return [*answers.values(), *refused]
        log.debug("dm_received", peer=peer, messages=len(rows))
        return [answers.get(message.message_id) or Answer(message.message_id) for message in messages]

    # --- sending ----------------------------------------------------------------------------------------------------
    async def send(self, params: DmSendParams) -> DmSent | Refusal:
        """Send one message, and say how far it came."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        peer = self._admit(params.peer)
        if isinstance(peer, Refusal):
            return peer
        content = self._screen.text(params.content, meant=params.anyway)
        if isinstance(content, Refusal):
            return content
        params = replace(params, content=content)
        size = len(params.content.encode())
        if size > limits.DM_CONTENT_BYTES:
            return Refusal("too_large", f"{size} bytes are over the {limits.DM_CONTENT_BYTES} of a direct message")
        now = self._clock()
        message_id = MessageId(uuid7(now, self._entropy(10)))
        # before anything of it leaves: a crash from here on leaves a trace
        position = await self._store.inbox.begin_send(
            agent.id, peer=peer, message_id=message_id, content=params.content, format=params.format, now=now
        )
        if len(self._written_to) < CORRESPONDENTS:
            self._written_to.add(peer)
        delivery = _Delivery()
        status: SentStatus = "failed"
        try:
            outcome = await self._deliver(agent, peer, message_id, params, delivery)
            if not isinstance(outcome, Refusal):
                status = outcome
        except trio.Cancelled:
            # nobody waits for the acknowledgement any more; the peer may have the message all the same
            status = "unconfirmed" if delivery.handed_over else "failed"
            raise
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2.0):
                await self._store.inbox.finish_send(agent.id, position, status, now=self._clock())
        if isinstance(outcome, Refusal):
            return outcome
        return DmSent(message_id=message_id, peer=peer, status=outcome)

    async def _deliver(
        self, agent: Agent, peer: PeerId, message_id: MessageId, params: DmSendParams, delivery: _Delivery
    ) -> Handed | Refusal:
        message = Message(
            message_id=message_id,
            content=params.content,
            content_format=params.format,
            # the stream itself proves the node's own agent
            author=None if agent is self._agents.first else agent.signer,
        )
        try:
            match await self._say(peer, message, delivery):
                case Acknowledged():
                    return "stored"
                case Refused(code, words):
                    return Refusal("refused", f"The peer did not store it: {code} {words}".rstrip())
                case Unconfirmed() | None:
                    return "unconfirmed"
        except (NotTakenError, UnsupportedError) as error:
            return refusal_of(error)  # nothing of it was looked at
        except HostError as error:
            # a peer that is gone without a word may have it, and may not: published peers just close
            return "unconfirmed" if delivery.handed_over else refusal_of(error)
        except LimitExceededError as error:
            return Refusal("too_large", str(error))
        except RemoteProtocolError as error:
            log.info("dm_answer_faulty", peer=peer, reason=error.code)
            return "unconfirmed"

    async def _say(self, peer: PeerId, message: Message, delivery: _Delivery) -> DmSenderEvent | None:
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._say_once(peer, message, delivery)
            except NotTakenError as error:
                delivery.handed_over = False
                log.debug("dm_again", peer=peer, message=message.message_id, error=str(error))
            except ConnectionLostError:
                if not delivery.shared:
                    raise  # a published peer would show it twice
        return await self._say_once(peer, message, delivery)

    async def _say_once(self, peer: PeerId, message: Message, delivery: _Delivery) -> DmSenderEvent | None:
        pipeline = self._pipelines.get(peer)
        if pipeline is None or pipeline.closed:
            # either will do, so that the peer is asked: a message goes behind its agreement, and once
            channel: _SENDER = await self._streams.open(peer, [MANY, PROTOCOL], partial(self._machine, peer))
            if channel.protocol != MANY:
                delivery.shared = False
                async with channel:
                    await channel.send(message)
                    delivery.handed_over = True
                    await channel.close_write()
                    return await channel.receive(timeout=ACK_S)
            pipeline = await self._share(channel)
        delivery.shared = True
        pending = await pipeline.send(message.message_id, message, timeout=ACK_S)
        delivery.handed_over = True
        return await pending.answer(timeout=ACK_S)

    def _machine(self, peer: PeerId, protocol: str) -> StreamMachine[DmSenderEvent, Message]:
        return ManySender(self._local, peer) if protocol == MANY else DmSender(self._local, peer)

    async def _share(self, channel: _SENDER) -> _PIPELINE:
        """Let all messages to the peer take this stream, unless another was opened meanwhile."""
        other = self._pipelines.get(channel.peer)
        if other is not None and not other.closed:
            await channel.reset()
            return other
        self._pipelines = {peer: found for peer, found in self._pipelines.items() if not found.closed}
        pipeline = self._streams.pipeline(channel, lambda event: event.message_id, limits.DM_UNACKNOWLEDGED)
        self._pipelines[channel.peer] = pipeline
        return pipeline

    # --- listing ----------------------------------------------------------------------------------------------------
    async def list(self, params: DmListParams) -> DmList | Refusal:
        """A page of all conversations, or of one."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        peer: PeerId | None = None
        if params.peer is not None:
            found = self._resolve(params.peer)
            if isinstance(found, Refusal):
                return found
            peer = found
        page = await self._store.inbox.list(
            agent.id, peer=peer, after=params.after, before=params.before, limit=params.limit
        )
        messages = [direct_message(row, self._name_of) for row in page.rows]
        return DmList(
            messages=messages,
            more=page.more,
            first=messages[0].position if messages else None,
            last=messages[-1].position if messages else None,
        )
