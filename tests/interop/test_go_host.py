"""A daemon of ours and a go-libp2p peer: what a user sees of it, and what it sees of the daemon."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import go
from tests.harness.daemon import Daemon, Home
from tests.harness.go import GoPeer
from tests.harness.process import poll

PUBLISHED = {"/nexus/invoke/1.1.0", "/nexus/handshake/1.1.0", "/nexus/dm/1.1.0", "/nexus/kad/1.1.0"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    go.require()
    home = Home()
    with Daemon("dora", home) as made:
        yield made
    home.remove()


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_they_dial_us(daemon: Daemon, tmp_path: Path, transport: str) -> None:
    with GoPeer("dave", tmp_path, dht=True, gossip="1.2") as dave:
        dave.call("dial", address=getattr(daemon, transport))
        identified = dave.event("identified", lambda e: e["peer"] == daemon.peer_id)
        assert set(identified["protocols"]) >= PUBLISHED
        assert "nexusd/" in identified["agentVersion"]
        assert dave.call("ping", peer=daemon.peer_id)["ms"] < 5000
        poll(lambda: dave.peer_id in daemon.connected(), "dave connected")
        poll(lambda: daemon.peer_id in dave.call("dhtPeers")["peers"], "the daemon in the routing table of dave")
        [shown] = [peer for peer in daemon.cli("peers")["peers"] if peer["peerId"] == dave.peer_id]
        assert shown["agentVersion"] == "go-libp2p-interop/1"
        # what breaks the protocol is answered or cut, and never ends more than its stream
        junk = base64.b64encode(b"\xff" * 1000).decode()
        for protocol in sorted(PUBLISHED - {"/nexus/kad/1.1.0"}):
            assert not dave.call("stream", peer=daemon.peer_id, protocol=protocol, base64=[junk])["open"]
        assert dave.call("ping", peer=daemon.peer_id)["ms"] < 5000
    poll(lambda: dave.peer_id not in daemon.connected(), "dave gone")


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_we_dial_them(daemon: Daemon, tmp_path: Path, transport: str) -> None:
    with GoPeer("erin", tmp_path) as erin:
        assert daemon.cli("connect", getattr(erin, transport))["peerId"] == erin.peer_id
        erin.event("identified", lambda e: e["peer"] == daemon.peer_id)
        # it speaks no protocol of ours: a person hears that, and at once
        error = daemon.cli_error("invoke", erin.peer_id, "upper", "loud")
        assert "does not speak" in error["message"]
        erin.call("hangup", peer=daemon.peer_id)
        poll(lambda: erin.peer_id not in daemon.connected(), "erin gone")


def test_a_room_reaches_them_with_its_published_ids(daemon: Daemon, tmp_path: Path) -> None:
    with GoPeer("frank", tmp_path, gossip="1.1") as frank:
        frank.call("dial", address=daemon.tcp)
        daemon.cli("room", "join", "gophers")
        frank.call("join", topic="/nexus/room/gophers")
        poll(lambda: daemon.peer_id in frank.call("subscribers", topic="/nexus/room/gophers")["mesh"], "a mesh")
        sent = daemon.rpc("room.send", room="gophers", content="hello")["messageId"]
        event = frank.event("pubsub", lambda e: sent in e["text"])
        assert event["from"] == daemon.peer_id
        assert event["wireId"] == base64.b64encode(sent.encode()).decode().rstrip("=")
        # what is no message of a room is kept from its members, and is no reason to part
        frank.call("publishRaw", topic="/nexus/room/gophers", base64=base64.b64encode(b"junk").decode())
        assert frank.call("ping", peer=daemon.peer_id)["ms"] < 5000
        assert [m["messageId"] for m in daemon.rpc("room.history", room="gophers")["messages"]] == [sent]
