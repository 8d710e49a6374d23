"""A GossipSub router under test, driven input by input. Names are enough for peers: the router takes any."""

from __future__ import annotations

from random import Random

import msgspec

from nexusd_protocols.gossipsub.inputs import (
    ApplicationScore,
    Join,
    Leave,
    PeerJoined,
    PeerLeft,
    Publish,
    Received,
    Tick,
    Validated,
    Version,
)
from nexusd_protocols.gossipsub.outputs import Deliver, Send, Validate
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.router import GossipSub
from nexusd_protocols.gossipsub.rpc import Control, Graft, IDontWant, IHave, IWant, Prune, Rpc, Subscription
from nexusd_protocols.pubsub.signed import SignedMessage

TOPIC = "/nexus/room/general"
ME = "me"


def said(author="alice", number=1, *, topic=TOPIC, data=b"hello", wire_id=None, signature=b"good"):
    """A message. Its wire id, for `id_of`, is its sequence number; `wire_id` chooses another."""
    return SignedMessage(author, data, wire_id or number.to_bytes(8, "big"), topic, signature)


def id_of(message):
    """The wire id of `said`'s messages: not bound to the author, as on /nexus topics."""
    return message.seqno


class Driven:
    """A router with its clock. Every method gives the outputs; those of the last call are in `outputs` too."""

    def __init__(self, *, seed=1, message_id=id_of, now=1000.0, greet=False, **params):
        self.now = now
        self.params = Params(greet=greet, **params)
        self.router = GossipSub(ME, now=now, chance=Random(seed), params=self.params, message_id=message_id)
        self.outputs = []

    def handle(self, event):
        self.outputs = self.router.handle(event, self.now)
        return self.outputs

    # --- the application

    def join(self, topic=TOPIC):
        return self.handle(Join(topic))

    def leave(self, topic=TOPIC):
        return self.handle(Leave(topic))

    def publish(self, message):
        return self.handle(Publish(message))

    def judge(self, verdict="accept"):
        """Answer what the last call wanted validated; gives the outputs of all answers."""
        outputs = []
        for wanted in [each for each in self.outputs if isinstance(each, Validate)]:
            outputs += self.router.handle(Validated(wanted.ticket, verdict), self.now)
        self.outputs = outputs
        return outputs

    def application_score(self, peer, score):
        return self.handle(ApplicationScore(peer, score))

    # --- peers

    def meet(self, *peers, topic=TOPIC, version=Version.V1_2, outbound=False, address="", direct=False):
        """Peers connect, and are subscribed to the topic, if there is one."""
        for peer in peers:
            self.handle(PeerJoined(peer, version, outbound, address, direct))
            if topic is not None:
                self.subscribe(peer, topic)

    def part(self, *peers):
        for peer in peers:
            self.handle(PeerLeft(peer))

    def receive(self, peer, rpc):
        return self.handle(Received(peer, rpc))

    def subscribe(self, peer, *topics):
        return self.receive(peer, Rpc(subscriptions=tuple(Subscription(topic, True) for topic in topics)))

    def unsubscribe(self, peer, *topics):
        return self.receive(peer, Rpc(subscriptions=tuple(Subscription(topic, False) for topic in topics)))

    def graft(self, peer, topic=TOPIC):
        return self.receive(peer, Rpc(control=Control(graft=(Graft(topic),))))

    def prune(self, peer, topic=TOPIC, backoff=None, peers=()):
        return self.receive(peer, Rpc(control=Control(prune=(Prune(topic, backoff, peers),))))

    def ihave(self, peer, *ids, topic=TOPIC):
        return self.receive(peer, Rpc(control=Control(ihave=(IHave(topic, ids),))))

    def iwant(self, peer, *ids):
        return self.receive(peer, Rpc(control=Control(iwant=(IWant(ids),))))

    def idontwant(self, peer, *ids):
        return self.receive(peer, Rpc(control=Control(idontwant=(IDontWant(ids),))))

    def message(self, peer, *messages, verdict="accept"):
        """A peer sends messages; they are judged, unless the verdict is None."""
        outputs = list(self.receive(peer, Rpc(messages=messages)))
        if verdict is not None:
            outputs += self.judge(verdict)
        self.outputs = outputs
        return outputs

    # --- time

    def beat(self, count=1):
        """So many heartbeats, each at its time; gives the outputs of the last."""
        for _ in range(count):
            self.now = self.router.deadline()
            self.handle(Tick())
        return self.outputs

    def wait(self, seconds):
        """Time passes, heartbeats at their times."""
        until = self.now + seconds
        while self.router.deadline() <= until:
            self.beat()
        self.now = until

    # --- what is so

    @property
    def mesh(self):
        return set(self.router.mesh(TOPIC))

    def score(self, peer):
        return next(each.total for each in self.router.scores() if each.peer == peer)

    def parts(self, peer):
        return next(each for each in self.router.scores() if each.peer == peer)


def small(**bounds):
    """Bounds with these changed."""
    return msgspec.structs.replace(Params().bounds, **bounds)


def sends(outputs, peer=None):
    """The RPCs sent to a peer, or to anybody."""
    return [each.rpc for each in outputs if isinstance(each, Send) and (peer is None or peer in each.peers)]


def receivers(outputs, message):
    """Who was sent a message, in order."""
    return [peer for each in outputs if isinstance(each, Send) and message in each.rpc.messages for peer in each.peers]


def controls(outputs, kind, peer=None):
    """The control messages of a kind (`graft`, `ihave` …) sent to a peer, or to anybody."""
    return [entry for rpc in sends(outputs, peer) if rpc.control is not None for entry in getattr(rpc.control, kind)]


def delivered(outputs):
    return [each.message for each in outputs if isinstance(each, Deliver)]


def check_invariants(router):
    """What holds of a router after every input, whatever peers do."""
    params, bounds = router._params, router._params.bounds
    table, meshes = router._table, router._meshes
    for topic, mesh in meshes.topics.items():
        assert mesh.keys() <= table.subscribers.get(topic, {}).keys(), "the mesh is of subscribers"
        assert all(peer.meshable and table.peers[name] is peer for name, peer in mesh.items())
    for topic, peers in table.subscribers.items():
        assert peers
        assert all(topic in peer.topics and table.peers[name] is peer for name, peer in peers.items())
    assert sum(len(peer.topics) for peer in table.peers.values()) == table._subscriptions
    for peer in table.peers.values():
        assert len(peer.topics) <= bounds.peer_topics
        assert len(peer.dont_want) <= bounds.dont_want
    for topic, members in router._fanout.topics.items():
        assert members.keys() <= table.subscribers.get(topic, {}).keys()
        assert topic not in meshes.topics
    assert len(router._seen) <= bounds.seen_messages
    assert router._cache.size <= bounds.cache_bytes
    assert len(router._validations) <= bounds.validations
    assert len(router._gossip.promises) <= bounds.promises
    assert all(len(peers) <= bounds.backoffs for peers in meshes.backoff._topics.values())
    assert len(router._scores._retained) <= params.score.retained_scores
    assert router._scores._cards.keys() == table.peers.keys()
    assert router.counters.topics.keys() == meshes.topics.keys()
