"""Who is sent a message: of ours or of another (gossipsub-v1.0 "Message Processing"; gossipsub-v1.1 "Flood Publishing";
gossipsub-v1.2 "IDONTWANT Message")."""

from __future__ import annotations

from collections.abc import Container, Iterable

from nexusd_protocols.gossipsub.counters import Counters
from nexusd_protocols.gossipsub.fanout import Fanout
from nexusd_protocols.gossipsub.inputs import Version
from nexusd_protocols.gossipsub.mesh import Meshes
from nexusd_protocols.gossipsub.message_cache import Entry
from nexusd_protocols.gossipsub.outbox import Outbox
from nexusd_protocols.gossipsub.outputs import Priority, Send
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.peers import Peer, PeerTable
from nexusd_protocols.gossipsub.rpc import Control, IDontWant, Rpc
from nexusd_protocols.identity import PeerId


class Spread:
    """Sends messages on."""

    def __init__(
        self,
        params: Params,
        table: PeerTable,
        meshes: Meshes,
        fanout: Fanout,
        counters: Counters,
        outbox: Outbox,
    ) -> None:
        self._params = params
        self._table = table
        self._meshes = meshes
        self._fanout = fanout
        self._counters = counters
        self._outbox = outbox

    def publish(self, entry: Entry, now: float) -> None:
        """Send a message of our own."""
        message = entry.message
        if len(message.data) <= self._params.flood_publish_bytes:
            peers = tuple(self._everybody(message.topic))
        else:
            peers = tuple(self._members(message.topic, now))
        self._send(entry, peers, Priority.OWN)

    def _everybody(self, topic: str) -> list[PeerId]:
        """gossipsub-v1.1 "Flood Publishing": "all connected peers with a score above a publish threshold"."""
        threshold = self._params.score.publish_threshold
        return [
            peer.id
            for peer in self._table.subscribers.get(topic, {}).values()
            if peer.direct or peer.card.score >= threshold
        ]

    def _members(self, topic: str, now: float) -> dict[PeerId, Peer]:
        """gossipsub-v1.0 "Message Processing": the mesh, or the fan-out of a topic that is not joined. A mesh below
        D_low (all in back-off, or just joined) is topped up, so that the message leaves."""
        mesh = self._meshes.topics.get(topic)
        if mesh is None:
            members = self._fanout.members(topic, now)
        elif len(mesh) < self._params.d_low:
            members = mesh | self._fanout.select(topic, self._params.d - len(mesh), mesh)
        else:
            members = mesh
        always = self._table.always.get(topic)
        return members if always is None else members | self._trusted(always)

    def _trusted(self, always: dict[PeerId, Peer]) -> dict[PeerId, Peer]:
        """Explicit peers "outside of the vagaries of the peer scoring system", and floodsub peers that score well
        enough to be published to."""
        threshold = self._params.score.publish_threshold
        return {peer.id: peer for peer in always.values() if peer.direct or peer.card.score >= threshold}

    def forward(self, entry: Entry, matches: list[Entry]) -> None:
        """Send another's message on: to the mesh, explicit peers and floodsub peers, but not to who has it. `matches`
        are all messages in the cache with the same wire id."""
        topic = entry.message.topic
        members = self._meshes.topics[topic]
        always = self._table.always.get(topic)
        if always is not None:
            members = members | self._trusted(always)
        have = (entry.message.sender, *entry.senders)
        if len(entry.message.data) >= self._params.idontwant_threshold:
            # "it immediately broadcasts IDONTWANT with the messageId to all its mesh peers": not before the signature
            # was checked, or a forgery would keep the true message away
            self._say_dont_want(entry.wire_id, members.values(), have)
        if len(matches) > 1:
            self._resend(matches)
            peers = [peer for peer in members if peer not in have]
        else:
            peers = self._without_unwilling(entry, members.values(), have)
        self._send(entry, tuple(peers), Priority.FORWARDED)

    def _without_unwilling(self, entry: Entry, members: Iterable[Peer], have: Container[PeerId]) -> list[PeerId]:
        wire_id = entry.wire_id
        peers = []
        for peer in members:
            if peer.id in have:
                continue
            # "the peers found in dont_send_message_ids MUST be skipped"
            if peer.dont_want and wire_id in peer.dont_want:
                entry.skipped.append(peer.id)
            else:
                peers.append(peer.id)
        self._counters.sends_spared += len(entry.skipped)
        return peers

    def _resend(self, matches: list[Entry]) -> None:
        """Messages of several authors have this wire id, so IDONTWANT may have meant another: whoever was skipped for
        it gets what it may be missing (specs/gossipsub.md §4)."""
        for entry in matches:
            skipped = tuple(peer for peer in entry.skipped if peer in self._table.peers)
            entry.skipped.clear()
            self._send(entry, skipped, Priority.FORWARDED)

    def _say_dont_want(self, wire_id: bytes, members: Iterable[Peer], have: Container[PeerId]) -> None:
        peers = []
        for peer in members:
            if peer.version >= Version.V1_2 and peer.id not in have:
                peer.renew(self._table.beat)
                # "limited to max_idontwant_messages per heartbeat": more would be ignored
                if peer.idontwants_sent < self._params.max_idontwant_messages:
                    peer.idontwants_sent += 1
                    peers.append(peer.id)
        if peers:
            self._counters.idontwant_ids_sent += len(peers)
            rpc = Rpc(control=Control(idontwant=(IDontWant((wire_id,)),)))
            self._outbox.put(Send(tuple(peers), rpc, Priority.CONTROL))

    def unwanted(self, peer: Peer, idontwants: Iterable[IDontWant], now: float) -> None:
        """gossipsub-v1.2 "IDONTWANT Message": remember what the peer has. Counts of this heartbeat are the peer's."""
        until = now + self._params.idontwant_ttl
        for idontwant in idontwants:
            peer.idontwants_received += 1
            if peer.idontwants_received > self._params.max_idontwant_messages:
                continue
            for wire_id in idontwant.message_ids[: self._params.max_idontwant_length]:
                self._counters.idontwant_ids_received += 1
                peer.dont_want.pop(wire_id, None)
                peer.dont_want[wire_id] = until
                if len(peer.dont_want) > self._params.bounds.dont_want:
                    del peer.dont_want[next(iter(peer.dont_want))]

    def _send(self, entry: Entry, peers: tuple[PeerId, ...], priority: Priority) -> None:
        if not peers:
            return
        counters = self._counters.topics.get(entry.message.topic)
        if counters is not None:
            counters.forwarded += len(peers)
            counters.bytes_sent += len(peers) * len(entry.message.data)
        self._outbox.put(Send(peers, Rpc(messages=(entry.message,)), priority))
