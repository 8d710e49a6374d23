"""Topics between real nodes, and with strangers that spoil what they say."""

from __future__ import annotations

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed
from structlog.testing import capture_logs

from nexusd.host.pubsub import outbox, topics
from nexusd.host.pubsub.topics import Drops
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.gossipsub import codec
from nexusd_protocols.gossipsub.inputs import ApplicationScore, PeerJoined, PeerLeft, Received, Version
from nexusd_protocols.gossipsub.params import Params
from nexusd_protocols.gossipsub.rpc import Control, Graft, Prune, Rpc, Subscription
from nexusd_protocols.identity import peer_id_bytes
from nexusd_protocols.multistream.messages import HEADER, encode
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.nodes import loopback, loopback_node, running, signer, until
from tests.unit.host.conftest import dial_stock, raw_stream, running_stock
from tests.unit.host.pubsub.readers import TOPIC, Reader, accept, joined, message

MESHSUB = TProtocol("/meshsub/1.1.0")


def wire(number: int, **changes) -> rpc_pb2.Message:
    """A message of mallory's as libp2p carries it, spoilt."""
    signed = message(number, "mallory")
    fields = {
        "from_id": peer_id_bytes(signed.sender),
        "data": signed.data,
        "seqno": signed.seqno,
        "topicIDs": [signed.topic],
        "signature": signed.signature,
    }
    return rpc_pb2.Message(**(fields | changes))


MALFORMED = {
    "rsa sender, garbage key": {"from_id": b"\x12\x20" + bytes(32), "key": b"garbage"},
    "empty sender": {"from_id": b"", "key": b"garbage"},
    "sender of zeros": {"from_id": b"\x00\x24\x08\x01\x12\x20" + bytes(32)},
    "wrong signature": {"signature": bytes(64)},
    "no signature": {"signature": b""},
    "another's name": {"from_id": peer_id_bytes(signer("carol").peer_id)},
    "no data": {"data": b""},
    "short sequence number": {"seqno": b"1"},
}


@pytest.mark.parametrize("fault", MALFORMED)
async def test_a_malformed_message_is_dropped_alone(fault):
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        reader = Reader()
        await bob.topics.join(TOPIC, accept, reader)
        await dial_stock(mallory, bob)
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [MESHSUB])
        rpc = rpc_pb2.RPC(publish=[wire(1, **MALFORMED[fault]), wire(2)])
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        assert await reader.has(1) == [b"message 2"]
        assert bob.connected()


async def test_of_a_direct_peer_that_does_not_know_it_is_one_the_log_tells_once_in_a_while(monkeypatch):
    """It asks for a place in our mesh, and goes on asking."""
    direct = [f"/ip4/127.0.0.1/tcp/1/p2p/{signer('bob').peer_id}"]  # nobody listens there: he comes
    async with loopback("bob") as (bob,):
        alice = loopback_node("alice", direct=direct)
        async with running(alice):
            with capture_logs() as lines:
                await bob.connect(alice.peer_id, alice.addresses())
                await joined(alice, bob)
                router = alice.topics.router
                await until(lambda: router.counters.grafts_refused == 1)
                again = Received(bob.peer_id, Rpc(control=Control(graft=(Graft(TOPIC),))))
                for _ in range(100):
                    alice.topics._tell(again)
                told = [line for line in lines if line["event"] == "direct_peer_grafts"]
                assert [(line["peer"], line["topic"]) for line in told] == [(bob.peer_id, TOPIC)]
                assert told[0]["log_level"] == "warning"
                assert "`direct` does not name this host" in told[0]["hint"]
                monkeypatch.setattr(topics, "ONE_SIDED_SECONDS", 0.0)
                alice.topics._tell(again)
            assert router.counters.grafts_refused == 102
            assert router.mesh(TOPIC) == ()
    assert [line["event"] for line in lines].count("direct_peer_grafts") == 2


async def test_a_forged_message_does_not_take_the_id_of_the_true_one():
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        reader = Reader()
        await bob.topics.join(TOPIC, accept, reader)
        await dial_stock(mallory, bob)
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [MESHSUB])
        rpc = rpc_pb2.RPC(publish=[wire(1, data=b"forged"), wire(1)])
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        assert await reader.has(1) == [b"message 1"]
        assert bob._accounts.balance(signer("mallory").peer_id, trio.current_time()) > 9


@pytest.mark.parametrize("junk", [b"\x0a\xff\xff\xff", b"\xff\xff\xff\xff\x7f", encode_varint_prefixed(b"\xff" * 50)])
async def test_junk_on_the_stream_ends_the_stream(junk):
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        await bob.topics.join(TOPIC, accept, Reader())
        await dial_stock(mallory, bob)
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [MESHSUB])
        await stream.write(junk + bytes(20))
        await until(lambda: stream.muxed_stream.reset_received)
        assert bob._accounts.balance(signer("mallory").peer_id, trio.current_time()) > 9
        assert bob.connected()


NOT_UTF8 = {
    "subscription": b"\x0a\x06\x08\x01\x12\x02\xff\xfe",
    "message": b"\x12\x06\x12\x00\x22\x02\xff\xfe",
    "graft": b"\x1a\x06\x1a\x04\x0a\x02\xff\xfe",
    "prune": b"\x1a\x06\x22\x04\x0a\x02\xff\xfe",
    "ihave": b"\x1a\x06\x0a\x04\x0a\x02\xff\xfe",
}


@pytest.mark.parametrize("where", NOT_UTF8)
async def test_a_topic_that_is_not_utf8(where):
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        reader = Reader()
        await bob.topics.join(TOPIC, accept, reader)
        await dial_stock(mallory, bob)
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [MESHSUB])
        good = rpc_pb2.RPC(publish=[wire(1)]).SerializeToString()
        await stream.write(b"".join(encode_varint_prefixed(rpc) for rpc in [NOT_UTF8[where], good]))
        assert await reader.has(1) == [b"message 1"]
        assert not bob.topics.peers("\xff\xfe")


async def test_a_validator_that_raises_costs_one_message(pair):
    alice, bob = pair
    await joined(alice, bob)
    reader = Reader()

    def broken(_forwarder, message):
        if message.data == b"message 1":
            raise RuntimeError("a bug")
        return "accept"

    await bob.topics.join(TOPIC, broken, reader)
    for number in (1, 2):
        await alice.topics.publish(message(number))
    assert await reader.has(1) == [b"message 2"]


async def test_verdicts(pair):
    alice, bob = pair
    await joined(alice, bob)
    reader = Reader()
    verdicts = {b"message 1": "ignore", b"message 2": "reject", b"message 3": "accept"}
    await bob.topics.join(TOPIC, lambda _forwarder, message: verdicts[message.data], reader)
    for number in (1, 2, 3):
        await alice.topics.publish(message(number))
    assert await reader.has(1) == [b"message 3"]
    assert bob._accounts.balance(alice.peer_id, trio.current_time()) == pytest.approx(5, abs=0.1)


async def test_a_thousand_in_a_burst_all_arrive_in_order(pair):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    for number in range(1000):
        assert await alice.topics.publish(message(number)) == 1
    assert await reader.has(1000, 30) == [b"message %d" % number for number in range(1000)]
    assert alice.topics.drops == bob.topics.drops == Drops()


async def test_large_messages_in_a_burst_wait_for_room(pair):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    body = bytes(250_000)
    for number in range(60):
        assert await alice.topics.publish(message(number, data=body)) == 1
    assert await reader.has(60, 30) == [body] * 60


async def test_forwarded_once_and_never_to_its_author():
    async with loopback("alice", "bob", "carol") as (alice, bob, carol):
        await alice.connect(bob.peer_id, bob.addresses())
        await bob.connect(carol.peer_id, carol.addresses())
        readers = [Reader() for _ in range(3)]
        for node, reader in zip((alice, bob, carol), readers, strict=True):
            await node.topics.join(TOPIC, accept, reader)
        await until(
            lambda: len(bob.topics.peers(TOPIC)) == 2 and alice.topics.peers(TOPIC) and carol.topics.peers(TOPIC)
        )
        await alice.topics.publish(message(1))
        assert await readers[2].has(1) == [b"message 1"]
        await carol.topics.publish(message(2, "carol"))
        assert await readers[0].has(1) == [b"message 2"]
        assert [len(reader.messages) for reader in readers] == [1, 2, 1]


async def test_a_message_of_another_agent_is_published_as_its_own(pair):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    await alice.topics.publish(message(1, "carol"))
    await reader.has(1)
    assert reader.messages[0].sender == signer("carol").peer_id


async def test_a_slow_receiver_holds_back_its_topic_only(pair):
    alice, bob = pair
    await joined(alice, bob)
    stuck = trio.Event()

    async def slow(_forwarder, _message):
        await stuck.wait()

    other, fast = "/nexus/room/other", Reader()
    await bob.topics.join(TOPIC, accept, slow)
    await bob.topics.join(other, accept, fast)
    await alice.topics.join(other, accept, Reader())
    await until(lambda: bob.peer_id in alice.topics.peers(other))
    for number in range(50):
        await alice.topics.publish(message(number))
    await alice.topics.publish(SignedMessage.sign(signer("alice"), other, b"through", 1000))
    assert await fast.has(1) == [b"through"]
    assert bob.topics.drops == Drops()
    stuck.set()


async def test_a_receiver_that_raises_gets_the_next_message(pair):
    alice, bob = pair
    await joined(alice, bob)
    reader = Reader()

    async def clumsy(forwarder, message):
        if message.data == b"message 1":
            raise RuntimeError("a bug")
        await reader(forwarder, message)

    await bob.topics.join(TOPIC, accept, clumsy)
    for number in (1, 2):
        await alice.topics.publish(message(number))
    assert await reader.has(1) == [b"message 2"]


async def test_publishing_to_nobody(pair):
    alice, _bob = pair
    await alice.topics.join(TOPIC, accept, Reader())
    assert await alice.topics.publish(message(1)) == 0


async def test_publishing_without_joining(pair):
    alice, bob = pair
    reader = Reader()
    await bob.topics.join(TOPIC, accept, reader)
    await until(lambda: alice.topics.peers(TOPIC))
    assert await alice.topics.publish(message(1)) == 1
    assert await reader.has(1) == [b"message 1"]


async def test_leaving(pair):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    await bob.topics.leave(TOPIC)
    await bob.topics.leave(TOPIC)
    await until(lambda: not alice.topics.peers(TOPIC))
    assert await alice.topics.publish(message(1)) == 0
    await bob.topics.join(TOPIC, accept, reader)
    await until(lambda: alice.topics.peers(TOPIC))
    await alice.topics.publish(message(2))
    # the first was published less than three heartbeats ago: catching up is for those who come back, too
    assert set(await reader.has(2)) == {b"message 1", b"message 2"}


async def test_a_latecomer_gets_the_last_seconds(pair):
    alice, bob = pair
    await alice.topics.join(TOPIC, accept, Reader())
    await alice.topics.publish(message(1))
    reader = Reader()
    await bob.topics.join(TOPIC, accept, reader)
    assert await reader.has(1) == [b"message 1"]


async def test_a_message_sent_just_before_the_end_arrives():
    async with loopback("alice", "bob") as (alice, bob):
        await alice.connect(bob.peer_id, bob.addresses())
        _, reader = await joined(alice, bob)
        for number in range(100):
            await alice.topics.publish(message(number))
        await alice.aclose()
        assert len(await reader.has(100)) == 100


@pytest.mark.slow
async def test_a_subscriber_that_takes_nothing_holds_nobody_up(monkeypatch):
    """Its stream is given up after a while, what waits for it is dropped, and others hear everything meanwhile."""
    monkeypatch.setattr("nexusd.host.pubsub.line.STALL_SECONDS", 2.0)
    async with loopback("alice", "bob") as (alice, bob), running_stock("mallory") as mallory:
        await bob.connect(alice.peer_id, alice.addresses())
        _, reader = await joined(alice, bob)
        mallory.set_stream_handler(MESHSUB, lambda stream: stream.muxed_conn.event_closed.wait())
        await dial_stock(mallory, alice)
        stream = await mallory.new_stream(ID.from_string(alice.peer_id), [MESHSUB])
        hello = rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)])
        await stream.write(encode_varint_prefixed(hello.SerializeToString()))
        await until(lambda: len(alice.topics.peers(TOPIC)) == 2)
        body = bytes(200_000)
        for number in range(60):
            await alice.topics.publish(message(number, data=body))
        assert await reader.has(60, 60) == [body] * 60
        await until(lambda: signer("mallory").peer_id not in alice.topics.peers(TOPIC), 30)


async def test_a_peer_that_comes_back_hears_again():
    async with loopback("alice") as (alice,):
        await alice.topics.join(TOPIC, accept, Reader())
        for number in range(3):
            async with loopback("bob") as (bob,):
                reader = Reader()
                await bob.topics.join(TOPIC, accept, reader)
                await bob.connect(alice.peer_id, alice.addresses())
                await until(lambda: alice.topics.peers(TOPIC))
                await alice.topics.publish(message(number))
                assert f"message {number}".encode() in await reader.has(1)
            await until(lambda: not alice.topics.peers(TOPIC))


async def test_a_topic_tells_how_it_fares(pair, monkeypatch):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    assert alice.topics.stats("/nexus/room/unknown") is None
    await until(lambda: alice.topics.stats(TOPIC).mesh and bob.topics.stats(TOPIC).mesh)
    await alice.topics.publish(message(1))
    await reader.has(1)
    ours, theirs = alice.topics.stats(TOPIC), bob.topics.stats(TOPIC)
    assert (ours.peers, ours.mesh, ours.counters.published, ours.dropped) == (1, (bob.peer_id,), 1, 0)
    assert (theirs.counters.delivered, theirs.counters.bytes_received) == (1, len(b"message 1"))
    (score,) = bob.topics.scores()
    assert (score.peer, [(each.topic, each.in_mesh) for each in score.topics]) == (alice.peer_id, [(TOPIC, True)])


async def test_copies_that_find_no_room_are_counted_for_their_topic(monkeypatch):
    async with loopback("alice", "bob", "carol") as (alice, bob, carol):
        await alice.connect(bob.peer_id, bob.addresses())
        await bob.connect(carol.peer_id, carol.addresses())
        for node in (alice, bob, carol):
            await node.topics.join(TOPIC, accept, Reader())
        await until(lambda: len(bob.topics.stats(TOPIC).mesh) == 2)
        monkeypatch.setattr(outbox, "PEER_BYTES", 0)
        await alice.topics.publish(message(1))
        await until(lambda: bob.topics.stats(TOPIC).dropped == 1)
        await bob.topics.leave(TOPIC)
        await bob.topics.join(TOPIC, accept, Reader())
        assert bob.topics.stats(TOPIC).dropped == 0


def subscribed(*topics: str) -> bytes:
    """What a peer says first, as a frame."""
    options = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in topics]
    return encode_varint_prefixed(rpc_pb2.RPC(subscriptions=options).SerializeToString())


async def test_what_comes_in_one_flight_with_the_proposal_is_heard():
    """Whoever opens its stream lazily says all in its first packet, perhaps before identify is done."""
    async with loopback("bob") as (bob,), running_stock("carol") as carol:
        await bob.topics.join(TOPIC, accept, Reader())
        await dial_stock(carol, bob)
        await until(lambda: bob._identify._peers)
        # only now, so that identify does not tell of it
        carol.set_stream_handler(MESHSUB, lambda stream: stream.muxed_conn.event_closed.wait())
        stream = await raw_stream(carol, bob.peer_id)
        await stream.write(encode(HEADER) + encode(MESHSUB) + subscribed(TOPIC))
        await until(lambda: bob.topics.peers(TOPIC), 3)


async def test_neighbours_at_one_address_are_not_charged_for_one_another(monkeypatch):
    """Thirty honest peers behind one router are in nobody's mesh together; a ban would be for what they did not do."""
    monkeypatch.setattr(topics, "WATCH_SECONDS", 0.05)
    async with loopback("carol") as (carol,):
        await carol.topics.join(TOPIC, accept, Reader())
        crowd = [signer(f"neighbour-{number}").peer_id for number in range(30)]
        for peer in crowd:
            carol.topics._peers[peer] = None
            carol.topics._tell(PeerJoined(peer, Version.V1_2, outbound=False, address="192.0.2.1"))
        assert carol.topics.router.graylisted(crowd[-1])
        assert not any(carol.topics.router.at_fault(peer) for peer in crowd)
        await trio.sleep(0.2)
        assert not any(carol._accounts.balance(peer, trio.current_time()) for peer in crowd)
        carol.topics._peers.clear()


async def test_half_an_rpc_is_charged_to_the_budget_of_its_peer():
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        await bob.topics.join(TOPIC, accept, Reader())
        await dial_stock(mallory, bob)
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [MESHSUB])
        # a length of 524,288, and less than that
        await stream.write(b"\x80\x80\x20" + bytes(200_000))
        budget = bob._swarm.get_connections()[0].muxed_conn.session.budget
        await until(lambda: budget.held >= 200_000)
        await trio.sleep(0.1)
        assert budget.held >= 200_000
        await stream.reset()
        await until(lambda: budget.held < 1000)


async def test_who_was_started_anew_is_told_again_what_we_subscribe_to(pair):
    """Its old connection may be dead and still stand here: ours moves to the new one, on which it knows nothing."""
    alice, bob = pair
    await joined(alice, bob)
    for node in pair:
        for connection in node._swarm.get_connections():
            connection.muxed_conn.since -= 100
    bob.topics._tell(PeerLeft(alice.peer_id))
    bob.topics._tell(PeerJoined(alice.peer_id, Version.V1_2, outbound=True))
    assert not bob.topics.peers(TOPIC)
    await dial_stock(bob._host, alice)
    await until(lambda: bob.topics.peers(TOPIC) == (alice.peer_id,))


async def test_thousands_of_messages_in_one_rpc_are_all_taken(pair):
    """As js-libp2p answers an IWANT: more than may be checked at once of one peer."""
    alice, bob = pair
    _, reader = await joined(alice, bob)
    count = Params().bounds.validations_per_peer + 100
    everything = Rpc(
        subscriptions=(Subscription("other", True),),
        messages=tuple(message(number) for number in range(count)),
        control=Control(prune=(Prune(TOPIC),)),
    )
    await bob.topics._take(alice.peer_id, codec.encode(everything))
    assert await reader.has(count, 30) == [b"message %d" % number for number in range(count)]
    assert bob.topics.router.subscriptions(alice.peer_id) == (TOPIC, "other")
    assert bob.topics.router.mesh(TOPIC) == ()
    (score,) = bob.topics.router.scores()
    assert score.total > 0


async def test_what_a_graylisted_peer_sends_is_not_even_decoded(pair):
    alice, bob = pair
    _, reader = await joined(alice, bob)
    bob.topics._tell(ApplicationScore(alice.peer_id, -3000.0))
    await bob.topics._take(alice.peer_id, b"\xff" * 50)
    assert bob.topics.router.counters.graylisted >= 1  # what she really sends meanwhile counts too
    bob.topics._tell(ApplicationScore(alice.peer_id, 0.0))
    with pytest.raises(RemoteProtocolError):
        await bob.topics._take(alice.peer_id, b"\xff" * 50)
    await alice.topics.publish(message(1))
    assert await reader.has(1) == [b"message 1"]


async def test_a_small_debt_costs_no_place_in_the_mesh(pair):
    alice, bob = pair
    await joined(alice, bob)
    for points, score in ((50, 0.0), (200, -150.0)):
        alice.penalise(bob.peer_id, "test", points)
        await until(lambda score=score: abs(next(iter(alice.topics.router.scores())).p5 - score) < 10)
