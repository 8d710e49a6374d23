"""Members who were apart, away or never there end up with the same room, and can prove it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from nexusd_protocols.identity import AgentId
from nexusd_protocols.rpc import schema
from tests.harness.history import past, remember
from tests.harness.memnet import MemoryNetwork
from tests.harness.mesh import EPOCH_MS, Host, done, mesh
from tests.harness.nodes import until

TOPIC = "/nexus/room/lab"


@pytest.fixture
def clock() -> MockClock:
    # disks are real here: time jumps only once they too are idle
    return MockClock(autojump_threshold=0.003)


async def join_all(hosts: list[Host]) -> None:
    for host in hosts:
        await host.join("lab")
    await until(lambda: all(host.services.rooms._topics.peers(TOPIC) for host in hosts), 60)


async def digests(host: Host) -> list[str]:
    return [message.digest for message in await host.heard("lab")]


async def seconds_until_equal(hosts: list[Host], count: int, within: float) -> float:
    """Virtual seconds until all hold the same messages, so many; fails where it takes longer."""
    began = trio.current_time()
    while True:
        held = [await digests(host) for host in hosts]
        if all(len(each) == count and each == held[0] for each in held):
            return trio.current_time() - began
        if trio.current_time() - began > within:
            raise AssertionError(f"after {within} s there are {[len(each) for each in held]} of {count} messages")
        await trio.sleep(0.25)


async def verified(hosts: list[Host], peers: int = 3) -> list[schema.RoomVerified]:
    """Every host proves its room."""
    found = []
    for host in hosts:
        result = done(await host.services.rooms.verify(schema.RoomVerifyParams(room="lab", peers=peers)))
        assert result.sound, result.faults
        assert result.agreed, result.peers
        found.append(result)
    return found


async def test_two_halves_that_both_talked_are_one_room_again(tmp_path: Path, clock: MockClock) -> None:
    cpu = time.process_time()
    async with mesh(10, tmp_path, links=3) as hosts:
        await join_all(hosts)
        left, right = hosts[:5], hosts[5:]
        network = hosts[0]._network
        network.partition([host.ip for host in left], [host.ip for host in right])
        choose = random.Random(7)
        began = trio.current_time()
        sent = []
        for number in range(1000):
            half = left if number % 2 else right
            sent.append(await choose.choice(half).say("lab", f"message {number}"))
            await trio.sleep(max(0.0, began + 60 * (number + 1) / 1000 - trio.current_time()))
        network.heal()
        took = await seconds_until_equal(hosts, 1000, 10)
        for host in hosts:
            ids = [message.message_id for message in await host.heard("lab")]
            assert sorted(ids) == sorted(sent), "none lost, none twice, none made up"
        for result in await verified(hosts):
            assert result.messages == 1000
            assert {peer.outcome for peer in result.peers} == {"equal"}
        print(f"healed in {took:.1f} virtual s, {time.process_time() - cpu:.1f} s CPU")


async def caught_up(tmp_path: Path, count: int, members: int, within: float) -> None:
    """A newcomer takes a past that two members have, while somebody talks."""
    cpu = time.process_time()
    network = MemoryNetwork(1, latency=(0.0, 0.0))
    hosts = [Host(index, network, tmp_path) for index in range(members + 1)]
    *old, newcomer = hosts
    for index, host in enumerate(old):
        agent = AgentId(host.peer_id)
        await remember(tmp_path / str(index), agent, past("lab", count, EPOCH_MS - 3_600_000, hours=48), EPOCH_MS)
    made = time.process_time() - cpu
    async with trio.open_nursery() as nursery:
        for host in old:
            await host.start(nursery)
            await host.join("lab")
            for _ in range(600):
                if not await host.running.store.batches.dirty_hours(AgentId(host.peer_id), "lab", 1 << 40, 1):
                    break
                await trio.sleep(1)
        sealed = time.process_time() - cpu - made
        await newcomer.start(nursery)
        for host in old:
            await newcomer.connect(host)
        await newcomer.join("lab")
        await old[0].say("lab", "welcome")
        began = trio.current_time()
        with trio.fail_after(within):
            while await newcomer.running.store.log.count(AgentId(newcomer.peer_id), "lab") < count + 1:
                await trio.sleep(0.5)
        took = trio.current_time() - began
        caught = time.process_time() - cpu - made - sealed
        (result,) = await verified([newcomer], peers=2)
        assert result.messages == count + 1
        assert {peer.outcome for peer in result.peers} == {"equal"}
        spent = time.process_time() - cpu
        print(f"{count} messages: {took:.1f} virtual s; CPU: {made:.1f} made, {sealed:.1f} sealed, {caught:.1f} caught up, {spent:.1f} all")
        for host in hosts:
            await host.stop()


async def test_a_newcomer_takes_all_of_a_long_past(tmp_path: Path, clock: MockClock) -> None:
    await caught_up(tmp_path, 10_000, 2, 120)
