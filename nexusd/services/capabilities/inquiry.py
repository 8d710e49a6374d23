"""The handshake: asking a provider live what it offers, and answering whoever asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from nexusd.agents import Agent
from nexusd.host.ports import Channel, HostError, Streams, UnsupportedError
from nexusd.services.capabilities.registry import Entry
from nexusd.services.ports import PersonaOf, refusal_of
from nexusd.services.prices import stated_price
from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, RemoteProtocolError
from nexusd_protocols.handshake.answerer import Answer, Answerer, Asked, Refuse
from nexusd_protocols.handshake.asker import Answered, Ask, Asker, AskerEvent
from nexusd_protocols.handshake.frames import PROTOCOL, CapabilityStatus
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.payments.advertised import stated
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import Capability, CapabilityList

ANSWER_S: Final = 10.0

_ASKING = Channel[AskerEvent, Ask]
_ANSWERING = Channel[Asked, Answer | Refuse]


class Inquiry:
    """Both ends of `/nexus/handshake/1.1.0`."""

    def __init__(
        self,
        *,
        agent: Agent,
        streams: Streams,
        persona_of: PersonaOf,
        entries: Callable[[AgentId], list[Entry]],
        learn_name: Callable[[PeerId, str], Awaitable[None]],
        tokens: Tokens,
    ) -> None:
        self._agent = agent
        self._local = PeerId(agent.id)
        self._streams = streams
        self._persona_of = persona_of
        self._entries = entries
        self._learn_name = learn_name
        self._tokens = tokens

    def listen(self) -> None:
        """Answer from now on."""
        self._streams.handle(PROTOCOL, lambda peer: Answerer(self._local, peer), self._answer)

    async def _answer(self, channel: _ANSWERING) -> None:
        asked = await channel.receive()
        if asked is None:
            return
        persona = self._persona_of(self._agent.id)
        answer = Answer(
            agent_name=persona.name,
            agent_type=persona.agent_type,
            capabilities=tuple(map(_status, self._entries(self._agent.id)[: limits.HANDSHAKE_ROWS])),
        )
        try:
            await channel.send(answer)
        except LimitExceededError:
            # many, and each with much to say: then they are named
            await channel.send(msgspec.structs.replace(answer, capabilities=tuple(map(_short, answer.capabilities))))
        await channel.close_write()
        if asked.peer.agent_name:
            await self._learn_name(channel.peer, asked.peer.agent_name)

    async def ask(self, peer: PeerId, request_id: str) -> CapabilityList | Refusal:
        """What a peer offers now. One that does not speak the handshake is no failure: it is `answered=False`."""
        persona = self._persona_of(self._agent.id)
        try:
            channel: _ASKING = await self._streams.open(peer, [PROTOCOL], lambda _: Asker(self._local, peer))
            async with channel:
                await channel.send(Ask(request_id=request_id, agent_name=persona.name, agent_type=persona.agent_type))
                await channel.close_write()
                answer = await channel.receive(timeout=ANSWER_S)
        except UnsupportedError:
            return CapabilityList(peer=peer, answered=False, capabilities=[])
        except HostError as error:
            return refusal_of(error)
        except RemoteProtocolError as error:
            return Refusal("refused", f"The peer's answer makes no sense: {error}")
        if not isinstance(answer, Answered):
            return Refusal("refused", f"The peer does not say: {answer.message or answer.code}" if answer else "")
        if answer.peer.agent_name:
            await self._learn_name(peer, answer.peer.agent_name)
        rows = [self._capability(row) for row in answer.capabilities]
        return CapabilityList(peer=peer, answered=True, capabilities=rows)

    def _capability(self, row: CapabilityStatus) -> Capability:
        prices = () if row.prices is msgspec.UNSET else row.prices
        return Capability(
            name=row.name,
            available=row.available,
            description="" if row.description is msgspec.UNSET else row.description,
            free=True if row.free is msgspec.UNSET else row.free,
            streaming=row.streaming,
            max_input_bytes=row.max_input_bytes,
            queue_ms=row.estimated_queue_ms,
            prices=[stated_price(price, self._tokens) for price in prices],
        )


def _status(entry: Entry) -> CapabilityStatus:
    row = entry.view()
    return CapabilityStatus(
        name=row.name,
        available=row.available,
        max_input_bytes=row.max_input_bytes,
        streaming=row.streaming,
        estimated_queue_ms=row.queue_ms,
        description=row.description,
        free=row.free,
        prices=tuple(map(stated, entry.offers[: limits.HANDSHAKE_PRICES])) or msgspec.UNSET,
    )


def _short(row: CapabilityStatus) -> CapabilityStatus:
    return msgspec.structs.replace(row, description=msgspec.UNSET, prices=msgspec.UNSET)
