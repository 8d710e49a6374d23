"""Through py-libp2p's relay service, and through one that keeps no rule."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2 import CircuitV2Protocol, RelayLimits
from libp2p.tools.anyio_service import background_trio_service

from nexusd.host.ports import PeerConnected, PeerDisconnected, UnreachableError
from nexusd.host.relay import reservations
from nexusd_protocols.relay import circuit_pb2 as pb
from nexusd_protocols.relay import hop, stop
from nexusd_protocols.relay.frame import OneFrame, framed
from tests.harness.nodes import Bytes, connected, loopback, next_event, signer, until
from tests.unit.host.conftest import TOY, address_of, dial_stock, running_stock

UNLISTENING = ()


@asynccontextmanager
async def relay(**limits):
    """A stock host that relays, and its address."""
    bounds = RelayLimits(**({"duration": 60, "data": 1 << 30, "max_circuit_conns": 8, "max_reservations": 8} | limits))
    async with running_stock("relay") as host:
        service = CircuitV2Protocol(host, bounds, allow_hop=True)
        async with background_trio_service(service):
            await service.event_started.wait()
            yield host, f"{address_of(host)}/p2p/{host.get_id()}"


def through(relay_address: str, node) -> str:
    return f"{relay_address}/p2p-circuit/p2p/{node.peer_id}"


async def echo(channel) -> None:
    while (data := await channel.receive()) is not None:
        await channel.send(data)


async def test_a_peer_that_listens_nowhere_is_reached():
    async with relay() as (_, address), loopback("alice", listen=UNLISTENING, relays=[address]) as (alice,):
        alice.streams.handle(TOY, lambda _peer: Bytes(), echo)
        await until(alice.addresses)
        assert alice.addresses() == [through(address, alice)]
        async with loopback("bob") as (bob,):
            events = bob.peer_events()
            await bob.connect(alice.peer_id, alice.addresses())
            event = await next_event(events, PeerConnected, alice.peer_id)
            assert event.address == f"{address}/p2p-circuit"
            async with await bob.streams.open(alice.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
                sent = bytes(range(256)) * 4096
                received = bytearray()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(channel.send, sent)
                    while len(received) < len(sent):
                        received += await channel.receive(timeout=20)
                assert received == sent
            assert bob.peer_id in alice.connected()


async def test_two_behind_one_relay_meet():
    async with (
        relay() as (_, address),
        loopback("alice", "bob", listen=UNLISTENING, relays=[address]) as (alice, bob),
    ):
        await until(lambda: alice.addresses() and bob.addresses())
        await connected(alice, bob)
        assert bob.peer_id in alice.connected()


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ("{relay}/p2p-circuit/p2p/{nobody}", "no place at the relay"),
        ("{relay}/p2p-circuit/p2p/{other}", "that is the address of"),
        ("/ip4/127.0.0.1/tcp/1/p2p/{other}/p2p-circuit/p2p/{nobody}", "connection refused"),
    ],
)
async def test_a_relay_that_cannot_says_why(shape, why):
    nobody = signer("nobody").peer_id
    async with relay() as (_, address), loopback("bob") as (bob,):
        where = shape.format(relay=address, nobody=nobody, other=signer("other").peer_id)
        with trio.fail_after(10), pytest.raises(UnreachableError, match=why):
            await bob.connect(nobody, [where])


async def test_a_host_that_relays_nothing():
    async with running_stock("relay") as host, loopback("bob") as (bob,):
        where = f"{address_of(host)}/p2p/{host.get_id()}/p2p-circuit"
        with pytest.raises(UnreachableError, match="does not speak"):
            await bob.connect(signer("nobody").peer_id, [where])


async def test_a_full_relay_is_asked_again_later(monkeypatch):
    monkeypatch.setattr(reservations, "RETRY_SECONDS", 0.1)
    async with (
        relay(max_reservations=1) as (_, address),
        loopback("alice", listen=UNLISTENING, relays=[address]) as (alice,),
    ):
        await until(alice.addresses)
        async with loopback("bob", listen=UNLISTENING, relays=[address]) as (bob,):
            await trio.sleep(0.5)
            assert bob.addresses() == []


async def test_a_relay_that_comes_back_is_used_again(monkeypatch):
    monkeypatch.setattr(reservations, "RETRY_SECONDS", 0.1)
    async with relay() as (host, address), loopback("alice", listen=UNLISTENING, relays=[address]) as (alice,):
        await until(alice.addresses)
        events = alice.peer_events()
        await host.disconnect(ID.from_string(alice.peer_id))
        await next_event(events, PeerDisconnected, str(host.get_id()))
        await until(lambda: alice.addresses() and alice.connected())


# --- a relay that keeps no rule -------------------------------------------------------------------------------------


@asynccontextmanager
async def false_relay(answer):
    """A host that answers each question to a relay with these bytes and then does what `answer` does."""
    async with running_stock("mallory") as host:
        host.set_stream_handler(TProtocol(hop.PROTOCOL), answer)
        yield host, f"{address_of(host)}/p2p/{host.get_id()}"


ANSWERS = {
    "nothing": b"",
    "junk": b"\xff" * 100,
    "a length that lies": b"\xff\x7f",
    "no protobuf": b"\x03\xff\xff\xff",
    "a question": framed(pb.HopMessage(type="RESERVE").SerializeToString()),
    "a place without an end": framed(pb.HopMessage(type="STATUS", status="OK").SerializeToString()),
    "an unknown status": framed(pb.HopMessage(type="STATUS").SerializeToString()),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_no_place_is_believed_from(answer):
    asked = []

    async def handle(stream) -> None:
        asked.append(await stream.read(100))
        await stream.write(answer)
        await stream.close()

    async with false_relay(handle) as (_, address), loopback("alice", listen=UNLISTENING, relays=[address]) as (alice,):
        await until(lambda: asked)
        await trio.sleep(0.1)
        assert alice.addresses() == []
        with trio.fail_after(5), pytest.raises(UnreachableError):
            await alice.connect(signer("nobody").peer_id, [f"{address}/p2p-circuit"])


async def test_only_a_relay_of_ours_may_bring_somebody():
    absent = f"/ip4/127.0.0.1/tcp/1/p2p/{signer('absent').peer_id}"
    async with loopback("alice", relays=[absent]) as (alice,), running_stock("mallory") as mallory:
        await dial_stock(mallory, alice)
        stream = await mallory.new_stream(ID.from_string(alice.peer_id), [TProtocol(stop.PROTOCOL)])
        await stream.write(framed(pb.StopMessage(type="CONNECT").SerializeToString()))
        frame = OneFrame()
        with trio.fail_after(5):
            while (answer := frame.receive(await stream.read(100))) is None:
                pass
        assert pb.StopMessage.FromString(answer).status == pb.PERMISSION_DENIED


async def test_who_uses_no_relay_does_not_answer_relays():
    async with loopback("alice") as (alice,):
        assert stop.PROTOCOL not in [str(p) for p in alice._host.get_mux().get_protocols()]
