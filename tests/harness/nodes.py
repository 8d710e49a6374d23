"""Nodes of ours for tests: on loopback, or many on a network in memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from nexusd.host.node import Node
from nexusd.host.ports import Channel, PeerConnected, PeerDisconnected, PeerIdentified
from nexusd_protocols.identity import PeerId, Signer
from tests.harness.memnet import MemoryNetwork

LOOPBACK = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws")


def signer(name: str) -> Signer:
    """The key of somebody in a test, always the same."""
    return Signer(hashlib.sha256(name.encode()).digest())


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """The nodes listen inside of the block and are closed after it."""
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run)
        try:
            yield
        finally:
            with trio.move_on_after(5, shield=True):
                async with trio.open_nursery() as closing:
                    for node in nodes:
                        closing.start_soon(node.aclose)
            nursery.cancel_scope.cancel()


def loopback_node(name: str, *, listen: tuple[str, ...] = LOOPBACK[:1], **options) -> Node:
    """A node on loopback, not running yet."""
    return Node(signer(name), listen=listen, **options)


@asynccontextmanager
async def loopback(*names: str, listen: tuple[str, ...] = LOOPBACK[:1], **options) -> AsyncIterator[tuple[Node, ...]]:
    """Running nodes on loopback, not connected yet."""
    nodes = tuple(loopback_node(name, listen=listen, **options) for name in names)
    async with running(*nodes):
        yield nodes


def ip_of(index: int) -> str:
    """The address of a node on the memory network."""
    return f"10.0.{index // 250}.{index % 250 + 1}"


@asynccontextmanager
async def swarm(
    count: int, network: MemoryNetwork, *, links: int = 3, seed: int = 0, **options
) -> AsyncIterator[list[Node]]:
    """Running nodes on a memory network, each of which has dialled `links` of those before it (0: nobody)."""
    nodes = [
        Node(
            signer(f"node-{index}"),
            listen=[f"/ip4/{ip_of(index)}/tcp/4001"],
            transports=[network.transport(ip_of(index))],
            **options,
        )
        for index in range(count)
    ]
    choose = random.Random(seed)
    async with running(*nodes):
        for index, node in enumerate(nodes[1:], 1):
            for other in choose.sample(nodes[:index], min(links, index)):
                await node.connect(other.peer_id, other.addresses())
        yield nodes


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Until a condition of a real process or socket holds. Under an autojump clock the waiting costs nothing."""
    with trio.fail_after(seconds):
        pause = 0.001
        while not condition():
            await trio.sleep(pause)
            pause = min(2 * pause, 0.01)


async def connected(node: Node, other: Node) -> None:
    """Connect two nodes and wait until each has identified the other."""
    mine, theirs = node.peer_events(), other.peer_events()
    await node.connect(other.peer_id, other.addresses())
    with trio.fail_after(10):
        await _identified(mine, other.peer_id)
        await _identified(theirs, node.peer_id)


async def _identified(events, peer: PeerId) -> PeerIdentified:
    async for event in events:
        if isinstance(event, PeerIdentified) and event.peer == peer:
            return event
    raise AssertionError("the node ended")


async def next_event(events, kind: type[PeerConnected | PeerDisconnected | PeerIdentified], peer: PeerId):
    """The next event of a kind about a peer."""
    with trio.fail_after(10):
        async for event in events:
            if isinstance(event, kind) and event.peer == peer:
                return event
    raise AssertionError("the node ended")


class Bytes:
    """The simplest machine: what comes is handed out, what is sent goes out."""

    def receive(self, data: bytes) -> list[bytes]:
        return [data] if data else []

    def receive_eof(self) -> list[bytes]:
        return []

    def send(self, command: bytes) -> bytes:
        return command


async def swallow(channel: Channel[bytes, bytes]) -> None:
    """A handler that hears to the end and says nothing."""
    while await channel.receive() is not None:
        pass
