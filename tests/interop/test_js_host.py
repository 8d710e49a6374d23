"""Connections with a js-libp2p peer: both transports, both directions, identify, ping and the DHT."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.process import poll

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
    assert alice.peer_id in carol.call("closest", peer=alice.peer_id)["peers"]


def test_they_are_shown_by_what_they_say_of_themselves(alice: Daemon, carol: JsPeer) -> None:
    peers = {peer["peerId"]: peer for peer in alice.cli("peers")["peers"]}
    assert peers[carol.peer_id]["agentVersion"] == "js-libp2p-interop/1"
