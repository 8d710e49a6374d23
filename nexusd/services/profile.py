"""What an agent tells others of itself: name, description, kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio

from nexusd.agents import Agents
from nexusd.store import Store
from nexusd_protocols.identity import AgentId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import Profile, ProfileGetParams, ProfileSetParams


class Profiles:
    """Profiles of the agents that live here, kept in the store and in memory."""

    def __init__(self, agents: Agents, store: Store, agent_type: str) -> None:
        self._agents = agents
        self._store = store
        self._default_type = agent_type
        self._profiles: dict[AgentId, Profile] = {}
        self._tell: Callable[[AgentId], Awaitable[None]] | None = None
        self._changing = trio.Lock()

    def on_change(self, tell: Callable[[AgentId], Awaitable[None]]) -> None:
        """Whom to tell when an agent's profile changed."""
        self._tell = tell

    async def load(self) -> None:
        """Read what was set before."""
        for agent in self._agents:
            text = await self._store.settings.get(_key(agent.id))
            if text is None:
                profile = Profile(agent=agent.id, display_name="", description="", agent_type=self._default_type)
            else:
                profile = msgspec.json.decode(text, type=Profile)
            self._profiles[agent.id] = profile

    def of(self, agent: AgentId) -> Profile:
        """The profile of an agent that lives here."""
        return self._profiles[agent]

    def shown_name(self, agent: AgentId) -> str:
        """What others are told: the name, or the end of the id where none is set."""
        return self._profiles[agent].display_name or f"agent-{agent[-8:]}"

    async def get(self, params: ProfileGetParams) -> Profile | Refusal:
        """The profile of the agent that the request names."""
        agent = self._agents.find(params.agent)
        return agent if isinstance(agent, Refusal) else self.of(agent.id)

    async def set(self, params: ProfileSetParams) -> Profile | Refusal:
        """Change what is given, and keep the rest."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        changes = {
            name: value
            for name in ("display_name", "description", "agent_type")
            if (value := getattr(params, name)) is not None
        }
        async with self._changing:  # or one of two at once would undo the other
            profile = msgspec.structs.replace(self.of(agent.id), **changes)
            await self._store.settings.set(_key(agent.id), msgspec.json.encode(profile).decode())
            self._profiles[agent.id] = profile
        if self._tell is not None:
            await self._tell(agent.id)
        return profile


def _key(agent: AgentId) -> str:
    return f"profile/{agent}"
