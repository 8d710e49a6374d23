"""The JavaScript peer against itself: that the yardstick is straight before anything is held against it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import js
from tests.harness.js import JsPeer
from tests.harness.process import poll


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JsPeer, JsPeer]]:
    js.require()
    directory: Path = tmp_path_factory.mktemp("js-js")
    with JsPeer("carol", directory) as carol, JsPeer("dave", directory) as dave:
        dave.call("dial", address=carol.tcp)
        yield carol, dave


def join(*peers: JsPeer, room: str) -> None:
    for peer in peers:
        peer.call("join", room=room)
    for peer in peers:
        poll(lambda p=peer: p.call("subscribers", room=room)["mesh"], "a mesh")


def test_a_room_message_arrives_with_its_id_on_the_wire(peers: tuple[JsPeer, JsPeer]) -> None:
    carol, dave = peers
    join(carol, dave, room="js")
    sent = dave.call("publish", room="js", content="hello")["message"]
    event = carol.event("pubsub", lambda e: json.loads(e["text"])["id"] == sent["id"])
    assert json.loads(event["text"]) == sent
    assert event["from"] == dave.peer_id
    # the library renders ids of the wire in base64
    assert js_bytes(event["wireId"]) == sent["id"].encode()


def test_a_message_without_a_short_id_is_named_by_its_hash(peers: tuple[JsPeer, JsPeer]) -> None:
    carol, dave = peers
    join(carol, dave, room="hash")
    for content in ("not json", json.dumps({"id": "x" * 65})):
        since = carol.mark()
        dave.call("publishRaw", room="hash", base64=base64.b64encode(content.encode()).decode())
        event = carol.event("pubsub", lambda e, c=content: e["text"] == c, since=since)
        assert len(js_bytes(event["wireId"])) == hashlib.sha256().digest_size


def test_direct_message(peers: tuple[JsPeer, JsPeer]) -> None:
    carol, dave = peers
    sent = dave.call("dm", peer=carol.peer_id, content="just us")
    event = carol.event("dm", lambda e: e["frame"]["messageId"] == sent["messageId"])
    assert event["from"] == dave.peer_id
    assert event["frame"] == sent["frame"]
    assert sent["lines"] == []
    assert not sent["reset"]


@pytest.mark.parametrize("half_close", [True, False])
def test_invoke_without_accept(peers: tuple[JsPeer, JsPeer], half_close: bool) -> None:
    carol, dave = peers
    carol.call("serve", name="upper")
    done = dave.call("invoke", peer=carol.peer_id, capability="upper", input="loud", halfClose=half_close)
    frames = [json.loads(line) for line in done["lines"]]
    assert [frame["type"] for frame in frames] == ["invoke.event", "invoke.done"]
    assert frames[0]["data"] == "LOUD"
    assert all(frame["requestId"] == done["requestId"] and frame["version"] == 1 for frame in frames)


def test_invoke_streams_and_frames_may_be_split(peers: tuple[JsPeer, JsPeer]) -> None:
    carol, dave = peers
    carol.call("serve", name="count")
    done = dave.call(
        "invoke", peer=carol.peer_id, capability="count", input={"to": 5}, outputMode="stream", splitAt=[1, 40, 200]
    )
    events = [json.loads(line) for line in done["lines"]][:-1]
    assert [(event["seq"], event["data"]) for event in events] == list(enumerate(range(1, 6)))


def test_cancel_reaches_the_provider(peers: tuple[JsPeer, JsPeer]) -> None:
    carol, dave = peers
    carol.call("serve", name="hang")
    call = dave.start("invoke", peer=carol.peer_id, capability="hang", input="", requestId="cancelled", halfClose=False)
    dave.event("invokeReply", lambda e: e["requestId"] == "cancelled")
    dave.call("cancel", requestId="cancelled")
    carol.event("invokeFrame", lambda e: e["frame"]["type"] == "invoke.cancel")
    assert not dave.finish(call)["reset"]


def test_the_dht_answers_under_the_published_protocol(peers: tuple[JsPeer, JsPeer]) -> None:
    carol, dave = peers
    # js-libp2p registers its protocols one after the other
    poll(lambda: "/nexus/kad/1.1.0" in dave.call("identify", peer=carol.peer_id)["protocols"], "the DHT's protocol")
    poll(lambda: carol.peer_id in dave.call("closest", peer=carol.peer_id)["peers"], "carol in the routing table")


def js_bytes(text: str) -> bytes:
    """The library writes base64 without padding."""
    return base64.b64decode(text + "=" * (-len(text) % 4))
