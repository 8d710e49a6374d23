"""Connections between a node of ours and one of another implementation: how they begin, what each learns, how they
end."""

from __future__ import annotations

import pytest
import trio

from nexusd.host.ports import ConnectionLostError, PeerDisconnected, PeerIdentified, UnreachableError
from nexusd_protocols.identity import PeerId
from tests.harness.contents import ECHO, SINK, SOURCE
from tests.harness.foreign import ForeignError, ForeignPeer
from tests.harness.nodes import next_event, signer, until
from tests.interop.foreign import Dialler, Transport, address_of, alone, meet, meeting

LATE = "/interop/late/1.0.0"

transports = pytest.mark.parametrize("transport", ["tcp", "websocket"])
diallers = pytest.mark.parametrize("dialler", ["we", "they"])


@transports
@diallers
async def test_each_learns_who_the_other_is(bob: ForeignPeer, transport: Transport, dialler: Dialler) -> None:
    async with alone(f"identify {transport} {dialler}") as alice:
        since = bob.mark()
        said = await meet(alice.node, bob, transport, dialler)
        assert said.agent_version == f"{bob.name}-libp2p-interop/1"
        assert {ECHO, SINK, "/ipfs/ping/1.0.0"} <= set(said.protocols)
        assert any(bob.tcp.startswith(address) for address in said.listen_addresses)
        heard = await bob.hear("identified", lambda event: event["peer"] == alice.node.peer_id, since=since)
        assert heard["agentVersion"].startswith("nexusd/")
        assert {ECHO, SINK, "/nexus/kad/1.1.0"} <= set(heard["protocols"])
        known = await bob.ask("identify", peer=alice.node.peer_id)
        assert any(address_of(alice.node, "tcp").startswith(address) for address in known["addrs"])


@transports
@diallers
async def test_ping(bob: ForeignPeer, transport: Transport, dialler: Dialler) -> None:
    async with meeting(bob, f"ping {transport} {dialler}", transport, dialler) as alice:
        with trio.fail_after(20):
            assert await alice.node._keepalive.ping(PeerId(bob.peer_id)) is not None
            assert (await bob.ask("ping", peer=alice.node.peer_id))["ms"] < 20_000


async def test_what_is_added_later_is_pushed(bob: ForeignPeer) -> None:
    async with meeting(bob, "push") as alice:
        events = alice.node.peer_events()
        protocol = f"{LATE}/{bob.name}"
        await bob.ask("handle", protocol=protocol)
        with trio.fail_after(20):
            while protocol not in (await next_event(events, PeerIdentified, PeerId(bob.peer_id))).protocols:
                pass
        alice.node.streams.handle(LATE, lambda _peer: pytest.fail("nobody opens it"), alice._echo)
        with trio.fail_after(20):
            while LATE not in (await bob.ask("identify", peer=alice.node.peer_id))["protocols"]:
                await trio.sleep(0.05)


@pytest.mark.parametrize("command", ["hangup", "cut"])
async def test_they_end_it(bob: ForeignPeer, command: str) -> None:
    """By a polite GOAWAY, or without one (js), or by one with a code that Yamux has no word for (go)."""
    async with meeting(bob, f"they {command}") as alice:
        events = alice.node.peer_events()
        async with await alice.open(bob.peer_id, ECHO) as channel:
            await channel.send(b"said before the end")
            assert await channel.receive() == b"said before the end"
            await bob.ask(command, peer=alice.node.peer_id)
            with trio.fail_after(10):
                if (bob.name, command) == ("js", "hangup"):
                    assert await channel.receive() is None  # it ends every stream first, in order
                else:
                    with pytest.raises(ConnectionLostError):
                        await channel.receive()
        await next_event(events, PeerDisconnected, PeerId(bob.peer_id))
        # js comes back of its own accord now and then
        await meet(alice.node, bob)


async def test_we_end_it(bob: ForeignPeer) -> None:
    async with meeting(bob, "we end it") as alice:
        since = bob.mark()
        await alice.node.disconnect(PeerId(bob.peer_id))
        await bob.hear("disconnected", lambda event: event["peer"] == alice.node.peer_id, since=since)
        await meet(alice.node, bob)


@transports
async def test_a_connection_with_somebody_else_is_none(bob: ForeignPeer, transport: Transport) -> None:
    stranger = signer("somebody else").peer_id
    async with alone(f"wrong id {transport}") as alice:
        theirs = getattr(bob, transport).rpartition("/p2p/")[0]
        with trio.fail_after(20), pytest.raises(UnreachableError, match="another peer answered"):
            await alice.node.connect(stranger, [f"{theirs}/p2p/{stranger}"])
        ours = address_of(alice.node, transport).rpartition("/p2p/")[0]
        with pytest.raises(ForeignError):
            await bob.ask("dial", address=f"{ours}/p2p/{stranger}")
        assert not alice.node.connected()


@pytest.mark.parametrize("number", [1, 2], ids=["tls alone", "plaintext alone"])
@transports
async def test_only_noise_is_spoken(bob: ForeignPeer, number: int, transport: Transport) -> None:
    async with alone(f"not noise {number} {transport}") as alice:
        with pytest.raises(ForeignError):
            await bob.ask("dial", node=number, address=address_of(alice.node, transport))
        other = bob.nodes[number]
        addresses = [address for address in other["addrs"] if ("/ws" in address) == (transport == "websocket")]
        with trio.fail_after(20), pytest.raises(UnreachableError):
            await alice.node.connect(other["peerId"], addresses)
        await until(lambda: not alice.node._swarm.connections)
        assert not alice.node.connected()
        # the same address is no worse for it
        await meet(alice.node, bob, transport, "they")
        assert (await alice.fetch(bob.peer_id, 1000))["bytes"] == 1000, SOURCE
