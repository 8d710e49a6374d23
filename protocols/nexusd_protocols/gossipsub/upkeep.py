"""The heartbeat's care for one mesh (gossipsub-v1.0 "Mesh Maintenance"; gossipsub-v1.1 "Heartbeat Maintenance",
"Outbound Mesh Quotas", "Opportunistic Grafting")."""

from __future__ import annotations

from nexusd_protocols.gossipsub.chance import Chance, some
from nexusd_protocols.gossipsub.mesh import Meshes
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.peers import Peer
from nexusd_protocols.identity import PeerId


class Upkeep:
    """Keeps meshes between D_low and D_high, with D_out connections of our own making."""

    __slots__ = ("_chance", "_meshes", "_params")

    def __init__(self, params: Params, meshes: Meshes, chance: Chance) -> None:
        self._params = params
        self._meshes = meshes
        self._chance = chance

    def maintain(self, topic: str, now: float, *, opportunistic: bool) -> None:
        """Look after one topic. The scores are fresh."""
        mesh = self._meshes.topics[topic]
        # "Peers with negative score are pruned from all meshes"
        for peer in [peer for peer in mesh.values() if peer.card.score < 0]:
            self._meshes.prune(topic, mesh, peer, now, exchange=False)
        if len(mesh) < self._params.d_low:
            # gossipsub-v1.0: "if |mesh[topic]| < D_low: select D - |mesh[topic]| peers"
            candidates = self._meshes.candidates(topic, now)
            self._graft(topic, mesh, some(self._chance, candidates, self._params.d - len(mesh)), now)
        elif len(mesh) > self._params.d_high:
            self._trim(topic, mesh, now)
        if len(mesh) >= self._params.d_low:
            self._fill_outbound(topic, mesh, now)
        if opportunistic and len(mesh) > 1:
            self._graft_better(topic, mesh, now)

    def _graft(self, topic: str, mesh: dict[PeerId, Peer], peers: list[Peer], now: float) -> None:
        for peer in peers:
            self._meshes.graft(topic, mesh, peer, now)

    def _trim(self, topic: str, mesh: dict[PeerId, Peer], now: float) -> None:
        """Too many: "the peer keeps the best D_score scoring peers and selects the remaining peers to keep at random
        […] under the constraint that D_out peers are outbound connections"."""
        params = self._params
        peers = list(mesh.values())
        self._chance.shuffle(peers)
        peers.sort(key=_score, reverse=True)
        rest = peers[params.d_score :]
        self._chance.shuffle(rest)
        kept = (peers[: params.d_score] + rest)[: params.d]
        spare = [peer for peer in rest if peer not in kept]
        missing = params.d_out - sum(peer.outbound for peer in kept)
        # "we replace the random and lower scoring peers in the selection with outboud connection peers"
        replaceable = [at for at in reversed(range(len(kept))) if not kept[at].outbound]
        outbound = [peer for peer in spare if peer.outbound]
        for at, peer in zip(replaceable, outbound[: max(0, missing)], strict=False):
            kept[at] = peer
        for peer in peers:
            if peer not in kept:
                self._meshes.prune(topic, mesh, peer, now, exchange=True)

    def _fill_outbound(self, topic: str, mesh: dict[PeerId, Peer], now: float) -> None:
        """The quota: "if the peer already has at least D_lo peers in the mesh but not enough outbound connections, then
        it selects as many needed peers to fill the quota"."""
        missing = self._params.d_out - sum(peer.outbound for peer in mesh.values())
        if missing > 0:
            candidates = self._meshes.candidates(topic, now, outbound=True)
            self._graft(topic, mesh, some(self._chance, candidates, missing), now)

    def _graft_better(self, topic: str, mesh: dict[PeerId, Peer], now: float) -> None:
        """A poor mesh: "if the median score is below the threshold, the router opportunistically grafts (at least) two
        peers with score above the median in the mesh"."""
        scores = sorted(peer.card.score for peer in mesh.values())
        median = scores[len(scores) // 2]
        if median < self._params.score.opportunistic_graft_threshold:
            better = [peer for peer in self._meshes.candidates(topic, now) if peer.card.score > median]
            self._graft(topic, mesh, some(self._chance, better, self._params.opportunistic_graft_peers), now)


def _score(peer: Peer) -> float:
    return peer.card.score
