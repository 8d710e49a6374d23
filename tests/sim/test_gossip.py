"""Room traffic at the level of the transport: every message reaches every member once."""

from __future__ import annotations

import random

import pytest
import trio

from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import ip_of, signer, swarm, until
from tests.sim.hearers import TOPIC, Member


async def join_all(nodes) -> list[Member]:
    members = [Member(node) for node in nodes]
    for member in members:
        await member.join()
    await until(lambda: all(node.topics.peers(TOPIC) for node in nodes), 30)
    return members


async def publish(node, index: int, number: int) -> bytes:
    data = b'{"id":"%d"}' % number
    await node.topics.publish(SignedMessage.sign(signer(f"node-{index}"), TOPIC, data, number))
    return data


async def spread(count: int, messages: int, per_second: float, seed: int) -> None:
    print("seed", seed)
    choose = random.Random(seed)
    network = MemoryNetwork(seed)
    async with swarm(count, network, links=3, seed=seed, keepalive=600) as nodes:
        members = await join_all(nodes)
        sent: dict[int, set[bytes]] = {index: set() for index in range(count)}
        for number in range(messages):
            index = choose.randrange(count)
            sent[index].add(await publish(nodes[index], index, number))
            await trio.sleep(1 / per_second)
        everything = set().union(*sent.values())
        assert len(everything) == messages
        with trio.fail_after(60):
            for index, member in enumerate(members):
                await member.has(everything - sent[index])
        for index, member in enumerate(members):
            assert set(member.got) == everything - sent[index], "a member gets the messages of others only"
            assert set(member.got.values()) == {1}, "and each once"


@pytest.mark.slow
async def test_twenty_nodes_a_hundred_messages(autojump_clock):
    await spread(20, 100, 20, seed=1)


async def test_both_sides_of_a_partition_go_on(autojump_clock):
    network = MemoryNetwork(3)
    async with swarm(6, network, links=5, keepalive=600) as nodes:
        members = await join_all(nodes)
        network.partition([ip_of(i) for i in range(3)], [ip_of(i) for i in range(3, 6)])
        await until(lambda: all(len(node.connected()) == 2 for node in nodes), 30)
        left = await publish(nodes[0], 0, 1)
        right = await publish(nodes[5], 5, 2)
        with trio.fail_after(30):
            await members[1].has({left})
            await members[2].has({left})
            await members[3].has({right})
            await members[4].has({right})
        assert all(right not in member.got for member in members[:3])

        network.heal()
        for node in nodes[:3]:
            for other in nodes[3:]:
                await node.connect(other.peer_id, other.addresses())
        await until(lambda: all(len(node.topics.peers(TOPIC)) == 5 for node in nodes), 30)
        after = await publish(nodes[1], 1, 3)
        with trio.fail_after(30):
            for member in (*members[:1], *members[2:]):
                await member.has({after})


async def test_a_peer_that_falls_silent_is_dropped_and_comes_back(autojump_clock):
    network = MemoryNetwork(4)
    async with swarm(2, network, links=1) as (alice, bob):
        network.silence(ip_of(0), ip_of(1))
        network.silence(ip_of(1), ip_of(0))
        await until(lambda: not alice.connected() and not bob.connected(), 60)
        network.heal()
        await alice.connect(bob.peer_id, bob.addresses())
        assert bob.peer_id in alice.connected()
