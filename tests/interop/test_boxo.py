"""Blocks by bitswap with boxo, which is what Kubo runs: files and objects by their CIDs, both ways, over TCP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nexusd.host.ports import NotFoundError
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from tests.harness import go
from tests.harness.daemon import Daemon
from tests.harness.go import BoxoPeer
from tests.harness.nodes import until
from tests.interop.files import SIZE, bob_and, content, read_each_other, they_read, we_read


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoxoPeer]:
    go.require("bitswap")
    with BoxoPeer("kubo", tmp_path_factory.mktemp("kubo")) as peer:
        yield peer


async def test_they_read_our_file(kubo: BoxoPeer) -> None:
    async with bob_and(kubo) as bob:
        await they_read(bob, kubo, content("ours"))
        # they cancel what they got, and nothing is left of it
        await until(lambda: not bob.node.exchange.stats().wants)


async def test_we_read_their_file(kubo: BoxoPeer) -> None:
    data = content("theirs")
    root = (await kubo.ask("addFile", seed="theirs", size=SIZE))["cid"]
    async with bob_and(kubo) as bob:
        assert str(bob.add_file(data)) == root, "the same file has the same name"
        await we_read(bob, kubo, root, data)


async def test_objects_both_ways(kubo: BoxoPeer) -> None:
    raw = dag_cbor.encode({"name": "Żółć", "link": Cid.of(RAW, b"hello")})
    async with bob_and(kubo) as bob:
        ours = bob.add(Cid.of(DAG_CBOR, raw), raw)
        assert await kubo.ask("getBlock", cid=str(ours)) == {"hex": raw.hex()}
        other = dag_cbor.encode({"b": [1, None]})
        theirs = Cid.parse((await kubo.ask("addBlock", codec=DAG_CBOR, hex=other.hex()))["cid"])
        async with bob.node.exchange.session() as session:
            assert await session.get(theirs, timeout=10) == other


async def test_what_they_do_not_have_is_missing_at_once(kubo: BoxoPeer) -> None:
    async with bob_and(kubo) as bob, bob.node.exchange.session() as session:
        with pytest.raises(NotFoundError), trio.fail_after(10):
            await session.get(Cid.of(RAW, b"nobody has this"), timeout=30)
        assert await kubo.ask("addBlock", codec=RAW, hex=b"nobody has this".hex())
        assert await session.get(Cid.of(RAW, b"nobody has this"), timeout=10), "and asked for again it is there"


async def test_what_comes_later_is_sent_by_both(kubo: BoxoPeer) -> None:
    async with bob_and(kubo) as bob:
        cid = Cid.of(RAW, b"comes later")
        reading = kubo.start("getBlock", cid=str(cid))
        await until(lambda: bob.node.exchange.stats().wants)
        bob.add(cid, b"comes later")
        bob.node.exchange.arrived([cid])
        assert await trio.to_thread.run_sync(kubo.finish, reading) == {"hex": b"comes later".hex()}


async def test_the_same_block_again_and_again(kubo: BoxoPeer) -> None:
    cid = Cid.parse((await kubo.ask("addBlock", codec=RAW, hex=b"again".hex()))["cid"])
    async with bob_and(kubo) as bob, bob.node.exchange.session() as session:
        for _ in range(5):
            assert await session.get(cid, timeout=10) == b"again"
        assert not bob.node.balance(kubo.peer_id)


def test_a_daemon_and_they_read_each_others_files(kubo: BoxoPeer, alice: Daemon, tmp_path: Path) -> None:
    read_each_other(alice, kubo, tmp_path)
