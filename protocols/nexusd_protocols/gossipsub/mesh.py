"""The meshes of the joined topics: who is in them, and the GRAFTs and PRUNEs that change it (gossipsub-v1.0 "Topic
Membership", "Control Messages"; gossipsub-v1.1 "PRUNE Backoff and Peer Exchange"). `upkeep` looks after them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nexusd_protocols.gossipsub.backoff import Backoff
from nexusd_protocols.gossipsub.chance import Chance, some
from nexusd_protocols.gossipsub.counters import Counters
from nexusd_protocols.gossipsub.inputs import Version
from nexusd_protocols.gossipsub.outbox import Outbox
from nexusd_protocols.gossipsub.outputs import ExplicitGraft, PeerExchange
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.peers import Peer, PeerTable
from nexusd_protocols.gossipsub.rpc import Graft, PeerInfo, Prune
from nexusd_protocols.gossipsub.score import Scores
from nexusd_protocols.identity import PeerId, peer_id_bytes


class Meshes:
    """Mesh members by topic. A joined topic has a mesh, even an empty one."""

    def __init__(
        self, params: Params, table: PeerTable, scores: Scores, counters: Counters, outbox: Outbox, chance: Chance
    ) -> None:
        self._params = params
        self._table = table
        self._scores = scores
        self._counters = counters
        self._outbox = outbox
        self._chance = chance
        self.backoff = Backoff(params.backoff_slack, params.bounds.backoffs)
        self.topics: dict[str, dict[PeerId, Peer]] = {}
        self.fresh: dict[str, dict[PeerId, Peer]] = {}
        """Members since the last heartbeat: what was said before they came went past them."""

    # --- membership -----------------------------------------------------------------------------------------------

    def join(self, topic: str, fanout: Iterable[Peer], now: float) -> None:
        """gossipsub-v1.0 "JOIN(topic)": the fan-out peers first, then others, up to D."""
        mesh = self.topics[topic] = {}
        candidates = self.candidates(topic, now)
        eligible = {peer.id for peer in candidates}
        chosen = [peer for peer in fanout if peer.id in eligible][: self._params.d]
        others = [peer for peer in candidates if peer not in chosen]
        for peer in chosen + some(self._chance, others, self._params.d - len(chosen)):
            self.graft(topic, mesh, peer, now)

    def leave(self, topic: str, now: float) -> None:
        """gossipsub-v1.0 "LEAVE(topic)": a PRUNE to each member."""
        mesh = self.topics.pop(topic)
        self.fresh.pop(topic, None)
        for peer in mesh.values():
            self._scores.prune(peer.card, topic)
            self._send_prune(topic, peer, now, self._params.unsubscribe_backoff, exchange=self._params.do_px)

    def forget(self, topic: str, peer: Peer) -> None:
        """The peer left, or unsubscribed: it is out of the mesh without a word."""
        mesh = self.topics.get(topic)
        if mesh is not None and mesh.pop(peer.id, None) is not None:
            self._scores.prune(peer.card, topic)

    def candidates(self, topic: str, now: float, *, outbound: bool = False) -> list[Peer]:
        """Who may be grafted: subscribers outside the mesh that speak GossipSub, are no explicit peers, are not in
        back-off and do not have a negative score ("Score Thresholds"). If wanted, only those that we dialled."""
        mesh = self.topics[topic]
        blocks = self.backoff.blocks
        return [
            peer
            for peer in self._table.subscribers.get(topic, {}).values()
            if (peer.outbound or not outbound)
            and peer.meshable
            and peer.id not in mesh
            and peer.card.score >= 0
            and not blocks(topic, peer.id, now)
        ]

    def graft(self, topic: str, mesh: dict[PeerId, Peer], peer: Peer, now: float) -> None:
        """Add a peer, and tell it."""
        self._add(topic, mesh, peer, now)
        self._outbox.graft(peer.id, topic)

    def _add(self, topic: str, mesh: dict[PeerId, Peer], peer: Peer, now: float) -> None:
        mesh[peer.id] = peer
        if self._params.greet:
            self.fresh.setdefault(topic, {})[peer.id] = peer
        self._scores.graft(peer.card, topic, now)

    def welcome(self, topic: str, peer: Peer, now: float) -> None:
        """A peer has subscribed to a joined topic: where members are missing it need not wait for the heartbeat, in a
        small room everybody does. The conditions are those of `candidates`."""
        mesh = self.topics[topic]
        if (
            self._params.greet
            and len(mesh) < self._params.d_low
            and peer.meshable
            and peer.id not in mesh
            and peer.card.score >= 0
            and not self.backoff.blocks(topic, peer.id, now)
        ):
            self.graft(topic, mesh, peer, now)

    def prune(self, topic: str, mesh: dict[PeerId, Peer], peer: Peer, now: float, *, exchange: bool) -> None:
        """Remove a member, and tell it. "Both the pruned and the pruning peer add a backoff period"."""
        del mesh[peer.id]
        self._scores.prune(peer.card, topic)
        self._send_prune(topic, peer, now, self._params.prune_backoff, exchange=exchange and self._params.do_px)

    # --- what peers say -------------------------------------------------------------------------------------------

    def grafted(self, peer: Peer, grafts: Iterable[Graft], now: float) -> None:
        """gossipsub-v1.0 "GRAFT(topic)", with the conditions of v1.1."""
        for graft in grafts:
            self._counters.grafts_received += 1
            mesh = self.topics.get(graft.topic)
            # gossipsub-v1.1 "Spam Protection Measures": "GRAFT messages for unknown topics are ignored"
            if mesh is None or peer.id in mesh:
                continue
            if not self._accepts(graft.topic, mesh, peer, now):
                self._counters.grafts_refused += 1
                continue
            self._add(graft.topic, mesh, peer, now)

    def _accepts(self, topic: str, mesh: dict[PeerId, Peer], peer: Peer, now: float) -> bool:
        """Whether a GRAFT is taken. If not, the peer is told by a PRUNE."""
        backoff = self._params.prune_backoff
        if not peer.meshable:
            # "Explicit Peering Agreements": "such an attempt should be logged and rejected with a PRUNE"
            if peer.direct:
                self._outbox.put(ExplicitGraft(topic, peer.id))
            self._send_prune(topic, peer, now, backoff, exchange=False)
            return False
        until = self.backoff.until(topic, peer.id)
        if until is not None and now < until:
            # "When a peer tries to regraft too early, the pruning peer may apply a behavioural penalty"
            flood = now < until - backoff + self._params.graft_flood
            self._scores.misbehaved(peer.card, 2.0 if flood else 1.0)
            # "immediately prune a GRAFT within the backoff period and extend it"
            self._send_prune(topic, peer, now, backoff, exchange=False)
            return False
        if peer.card.score < 0:
            # "Score Thresholds": a peer below zero is ignored when looking for mesh members, and is given no PX
            self._send_prune(topic, peer, now, backoff, exchange=False)
            return False
        if len(mesh) >= self._params.d_high and not peer.outbound:
            # "Outbound Mesh Quotas": "it only accepts the new peer in the mesh if it is an outbound connection"
            self._send_prune(topic, peer, now, backoff, exchange=self._params.do_px)
            return False
        # who grafts is subscribed, even if it did not say so
        if not self._table.subscribe(peer, topic, joined=True):
            self._send_prune(topic, peer, now, backoff, exchange=False)
            return False
        return True

    def pruned(self, peer: Peer, prunes: Iterable[Prune], now: float) -> None:
        """gossipsub-v1.0 "PRUNE(topic)", with the back-off and the suggestions of v1.1."""
        for prune in prunes:
            self._counters.prunes_received += 1
            if prune.topic not in self.topics:
                continue
            self.forget(prune.topic, peer)
            seconds = min(float(prune.backoff or self._params.prune_backoff), self._params.bounds.max_backoff)
            self.backoff.set(prune.topic, peer.id, now + seconds)
            # "Score Thresholds", `acceptPXThreshold`
            if prune.peers and self._params.accept_px and peer.card.score >= self._params.score.accept_px_threshold:
                self._outbox.put(PeerExchange(prune.topic, prune.peers[: self._params.px_peers], peer.id))

    def _send_prune(self, topic: str, peer: Peer, now: float, backoff: float, *, exchange: bool) -> None:
        self.backoff.set(topic, peer.id, now + backoff)
        if peer.version < Version.V1_1:
            self._outbox.prune(peer.id, Prune(topic))
            return
        # "The pruning peer should include the backoff period in the PRUNE message"
        # "Score Thresholds": "no PX information is emitted towards" peers with a negative score
        suggested = self._suggestions(topic, peer) if exchange and peer.card.score >= 0 else ()
        self._outbox.prune(peer.id, Prune(topic, math.ceil(backoff), suggested))

    def _suggestions(self, topic: str, pruned: Peer) -> tuple[PeerInfo, ...]:
        """For PX: "only peers with non-negative scores are exchanged"; without signed records, which may be omitted."""
        others = [
            peer
            for peer in self._table.subscribers.get(topic, {}).values()
            if peer is not pruned and peer.meshable and peer.card.score >= 0
        ]
        return tuple(PeerInfo(peer_id_bytes(peer.id)) for peer in some(self._chance, others, self._params.px_peers))
