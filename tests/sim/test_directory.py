"""Who is new finds agents, rooms and capabilities of hosts it is not connected to; and nobody can write in another's
name, however many keys of the DHT it writes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nexusd.host.dht import PROTOCOL, PointerRecords
from nexusd.host.node import Node
from nexusd.host.ports import HostError
from nexusd_protocols.content.block import read_block
from nexusd_protocols.content.cid import DAG_CBOR, JSON, Cid
from nexusd_protocols.history.checkpoint import make_checkpoint, read_checkpoint
from nexusd_protocols.history.day import DayRef
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.kad.message import Kind, Message, MessageStream, Record
from nexusd_protocols.pointer.envelope import read, sign, withdraw
from nexusd_protocols.pointer.keys import Key, meeting_place
from nexusd_protocols.rpc import schema
from tests.harness.memnet import MemoryNetwork
from tests.harness.mesh import Host, done, mesh, virtual_ms
from tests.harness.nodes import ip_of, running, signer

HOSTS = 8
MALLORY = signer("mallory")
CID = Cid.of(JSON, b"{}")
LAB = RoomId("lab")


class Echo:
    """A provider in this process."""

    async def call(self, incoming: Any) -> None:
        while (piece := await incoming.receive()) is not None:
            await incoming.emit("partial", piece[0])
            if piece[1]:
                return


async def publishes(host: Host, name: str) -> None:
    """The host has a name, is in the lab and serves a capability of that name."""
    done(await host.services.profile.set(schema.ProfileSetParams(display_name=name, description=f"{name} is here")))
    done(await host.services.rooms.create(schema.RoomCreateParams(room="lab", description=f"{name}'s lab")))
    for capability in ("upper", name):
        params = schema.CapabilityRegisterParams(name=capability, description=f"{name}'s {capability}")
        done(await host.services.capabilities.register(params, Echo()))


async def agent(host: Host, peer: str) -> schema.AgentFound:
    return done(await host.services.directory.find_agent(schema.FindAgentParams(peer=peer)))


async def room(host: Host, name: str = "lab") -> schema.RoomFound:
    return done(await host.services.directory.find_room(schema.FindRoomParams(room=name)))


async def capability(host: Host, name: str = "upper") -> schema.CapabilityFound:
    return done(await host.services.directory.find_capability(schema.FindCapabilityParams(name=name)))


@asynccontextmanager
async def town(tmp_path: Path, count: int = HOSTS) -> AsyncIterator[tuple[list[Host], MemoryNetwork, trio.Nursery]]:
    """Hosts that know one another in a chain; alice and bob, the first and third of them, have published."""
    network = MemoryNetwork(1, latency=(0.0, 0.0))
    async with mesh(count, tmp_path, links=1, network=network) as hosts, trio.open_nursery() as nursery:
        await publishes(hosts[0], "alice")
        await publishes(hosts[2], "bob")
        await trio.sleep(30)
        yield hosts, network, nursery


@asynccontextmanager
async def newcomer(tmp_path: Path, network: MemoryNetwork, nursery: trio.Nursery, known: Host) -> AsyncIterator[Host]:
    """Somebody who knows one host, and has just come."""
    host = Host(HOSTS + 1, network, tmp_path)
    await host.start(nursery)
    await host.connect(known)
    yield host
    await host.stop()


async def test_a_newcomer_finds_everybody(tmp_path: Path, clock: MockClock) -> None:
    async with town(tmp_path, 5) as (hosts, network, nursery):
        alice, bob = hosts[0], hosts[2]
        async with newcomer(tmp_path, network, nursery, hosts[-1]) as carol:
            peers = done(await carol.services.peers.list(schema.PeersListParams(connected=True))).peers
            assert [peer.peer_id for peer in peers] == [hosts[-1].peer_id]

            found = await agent(carol, alice.peer_id)
            assert (found.profile.name, found.profile.description) == ("alice", "alice is here")
            assert found.profile.capabilities == ["alice", "upper"]
            assert alice.address in found.addresses

            members = {member.peer_id: member for member in (await room(carol)).members}
            assert {member.description for member in members.values()} == {"alice's lab", "bob's lab"}
            assert set(members) == {alice.peer_id, bob.peer_id}

            offered = await capability(carol)
            assert {each.peer_id for each in offered.providers} == {alice.peer_id, bob.peer_id}
            assert all(each.confirmed and each.free and each.pointer for each in offered.providers)
            (only,) = (await capability(carol, "bob")).providers
            call = done(
                await carol.services.capabilities.invoke(
                    schema.InvokeParams(peer=only.peer_id, capability="bob", input="found you", stream=True)
                )
            )
            with trio.fail_after(30):
                assert (await call.receive()).data == "found you"
            await call.cancel("enough")

            # who goes is offered no more, and is still somebody
            assert (await agent(carol, bob.peer_id)).profile.name == "bob"
            await bob.stop()
            offered = await capability(carol)
            assert [each.peer_id for each in offered.providers] == [alice.peer_id]
            assert (offered.unreachable, offered.unavailable) == (0, 0), "it said so itself"
            assert (await agent(carol, bob.peer_id)).profile.name == "bob", "carol has what she fetched"


async def push(mallory: Node, host: Host, key: str, value: bytes) -> None:
    """Have it stored as one does who keeps no rule."""
    try:
        async with await mallory.streams.open(host.peer_id, [PROTOCOL], lambda _: MessageStream()) as channel:
            await channel.send(Message(Kind.PUT_VALUE, key.encode(), Record(key.encode(), value)))
            await channel.receive(timeout=5)
    except HostError:
        pass  # refused


def attacks(alice: Host, old: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Records under keys of alice's."""
    now = virtual_ms()
    found = []
    for kind, name in (("profile-pointer", ""), ("room-pointer", "lab"), ("capability-pointer", "upper")):
        key, own = Key(kind, alice.peer_id, name), Key(kind, MALLORY.peer_id, name)
        foreign = sign(MALLORY, own, CID, seq=2**53 - 1, now=now)
        forged = foreign.replace(MALLORY.peer_id.encode(), alice.peer_id.encode())
        gone = withdraw(MALLORY, own, seq=2**53 - 1, now=now)
        found += [
            (str(key), foreign),
            (str(key), forged),
            (str(key), gone),
            (str(key), gone.replace(MALLORY.peer_id.encode(), alice.peer_id.encode())),
            (str(key), b"unsigned"),
            (str(key), foreign + b" " * 100_000),
        ]
        # what alice said before, and what she said of something else
        found += [(str(key), value) for value in old.values()]
    return found


@pytest.mark.slow
async def test_mallory_overwrites_nobody(tmp_path: Path, clock: MockClock) -> None:
    async with town(tmp_path) as (hosts, network, nursery):
        alice, bob = hosts[0], hosts[2]
        mallory = Node(
            MALLORY,
            listen=[f"/ip4/{ip_of(HOSTS + 5)}/tcp/4001"],
            transports=[network.transport(ip_of(HOSTS + 5))],
            schema=PointerRecords(virtual_ms),
            keepalive=1e9,
            wall_clock=virtual_ms,
        )
        keys = [
            Key("profile-pointer", alice.peer_id),
            Key("room-pointer", alice.peer_id, "lab"),
            Key("capability-pointer", alice.peer_id, "upper"),
            Key("capability-pointer", alice.peer_id, "alice"),
        ]
        async with running(mallory):
            for host in hosts:
                await mallory.connect(host.signer.peer_id, [host.address.partition("/p2p/")[0]])
            old = {str(key): await mallory.dht.get(str(key)) for key in keys}
            assert all(old.values())
            done(await alice.services.profile.set(schema.ProfileSetParams(description="changed")))
            await trio.sleep(15)
            for key, value in attacks(alice, old):
                for host in hosts:
                    await push(mallory, host, key, value)
            # and says that it is there, without a word of its own
            for kind, name in (("room-pointer", "lab"), ("capability-pointer", "upper")):
                await mallory.dht.provide(str(meeting_place(kind, name)))

            for key in keys:
                value = await mallory.dht.get(str(key))
                pointer = read(str(key), value, virtual_ms())
                assert not pointer.withdrawn
                assert pointer.seq >= read(str(key), old[str(key)], virtual_ms()).seq
            async with newcomer(tmp_path, network, nursery, hosts[5]) as carol:
                assert (await agent(carol, alice.peer_id)).profile.description == "changed"
                found = await room(carol)
                assert {member.peer_id for member in found.members} == {alice.peer_id, bob.peer_id}
                assert found.unproven == 1
                offered = await capability(carol)
                assert {each.peer_id for each in offered.providers} == {alice.peer_id, bob.peer_id}
                assert offered.unproven == 1, "mallory serves no handshake"


async def test_a_checkpoint_is_found_and_fetched(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path, links=1) as (alice, bob):
        await alice.join("lab")
        day = DayRef(20_000, Cid.of(DAG_CBOR, b"a day"), 1)
        block = make_checkpoint(LAB, [day])
        await alice.services.content.keep(AgentId(alice.peer_id), "room:lab", [block], "archival")
        alice.running.directory.checkpointed(LAB, block.cid)
        await trio.sleep(15)
        (member,) = (await room(bob)).members
        told = Cid.parse(member.checkpoint.cid)
        data = await bob.services.content.fetch_block(told, [alice.signer.peer_id])
        assert read_checkpoint(read_block(told, data), room=LAB) == (day,)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_what_a_room_said_is_pointed_to_once_its_hour_is_over(tmp_path: Path, clock: MockClock) -> None:
    async with mesh(2, tmp_path, links=1) as (alice, bob):
        await alice.join("lab")
        await alice.say("lab", "before bob came")
        with trio.fail_after(3 * 3600):
            while not (found := await room(bob)).members or found.members[0].checkpoint is None:
                await trio.sleep(300)  # an hour is sealed some minutes after its end
        told = Cid.parse(found.members[0].checkpoint.cid)
        assert told == await alice.running.store.batches.head(AgentId(alice.peer_id), LAB)
        data = await bob.services.content.fetch_block(told, [alice.signer.peer_id])
        assert [day.count for day in read_checkpoint(read_block(told, data), room=LAB)] == [1]
