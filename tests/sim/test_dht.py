"""The DHT of a few dozen nodes that come and go: what was put and provided is found, by everybody, every time."""

from __future__ import annotations

import random

import pytest
import trio

from nexusd.host.node import Node
from nexusd_protocols.kad.keys import content_key
from tests.harness.kad import Numbered
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import ip_of, running, signer, swarm, until

NODES = 24
KEYS = 8


def cid(number: int) -> str:
    return "f01551220" + random.Random(number).randbytes(32).hex()


def newcomer(number: int, network: MemoryNetwork) -> Node:
    ip = ip_of(200 + number)
    return Node(
        signer(f"newcomer-{number}"),
        listen=[f"/ip4/{ip}/tcp/4001"],
        transports=[network.transport(ip)],
        schema=Numbered(),
        keepalive=600,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
async def test_nothing_is_missed_while_nodes_come_and_go(autojump_clock, seed):
    print("seed", seed)
    network, choose = MemoryNetwork(seed), random.Random(seed)
    async with swarm(NODES, network, links=2, seed=seed, schema=Numbered(), keepalive=600) as nodes:
        await until(lambda: all(node.dht.size() >= 14 for node in nodes), 60)
        for number in range(KEYS):
            assert len(await choose.choice(nodes).dht.put(f"/nexus/{number}", b"1")) >= 15
        providers = choose.sample(nodes, KEYS)
        for number, provider in enumerate(providers):
            assert len(await provider.dht.provide(cid(number))) >= 15

        # a third goes
        gone = choose.sample(nodes, NODES // 3)
        async with trio.open_nursery() as nursery:
            for node in gone:
                nursery.start_soon(node.aclose)
        alive = [node for node in nodes if node not in gone]

        # and others come
        async with running(*(fresh := [newcomer(number, network) for number in range(6)])):
            for node in fresh:
                known = choose.choice(alive)
                await node.connect(known.peer_id, known.addresses())
            await until(lambda: all(node.dht.size() >= 10 for node in fresh), 60)
            everybody = [*alive, *fresh]
            for number in range(KEYS):
                assert await choose.choice(everybody).dht.get(f"/nexus/{number}") == b"1", number
                assert await choose.choice(fresh).dht.get(f"/nexus/{number}") == b"1", number
            for number, provider in enumerate(providers):
                asker = choose.choice([node for node in everybody if node is not provider])
                found = [each.peer for each in await asker.dht.find_providers(cid(number))]
                assert found == [provider.peer_id], number
            for _ in range(8):
                asker, wanted = choose.sample(everybody, 2)
                found = await asker.dht.find_peer(wanted.peer_id)
                assert found is not None
                assert found.addresses == tuple(a.partition("/p2p/")[0] for a in wanted.addresses())

            # a second record is seen by everybody within one get
            await choose.choice(fresh).dht.put("/nexus/0", b"2")
            async with trio.open_nursery() as nursery:
                for node in everybody:
                    nursery.start_soon(_sees, node, "/nexus/0", b"2")


async def _sees(node: Node, key: str, value: bytes) -> None:
    assert await node.dht.get(key) == value


def test_the_contents_of_the_simulation_differ():
    assert len({content_key(cid(number)) for number in range(KEYS)}) == KEYS


@pytest.mark.slow
async def test_a_partition_heals(autojump_clock):
    network = MemoryNetwork(3)
    async with swarm(16, network, links=2, seed=3, schema=Numbered(), keepalive=600) as nodes:
        await until(lambda: all(node.dht.size() >= 12 for node in nodes), 60)
        left, right = nodes[:8], nodes[8:]
        network.partition([ip_of(n) for n in range(8)], [ip_of(n) for n in range(8, 16)])
        await trio.sleep(1)
        await left[0].dht.put("/nexus/left", b"1")
        await right[0].dht.put("/nexus/right", b"1")
        assert await left[3].dht.get("/nexus/left") == b"1"
        assert await left[3].dht.get("/nexus/right") is None
        network.heal()
        await left[1].connect(right[1].peer_id, right[1].addresses())
        await trio.sleep(30)
        for node in (left[3], right[3]):
            assert await node.dht.get("/nexus/left") == b"1"
            assert await node.dht.get("/nexus/right") == b"1"
