"""The Go peer against the JavaScript one: that the yardsticks agree before anything is held against them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import go, js
from tests.harness.contents import SINK, SOURCE, digest
from tests.harness.foreign import ForeignPeer
from tests.harness.go import GoPeer
from tests.harness.js import JsPeer
from tests.harness.process import poll

BURST = 25
VERSIONS = [{"gossip": "1.2"}, {"gossip": "1.1"}]


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ForeignPeer, ForeignPeer]]:
    """Two nodes in each, of GossipSub 1.2 and 1.1, all connected with all."""
    go.require()
    js.require()
    directory = tmp_path_factory.mktemp("go-js")
    with GoPeer("go", directory, nodes=VERSIONS) as bob, JsPeer("js", directory, nodes=VERSIONS) as carol:
        everybody = [(peer, number) for peer in (bob, carol) for number in (0, 1)]
        for index, (peer, number) in enumerate(everybody):
            for other, there in everybody[:index]:
                address = next(a for a in other.nodes[there]["addrs"] if "/ws" not in a)
                peer.call("dial", node=number, address=address)
        yield bob, carol


def heard(peer: ForeignPeer, number: int, topic: str) -> list[dict]:
    """What came to one of its nodes."""
    events = peer.all_events("pubsub")
    return [event for event in events if event.get("node", 0) == number and event["topic"] == topic]


def join(peers: tuple[ForeignPeer, ForeignPeer], topic: str) -> list[tuple[ForeignPeer, int]]:
    """All nodes join, and each has all others in its mesh."""
    everybody = [(peer, number) for peer in peers for number in (0, 1)]
    for peer, number in everybody:
        peer.call("join", node=number, topic=topic)
    for peer, number in everybody:
        poll(
            lambda peer=peer, number=number: len(peer.call("subscribers", node=number, topic=topic)["mesh"]) == 3,
            f"the mesh of {peer.name} {number}",
        )
    return everybody


@pytest.mark.parametrize("topic", ["/nexus/room/go-js", "elsewhere"])
def test_a_mesh_of_both_and_of_two_versions(peers: tuple[ForeignPeer, ForeignPeer], topic: str) -> None:
    everybody = join(peers, topic)
    for peer, number in everybody:
        peer.call("burst", node=number, topic=topic, prefix=f"{peer.name}{number}", count=BURST, bytes=1000)
    for peer, number in everybody:
        poll(lambda p=peer, n=number: len(heard(p, n, topic)) >= 3 * BURST, f"all messages at {peer.name} {number}")
    names: dict[str, set[str]] = {}
    for peer, number in everybody:
        counts = Counter(json.loads(event["text"])["id"] for event in heard(peer, number, topic))
        own = {f"{peer.name}{number}-{n}" for n in range(BURST)}
        wanted = {f"{p.name}{n}-{m}" for p, n in everybody for m in range(BURST)} - own
        assert counts == Counter(wanted)
        for event in heard(peer, number, topic):
            names.setdefault(json.loads(event["text"])["id"], set()).add(event["wireId"])
    for name, wire_ids in names.items():
        assert len(wire_ids) == 1
        if topic.startswith("/nexus/"):
            assert wire_ids == {base64.b64encode(name.encode()).decode().rstrip("=")}
    for peer, number in everybody:
        others = {node["peerId"] for p in peers for node in p.nodes} - {peer.nodes[number]["peerId"]}
        scores = poll(
            lambda p=peer, n=number, o=others: o <= set(said := p.call("scores", node=n)["scores"]) and said, "scores"
        )
        assert min(score["score"] for score in scores.values()) >= 0


def test_what_has_no_id_has_the_same_hash_for_both(peers: tuple[ForeignPeer, ForeignPeer]) -> None:
    topic = "/nexus/room/hashes"
    everybody = join(peers, topic)
    for sender, number in everybody:
        text = f"no id, by {sender.name} {number}"
        sender.call("publishRaw", node=number, topic=topic, base64=base64.b64encode(text.encode()).decode())
        named = set()
        for peer, there in everybody:
            if (peer, there) != (sender, number):
                event = peer.event("pubsub", lambda e, t=text, n=there: e["text"] == t and e.get("node", 0) == n)
                named.add(event["wireId"])
        [wire_id] = named
        assert len(base64.b64decode(wire_id + "=")) == 32


def test_streams(peers: tuple[ForeignPeer, ForeignPeer]) -> None:
    for mine, theirs in (peers, peers[::-1]):
        sent = mine.call("upload", peer=theirs.peer_id, protocol=SINK, bytes=1_000_000)
        assert json.loads(sent.pop("answer")) == sent == digest(1_000_000)
        assert mine.call("fetch", peer=theirs.peer_id, protocol=SOURCE, bytes=1_000_000) == digest(1_000_000)


def test_a_relay(tmp_path: Path) -> None:
    """Among three Go nodes: that what relay clients of ours are held against works."""
    go.require()
    with GoPeer("go", tmp_path, nodes=[{"relay": True}, {}, {}]) as bob:
        relay = next(address for address in bob.nodes[0]["addrs"] if "/ws" not in address)
        address = bob.call("reserve", node=1, address=relay)["address"]
        behind = bob.nodes[1]["peerId"]
        assert "/p2p-circuit" in bob.call("dial", node=2, address=address)["address"]
        assert bob.call("fetch", node=2, peer=behind, protocol=SOURCE, bytes=1_000_000) == digest(1_000_000)
