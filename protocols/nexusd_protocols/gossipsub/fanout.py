"""Peers for topics that we publish to and have not joined (gossipsub-v1.0 "Router State", `fanout`; "Fanout
Maintenance")."""

from __future__ import annotations

from collections.abc import Container

from nexusd_protocols.gossipsub.chance import Chance, some
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.peers import Peer, PeerTable
from nexusd_protocols.identity import PeerId


class Fanout:
    """D peers for each such topic, until nothing was published there for the fan-out's time."""

    __slots__ = ("_chance", "_last", "_params", "_table", "topics")

    def __init__(self, params: Params, table: PeerTable, chance: Chance) -> None:
        self._params = params
        self._table = table
        self._chance = chance
        self._last: dict[str, float] = {}
        self.topics: dict[str, dict[PeerId, Peer]] = {}

    def members(self, topic: str, now: float) -> dict[PeerId, Peer]:
        """Whom to publish to."""
        members = self.topics.get(topic)
        if not members:
            members = self.topics[topic] = self.select(topic, self._params.d, ())
        self._last[topic] = now
        return members

    def select(self, topic: str, count: int, others: Container[PeerId]) -> dict[PeerId, Peer]:
        """So many subscribers at random who may be published to and are none of the others."""
        threshold = self._params.score.publish_threshold
        candidates = [
            peer
            for peer in self._table.subscribers.get(topic, {}).values()
            if peer.meshable and peer.id not in others and peer.card.score >= threshold
        ]
        return {peer.id: peer for peer in some(self._chance, candidates, count)}

    def take(self, topic: str) -> list[Peer]:
        """The topic was joined: its fan-out becomes the beginning of its mesh."""
        self._last.pop(topic, None)
        return list(self.topics.pop(topic, {}).values())

    def forget(self, topic: str, peer: PeerId) -> None:
        """The peer left, or unsubscribed."""
        members = self.topics.get(topic)
        if members is not None:
            members.pop(peer, None)

    def maintain(self, now: float) -> None:
        """gossipsub-v1.0 "Fanout Maintenance"; gossipsub-v1.1 "Score Thresholds" for who stays."""
        for topic, members in list(self.topics.items()):
            if self._last[topic] + self._params.fanout_ttl < now:
                self.take(topic)
                continue
            for peer in [peer for peer in members.values() if peer.card.score < self._params.score.publish_threshold]:
                del members[peer.id]
            members.update(self.select(topic, self._params.d - len(members), members))
