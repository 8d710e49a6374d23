"""Members of a room at the level of the transport: what each of them gets."""

from __future__ import annotations

from collections import Counter

import trio

TOPIC = "/nexus/room/general"


class Member:
    """Counts what one node gets."""

    def __init__(self, node) -> None:
        self.node = node
        self.got: Counter[bytes] = Counter()
        self.changed = trio.Event()

    async def join(self) -> None:
        await self.node.topics.join(TOPIC, lambda _forwarder, _message: "accept", self.deliver)

    async def deliver(self, _forwarder, message) -> None:
        self.got[message.data] += 1
        self.changed.set()

    async def has(self, expected: set[bytes]) -> None:
        while not expected <= set(self.got):
            self.changed = trio.Event()
            await self.changed.wait()
