"""GossipSub 1.1 (libp2p specs, pubsub/gossipsub/gossipsub-v1.1.md): the mesh, with py-libp2p's settings put right.

Stock defaults that hurt, each measured: a heartbeat of 120 s, at most 10 messages a second from each forwarder, 32
RPCs in an outbound queue and silence about the rest, IDONTWANT for every message, GRAFTs of one peer sent to the next,
answers written past the queue into the middle of other frames, back-off by the wall clock. And three that a stranger
can use: an IWANT that names one message 20,000 times, a PRUNE that fills the back-off table, peer exchange that dials
whatever it is told.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub import gossipsub
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.utils import safe_bytes_from_hex

from nexusd.host.outbound_queue import OutboundQueue, frame

_log = logging.getLogger(__name__)

MESHSUB: Final = TProtocol("/meshsub/1.1.0")
"""1.2 adds IDONTWANT, which stock code sends for every message to every peer: 8.2 instead of 4.8 ms a delivery."""

DEGREE: Final = 6
DEGREE_LOW: Final = 4
DEGREE_HIGH: Final = 12
"""D, D_low and D_high of the specification."""
FLOOD_PEERS: Final = 2 * DEGREE_HIGH
"""Our own messages go to so many subscribers, not only to the mesh: the specification's flood publishing, bounded."""

CONTROL_ENTRIES: Final = 256
"""Entries of each kind in one RPC that are looked at."""
IHAVE_IDS: Final = 5000
"""Message ids in one RPC that are looked at (the specification's max_ihave_length)."""
IWANT_BYTES: Final = 4 << 20
"""What one IWANT may make us send."""
BACKOFF_SECONDS: Final = 3600
_EPOCH: Final = 1e6
"""Stock code takes 0 for "long ago", and a loop's clock may begin at 0."""
PUBLISH_WAIT: Final = 5.0
"""How long a publisher waits for room in the queue of a slow peer, before that peer goes without."""


class Gossip(GossipSub):  # type: ignore[misc] # libp2p is not typed
    """The router. `deliver` of messages and everything on the wire is `pubsub`'s."""

    def __init__(self) -> None:
        # back-off and limits are measured by the loop's clock: the wall clock jumps
        gossipsub.time = SimpleNamespace(time=lambda: _EPOCH + trio.current_time())
        # every RPC would carry a signed peer record, which peers verify (0.1 ms) and nobody needs after identify
        gossipsub.env_to_send_in_RPC = lambda _host: (b"", False)
        super().__init__(
            protocols=[MESHSUB],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=1,
            heartbeat_initial_delay=0.1,
            spam_protection_enabled=False,
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
            do_px=False,
        )
        self.dropped = 0
        """Messages that a slow peer did not get, since the start."""

    async def heartbeat(self) -> None:
        """The stock loop; an error in it costs one beat, not the host."""
        while True:
            try:
                await super().heartbeat()
            except Exception as error:
                _log.warning("heartbeat failed: %r", error)
                await trio.sleep(self.heartbeat_interval)

    async def publish(self, msg_forwarder: ID, pubsub_msg: Any) -> None:
        """Forward a message of others. Never waits: a slow peer of ours must not hold back the peer we read from."""
        self.mcache.put(pubsub_msg)
        origin = ID(pubsub_msg.from_id)
        data = frame(rpc_pb2.RPC(publish=[pubsub_msg]))
        for peer in self._get_peers_to_send(pubsub_msg.topicIDs, msg_forwarder, origin):
            queue = self.pubsub.peer_queues.get(peer)
            if queue is not None and not queue.push_frame(data):
                self.dropped += 1

    async def publish_own(self, message: Any) -> int:
        """Send a message of this node to the mesh and to subscribers. Returns to how many peers. Waits while they are
        slower than the publisher, each PUBLISH_WAIT at most all together; who is slower still goes without."""
        self.mcache.put(message)
        data = frame(rpc_pb2.RPC(publish=[message]))
        sent = 0
        deadline = trio.current_time() + PUBLISH_WAIT
        for peer in self._targets(message.topicIDs[0], ID(message.from_id)):
            queue: OutboundQueue | None = self.pubsub.peer_queues.get(peer)
            if queue is None:
                continue
            with trio.move_on_at(deadline):
                await queue.wait_for_room(len(data))
            if queue.push_frame(data):
                sent += 1
            else:
                self.dropped += 1
        return sent

    def _targets(self, topic: str, origin: ID) -> list[ID]:
        """The mesh and as many other subscribers as flood publishing takes."""
        mesh = list(self._get_peers_to_send([topic], self.pubsub.my_id, origin))
        taken = {*mesh, origin, self.pubsub.my_id}
        others = [p for p in self.pubsub.peer_topics.get(topic, ()) if p not in taken and self._is_gossipsub_peer(p)]
        room = max(0, FLOOD_PEERS - len(mesh))
        return mesh + (others if len(others) <= room else random.sample(others, room))

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Catch a new subscriber up with the last three heartbeats, through the queue: stock code writes to the stream
        while the queue's task writes too, and their frames mix."""
        queue = self.pubsub.peer_queues.get(peer_id)
        if queue is None:
            return
        for message_id in self.mcache.window(topic):
            message = self.mcache.get(message_id)
            if message is not None and not queue.push_frame(frame(rpc_pb2.RPC(publish=[message]))):
                self.dropped += 1

    async def flush_pending_messages(self, peer_id: ID) -> None:
        """Nothing is ever pending: stock code keeps 100 messages for every peer that is not subscribed."""

    def send_rpc(self, peer_id: ID, rpc: Any, priority: bool = False) -> None:
        """Control messages, without the signed peer record."""
        rpc.ClearField("senderRecord")
        super().send_rpc(peer_id, rpc, priority)

    async def _emit_control_msgs(self, peers_to_graft: Any, peers_to_prune: Any, peers_to_gossip: Any) -> None:
        """One message a peer, with its own topics only: stock code carries a peer's GRAFTs over to the next peer."""
        for peer in {*peers_to_graft, *peers_to_prune, *peers_to_gossip}:
            control = rpc_pb2.ControlMessage()
            for topic in peers_to_graft.get(peer, ()):
                control.graft.add(topicID=topic)
            for topic in peers_to_prune.get(peer, ()):
                control.prune.add(topicID=topic, backoff=self.prune_back_off)
            for topic, ids in peers_to_gossip.get(peer, {}).items():
                control.ihave.add(topicID=topic, messageIDs=ids)
            await self.emit_control_message(control, peer)

    async def handle_rpc(self, rpc: Any, sender_peer_id: ID) -> None:
        """Control entries of a peer, within bounds."""
        control = rpc.control
        bounded = rpc_pb2.RPC()
        # protobuf gives bytes for text that is not UTF-8
        bounded.control.graft.extend(g for g in control.graft[:CONTROL_ENTRIES] if isinstance(g.topicID, str))
        for prune in control.prune[:CONTROL_ENTRIES]:
            # a topic that we never joined would stay in the back-off table for ever; no peer exchange
            if prune.topicID in self.mesh:
                bounded.control.prune.add(topicID=prune.topicID, backoff=min(prune.backoff, BACKOFF_SECONDS))
        room = IHAVE_IDS
        for ihave in control.ihave[:CONTROL_ENTRIES]:
            if ihave.topicID in self.mesh and room:
                ids = ihave.messageIDs[:room]
                room -= len(ids)
                bounded.control.ihave.add(topicID=ihave.topicID, messageIDs=ids)
        wanted = [
            message_id for iwant in control.iwant[:CONTROL_ENTRIES] for message_id in iwant.messageIDs[:IHAVE_IDS]
        ]
        await super().handle_rpc(bounded, sender_peer_id)
        if wanted:
            self._answer_iwant(wanted, sender_peer_id)

    def _answer_iwant(self, wanted: Iterable[Any], peer: ID) -> None:
        """Send what is still in the cache, each message once, up to IWANT_BYTES."""
        queue = self.pubsub.peer_queues.get(peer)
        if queue is None or not self._check_iwant_rate_limit(peer):
            return
        room = IWANT_BYTES
        for message_id in dict.fromkeys(safe_bytes_from_hex(raw) for raw in wanted):
            message = self.mcache.get(message_id) if message_id else None
            if message is not None:
                data = frame(rpc_pb2.RPC(publish=[message]))
                room -= len(data)
                if room < 0 or not queue.push_frame(data):
                    return
