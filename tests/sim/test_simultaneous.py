"""Both sides dial at once: one connection is kept, the same on both sides, and nobody notices but those two."""

from __future__ import annotations

import random

import pytest
import trio

from nexusd.host.duplicates import QUIET_SECONDS
from nexusd.host.ports import PeerConnected, PeerDisconnected, PeerIdentified
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import Bytes, swarm, until

ECHO = "/nexus/echo/1.0.0"


def connections(node) -> list:
    return [c for c in node._swarm.get_connections() if not c.is_closed]


async def echo(channel) -> None:
    while (data := await channel.receive()) is not None:
        await channel.send(data)


def collect(node) -> list:
    """What the node tells of its peers, from now on."""
    seen: list = []
    events = node.peer_events()

    async def follow():
        async for event in events:
            seen.append(event)  # noqa: PERF401 - each when it comes

    node._spawn(follow)
    return seen


async def calls(node, peer, count: int, pause: float) -> int:
    """So many streams, one after the other, each with an answer."""
    done = 0
    for _ in range(count):
        channel = await node.streams.open(peer, [ECHO], lambda _protocol: Bytes())
        async with channel:
            await channel.send(b"hello")
            assert await channel.receive() == b"hello"
            done += 1
        await trio.sleep(pause)
    return done


async def meeting(seed: int, *, latency: tuple[float, float], gap: float, dials: int) -> None:
    """Two nodes dial one another, `gap` seconds apart at most and several callers each, and call at once."""
    print("seed", seed, "latency", latency, "gap", gap)
    choose = random.Random(seed)
    network = MemoryNetwork(seed, latency)
    async with swarm(2, network, links=0, seed=seed, keepalive=600) as nodes:
        seen = [collect(node) for node in nodes]
        for node in nodes:
            node.streams.handle(ECHO, lambda _peer: Bytes(), echo)
        long_lived = []

        async def dial(index: int, after: float) -> None:
            node, other = nodes[index], nodes[1 - index]
            await trio.sleep(after)
            await node.connect(other.peer_id, other.addresses())
            channel = await node.streams.open(other.peer_id, [ECHO], lambda _protocol: Bytes())
            await channel.send(b"first words")
            long_lived.append(channel)
            assert await calls(node, other.peer_id, 5, choose.uniform(0, 0.2)) == 5

        async with trio.open_nursery() as nursery:
            for index in (0, 1):
                for _ in range(dials):
                    nursery.start_soon(dial, index, choose.uniform(0, gap))
        await trio.sleep(2 * QUIET_SECONDS)
        for channel in long_lived:  # what was opened first still works, whatever it runs on
            await channel.send(b"still there")
            assert (await channel.receive() or b"") + (await channel.receive() or b"") == b"first wordsstill there"
            await channel.aclose()
        await until(lambda: all(len(connections(node)) == 1 for node in nodes), 60)
        await trio.sleep(60)
        (one,), (other,) = (connections(node) for node in nodes)
        assert one.direction != other.direction
        for index, events in enumerate(seen):
            peer = nodes[1 - index].peer_id
            assert [type(e) for e in events if not isinstance(e, PeerIdentified)] == [PeerConnected]
            assert {e.peer for e in events} == {peer}
            assert any(isinstance(e, PeerIdentified) for e in events)
            assert await calls(nodes[index], peer, 1, 0) == 1
        assert not any(isinstance(e, PeerDisconnected) for events in seen for e in events)


@pytest.mark.parametrize("seed", range(4))
async def test_two_that_dial_one_another(seed, autojump_clock):
    await meeting(seed, latency=(0.001, 0.05), gap=0.0, dials=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
async def test_two_that_dial_one_another_in_many_ways(seed, autojump_clock):
    choose = random.Random(seed)
    slowest = choose.choice((0.002, 0.02, 0.1, 0.25))  # four round trips must fit in the three seconds of a handshake
    await meeting(seed, latency=(0.001, slowest), gap=choose.uniform(0, 6 * slowest), dials=choose.randrange(1, 4))
