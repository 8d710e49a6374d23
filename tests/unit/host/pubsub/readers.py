"""Nodes that are in one topic, and what each of them reads there."""

from __future__ import annotations

import trio

from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.nodes import signer, until

TOPIC = "/nexus/room/general"


def accept(_forwarder, _message):
    return "accept"


class Reader:
    """What one node got, in order."""

    def __init__(self) -> None:
        self.messages: list[SignedMessage] = []
        self._arrived = trio.Event()

    async def __call__(self, _forwarder, message) -> None:
        self.messages.append(message)
        self._arrived.set()

    async def has(self, count: int, seconds: float = 10) -> list[bytes]:
        with trio.fail_after(seconds):
            while len(self.messages) < count:
                self._arrived = trio.Event()
                await self._arrived.wait()
        return [message.data for message in self.messages]


async def joined(*nodes) -> list[Reader]:
    readers = [Reader() for _ in nodes]
    for node, reader in zip(nodes, readers, strict=True):
        await node.topics.join(TOPIC, accept, reader)
    await until(lambda: all(len(node.topics.peers(TOPIC)) == len(nodes) - 1 for node in nodes))
    return readers


def message(number: int, name: str = "alice", data: bytes | None = None) -> SignedMessage:
    return SignedMessage.sign(signer(name), TOPIC, data or b"message %d" % number, number)
