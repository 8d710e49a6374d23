"""The agents that live on this node. There is one so far: the node's own; further ones come with keys of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nexusd_protocols.identity import AgentId, Signer
from nexusd_protocols.rpc.codes import Refusal


@dataclass(frozen=True, slots=True)
class Agent:
    """An identity that talks, and the key it signs with."""

    id: AgentId
    signer: Signer


class Agents:
    """Finds the agent that a request names; without a name, the first."""

    def __init__(self, node: Signer) -> None:
        self.first = Agent(AgentId(node.peer_id), node)
        self._by_id = {self.first.id: self.first}

    def find(self, agent: str | None) -> Agent | Refusal:
        """The agent of that id, or a refusal that lists those there are."""
        if agent is None:
            return self.first
        found = self._by_id.get(AgentId(agent))
        if found is None:
            return Refusal("refused", f"No agent {agent!r} lives here; there is {', '.join(self._by_id)}")
        return found

    def hosts(self, agent: str) -> bool:
        """Whether the agent lives here."""
        return agent in self._by_id

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._by_id.values())
