"""Blocks by bitswap with Helia (js-ipfs): files and objects by their CIDs, both ways, over TCP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nexusd.host.ports import NotFoundError
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.content.unixfs import Entry, directory
from tests.harness import js
from tests.harness.daemon import Daemon
from tests.harness.js import HeliaPeer
from tests.harness.nodes import until
from tests.interop.files import SIZE, bob_and, content, read_each_other, read_file, sha256, they_read, we_read

OBJECT = {"name": "Żółć", "list": [1, -2, 2**60, None, True, b"\x00\xff".hex()], "link": Cid.of(RAW, b"hello")}


@pytest.fixture(scope="module")
def helia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliaPeer]:
    js.require(js.HELIA)
    with HeliaPeer("helia", tmp_path_factory.mktemp("helia")) as peer:
        yield peer


async def test_they_read_our_file(helia: HeliaPeer) -> None:
    async with bob_and(helia) as bob:
        await they_read(bob, helia, content("ours"))


@pytest.mark.parametrize("usual", [True, False])
async def test_we_read_their_file(helia: HeliaPeer, usual: bool) -> None:
    data = content("theirs")
    root = (await helia.ask("addFile", seed="theirs", size=SIZE, usual=usual))["cid"]
    async with bob_and(helia) as bob:
        if usual:
            assert str(bob.add_file(data)) == root, "the same file has the same name"
        await we_read(bob, helia, root, data)


async def test_they_read_our_directory(helia: HeliaPeer) -> None:
    async with bob_and(helia) as bob:
        file = bob.add(Cid.of(RAW, b"hello"), b"hello")
        block = directory([Entry("hello.txt", file, 5)])
        listed = await helia.ask("list", cid=str(bob.add(block.cid, block.data)))
        assert [entry["name"] for entry in listed["entries"]] == ["hello.txt"]


async def test_they_read_our_object_and_we_theirs(helia: HeliaPeer) -> None:
    raw = dag_cbor.encode(OBJECT)
    async with bob_and(helia) as bob:
        cid = bob.add(Cid.of(DAG_CBOR, raw), raw)
        assert await helia.ask("reencode", cid=str(cid)) == {"cid": str(cid)}, "they understood all of it"
        theirs = Cid.parse((await helia.ask("addObject", object={"b": [1, {"a": "x"}], "a": None}))["cid"])
        async with bob.node.exchange.session() as session:
            assert dag_cbor.decode(await session.get(theirs, timeout=10)) == {"a": None, "b": [1, {"a": "x"}]}


async def test_what_they_do_not_have_is_missing_at_once(helia: HeliaPeer) -> None:
    async with bob_and(helia) as bob, bob.node.exchange.session() as session:
        with pytest.raises(NotFoundError):  # at the end of its time it would be a DeadlineError
            await session.get(Cid.of(RAW, b"nobody has this"), timeout=30)


async def test_what_comes_later_is_sent_to_them(helia: HeliaPeer) -> None:
    async with bob_and(helia) as bob:
        cid = Cid.of(RAW, b"comes later")
        reading = helia.start("readFile", cid=str(cid))
        await until(lambda: bob.node.exchange.stats().wants)
        bob.add(cid, b"comes later")
        bob.node.exchange.arrived([cid])
        read = await trio.to_thread.run_sync(helia.finish, reading)
        assert read["sha256"] == sha256(b"comes later")


async def test_we_read_from_two_of_them_and_one_leaves(helia: HeliaPeer, tmp_path: Path) -> None:
    data = content("both", 40_000_000)
    with HeliaPeer("other", tmp_path) as other:
        roots = {(await peer.ask("addFile", seed="both", size=len(data)))["cid"] for peer in (helia, other)}
        async with bob_and(helia, other) as bob:

            async def leave() -> None:
                await until(lambda: bob.node.exchange.stats().bytes_received > len(data) / 4)
                other.process.kill9()

            async with bob.node.exchange.session() as session, trio.open_nursery() as nursery:
                nursery.start_soon(leave)
                assert await read_file(session, Cid.parse(roots.pop())) == data
            assert not roots
            assert not bob.node.balance(helia.peer_id)


def test_a_daemon_and_they_read_each_others_files(helia: HeliaPeer, alice: Daemon, tmp_path: Path) -> None:
    got = read_each_other(alice, helia, tmp_path)
    assert got["fetched"] >= SIZE


def test_a_daemon_reads_their_object(helia: HeliaPeer, alice: Daemon) -> None:
    helia.call("dial", address=alice.tcp)
    cid = helia.call("addObject", object={"a": [1, "x"], "b": None})["cid"]
    assert alice.cli("content", "get", cid, "--from", helia.peer_id)["value"] == {"a": [1, "x"], "b": None}
