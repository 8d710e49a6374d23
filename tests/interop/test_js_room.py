"""A js-libp2p peer and a daemon in one room, with the frames of the published network."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.process import poll
from tests.interop.conftest import share_room

MESSAGE_FIELDS = {"version", "type", "id", "timestamp", "sender", "topic", "payload", "references"}
STRANGER = "12D3KooWGzXgmrTKSFDGPBW6V4xTRmAnfUEVGfsEM9Kqe1n4oFxT"
CHAT_FIELDS = {"content", "format", "replyTo", "threadId"}
CAPABILITY_FIELDS = ("name", "protocol", "description", "pricing", "rateLimit")
PRESENCE_FIELDS = {"status", "capabilities", "agentName", "agentType", "version"}


def history(daemon: Daemon, room: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.rpc("room.history", room=room, limit=500)["messages"]
    return found


def stored(daemon: Daemon, room: str, message_id: str) -> dict[str, Any]:
    def look() -> Any:
        return next((row for row in history(daemon, room) if row["messageId"] == message_id), None)

    row: dict[str, Any] = poll(look, f"message {message_id} stored", every=0.1)
    return row


def heard(peer: JsPeer, topic: str, since: int = 0, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pubsub event with such a message, and the message."""

    def wanted(event: dict[str, Any]) -> bool:
        if event["topic"] != topic:
            return False
        message = json.loads(event["text"])
        return all(message.get(key) == value or message["payload"].get(key) == value for key, value in fields.items())

    event = peer.event("pubsub", wanted, since=since)
    return event, json.loads(event["text"])


def test_our_chat_message_has_the_published_fields(alice: Daemon, carol: JsPeer) -> None:
    share_room(alice, carol, "general")
    sent = alice.cli("room", "send", "general", "hello, carol")
    event, message = heard(carol, "/nexus/room/general", id=sent["messageId"])
    assert set(message) == MESSAGE_FIELDS
    assert set(message["payload"]) == CHAT_FIELDS
    assert message["version"] == 1
    assert message["type"] == "chat"
    assert message["topic"] == "/nexus/room/general"
    assert message["sender"] == event["from"] == alice.peer_id
    assert uuid.UUID(message["id"]).version == 7
    assert isinstance(message["timestamp"], int)
    assert message["payload"] == {
        "content": "hello, carol",
        "format": "text/plain",
        "replyTo": None,
        "threadId": None,
    }
    assert message["references"] == []


def test_their_chat_message_is_stored(alice: Daemon, carol: JsPeer) -> None:
    share_room(alice, carol, "general")
    first = carol.call("publish", room="general", content="*hi*", format="text/markdown")["message"]
    answer = carol.call(
        "publish",
        room="general",
        content='{"a":1}',
        format="application/json",
        replyTo=first["id"],
        threadId=first["id"],
        fields={"references": ["bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"], "madeUpLater": True},
    )["message"]
    row = stored(alice, "general", first["id"])
    assert (row["sender"], row["content"], row["format"]) == (carol.peer_id, "*hi*", "text/markdown")
    assert row["timestamp"] == first["timestamp"]
    row = stored(alice, "general", answer["id"])
    assert (row["replyTo"], row["threadId"], row["references"]) == (first["id"], first["id"], answer["references"])
    assert row["content"] == '{"a":1}'


def test_a_watch_shows_their_message_as_it_comes(alice: Daemon, carol: JsPeer) -> None:
    share_room(alice, carol, "watched")
    watch = alice.spawn_cli("room", "watch", "watched")
    poll(
        lambda: carol.call("publish", room="watched", content="now") and any("now" in line for line in watch.lines),
        "the message on the watch",
        every=0.2,
    )
    watch.interrupt()


def test_two_hundred_messages_each_way_arrive_once(alice: Daemon, carol: JsPeer) -> None:
    share_room(alice, carol, "busy")
    mine = [carol.call("publish", room="busy", content=f"js {n}")["message"]["id"] for n in range(200)]

    def all_there() -> bool:
        found = [row["messageId"] for row in history(alice, "busy") if row["sender"] == carol.peer_id]
        assert len(found) == len(set(found))
        return set(mine) <= set(found)

    poll(all_there, "200 messages of carol", every=0.2)
    said = [r for r in history(alice, "busy") if r["sender"] == carol.peer_id]
    # theirs has no order within a millisecond, nor has the room
    in_order = sorted(said, key=lambda row: (row["timestamp"], int(row["content"].split()[1])))
    assert [row["content"] for row in in_order] == [f"js {n}" for n in range(200)]
    assert said == sorted(said, key=lambda row: (row["timestamp"], row["digest"]))
    since = carol.mark()
    ids = [alice.rpc("room.send", room="busy", content=f"ours {n}")["messageId"] for n in range(200)]
    events = carol.wait_events("pubsub", 200, lambda e: '"ours ' in e["text"], since=since)
    assert sorted(json.loads(event["text"])["id"] for event in events) == sorted(ids)
    ours = [row["content"] for row in history(alice, "busy") if row["messageId"] in ids]
    assert ours == [f"ours {n}" for n in range(200)], "in the order in which they were said, however quickly"


def test_presence_goes_both_ways(alice: Daemon, carol: JsPeer) -> None:
    since = carol.mark()
    share_room(alice, carol, "lobby")
    alice.cli("profile", "set", "--display-name", "alice")
    _, message = heard(carol, "/nexus/room/lobby", since=since, type="presence")
    assert set(message) == MESSAGE_FIELDS
    assert set(message["payload"]) == PRESENCE_FIELDS
    assert message["payload"]["status"] == "online"
    assert isinstance(message["payload"]["capabilities"], list)
    assert isinstance(message["payload"]["version"], str)
    carol.call("presence", room="lobby", agentName="carol", status="busy", capabilities=["upper"], agentType="tool")

    def seen() -> Any:
        members = alice.rpc("room.members", room="lobby")["members"]
        return next((member for member in members if member["agent"] == carol.peer_id), None)

    member = poll(seen, "carol among the members", every=0.1)
    assert (member["name"], member["status"], member["agentType"]) == ("carol", "busy", "tool")
    assert member["capabilities"] == ["upper"]


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("meta", {"action": "room:updated", "roomId": "kinds"}),
        ("capability", {"capabilities": [dict.fromkeys(CAPABILITY_FIELDS, "x")]}),
        ("sync", {"action": "request", "since": 0, "limit": 10}),
        ("made-up", {"anything": [1, 2, 3]}),
    ],
)  # fmt: skip
def test_other_published_types_do_no_harm(alice: Daemon, carol: JsPeer, type_: str, payload: dict[str, Any]) -> None:
    share_room(alice, carol, "kinds")
    carol.call("typed", room="kinds", type=type_, payload=payload)
    marker = carol.call("publish", room="kinds", content="still here")["message"]
    stored(alice, "kinds", marker["id"])
    assert {row["content"] for row in history(alice, "kinds")} <= {"still here", "ping"}


def valid(carol: JsPeer, room: str, **changes: Any) -> dict[str, Any]:
    message = {
        "version": 1,
        "type": "chat",
        "id": str(uuid.uuid4()),
        "timestamp": 1_700_000_000_000,
        "sender": carol.peer_id,
        "topic": f"/nexus/room/{room}",
        "payload": {"content": "bad", "format": "text/plain", "replyTo": None, "threadId": None},
        "references": [],
    }
    return {**message, **changes}


BAD: dict[str, Any] = {
    "not JSON": lambda m: b"{",
    "an array": lambda m: b"[1,2]",
    "NaN": lambda m: json.dumps({**m, "timestamp": float("nan")}).encode(),
    "invalid UTF-8": lambda m: json.dumps(m).encode().replace(b"bad", b"\xff\xfe"),
    "nested 10 000 deep": lambda m: b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "another version": lambda m: json.dumps({**m, "version": 2}).encode(),
    "no payload": lambda m: json.dumps({k: v for k, v in m.items() if k != "payload"}).encode(),
    "no content": lambda m: json.dumps({**m, "payload": {"format": "text/plain"}}).encode(),
    "content is no text": lambda m: json.dumps({**m, "payload": {**m["payload"], "content": 1}}).encode(),
    "a spoofed sender": lambda m: json.dumps({**m, "sender": STRANGER}).encode(),
    "another room's topic": lambda m: json.dumps({**m, "topic": "/nexus/room/elsewhere"}).encode(),
    "nine references": lambda m: json.dumps({**m, "references": ["Qm"] * 9}).encode(),
    "an id of 65 characters": lambda m: json.dumps({**m, "id": "x" * 65}).encode(),
    "300 KB": lambda m: json.dumps({**m, "payload": {**m["payload"], "content": "bad" + "x" * 300_000}}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_messages_are_not_stored_and_cost_no_connection(alice: Daemon, carol: JsPeer, fault: str) -> None:
    share_room(alice, carol, "bad")
    since = carol.mark()
    data = BAD[fault](valid(carol, "bad"))
    carol.call("publishRaw", room="bad", base64=base64.b64encode(data).decode())
    marker = carol.call("publish", room="bad", content="marker")["message"]
    stored(alice, "bad", marker["id"])
    assert not [row for row in history(alice, "bad") if row["content"].startswith("bad")]
    assert not carol.all_events("disconnected", since=since)


def test_leaving_is_seen_by_the_other_side(alice: Daemon, carol: JsPeer) -> None:
    share_room(alice, carol, "brief")
    alice.cli("room", "leave", "brief")
    poll(lambda: alice.peer_id not in carol.call("subscribers", room="brief")["subscribers"], "alice gone")
