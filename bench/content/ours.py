"""A node of ours with blocks in memory, told what to do as tests/interop/helia/peer.mjs is."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any

import trio

from nexusd import logs
from nexusd.host.node import Node
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import FileBuilder
from nexusd_protocols.identity import PeerId, Signer

PIECE = 256 * 1024
AT_ONCE = 32


def content(seed: str, size: int) -> bytes:
    """As the other makes it."""
    pieces = (hashlib.sha256(f"{seed}:{n}".encode()).digest() * (PIECE // 32) for n in range(-(-size // PIECE)))
    return b"".join(pieces)[:size]


class Member:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._blocks: dict[bytes, bytes] = {}
        node.exchange.set_source(self)

    async def size(self, cid: Cid, _peer: PeerId) -> int | None:
        data = self._blocks.get(cid.digest)
        return None if data is None else len(data)

    async def get(self, cid: Cid, _peer: PeerId) -> bytes | None:
        return self._blocks.get(cid.digest)

    async def dial(self, address: str) -> dict[str, Any]:
        peer = PeerId(address.rpartition("/p2p/")[2])
        await self._node.connect(peer, [address])
        return {}

    async def add_file(self, seed: str, size: int) -> dict[str, Any]:
        builder = FileBuilder()
        first = builder.feed(content(seed, size))
        last, root, _ = builder.finish()
        self._blocks |= {block.cid.digest: block.data for block in (*first, *last)}
        return {"cid": str(root)}

    async def read_file(self, cid: str) -> dict[str, Any]:
        began = time.perf_counter()
        digest, size = hashlib.sha256(), 0
        reader, asked = RangeReader(Cid.parse(cid)), set[Cid]()
        bring, came = trio.open_memory_channel[tuple[Cid, bytes]](AT_ONCE)
        async with self._node.exchange.session() as session, trio.open_nursery() as nursery:
            session.add_peers(self._node.connected())

            async def get(cid: Cid) -> None:
                await bring.send((cid, await session.get(cid, timeout=60)))

            while not reader.done:
                for wanted in reader.wanted(AT_ONCE):
                    if wanted not in asked:
                        asked.add(wanted)
                        nursery.start_soon(get, wanted)
                block_cid, data = await came.receive()
                asked.discard(block_cid)
                self._blocks[block_cid.digest] = data
                for piece in reader.take(block_cid, data):
                    digest.update(piece)
                    size += len(piece)
        return {"size": size, "sha256": digest.hexdigest(), "seconds": time.perf_counter() - began}

    async def carry_out(self, cmd: str, options: dict[str, Any]) -> dict[str, Any]:
        match cmd:
            case "dial":
                return await self.dial(options["address"])
            case "addFile":
                return await self.add_file(options["seed"], options["size"])
            case "readFile":
                return await self.read_file(options["cid"])
        raise ValueError(f"unknown command {cmd}")


async def main(name: str) -> None:
    node = Node(Signer(hashlib.sha256(name.encode()).digest()), listen=["/ip4/127.0.0.1/tcp/0"], role="light")
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        member = Member(node)
        print(json.dumps({"event": "ready", "addrs": node.addresses()}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            request = json.loads(line)
            result = await member.carry_out(request.pop("cmd"), request)
            print(json.dumps({"ok": True, "result": result}), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logs.configure(level="error", fmt="text")  # to standard error: standard output carries the answers
    trio.run(main, sys.argv[1])
