"""Outputs while one input is handled: GRAFTs and PRUNEs to one peer leave together, behind the rest, one of each a
topic: a storm of them in one RPC is not answered by another."""

from __future__ import annotations

from nexusd_protocols.gossipsub.counters import Counters
from nexusd_protocols.gossipsub.outputs import Output, Priority, Send
from nexusd_protocols.gossipsub.rpc import Control, Graft, Prune, Rpc
from nexusd_protocols.identity import PeerId


class Outbox:
    """Collects until it is emptied."""

    __slots__ = ("_counters", "_grafts", "_outputs", "_prunes")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._outputs: list[Output] = []
        self._grafts: dict[PeerId, dict[str, Graft]] = {}
        self._prunes: dict[PeerId, dict[str, Prune]] = {}

    def put(self, output: Output) -> None:
        """Add an output."""
        self._outputs.append(output)

    def graft(self, peer: PeerId, topic: str) -> None:
        """Tell the peer that it is in our mesh."""
        self._counters.grafts_sent += 1
        self._grafts.setdefault(peer, {})[topic] = Graft(topic)

    def prune(self, peer: PeerId, prune: Prune) -> None:
        """Tell the peer that it is not, or no longer, in our mesh."""
        self._counters.prunes_sent += 1
        self._prunes.setdefault(peer, {})[prune.topic] = prune

    def empty(self) -> list[Output]:
        """Everything since the last time."""
        outputs, self._outputs = self._outputs, []
        if self._grafts or self._prunes:
            for peer in self._grafts | self._prunes:
                grafts, prunes = self._grafts.get(peer, {}), self._prunes.get(peer, {})
                control = Control(graft=tuple(grafts.values()), prune=tuple(prunes.values()))
                outputs.append(Send((peer,), Rpc(control=control), Priority.CONTROL))
            self._grafts.clear()
            self._prunes.clear()
        return outputs
