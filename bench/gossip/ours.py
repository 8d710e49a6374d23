"""Topics of nexusd's host, by their port, without a daemon above."""

from __future__ import annotations

import hashlib
import sys
import time

import trio

from bench.gossip.work import TOPIC, Worker
from nexusd import logs
from nexusd.host.node import Node
from nexusd.host.ports import Verdict
from nexusd_protocols.identity import PeerId, Signer
from nexusd_protocols.pubsub.signed import SignedMessage


class OurMember:
    def __init__(self, node: Node, signer: Signer, worker: Worker) -> None:
        self._node = node
        self._signer = signer
        self._worker = worker
        self._number = time.time_ns()

    async def connect(self, address: str) -> None:
        await self._node.connect(PeerId(address.rpartition("/p2p/")[2]), [address])

    async def join(self) -> None:
        def accept(_forwarder: PeerId, _message: SignedMessage) -> Verdict:
            return "accept"

        async def deliver(_forwarder: PeerId, message: SignedMessage) -> None:
            self._worker.heard(message.data)

        await self._node.topics.join(TOPIC, accept, deliver)

    def members(self) -> int:
        return len(self._node.topics.peers(TOPIC))

    async def publish(self, data: bytes) -> None:
        self._number += 1
        await self._node.topics.publish(SignedMessage.sign(self._signer, TOPIC, data, self._number))


async def main(name: str) -> None:
    signer = Signer(hashlib.sha256(name.encode()).digest())
    node = Node(signer, listen=["/ip4/127.0.0.1/tcp/0"], role="light")
    worker = Worker()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        await worker.run(OurMember(node, signer, worker), node.addresses()[0])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logs.configure(level="error", fmt="text")  # to standard error: standard output carries the answers
    trio.run(main, sys.argv[1])
