"""The DHT with go-libp2p and js-libp2p: each side puts, gets, provides and finds what the other keeps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from nexusd.host.node import Node
from nexusd_protocols.identity import PeerId
from tests.harness import go, js
from tests.harness.foreign import ForeignError, ForeignPeer
from tests.harness.go import GoPeer
from tests.harness.js import JsPeer
from tests.harness.kad import PROVIDED
from tests.harness.nodes import loopback, until

KINDS = {"go": (go.require, GoPeer), "js": (js.require, JsPeer)}


class Counted:
    """The schema of the foreign peers: JSON with a `seq`, of which the highest is the best."""

    def validate(self, key: str, value: bytes) -> None:
        if not isinstance(json.loads(value)["seq"], int):
            raise ValueError("no seq")

    def select(self, key: str, values) -> int:
        return max(range(len(values)), key=lambda index: json.loads(values[index])["seq"])

    def valid_until(self, key: str, value: bytes) -> int | None:
        return None


def record(seq: int) -> bytes:
    return b'{"seq":%d}' % seq


@pytest.fixture(scope="module", params=list(KINDS))
def others(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignPeer]:
    """Two foreign nodes in one process that know each other: bob, and behind him carol."""
    require, peer = KINDS[request.param]
    require()
    directory: Path = tmp_path_factory.mktemp(request.param)
    with peer("bob", directory, nodes=[{"dht": True}, {"dht": True}]) as process:
        process.call("dial", node=1, address=process.tcp)
        yield process


@asynccontextmanager
async def with_alice(others: ForeignPeer, name: str) -> AsyncIterator[Node]:
    """A node of ours, connected to bob; each has the other in its routing table."""
    async with loopback(name, schema=Counted()) as (alice,):
        await alice.connect(PeerId(others.peer_id), [others.tcp])
        await until(lambda: alice.dht.size() >= 1, 20)
        with trio.fail_after(30):
            while alice.peer_id not in (await others.ask("dhtPeers"))["peers"]:
                await trio.sleep(0.1)
        yield alice


async def test_they_get_what_we_put_and_we_get_what_they_put(others):
    async with with_alice(others, "dht-alice") as alice:
        assert others.peer_id in await alice.dht.put("/nexus/ours", record(1)), "it says that it keeps it"
        for node in (0, 1):
            assert (await others.ask("dhtGet", node=node, key="/nexus/ours"))["text"].encode() == record(1)
        await others.ask("dhtPut", node=1, key="/nexus/theirs", text=record(7).decode())
        assert await alice.dht.get("/nexus/theirs") == record(7)
        # a second one is seen within one get, by both
        assert await alice.dht.put("/nexus/ours", record(2))
        for node in (0, 1):
            assert (await others.ask("dhtGet", node=node, key="/nexus/ours"))["text"].encode() == record(2)
        await others.ask("dhtPut", node=0, key="/nexus/theirs", text=record(8).decode())
        assert await alice.dht.get("/nexus/theirs") == record(8)
        assert alice.dht.stored()[0] >= 1, "what they put is kept here too"
        with pytest.raises(ValueError, match="newer"):
            await alice.dht.put("/nexus/theirs", record(3))


async def test_what_is_no_record_is_refused_both_ways(others):
    async with with_alice(others, "dht-anna") as alice:
        with pytest.raises(ValueError):  # noqa: PT011 - json's own
            await alice.dht.put("/nexus/bad", b"junk")
        with pytest.raises(ForeignError):
            await others.ask("dhtGet", key="/nexus/none")
        assert await alice.dht.get("/nexus/none") is None


async def test_providers(others):
    async with with_alice(others, "dht-amy") as alice:
        carol = others.nodes[1]["peerId"]
        assert others.peer_id in await alice.dht.provide(PROVIDED)
        for node in (0, 1):
            assert alice.peer_id in (await others.ask("dhtFindProviders", node=node, cid=PROVIDED))["providers"]
        await others.ask("dhtProvide", node=1, cid=PROVIDED)
        found = {each.peer: each.addresses for each in await alice.dht.find_providers(PROVIDED)}
        assert PeerId(carol) in found
        assert any("/tcp/" in address for address in found[PeerId(carol)])
        assert alice.peer_id not in found


async def test_peers_are_found(others):
    async with with_alice(others, "dht-ada") as alice:
        carol = others.nodes[1]
        found = await alice.dht.find_peer(PeerId(carol["peerId"]))
        assert {a.partition("/p2p/")[0] for a in carol["addrs"]} & set(found.addresses)
        theirs = await others.ask("dhtFindPeer", node=1, peer=alice.peer_id)
        assert {a.partition("/p2p/")[0] for a in alice.addresses()} & {a.partition("/p2p/")[0] for a in theirs["addrs"]}
