"""What GossipSub does here that stock code does not."""

from __future__ import annotations

from collections import defaultdict

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed

from nexusd.host.gossip import FLOOD_PEERS, Gossip
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.nodes import loopback, signer, until
from tests.unit.host.conftest import dial_stock, running_stock
from tests.unit.host.test_pubsub import MESHSUB, TOPIC, Reader, accept, joined, message

ONE, TWO = (ID.from_string(signer(name).peer_id) for name in ("alice", "bob"))


class Recording:
    """In the place of the queues: what is sent to whom."""

    def __init__(self, router) -> None:
        self.sent: dict[ID, rpc_pb2.ControlMessage] = {}
        router.emit_control_message = self.emit

    async def emit(self, control, peer) -> None:
        self.sent[peer] = control


async def grafts(router) -> dict[ID, list[str]]:
    recording = Recording(router)
    await router._emit_control_msgs({ONE: ["a"], TWO: ["b"]}, defaultdict(list), {})
    return {peer: [graft.topicID for graft in control.graft] for peer, control in recording.sent.items()}


async def test_stock_router_still_sends_one_peers_grafts_to_the_next():
    """If this fails, py-libp2p resets its list: our `_emit_control_msgs` may go."""
    assert (await grafts(GossipSub([MESHSUB], 6, 4, 12)))[TWO] == ["a", "b"]


async def test_each_peer_gets_its_own_grafts():
    assert await grafts(Gossip()) == {ONE: ["a"], TWO: ["b"]}


async def test_prunes_and_gossip_go_with_them():
    router = Gossip()
    recording = Recording(router)
    await router._emit_control_msgs({ONE: ["a"]}, {ONE: ["b"], TWO: ["c"]}, {TWO: {"d": [b"id"]}})
    assert [prune.topicID for prune in recording.sent[ONE].prune] == ["b"]
    assert recording.sent[TWO].prune[0].backoff == 60
    assert recording.sent[TWO].ihave[0].messageIDs == [b"id"]


async def test_settings():
    router = Gossip()
    assert router.heartbeat_interval == 1
    assert not router.spam_protection_enabled
    assert not router.adaptive_gossip_enabled
    assert router.get_protocols() == ["/meshsub/1.1.0"]


async def test_a_heartbeat_that_fails_is_followed_by_another(autojump_clock, monkeypatch):
    beats = []

    async def beat(self):
        beats.append(trio.current_time())
        raise RuntimeError("a bug")

    monkeypatch.setattr(GossipSub, "heartbeat", beat)
    with trio.move_on_after(5.5):
        await Gossip().heartbeat()
    assert len(beats) == 6


async def attack(bob, mallory, **control) -> None:
    stream = await mallory.new_stream(ID.from_string(bob.peer_id), [MESHSUB])
    rpc = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(**control))
    await stream.write(encode_varint_prefixed(rpc.SerializeToString()))


async def test_one_iwant_is_one_answer():
    """Stock code answers each repetition: 20,000 ids of one message of 256 KiB are 5 GB."""
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        await bob.topics.join(TOPIC, accept, Reader())
        await bob.topics.publish(message(1, "bob", bytes(200_000)))
        await dial_stock(mallory, bob)
        mallory.set_stream_handler(MESHSUB, lambda stream: stream.muxed_conn.event_closed.wait())
        await until(lambda: bob._pubsub.peer_queues)
        [queue] = bob._pubsub.peer_queues.values()
        pushed = []
        queue.push_frame = lambda data, priority=False: pushed.append(len(data)) or True
        known = bob._gossip.mcache.window(TOPIC)
        await attack(bob, mallory, iwant=[rpc_pb2.ControlIWant(messageIDs=list(known) * 5000)])
        await until(lambda: pushed)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sum(pushed) < 210_000


async def test_prunes_of_unknown_topics_are_forgotten():
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        await bob.topics.join(TOPIC, accept, Reader())
        await dial_stock(mallory, bob)
        prunes = [rpc_pb2.ControlPrune(topicID=f"topic-{n}", backoff=2**62) for n in range(200)]
        prunes.append(rpc_pb2.ControlPrune(topicID=TOPIC, backoff=2**62))
        await attack(bob, mallory, prune=prunes)
        peer = ID.from_string(signer("mallory").peer_id)
        await until(lambda: TOPIC in bob._gossip.back_off)
        assert set(bob._gossip.back_off) == {TOPIC}
        assert bob._gossip.back_off[TOPIC][peer] < 1e6 + trio.current_time() + 3700


async def test_our_own_messages_reach_more_than_the_mesh(pair):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    alice._gossip.mesh[TOPIC].clear()
    assert await alice.topics.publish(message(1)) == 1
    assert await reader.has(1) == [b"message 1"]


def test_flood_publishing_is_bounded():
    class Stub(Gossip):
        def __init__(self) -> None:
            self.pubsub = self
            self.my_id = TWO
            self.peer_topics = {TOPIC: {ID(bytes([0, 36]) + bytes([n]) * 36) for n in range(200)}}

        def _get_peers_to_send(self, *_args):
            return list(self.peer_topics[TOPIC])[:8]

        def _is_gossipsub_peer(self, peer_id):
            return True

    targets = Stub()._targets(TOPIC, ONE)
    assert len(targets) == len(set(targets)) == FLOOD_PEERS


async def test_a_slow_peer_is_waited_for_and_then_left_behind(pair, autojump_clock, monkeypatch):
    alice, bob = pair
    await joined(alice, bob)
    [queue] = alice._pubsub.peer_queues.values()
    monkeypatch.setattr(queue, "_fits", lambda _size: False)
    started = trio.current_time()
    assert await alice.topics.publish(SignedMessage.sign(signer("alice"), TOPIC, b"x", 9)) == 0
    assert trio.current_time() - started >= 5
    assert alice.topics.dropped() == 1
