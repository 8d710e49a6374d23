"""Who may not be grafted yet (gossipsub-v1.1 "PRUNE Backoff and Peer Exchange")."""

from __future__ import annotations

from nexusd_protocols.identity import PeerId


class Backoff:
    """Until when, for each topic and peer. Survives departure of the peer, and our leaving the topic."""

    __slots__ = ("_size", "_slack", "_topics")

    def __init__(self, slack: float, size: int) -> None:
        self._slack = slack
        self._size = size
        self._topics: dict[str, dict[PeerId, float]] = {}

    def set(self, topic: str, peer: PeerId, until: float) -> None:
        """Begin a back-off, or make it longer; never shorter."""
        peers = self._topics.setdefault(topic, {})
        peers[peer] = max(until, peers.pop(peer, until))
        if len(peers) > self._size:
            del peers[next(iter(peers))]

    def until(self, topic: str, peer: PeerId) -> float | None:
        """When it ends for the peer: a GRAFT of its before that is a fault. None if there is none."""
        peers = self._topics.get(topic)
        return None if peers is None else peers.get(peer)

    def blocks(self, topic: str, peer: PeerId, now: float) -> bool:
        """Whether we must not graft the peer. "The peer has to wait the full backoff period […] plus some slack"."""
        peers = self._topics.get(topic)
        if peers is None:
            return False
        until = peers.get(peer)
        return until is not None and now < until + self._slack

    def expire(self, now: float) -> None:
        """Forget those that are over."""
        for topic, peers in list(self._topics.items()):
            for peer in [peer for peer, until in peers.items() if until + self._slack <= now]:
                del peers[peer]
            if not peers:
                del self._topics[topic]

    def __len__(self) -> int:
        return sum(len(peers) for peers in self._topics.values())
