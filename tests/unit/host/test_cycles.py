"""Connections that come and go leave nothing: no task, no descriptor, no memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter, deque
from pathlib import Path

import pytest
import trio

from nexusd.host.ports import PeerIdentified
from tests.harness.nodes import LOOPBACK, loopback, next_event, until


def tasks() -> list[str]:
    """Every task of this run, by name."""
    names, ahead = [], [trio.lowlevel.current_root_task()]
    while ahead:
        task = ahead.pop()
        names.append(task.name)
        ahead += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return sorted(names)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def objects() -> Counter[str]:
    """Live objects of ours and of libp2p, by class."""
    gc.collect()
    found = Counter(str(type(each)) for each in gc.get_objects())
    return Counter({name: count for name, count in found.items() if "nexusd" in name or "libp2p" in name})


def containers(root) -> dict[str, int]:
    """The size of each container that hangs on an object of ours or of libp2p, by the path to it."""
    sizes: dict[str, int] = {}
    seen: set[int] = set()

    def walk(thing, path: str, depth: int) -> None:
        if id(thing) in seen or not depth:
            return
        seen.add(id(thing))
        if isinstance(thing, dict | list | set | deque):
            sizes[path] = len(thing)
        elif type(thing).__module__.startswith(("nexusd", "libp2p")):
            slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
            for name in [*vars(thing)] if hasattr(thing, "__dict__") else slots:
                walk(getattr(thing, name, None), f"{path}.{name}", depth - 1)

    walk(root, "node", 6)
    return sizes


async def cycle(alice, bob, address: str, number: int) -> None:
    """alice dials; one of them, in turn, closes."""
    await alice.connect(bob.peer_id, [address])
    if number % 3:
        await until(bob.connected)
    one, other = (alice, bob) if number % 2 else (bob, alice)
    await until(one.connected)
    await one.disconnect(other.peer_id)
    await until(lambda: not alice.connected() and not bob.connected())


async def settled(before: list[str]) -> None:
    """Until what was under way has ended."""
    await until(lambda: tasks() == before, 30)


async def cycles(count: int, transport: int, warm: int) -> None:
    async with loopback("alice", "bob", listen=LOOPBACK, role="light") as (alice, bob):
        quiet = tasks()
        address = bob.addresses()[transport]
        for number in range(warm):
            await cycle(alice, bob, address, number)
        await settled(quiet)
        before, open_before = objects(), descriptors()
        tracemalloc.start()
        try:
            for number in range(count):
                await cycle(alice, bob, address, number)
            await settled(quiet)
            gc.collect()
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert descriptors() <= open_before
        grown = objects() - before
        assert not {name: n for name, n in grown.items() if n > max(2, count // 20)}, grown
        # trio keeps up to a thousand deadlines that have passed
        assert kept < 400_000 + 100 * count


async def test_connections_that_come_and_go():
    await cycles(3, transport=1, warm=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("transport", [0, 1], ids=["tcp", "websocket"])
async def test_six_hundred_connections_that_come_and_go(transport):
    await cycles(600, transport, warm=30)


BOUNDED = ("node._dialer._known", "node._dialer._failed", "node._dialer._peers", "node.dht._table")
"""What remembers peers, and how many is said beside each."""


async def strangers(count: int) -> None:
    """So many peers, each once, by turns over each transport."""
    async with loopback("bob", listen=LOOPBACK) as (bob,):

        async def visit(number: int) -> None:
            async with loopback(f"visitor-{number}", listen=()) as (visitor,):
                events = visitor.peer_events()
                await visitor.connect(bob.peer_id, [bob.addresses()[number % 2]])
                await next_event(events, PeerIdentified, bob.peer_id)
                await until(lambda: visitor.peer_id in bob._identify._peers)
            await until(lambda: not bob.connected())

        for number in range(4):
            await visit(number)
        before = containers(bob)
        for number in range(4, 4 + count):
            await visit(number)
        after = containers(bob)
        grown = {path for path, size in after.items() if size - before.get(path, 0) >= count // 2}
        assert {path for path in grown if not path.startswith(BOUNDED)} == set()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_hundred_strangers_that_come_and_go():
    await strangers(100)
