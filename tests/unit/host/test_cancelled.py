"""Whatever is cancelled, wherever, leaves nothing behind: no task, no descriptor, no object, no slot; and what it was
part of goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from nexusd.host.limits.figures import Figures
from nexusd.host.node import Node
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.census import cancel_at_random, census, nothing_beyond
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import LOOPBACK, Bytes, connected, loopback, signer, swallow, swarm, until
from tests.unit.host.conftest import TOY

TOPIC = "/nexus/room/general"
SIZE = 300_000
QUICK = ("connect", "read", "write", "get")
"""`make check` cancels these only."""
Operation = Callable[[], Awaitable[object]]


@asynccontextmanager
async def three(carrier: str, **options) -> AsyncIterator[list[Node]]:
    """Alice is connected to bob, not to carol."""
    if carrier == "memory":
        figures = Figures(address_burst=10_000, address_connections=100)  # she comes back more often than strangers may
        async with swarm(3, MemoryNetwork(1, latency=(0.0, 0.0)), links=0, figures=figures, **options) as nodes:
            await connected(nodes[0], nodes[1])
            yield nodes
        return
    listen = LOOPBACK[:1] if carrier == "tcp" else LOOPBACK[1:]
    async with loopback("alice", "bob", "carol", listen=listen, **options) as (alice, bob, carol):
        await connected(alice, bob)
        yield [alice, bob, carol]


class Operations:
    """What a node does for its services, one method each; what it returns in time is put away again."""

    def __init__(self, alice: Node, bob: Node, carol: Node) -> None:
        self.alice, self.bob, self.carol = alice, bob, carol
        self._number = 0
        bob.streams.handle(TOY, lambda _peer: Bytes(), swallow)

    async def _channel(self):
        return await self.alice.streams.open(self.bob.peer_id, [TOY], lambda _protocol: Bytes())

    async def connect(self) -> None:
        await self.alice.connect(self.carol.peer_id, self.carol.addresses())

    async def disconnect(self) -> None:
        await self.alice.disconnect(self.carol.peer_id)

    async def open(self) -> None:
        channel = await self._channel()
        await channel.reset()

    async def read(self) -> None:
        channel = await self._channel()
        try:
            await channel.receive()
        finally:
            await channel.reset()

    async def write(self) -> None:
        channel = await self._channel()
        try:
            await channel.send(bytes(SIZE))
        finally:
            await channel.reset()

    async def close(self) -> None:
        channel = await self._channel()
        try:
            await channel.send(b"x")
            await channel.aclose()
        except BaseException:
            await channel.reset()
            raise

    async def publish(self) -> None:
        self._number += 1
        await self.alice.topics.publish(SignedMessage.sign(signer("node-0"), TOPIC, b"x", self._number))

    async def get(self) -> None:
        await self.alice.dht.get("/nexus/nobody")

    async def find(self) -> None:
        await self.alice.dht.find_peer(signer("nobody").peer_id)


TURNS = {
    "connect": (60, 400),
    "disconnect": (20, 200),
    "open": (8, 20),
    "read": (40, 100),
    "write": (40, 200),
    "close": (12, 20),
    "publish": (2, 2),
    "get": (40, 300),
    "find": (40, 300),
}
"""How many turns of the scheduler each takes, about: in memory, and over loopback."""


async def settled(operations: Operations) -> None:
    """A dial that nobody waits for any more goes on for whoever asks next; then it is cut."""
    await trio.sleep(1)
    await operations.disconnect()


async def leave_nothing(carrier: str, kind: str, times: int, most: int) -> None:
    # nodes of the DHT look for one another by themselves, which is not what is counted
    role = "full" if kind in ("get", "find") else "light"
    async with three(carrier, role=role) as (alice, bob, carol):
        operations = Operations(alice, bob, carol)
        operation = getattr(operations, kind)
        if kind in ("connect", "disconnect"):
            # one after the other, so that there is always something to connect or to cut
            other = operations.disconnect if kind == "connect" else operations.connect

            async def prepared() -> None:
                try:
                    await operation()
                finally:
                    with trio.CancelScope(shield=True), trio.fail_after(20):
                        await other()

            tried: Operation = prepared
        else:
            tried = operation
        if kind in ("get", "find"):
            await until(alice.dht.size)
        for _ in range(5):
            with trio.move_on_after(0.5):
                await tried()
        await cancel_at_random(tried, 10, most=most)
        await settled(operations)
        before = census()
        count = await cancel_at_random(tried, times, most=most)
        print(f"{count} of {times} were cancelled before their end")
        assert count > times // 20 or kind in ("publish", "disconnect"), "they are not cancelled once begun"
        await settled(operations)
        await nothing_beyond(before)
        assert bob.peer_id in alice.connected(), "what it was part of goes on"
        with trio.fail_after(20):
            await operations.open()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in TURNS]
)
async def test_cancelled_operations_leave_nothing(autojump_clock, kind: str) -> None:
    await leave_nothing("memory", kind, 20, TURNS[kind][0])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", TURNS)
@pytest.mark.parametrize("carrier", ["tcp", "ws"])
async def test_a_thousand_cancelled_operations_leave_nothing(carrier: str, kind: str) -> None:
    # a connection takes 0.1 s to close: 1,000 of them are some minutes, which are well spent now and then
    times = 200 if kind in ("connect", "disconnect") else 1000
    await leave_nothing(carrier, kind, times, TURNS[kind][1])
