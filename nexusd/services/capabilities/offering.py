"""What the agents here offer: taken on with its price, kept over restarts, shown, and given up.

What the daemon runs itself is kept on the disk; what a connection serves lasts as long as that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog
import trio
from msgspec.structs import replace

from nexusd.agents import Agent, Agents
from nexusd.services.capabilities import openai
from nexusd.services.capabilities.command import Command
from nexusd.services.capabilities.openai import OpenAi
from nexusd.services.capabilities.ports import Provider
from nexusd.services.capabilities.registry import Entry, Registry
from nexusd.services.policy import Policy
from nexusd.services.ports import WallClock
from nexusd.services.trade import Offers, Till
from nexusd.store import Store
from nexusd_protocols import ndjson
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName, parse_capability_name
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    Capability,
    CapabilityNameParams,
    CapabilityOptions,
    CapabilityRegisterParams,
    CapabilityServeParams,
    Done,
)

log = structlog.get_logger(__name__)

OptionsT = TypeVar("OptionsT", bound=CapabilityOptions)


class Offering:
    """The capabilities of this node's agents. `changed` is told of each agent whose offer is another than before."""

    def __init__(
        self,
        *,
        agents: Agents,
        store: Store,
        registry: Registry,
        policy: Policy,
        clock: WallClock,
        till: Till,
        changed: Callable[[AgentId], Awaitable[None]],
    ) -> None:
        self._agents = agents
        self._store = store
        self._registry = registry
        self._policy = policy
        self._clock = clock
        self._till = till
        self._changed = changed
        self._serving = trio.Lock()
        """Held while what the daemon serves changes, on disk and in memory."""
        self._nursery: trio.Nursery | None = None

    # --- life -------------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Serve again what the daemon served before."""
        for agent in self._agents:
            for row in await self._store.capabilities.list(agent.id):
                params = msgspec.json.decode(row.spec, type=CapabilityServeParams)
                offers = self._offers(row.name, params)
                if isinstance(offers, Refusal):
                    # for nothing would be wrong, and so would be to stop all else
                    log.error("not_served", capability=row.name, reason=offers.message)
                    continue
                self._registry.add(self._entry(agent, row.name, params, offers))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell of what is served no more, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    # --- what is offered --------------------------------------------------------------------------------------------
    def entries(self, agent: AgentId) -> list[Entry]:
        """What others may call."""
        return [each for each in self._registry.of(agent) if self._policy.refuses_capability(each.name) is None]

    def offered(self, agent: AgentId) -> list[Capability]:
        """What others may call, and how busy it is."""
        return [entry.view() for entry in self.entries(agent)]

    def status(self, agent: AgentId) -> list[Capability]:
        """What an agent serves, and how busy it is. What others may not call is not available."""
        return [
            replace(view, available=False, problem="not open to others")
            if self._policy.refuses_capability(view.name)
            else view
            for view in (entry.view() for entry in self._registry.of(agent))
        ]

    # --- taking on --------------------------------------------------------------------------------------------------
    async def serve(self, params: CapabilityServeParams) -> Capability | Refusal:
        """Serve a command or a chat endpoint from now on, also after a restart."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        if (params.command is None) == (params.openai is None):
            return Refusal("invalid_params", "Give exactly one of command and openai")
        name = self._name(params.name)
        if isinstance(name, Refusal):
            return name
        if params.openai is not None and not params.openai.url.startswith(("http://", "https://")):
            return Refusal("refused", f"{params.openai.url!r} is not an http or https URL")
        priced = await self._priced(name, params)
        if isinstance(priced, Refusal):
            return priced
        params, offers = priced
        entry = self._entry(agent, name, params, offers)
        async with self._serving:
            before = self._registry.find(agent.id, name)
            if refusal := self._registry.add(entry):
                return refusal
            try:
                await self._store.capabilities.put(agent.id, name, ndjson.encode(params).decode(), self._clock())
            except OSError:
                self._registry.put_back(agent.id, name, before)
                raise
        await self._changed(agent.id)
        return entry.view()

    async def register(self, params: CapabilityRegisterParams, provider: Provider) -> Done | Refusal:
        """Serve on a connection, for as long as it lasts."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        name = self._name(params.name)
        if isinstance(name, Refusal):
            return name
        priced = await self._priced(name, params)
        if isinstance(priced, Refusal):
            return priced
        params, offers = priced
        entry = Entry(
            agent.id,
            name,
            "connection",
            provider,
            params,
            params.streaming,
            owner=provider,
            offers=offers,
            unable=self._unable,
        )
        if refusal := self._registry.add(entry):
            return refusal
        await self._changed(agent.id)
        return Done()

    def _name(self, text: str) -> CapabilityName | Refusal:
        """A name that may be served here: to serve what nobody may call would be a mistake."""
        try:
            name = parse_capability_name(text)
        except ValueError as error:
            return Refusal("invalid_name", f"{text!r}: {error}")
        return self._policy.refuses_capability(name) or name

    async def _priced(self, name: CapabilityName, options: OptionsT) -> tuple[OptionsT, Offers] | Refusal:
        """The options with their prices filled in, and the terms of these."""
        if options.prices:
            prices = await self._till.prices(name, options.prices, options.timeout_ms)
            if isinstance(prices, Refusal):
                return prices
            options = replace(options, prices=prices)
        offers = self._offers(name, options)
        return offers if isinstance(offers, Refusal) else (options, offers)

    def _offers(self, name: CapabilityName, options: CapabilityOptions) -> Offers | Refusal:
        """The terms of prices that are filled in."""
        if not options.prices:
            return ()
        try:
            return self._till.offers(name, options.prices, options.timeout_ms)
        except ValueError as error:
            return Refusal("invalid_params", str(error))

    def _entry(self, agent: Agent, name: CapabilityName, params: CapabilityServeParams, offers: Offers) -> Entry:
        """What the daemon serves itself."""
        if params.command is not None:
            return Entry(agent.id, name, "command", Command(params.command), params, offers=offers, unable=self._unable)
        assert params.openai is not None
        chat = OpenAi(params.openai)
        return Entry(agent.id, name, "openai", chat, params, offers=offers, unable=self._unable, unfit=openai.unfit)

    def _unable(self, offers: Offers) -> str:
        """Why none of them can be paid now; empty where one can, or nothing is asked for."""
        return self._till.unable(offers) if offers else ""

    # --- giving up --------------------------------------------------------------------------------------------------
    async def unregister(self, params: CapabilityNameParams, owner: Provider) -> Done | Refusal:
        """Stop serving what this connection serves, or what the daemon does."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        async with self._serving:
            entry = self._registry.find(agent.id, params.name)
            if entry is None or (entry.owner is not None and entry.owner is not owner):
                return Refusal("capability_unknown", f"No capability {params.name!r} is served here")
            if entry.owner is None:
                await self._store.capabilities.remove(agent.id, entry.name)
            self._registry.remove(agent.id, entry.name)
        await self._changed(agent.id)
        return Done()

    def release(self, provider: Provider) -> None:
        """A connection is gone, at whatever moment: what it served is served no more."""
        assert self._nursery is not None
        for agent in {entry.agent for entry in self._registry.remove_owned(provider)}:
            self._nursery.start_soon(self._changed, agent)
