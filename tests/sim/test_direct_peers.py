"""Direct peers on a network in memory: sent every message outside of the mesh, and never without a connection."""

from __future__ import annotations

import trio

from nexusd.host.node import Node
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import ip_of, running, signer, until
from tests.sim.hearers import TOPIC, Member

ALICE, BOB, CAROL = range(3)
MESSAGES = 50


def address(index: int) -> str:
    return f"/ip4/{ip_of(index)}/tcp/4001/p2p/{signer(f'node-{index}').peer_id}"


def node(index: int, network: MemoryNetwork, *direct: int) -> Node:
    return Node(
        signer(f"node-{index}"),
        listen=[f"/ip4/{ip_of(index)}/tcp/4001"],
        transports=[network.transport(ip_of(index))],
        direct=[address(other) for other in direct],
    )


async def say(who: Node, index: int, numbers: range) -> set[bytes]:
    said = set()
    for number in numbers:
        data = b'{"id":"%d"}' % number
        await who.topics.publish(SignedMessage.sign(signer(f"node-{index}"), TOPIC, data, number))
        said.add(data)
        await trio.sleep(0.05)
    return said


async def test_a_direct_peer_hears_all_though_it_is_in_no_mesh_and_comes_back(autojump_clock):
    """carol - alice = bob."""
    network = MemoryNetwork(5)
    alice, carol = node(ALICE, network, BOB), node(CAROL, network)
    async with running(carol, alice):
        await carol.connect(alice.peer_id, alice.addresses())
        members = [Member(alice), Member(carol)]
        for member in members:
            await member.join()
        for life in range(3):
            # another host is behind the same key and address: it knows nothing of what was
            bob = node(BOB, network, ALICE)
            # the DHT would acquaint him with carol
            bob.set_gate(lambda peer: peer == alice.peer_id)
            heard = Member(bob)
            async with running(bob):
                await heard.join()
                # nobody had to connect them
                await until(
                    lambda bob=bob: len(alice.topics.peers(TOPIC)) == len(bob.topics.peers(TOPIC)) + 1 == 2, 120
                )
                await trio.sleep(5)
                assert alice.topics.stats(TOPIC).mesh == (carol.peer_id,)
                assert bob.topics.stats(TOPIC).mesh == ()
                said = await say(carol, CAROL, range(life * MESSAGES, (life + 1) * MESSAGES))
                with trio.fail_after(5):
                    await heard.has(said)
                assert set(heard.got.values()) == {1}
                counters = bob.topics.router.counters
                assert counters.iwant_ids_sent == 0, "they were sent, and not asked for"
                assert counters.grafts_received == counters.grafts_sent == 0
            await until(lambda: alice.connected() == [carol.peer_id], 30)
            await trio.sleep(600 * life)


async def test_both_come_together_again_after_a_partition(autojump_clock):
    network = MemoryNetwork(6)
    alice, bob = node(ALICE, network, BOB), node(BOB, network, ALICE)
    async with running(alice, bob):
        await until(lambda: alice.connected() and bob.connected())
        network.partition([ip_of(ALICE)], [ip_of(BOB)])
        await until(lambda: not alice.connected() and not bob.connected(), 30)
        await trio.sleep(1200)
        network.heal()
        await until(lambda: alice.connected() and bob.connected(), 60)
        await trio.sleep(30)
        assert alice.connected() == [bob.peer_id], "and one connection stays"


async def test_an_agreement_of_one_side_works_one_way(autojump_clock):
    """Bob does not know of it: he asks for a place in alice's mesh and is refused, and is sent everything all the
    same."""
    network = MemoryNetwork(7)
    alice, bob = node(ALICE, network, BOB), node(BOB, network)
    async with running(alice, bob):
        heard = Member(bob)
        await Member(alice).join()
        await heard.join()
        await until(lambda: bob.topics.peers(TOPIC) and alice.topics.peers(TOPIC), 30)
        await trio.sleep(5)
        assert alice.topics.stats(TOPIC).mesh == ()
        said = await say(alice, ALICE, range(5))
        with trio.fail_after(5):
            await heard.has(said)
