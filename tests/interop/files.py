"""Files that peers of other implementations make too, and a node of ours that gives and reads them by bitswap."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from nexusd.host.node import Node
from nexusd.host.ports import BlockSession
from nexusd_protocols.bitswap.message import Payload
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import FileBuilder
from tests.harness.bitswap import MemorySource
from tests.harness.daemon import Daemon
from tests.harness.foreign import ForeignPeer
from tests.harness.nodes import loopback, until

SIZE = 12_000_000
PIECE = 256 * 1024


def content(seed: str, size: int = SIZE) -> bytes:
    """Piece n is the SHA-256 of "seed:n", again and again: as the others make it."""
    pieces = (hashlib.sha256(f"{seed}:{n}".encode()).digest() * (PIECE // 32) for n in range(-(-size // PIECE)))
    return b"".join(pieces)[:size]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Giver:
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

    async def meet(self, *peers: ForeignPeer) -> None:
        for peer in peers:
            await self.node.connect(peer.peer_id, peer.addresses)
        await until(lambda: self.node.exchange.stats().peers == len(peers))


@asynccontextmanager
async def bob_and(*peers: ForeignPeer) -> AsyncIterator[Giver]:
    """Bob, connected to these, who speak the protocol."""
    async with loopback("bob") as (node,):
        bob = Giver(node)
        await bob.meet(*peers)
        yield bob


async def read_file(session: BlockSession, root: Cid) -> bytes:
    """From whoever has it, 32 blocks at once."""
    reader = RangeReader(root)
    asked: set[Cid] = set()
    data = bytearray()
    came, bring = trio.open_memory_channel[tuple[Cid, bytes]](0)

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


async def they_read(bob: Giver, peer: ForeignPeer, data: bytes) -> None:
    """They read a file of ours whole."""
    read = await peer.ask("readFile", cid=str(bob.add_file(data)))
    assert (read["size"], read["sha256"]) == (len(data), sha256(data))
    assert bob.node.exchange.stats().bytes_sent >= len(data)
    assert not bob.node.balance(peer.peer_id)


async def we_read(bob: Giver, peer: ForeignPeer, root: str, data: bytes) -> None:
    """We read a file of theirs whole, and get nothing else."""
    async with bob.node.exchange.session() as session:
        assert await read_file(session, Cid.parse(root)) == data
    stats = bob.node.exchange.stats()
    assert (stats.unasked, stats.duplicates) == (0, 0)
    assert not bob.node.balance(peer.peer_id)


def read_each_other(alice: Daemon, peer: ForeignPeer, directory: Path) -> dict[str, Any]:
    """A daemon and they read a file of the other. Returns what `nexus content get` says."""
    ours = directory / "ours.bin"
    ours.write_bytes(content("put"))
    put = alice.cli("content", "put", str(ours), timeout=60)["cid"]
    peer.call("dial", address=alice.tcp)
    read = peer.call("readFile", cid=put, timeout=60)
    assert (read["size"], read["sha256"]) == (SIZE, sha256(content("put")))

    theirs = directory / "theirs.bin"
    cid = peer.call("addFile", seed="get", size=SIZE)["cid"]
    got: dict[str, Any] = alice.cli("content", "get", cid, "-o", str(theirs), "--from", peer.peer_id, timeout=60)
    assert theirs.read_bytes() == content("get")
    return got
