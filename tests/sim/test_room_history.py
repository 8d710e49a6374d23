"""Members who were apart, away or never there end up with the same room, and can prove it."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
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
def place(tmp_path: Path) -> Iterator[Path]:
    """For the hosts' data, in memory where there is some: a disk that others use too takes its time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 2 << 30:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="nx-") as directory:
        yield Path(directory)


async def join_all(hosts: list[Host]) -> None:
    for host in hosts:
        await host.join("lab")
    await until(lambda: all(host.services.rooms._topics.peers(TOPIC) for host in hosts), 60)
    await trio.sleep(15)  # they know each other


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


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_halves_that_both_talked_are_one_room_again(place: Path, clock: MockClock) -> None:
    cpu = time.process_time()
    async with mesh(10, place, links=3) as hosts:
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
    homes = {AgentId(host.peer_id): tmp_path / str(index) for index, host in enumerate(old)}
    await remember(homes, past("lab", count, EPOCH_MS - 3_600_000, hours=48), EPOCH_MS)
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
        rest = time.process_time() - cpu - made - sealed - caught
        print(f"{count} messages caught up with in {took:.0f} virtual s, {caught:.1f} s CPU (and {rest:.1f} to verify)")
        for host in hosts:
            await host.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_newcomer_takes_all_of_a_long_past(place: Path, clock: MockClock) -> None:
    await caught_up(place, 100_000, 2, 1200)


async def write_for(hosts: list[Host], seconds: float, every: float, seed: int = 3) -> list[str]:
    """Somebody says something again and again; the ids."""
    choose = random.Random(seed)
    end = trio.current_time() + seconds
    sent = []
    while trio.current_time() < end:
        sent.append(await choose.choice(hosts).say("lab", f"message {len(sent)}"))
        await trio.sleep(every)
    return sent


async def same_at_all(hosts: list[Host], sent: list[str], within: float) -> None:
    """Within so many virtual seconds all hold what was said, and nothing else, and prove it."""
    took = await seconds_until_equal(hosts, len(sent), within)
    for host in hosts:
        assert sorted(message.message_id for message in await host.heard("lab")) == sorted(sent)
    await verified(hosts)
    print(f"{len(sent)} messages the same at all {took:.1f} virtual s later")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_network_that_flaps_every_two_seconds(place: Path, clock: MockClock) -> None:
    async with mesh(6, place, links=3) as hosts:
        await join_all(hosts)
        network = hosts[0]._network
        sides = [host.ip for host in hosts[:3]], [host.ip for host in hosts[3:]]

        async def flap() -> None:
            while True:
                network.partition(*sides)
                await trio.sleep(2)
                network.heal()
                await trio.sleep(2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flap)
            sent = await write_for(hosts, 40, 0.2)
            nursery.cancel_scope.cancel()
        network.heal()
        await same_at_all(hosts, sent, 10)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_what_is_said_into_one_way_silence_arrives_later(place: Path, clock: MockClock) -> None:
    async with mesh(4, place, links=3) as hosts:
        await join_all(hosts)
        network = hosts[0]._network
        mute = hosts[0]
        for other in hosts[1:]:
            network.silence(mute.ip, other.ip)  # it hears, and nobody hears it
        sent = await write_for(hosts, 30, 0.2)
        network.heal()
        await same_at_all(hosts, sent, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_twenty_of_whom_a_third_restart_all_the_time(place: Path, clock: MockClock) -> None:
    async with mesh(20, place, links=3) as hosts:
        await join_all(hosts)
        choose = random.Random(5)
        steady, restless = hosts[:13], hosts[13:]
        stop = trio.Event()

        async def restart(host: Host) -> None:
            while not stop.is_set():
                await trio.sleep(choose.uniform(1, 4))
                await host.stop()
                await trio.sleep(choose.uniform(0.5, 2))
                await host.start()

        async with trio.open_nursery() as nursery:
            for host in restless:
                nursery.start_soon(restart, host)
            sent = await write_for(steady, 12, 0.1)
            stop.set()
        await same_at_all(hosts, sent, 30)


async def test_who_was_away_reads_what_was_said_meanwhile(place: Path, clock: MockClock) -> None:
    async with mesh(3, place) as (alice, bob, carol):
        await join_all([alice, bob, carol])
        await carol.stop()
        sent = [await alice.say("lab", "where is carol?")]
        await trio.sleep(0.1)
        sent.append(await bob.say("lab", "away"))
        await trio.sleep(30)  # gossip has forgotten both
        await carol.start()
        await same_at_all([alice, bob, carol], sent, 40)
        events = await carol.services.events.read(after=0, kinds=["room"], room="lab", peer=None, limit=10)
        assert [event.data.content for event in events if event.type == "message"] == ["where is carol?", "away"]
