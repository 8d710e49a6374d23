"""Files that peers of other implementations make too, and a node of ours that gives and reads them by bitswap."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from nexusd.host.node import Node
from nexusd.host.ports import BlockSession
from nexusd_protocols.bitswap.message import Payload
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import FileBuilder
from tests.harness.bitswap import MemorySource
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
