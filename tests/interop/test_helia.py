"""Blocks by bitswap with Helia (js-ipfs): files and objects by their CIDs, both ways, over TCP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from nexusd.host.node import Node
from nexusd.host.ports import BlockSession, NotFoundError
from nexusd_protocols.bitswap.message import Payload
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import Entry, FileBuilder, directory
from tests.harness import js
from tests.harness.bitswap import MemorySource
from tests.harness.daemon import Daemon
from tests.harness.js import HeliaPeer
from tests.harness.nodes import loopback, until

SIZE = 12_000_000
PIECE = 256 * 1024
OBJECT = {"name": "Żółć", "list": [1, -2, 2**60, None, True, b"\x00\xff".hex()], "link": Cid.of(RAW, b"hello")}


def content(seed: str, size: int = SIZE) -> bytes:
    """As helia/peer.mjs makes it."""
    pieces = (hashlib.sha256(f"{seed}:{n}".encode()).digest() * (PIECE // 32) for n in range(-(-size // PIECE)))
    return b"".join(pieces)[:size]


class Bob:
    """A node of ours, with what it has to give."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.source = MemorySource()
        node.exchange.set_source(self.source)

    def add_file(self, data: bytes) -> Cid:
        builder = FileBuilder()
        first = builder.feed(data)
        last, root, _size = builder.finish()
        self.source.add(*(Payload(block.cid, block.data) for block in (*first, *last)))
        return root

    def add(self, cid: Cid, data: bytes) -> Cid:
        self.source.add(Payload(cid, data))
        return cid

    async def meet(self, *peers: HeliaPeer) -> None:
        for peer in peers:
            await self.node.connect(peer.peer_id, peer.addresses)
        await until(lambda: self.node.exchange.stats().peers == len(peers))


async def read_file(session: BlockSession, root: Cid) -> bytes:
    reader = RangeReader(root)
    asked: set[Cid] = set()
    data = bytearray()
    came, bring = trio.open_memory_channel(0)

    async def get(cid: Cid) -> None:
        await came.send((cid, await session.get(cid, timeout=30)))

    async with trio.open_nursery() as nursery:
        while not reader.done:
            for cid in reader.wanted(32):
                if cid not in asked:
                    asked.add(cid)
                    nursery.start_soon(get, cid)
            cid, block = await bring.receive()
            asked.discard(cid)
            data += b"".join(reader.take(cid, block))
    return bytes(data)


@pytest.fixture(scope="module")
def helia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliaPeer]:
    js.require(js.HELIA)
    with HeliaPeer("helia", tmp_path_factory.mktemp("helia")) as peer:
        yield peer


@asynccontextmanager
async def bob_and(*peers: HeliaPeer) -> AsyncIterator[Bob]:
    async with loopback("bob") as (node,):
        bob = Bob(node)
        await bob.meet(*peers)
        yield bob


async def test_they_read_our_file(helia: HeliaPeer) -> None:
    data = content("ours")
    async with bob_and(helia) as bob:
        read = await helia.ask("readFile", cid=str(bob.add_file(data)))
        assert (read["size"], read["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert bob.node.exchange.stats().bytes_sent >= len(data)
        assert not bob.node.balance(helia.peer_id)


@pytest.mark.parametrize("usual", [True, False])
async def test_we_read_their_file(helia: HeliaPeer, usual: bool) -> None:
    data = content("theirs")
    root = (await helia.ask("addFile", seed="theirs", size=SIZE, usual=usual))["cid"]
    async with bob_and(helia) as bob:
        if usual:
            assert str(bob.add_file(data)) == root, "the same file has the same name"
        async with bob.node.exchange.session() as session:
            assert await read_file(session, Cid.parse(root)) == data
        stats = bob.node.exchange.stats()
        assert (stats.unasked, stats.duplicates) == (0, 0)
        assert not bob.node.balance(helia.peer_id)


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
        began = trio.current_time()
        with pytest.raises(NotFoundError):
            await session.get(Cid.of(RAW, b"nobody has this"), timeout=30)
        assert trio.current_time() - began < 5


async def test_what_comes_later_is_sent_to_them(helia: HeliaPeer) -> None:
    async with bob_and(helia) as bob:
        cid = Cid.of(RAW, b"comes later")
        reading = helia.start("readFile", cid=str(cid))
        await until(lambda: bob.node.exchange.stats().wants)
        bob.add(cid, b"comes later")
        bob.node.exchange.arrived([cid])
        read = await trio.to_thread.run_sync(helia.finish, reading)
        assert read["sha256"] == hashlib.sha256(b"comes later").hexdigest()


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
    ours = tmp_path / "ours.bin"
    ours.write_bytes(content("put"))
    put = alice.cli("content", "put", str(ours), timeout=60)["cid"]
    helia.call("dial", address=alice.tcp)
    read = helia.call("readFile", cid=put, timeout=60)
    assert (read["size"], read["sha256"]) == (SIZE, hashlib.sha256(content("put")).hexdigest())

    theirs = tmp_path / "theirs.bin"
    cid = helia.call("addFile", seed="get", size=SIZE)["cid"]
    got = alice.cli("content", "get", cid, "-o", str(theirs), "--from", helia.peer_id, timeout=60)
    assert got["fetched"] >= SIZE
    assert theirs.read_bytes() == content("get")


def test_a_daemon_reads_their_object(helia: HeliaPeer, alice: Daemon) -> None:
    helia.call("dial", address=alice.tcp)
    cid = helia.call("addObject", object={"a": [1, "x"], "b": None})["cid"]
    assert alice.cli("content", "get", cid, "--from", helia.peer_id)["value"] == {"a": [1, "x"], "b": None}
