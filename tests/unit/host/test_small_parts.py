"""Interfaces, slots, the peer feed, seen messages, inboxes, loggers."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys

import pytest
import trio

from nexusd.host.interfaces import expand
from nexusd.host.peer_feed import PeerEvents, PeerFeed
from nexusd.host.ports import PeerDisconnected
from nexusd.host.pubsub.inbox import Inbox
from nexusd.host.slots import StreamSlots
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.nodes import signer

ALICE, BOB = signer("alice").peer_id, signer("bob").peer_id


# --- interfaces


def interfaces(version: int) -> list[str]:
    return {4: ["127.0.0.1", "192.0.2.1", "192.0.2.1", "169.254.1.1"], 6: ["::1", "fe80::1%eth0", "2001:db8::1"]}[
        version
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/ip4/0.0.0.0/tcp/1", ["/ip4/192.0.2.1/tcp/1"]),
        ("/ip4/0.0.0.0/tcp/1/ws", ["/ip4/192.0.2.1/tcp/1/ws"]),
        ("/ip6/::/tcp/1", ["/ip6/2001:db8::1/tcp/1"]),
        ("/ip4/127.0.0.1/tcp/1", ["/ip4/127.0.0.1/tcp/1"]),
        ("/dns4/host/tcp/1", ["/dns4/host/tcp/1"]),
    ],
)
def test_what_an_address_stands_for(address, expected):
    assert expand(address, interfaces) == expected


def test_loopback_is_better_than_nothing():
    assert expand("/ip4/0.0.0.0/tcp/1", lambda _v: ["127.0.0.1"]) == ["/ip4/127.0.0.1/tcp/1"]
    assert expand("/ip4/0.0.0.0/tcp/1", lambda _v: []) == []


# --- slots


def test_inbound_slots():
    slots = StreamSlots(per_peer=2, per_protocol=1)
    assert slots.enter(ALICE)
    assert slots.enter(ALICE)
    assert not slots.enter(ALICE)
    assert slots.enter(BOB)
    slots.exit(ALICE)
    assert slots.enter(ALICE)
    assert slots.take(ALICE, "/p")
    assert not slots.take(ALICE, "/p")
    assert slots.take(ALICE, "/q")
    slots.give_back(ALICE, "/p")
    assert slots.take(ALICE, "/p")
    assert slots.refused == 2
    for peer in (ALICE, ALICE, BOB):
        slots.exit(peer)
    slots.give_back(ALICE, "/p")
    slots.give_back(ALICE, "/q")
    assert not slots._inbound
    assert not slots._inbound_by_protocol


async def test_outbound_slots_are_waited_for(autojump_clock):
    slots = StreamSlots(outbound=1)
    first = await slots.wait(ALICE, "/p")
    with trio.move_on_after(1) as patience:
        await slots.wait(ALICE, "/p")
    assert patience.cancelled_caught
    await slots.wait(ALICE, "/q")
    slots.release(ALICE, "/p", first)
    second = await slots.wait(ALICE, "/p")
    slots.release(ALICE, "/p", second)
    assert list(slots._outbound) == [(ALICE, "/q")]


# --- the feed


async def test_a_reader_that_is_behind_loses_the_oldest():
    reader = PeerEvents(size=2)
    for name in ("a", "b", "c"):
        reader.put(PeerDisconnected(name))
    reader.close()
    assert [event.peer async for event in reader] == ["b", "c"]
    assert reader.dropped == 1


def test_a_reader_that_nobody_holds_is_forgotten():
    feed = PeerFeed()
    reader = feed.subscribe()
    feed.announce(PeerDisconnected(ALICE))
    del reader
    gc.collect()
    assert not feed._readers


# --- pubsub's parts


async def test_an_inbox_counts_what_it_cannot_hold():
    got = []

    async def deliver(_forwarder, message):
        got.append(message.data)

    inbox = Inbox("t", lambda _f, _m: "accept", deliver, max_bytes=10)
    for data in (b"12345", b"67890", b"x"):
        inbox.put(ALICE, SignedMessage(ALICE, data, b"", "t", b""))
    assert inbox.dropped == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.run)
        await trio.testing.wait_all_tasks_blocked()
        inbox.put(ALICE, SignedMessage(ALICE, b"1234567890", b"", "t", b""))
        await trio.testing.wait_all_tasks_blocked()
        inbox.scope.cancel()
    assert got == [b"12345", b"67890", b"1234567890"]


# --- loggers


@pytest.mark.slow
def test_libp2p_writes_nothing_to_stderr():
    """If the first assertion fails, py-libp2p has given `swarm_connection` a logger: its name need not be replaced."""
    script = """
import logging
from libp2p.network.connection import swarm_connection
assert swarm_connection.logging is logging
from nexusd.host.loggers import quieten
quieten()
swarm_connection.logging.warning("a warning")
logging.getLogger("libp2p.network.swarm").error("an error")
logging.getLogger("libp2p.network.auto_connector").info("chatter")
assert not logging.getLogger().handlers, "no handler of theirs on the root logger"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == ""


def test_debugging_libp2p_is_still_possible():
    from nexusd.host.loggers import quieten

    quieten(logging.DEBUG)
    try:
        assert logging.getLogger("libp2p.pubsub").isEnabledFor(logging.DEBUG)
    finally:
        quieten()
