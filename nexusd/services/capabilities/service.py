"""Capabilities, for the doors and for the rest of the daemon: offering them, and calling those of others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from nexusd.agents import Agents
from nexusd.host.ports import Streams
from nexusd.services.capabilities.answering import Answering
from nexusd.services.capabilities.calling import Calling
from nexusd.services.capabilities.free import FreeTier
from nexusd.services.capabilities.inquiry import Inquiry
from nexusd.services.capabilities.offering import Offering
from nexusd.services.capabilities.ports import Call, Provider
from nexusd.services.capabilities.record import Record
from nexusd.services.capabilities.registry import Entry, Registry
from nexusd.services.policy import Policy
from nexusd.services.ports import Emit, Entropy, PersonaOf, Resolve, WallClock
from nexusd.services.screening import Screen
from nexusd.services.trade import Purse, Till
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import uuid7
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    Capability,
    CapabilityList,
    CapabilityListParams,
    CapabilityNameParams,
    CapabilityRegisterParams,
    CapabilityServeParams,
    Done,
    InvokeParams,
)


class Capabilities:
    """The capabilities of this node's agents, and calls to those of others."""

    def __init__(
        self,
        *,
        agents: Agents,
        streams: Streams,
        store: Store,
        emit: Emit,
        clock: WallClock,
        entropy: Entropy,
        admit: Resolve,
        policy: Policy,
        persona_of: PersonaOf,
        learn_name: Callable[[PeerId, str], Awaitable[None]],
        changed: Callable[[AgentId], Awaitable[None]],
        till: Till,
        purse: Purse,
        screen: Screen,
        free_calls: int = 60,
    ) -> None:
        """`free_calls`: see `FreeTier`."""

        def new_id() -> str:
            return uuid7(clock(), entropy(10))

        self._agents = agents
        self._admit = admit
        self._new_id = new_id
        registry = Registry()
        self._record = Record(store, emit, clock)
        self._offering = Offering(
            agents=agents, store=store, registry=registry, policy=policy, clock=clock, till=till, changed=changed
        )
        self._inquiry = Inquiry(
            agent=agents.first,
            streams=streams,
            persona_of=persona_of,
            entries=self._offering.entries,
            learn_name=learn_name,
            tokens=purse.tokens,
        )
        self._answering = Answering(
            agents=agents,
            streams=streams,
            registry=registry,
            policy=policy,
            record=self._record,
            clock=clock,
            new_id=new_id,
            till=till,
            screen=screen,
            free=FreeTier(free_calls),
        )
        self._calling = Calling(
            agents=agents,
            streams=streams,
            record=self._record,
            clock=clock,
            new_id=new_id,
            admit=admit,
            purse=purse,
            screen=screen,
        )

    # --- life -------------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Serve again what the daemon served before, and listen for calls."""
        await self._offering.load()
        self._answering.listen()
        self._inquiry.listen()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the record of calls, and tell others what is served no more, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._record.run)
            nursery.start_soon(self._record.tidy)
            await nursery.start(self._offering.run)
            task_status.started()

    async def aclose(self) -> None:
        """Give up what runs, each with a word to the other side, and finish the record."""
        self._answering.shut_down()
        await self._calling.shut_down()
        await self._answering.finished()
        await self._record.written()

    @property
    def open_calls(self) -> tuple[int, int]:
        """Calls under way: those made, and those answered."""
        return len(self._calling), len(self._answering)

    # --- what is offered --------------------------------------------------------------------------------------------
    def offers(self, agent: AgentId) -> list[Entry]:
        """What others may call."""
        return self._offering.entries(agent)

    def names(self, agent: AgentId) -> list[str]:
        """What an agent serves, as its presence tells."""
        return [row.name for row in self._offering.offered(agent)][: limits.PROFILE_CAPABILITIES]

    def status(self, agent: AgentId) -> list[Capability]:
        """What an agent serves, and how busy it is. What others may not call is not available."""
        return self._offering.status(agent)

    async def ask(self, peer: PeerId) -> CapabilityList | Refusal:
        """What a peer, or this node itself, offers now."""
        own = self._agents.first.id
        if peer == PeerId(own):
            return CapabilityList(peer=peer, answered=True, capabilities=self._offering.offered(own))
        return await self._inquiry.ask(peer, self._new_id())

    # --- requests ---------------------------------------------------------------------------------------------------
    async def list(self, params: CapabilityListParams) -> CapabilityList | Refusal:
        """What this daemon serves, or what a peer says that it does."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        if params.peer is None:
            return CapabilityList(peer=agent.id, answered=True, capabilities=self.status(agent.id))
        peer = self._admit(params.peer)
        if isinstance(peer, Refusal):
            return peer
        return await self._inquiry.ask(peer, self._new_id())

    async def serve(self, params: CapabilityServeParams) -> Capability | Refusal:
        """Serve a command or a chat endpoint from now on, also after a restart."""
        return await self._offering.serve(params)

    async def register(self, params: CapabilityRegisterParams, provider: Provider) -> Done | Refusal:
        """Serve on a connection, for as long as it lasts."""
        return await self._offering.register(params, provider)

    async def unregister(self, params: CapabilityNameParams, owner: Provider) -> Done | Refusal:
        """Stop serving what this connection serves, or what the daemon does."""
        return await self._offering.unregister(params, owner)

    def release(self, provider: Provider) -> None:
        """A connection is gone, at whatever moment: what it served is served no more."""
        self._offering.release(provider)

    async def invoke(self, params: InvokeParams) -> Call | Refusal:
        """Open a call; what comes of it is for the `Call` to tell."""
        return await self._calling.invoke(params)
