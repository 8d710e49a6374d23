"""Connections with a js-libp2p peer: both transports, both directions, identify, ping and the DHT."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.process import poll
from tests.interop.conftest import share_room

PUBLISHED = {"/nexus/invoke/1.1.0", "/nexus/handshake/1.1.0", "/nexus/dm/1.1.0", "/nexus/kad/1.1.0"}


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_they_dial_us(alice: Daemon, tmp_path: Path, transport: str) -> None:
    with JsPeer("dave", tmp_path) as dave:
        dave.call("dial", address=getattr(alice, transport))
        poll(lambda: dave.peer_id in alice.connected(), "dave connected")
        identified = dave.event("identified", lambda e: e["peer"] == alice.peer_id)
        assert set(identified["protocols"]) >= PUBLISHED
        assert "nexusd/" in identified["agentVersion"]
        assert dave.call("ping", peer=alice.peer_id)["ms"] < 5000
        assert dave.call("dm", peer=alice.peer_id, content=f"over {transport}")["lines"]
    poll(lambda: dave.peer_id not in alice.connected(), "dave gone")


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_we_dial_them(alice: Daemon, tmp_path: Path, transport: str) -> None:
    with JsPeer("erin", tmp_path) as erin:
        peer = alice.cli("connect", getattr(erin, transport))
        assert peer["peerId"] == erin.peer_id
        assert erin.event("connected")["peer"] == alice.peer_id
        sent = alice.cli("dm", "send", erin.peer_id, f"over {transport}")
        erin.event("dm", lambda e: e["frame"]["messageId"] == sent["messageId"])


def test_the_dht_is_served_under_the_published_protocol(alice: Daemon, carol: JsPeer) -> None:
    assert "/nexus/kad/1.1.0" in carol.call("identify", peer=alice.peer_id)["protocols"]
    # a new contact is asked for a sign of life before it enters the routing table
    poll(lambda: alice.peer_id in carol.call("closest", peer=alice.peer_id)["peers"], "alice in the routing table")


def test_they_are_shown_by_what_they_say_of_themselves(alice: Daemon, carol: JsPeer) -> None:
    peers = {peer["peerId"]: peer for peer in alice.cli("peers")["peers"]}
    assert peers[carol.peer_id]["agentVersion"] == "js-libp2p-interop/1"


def test_everything_works_over_websocket(alice: Daemon, tmp_path: Path) -> None:
    with JsPeer("frank", tmp_path) as frank:
        frank.call("dial", address=alice.websocket)
        share_room(alice, frank, "over-websocket")
        sent = alice.rpc("room.send", room="over-websocket", content="hello")["messageId"]
        frank.event("pubsub", lambda e: sent in e["text"])
        mine = frank.call("publish", room="over-websocket", content="hello")["message"]["id"]
        poll(
            lambda: mine in [m["messageId"] for m in alice.rpc("room.history", room="over-websocket")["messages"]],
            "the message of frank",
        )
        alice.cli("capability", "serve", "lower", "--", "tr", "A-Z", "a-z")
        frank.call("serve", name="js-upper", kind="upper")
        try:
            call = frank.call("invoke", peer=alice.peer_id, capability="lower", input="HUSH" * 1000)
            events = [frame for frame in map(json.loads, call["lines"]) if frame["type"] == "invoke.event"]
            assert "".join(event["data"] for event in events).strip() == "hush" * 1000
            assert "LOUD" in json.dumps(alice.cli("invoke", frank.peer_id, "js-upper", "loud"))
        finally:
            alice.cli("capability", "remove", "lower")


def test_the_handshake_is_answered_with_the_published_fields(alice: Daemon, carol: JsPeer) -> None:
    alice.cli("capability", "serve", "lower", "--", "tr", "A-Z", "a-z")
    ask = {
        "type": "handshake.init",
        "version": 1,
        "requestId": "h",
        "peerId": carol.peer_id,
        "agentName": "carol",
        "agentType": "autonomous",
        "roles": [],
        "wanted": {"capabilityStatus": True, "relayOptions": True, "roomSummaries": False},
    }
    line = base64.b64encode(json.dumps(ask).encode() + b"\n").decode()
    try:
        answer = carol.call("stream", peer=alice.peer_id, protocol="/nexus/handshake/1.1.0", base64=[line])
    finally:
        alice.cli("capability", "remove", "lower")
    ack = json.loads(answer["text"])
    assert {"type", "version", "requestId", "peerId", "agentName", "agentType", "roles", "capabilityStatus"} <= set(ack)
    assert (ack["type"], ack["requestId"], ack["peerId"]) == ("handshake.ack", "h", alice.peer_id)
    (row,) = [row for row in ack["capabilityStatus"] if row["name"] == "lower"]
    assert {"name", "available", "maxInputBytes", "streaming", "estimatedQueueMs"} <= set(row)
    assert row["available"] is True
