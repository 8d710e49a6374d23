from __future__ import annotations

import pytest

from nexusd.host.dht import PROTOCOL, Found
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import connected, loopback, signer, swarm, until

PROVIDED = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


class Numbered:
    """Records are numbers; the highest wins."""

    def validate(self, key: str, value: bytes) -> None:
        if not value.isdigit():
            raise ValueError("not a number")

    def select(self, key: str, values) -> int:
        return max(range(len(values)), key=lambda index: int(values[index]))

    def valid_until(self, key: str, value: bytes) -> int | None:
        return None


async def dht_pair(nodes) -> None:
    alice, bob = nodes
    await connected(alice, bob)
    await until(lambda: alice.dht.size() == bob.dht.size() == 1)


async def test_put_and_get():
    async with loopback("alice", "bob", schema=Numbered()) as nodes:
        await dht_pair(nodes)
        alice, bob = nodes
        await alice.dht.put("/nexus/x", b"1")
        assert await bob.dht.get("/nexus/x") == b"1"
        assert await alice.dht.get("/nexus/none") is None


async def test_a_newer_record_is_seen_and_an_older_one_refused():
    async with loopback("alice", "bob", schema=Numbered()) as nodes:
        await dht_pair(nodes)
        alice, bob = nodes
        await alice.dht.put("/nexus/x", b"1")
        assert await bob.dht.get("/nexus/x") == b"1"
        await alice.dht.put("/nexus/x", b"2")
        assert await bob.dht.get("/nexus/x") == b"2", "not the copy that bob kept"
        with pytest.raises(ValueError, match="newer"):
            await alice.dht.put("/nexus/x", b"1")


@pytest.mark.parametrize(
    ("key", "value"), [("/nexus/x", b"text"), ("/other/x", b"1"), ("plain", b"1"), ("/nexus/x", b"1" * 70_000)]
)
async def test_what_the_schema_does_not_allow(key, value):
    async with loopback("alice", schema=Numbered()) as (alice,):
        with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
            await alice.dht.put(key, value)


async def test_without_a_schema_nothing_is_a_record():
    async with loopback("alice") as (alice,), loopback("bob", schema=Numbered()) as (bob,):
        await dht_pair((alice, bob))
        with pytest.raises(ValueError, match="no record schema"):
            await alice.dht.put("/nexus/x", b"1")
        await bob.dht.put("/nexus/x", b"1")
        assert alice.dht.stored() == (0, 0), "alice stored nothing for bob"


async def test_providers():
    async with loopback("alice", "bob") as nodes:
        await dht_pair(nodes)
        alice, bob = nodes
        assert await alice.dht.provide(PROVIDED)
        assert [found.peer for found in await bob.dht.find_providers(PROVIDED)] == [alice.peer_id]


async def test_a_light_node_asks_and_does_not_serve():
    async with (
        loopback("alice", role="light", schema=Numbered()) as (alice,),
        loopback("bob", schema=Numbered()) as (bob,),
    ):
        await connected(alice, bob)
        await until(lambda: alice.dht.size() == 1)
        assert bob.dht.size() == 0
        assert PROTOCOL not in [str(p) for p in alice._host.get_mux().get_protocols()]
        await alice.dht.put("/nexus/x", b"1")
        assert await bob.dht.get("/nexus/x") == b"1"


async def test_six_nodes(autojump_clock):
    async with swarm(6, MemoryNetwork(5), links=3, schema=Numbered(), keepalive=600) as nodes:
        await until(lambda: all(node.dht.size() >= 2 for node in nodes), 30)
        await nodes[2].dht.put("/nexus/x", b"7")
        assert [await node.dht.get("/nexus/x") for node in nodes] == [b"7"] * 6
        assert await nodes[3].dht.provide(PROVIDED)
        found = await nodes[5].dht.find_providers(PROVIDED)
        assert [each.peer for each in found] == [nodes[3].peer_id], "each provider once"
        where = await nodes[0].dht.find_peer(nodes[5].peer_id)
        assert where == Found(nodes[5].peer_id, ("/ip4/10.0.0.6/tcp/4001",))
        assert await nodes[0].dht.find_peer(signer("nobody").peer_id) is None
