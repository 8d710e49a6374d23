from __future__ import annotations

import contextlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.identity.identify.pb.identify_pb2 import Identify as Message
from libp2p.peer.id import ID
from libp2p.utils.varint import encode_uvarint
from multiaddr import Multiaddr

from nexusd.host.identify import IDENTIFY, MESSAGE_BYTES, PUSH, decode
from nexusd.host.ports import PeerIdentified
from nexusd_protocols.identity import PeerId
from tests.harness.nodes import Bytes, connected, loopback, next_event, signer, until
from tests.unit.host.conftest import address_of, dial_stock, running_stock

ADDRESS = "/ip4/192.0.2.1/tcp/4001"


def message(**fields) -> bytes:
    return Message(**fields).SerializeToString()


def test_with_and_without_a_length():
    raw = message(agent_version="x/1", protocols=["/a/1"], listen_addrs=[Multiaddr(ADDRESS).to_bytes()])
    for data in (raw, encode_uvarint(len(raw)) + raw):
        said = decode(data)
        assert said.agent_version == "x/1"
        assert said.protocols == ("/a/1",)
        assert said.listen_addresses == (ADDRESS,)


def test_what_is_absent_is_none():
    said = decode(message(agent_version="x"))
    assert said.protocols is None
    assert said.listen_addresses is None
    assert decode(b"").agent_version is None


def test_bounds_and_unprintable_text():
    said = decode(
        message(
            agent_version="x\x1b[31m" + "y" * 1000,
            protocols=[f"/p/{number}" for number in range(1000)],
            listen_addrs=[Multiaddr(f"/ip4/10.0.0.1/tcp/{port}").to_bytes() for port in range(1, 200)] + [b"junk"],
        )
    )
    assert len(said.agent_version) <= 128
    assert "\x1b" not in said.agent_version
    assert len(said.protocols) == 128
    assert len(said.listen_addresses) == 32


def test_text_that_is_not_utf8():
    said = decode(b"\x1a\x03\x00\x00\x80\x32\x02a\xff")
    assert said.protocols == ("\ufffd",)
    assert said.agent_version == "a\ufffd"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        decode(data)


async def test_a_new_handler_is_pushed():
    async with loopback("alice", "bob") as (alice, bob):
        await connected(alice, bob)
        events = alice.peer_events()
        bob.streams.handle("/new/1", lambda _peer: Bytes(), lambda channel: channel.receive())
        said = await next_event(events, PeerIdentified, bob.peer_id)
        assert "/new/1" in said.protocols


async def test_both_ways_with_a_stock_host():
    async with running_stock("carol") as carol, loopback("bob") as (bob,):
        events = bob.peer_events()
        await bob.connect(str(carol.get_id()), [address_of(carol)])
        said = await next_event(events, PeerIdentified, str(carol.get_id()))
        assert said.agent_version.startswith("py-libp2p")
        assert IDENTIFY in said.protocols
        await until(lambda: carol.get_peerstore().has_peer(ID.from_string(bob.peer_id)))
        store = carol.get_peerstore()
        await until(lambda: "/nexus/kad/1.1.0" in store.get_protocols(ID.from_string(bob.peer_id)))


async def test_a_push_of_some_fields_keeps_the_others():
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        events = bob.peer_events()
        await dial_stock(mallory, bob)
        before = await next_event(events, PeerIdentified, str(mallory.get_id()))
        raw = message(agent_version="other/2")
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [PUSH])
        await stream.write(encode_uvarint(len(raw)) + raw)
        await stream.close()
        after = await next_event(events, PeerIdentified, str(mallory.get_id()))
        assert after.agent_version == "other/2"
        assert after.protocols == before.protocols


@pytest.mark.parametrize("junk", [b"\xff" * 100, b"\x05abc", bytes(MESSAGE_BYTES + 1000)])
async def test_a_push_of_junk_changes_nothing(junk):
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:
        events = bob.peer_events()
        await dial_stock(mallory, bob)
        await next_event(events, PeerIdentified, str(mallory.get_id()))
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [PUSH])
        await stream.write(junk)
        await stream.close()
        await until(lambda: stream.muxed_stream.recv_closed or stream.muxed_stream.reset_received)
        assert not [event for event in events._queue if isinstance(event, PeerIdentified)]
        assert bob.connected()
        mallory_id = PeerId(str(mallory.get_id()))
        await until(lambda: bob._accounts.balance(mallory_id, trio.current_time()) > 9)


async def test_a_peer_that_answers_junk_stays_unidentified():
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:

        async def junk(stream):
            await stream.write(b"\xff" * 50)
            await stream.close()

        asked = trio.Event()

        async def answer(stream):
            asked.set()
            await junk(stream)

        mallory.set_stream_handler(IDENTIFY, answer)
        events = bob.peer_events()
        await dial_stock(mallory, bob)
        with trio.fail_after(5):
            await asked.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not [event for event in events._queue if isinstance(event, PeerIdentified)]
        assert signer("mallory").peer_id in bob.connected()
