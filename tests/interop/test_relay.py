"""Relays of go-libp2p and js-libp2p: we hold a place there, are reached through it, and reach others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from nexusd_protocols.identity import PeerId
from tests.harness import go, js
from tests.harness.foreign import ForeignPeer
from tests.harness.go import GoPeer
from tests.harness.js import JsPeer
from tests.harness.nodes import Bytes, loopback, until

KINDS = {"go": (go.require, GoPeer), "js": (js.require, JsPeer)}
ECHO = "/nexus/echo/1.0.0"
SENT = bytes(range(256)) * 1024


@pytest.fixture(scope="module", params=list(KINDS))
def others(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignPeer]:
    """Two foreign nodes in one process: a relay, and one that knows how to use it."""
    require, peer = KINDS[request.param]
    require()
    with peer("relay", tmp_path_factory.mktemp(request.param), nodes=[{"relay": True}, {}]) as process:
        yield process


async def echo(channel) -> None:
    while (data := await channel.receive()) is not None:
        await channel.send(data)


async def test_two_of_ours_meet_through_it(others):
    async with loopback("relay-alice", listen=(), relays=[others.tcp]) as (alice,), loopback("relay-bob") as (bob,):
        alice.streams.handle(ECHO, lambda _peer: Bytes(), echo)
        await until(alice.addresses, 20)
        await bob.connect(alice.peer_id, alice.addresses())
        async with await bob.streams.open(alice.peer_id, [ECHO], lambda _protocol: Bytes()) as channel:
            received = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, SENT)
                while len(received) < len(SENT):
                    received += await channel.receive(timeout=20)
            assert received == SENT
        await bob.disconnect(alice.peer_id)
        await until(lambda: bob.peer_id not in alice.connected(), 10)


async def test_theirs_reaches_ours_through_it(others):
    async with loopback("relay-anna", listen=(), relays=[others.tcp]) as (alice,):
        await until(alice.addresses, 20)
        await others.ask("dial", node=1, address=alice.addresses()[0])
        await until(lambda: PeerId(others.nodes[1]["peerId"]) in alice.connected(), 20)
