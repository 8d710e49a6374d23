"""The peers that RPCs are exchanged with, and the topics they subscribed to."""

from __future__ import annotations

from typing import Final

from nexusd_protocols.gossipsub.inputs import PeerJoined, Version
from nexusd_protocols.gossipsub.params import Bounds, Params
from nexusd_protocols.gossipsub.score import Scorecard
from nexusd_protocols.identity import PeerId


class Peer:
    """One peer. The counts are of one heartbeat: `renew` begins them anew."""

    __slots__ = (
        "asked",
        "beat",
        "card",
        "direct",
        "dont_want",
        "id",
        "idontwants_received",
        "idontwants_sent",
        "ihaves",
        "meshable",
        "outbound",
        "sent_bytes",
        "topics",
        "version",
        "wanted",
    )

    def __init__(self, joined: PeerJoined, card: Scorecard) -> None:
        self.id: Final = joined.peer
        self.version: Final = joined.version
        self.outbound: Final = joined.outbound
        self.direct: Final = joined.direct
        # gossipsub-v1.1 "Explicit Peering Agreements": "explicit peers exist outside the mesh"
        self.meshable: Final = joined.version is not Version.FLOODSUB and not joined.direct
        self.card: Final = card
        self.topics: dict[str, None] = {}
        self.dont_want: dict[bytes, float] = {}
        self.beat = -1
        self._count_anew()

    def renew(self, beat: int) -> None:
        """Begin the counts of a heartbeat, if this one is new."""
        if self.beat != beat:
            self.beat = beat
            self._count_anew()

    def _count_anew(self) -> None:
        self.ihaves = self.asked = self.wanted = self.sent_bytes = self.idontwants_received = self.idontwants_sent = 0

    def floods(self, params: Params) -> bool:
        """Whether it said so much in this heartbeat that no honest peer's way of counting explains it."""
        return (
            self.ihaves > params.max_ihave_messages * params.flood_factor
            or self.wanted > params.max_ihave_length * params.flood_factor
            or self.idontwants_received > params.max_idontwant_messages * params.flood_factor
        )


class PeerTable:
    """Peers by id, and by topic."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._subscriptions = 0
        self.beat = 0
        """The number of the heartbeat."""
        self.peers: dict[PeerId, Peer] = {}
        self.subscribers: dict[str, dict[PeerId, Peer]] = {}
        self.always: dict[str, dict[PeerId, Peer]] = {}
        """Subscribers who are sent every message outside of the mesh: explicit peers, and those who speak floodsub."""

    def add(self, peer: Peer) -> None:
        """A peer that is not there."""
        self.peers[peer.id] = peer

    def remove(self, peer: Peer) -> None:
        """A peer with all its subscriptions."""
        for topic in list(peer.topics):
            self.unsubscribe(peer, topic)
        del self.peers[peer.id]

    def subscribe(self, peer: Peer, topic: str, *, joined: bool) -> bool:
        """Note a subscription. False if that is one too many: of this peer, or of all peers for a topic that we have
        not joined."""
        if topic in peer.topics:
            return True
        if len(peer.topics) >= self._bounds.peer_topics:
            return False
        if self._subscriptions >= self._bounds.topics_total and not joined:
            return False
        self._subscriptions += 1
        peer.topics[topic] = None
        self.subscribers.setdefault(topic, {})[peer.id] = peer
        if not peer.meshable:
            self.always.setdefault(topic, {})[peer.id] = peer
        return True

    def unsubscribe(self, peer: Peer, topic: str) -> None:
        """Forget a subscription."""
        if topic not in peer.topics:
            return
        self._subscriptions -= 1
        del peer.topics[topic]
        for index in (self.subscribers, self.always):
            peers = index.get(topic)
            if peers is not None and peers.pop(peer.id, None) is not None and not peers:
                del index[topic]
