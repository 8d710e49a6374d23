"""Direct messages with a js-libp2p peer that does as published ones do."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.process import poll

DM = "/nexus/dm/1.1.0"
DM_FIELDS = {"type", "version", "requestId", "messageId", "contentFormat", "content"}


def received(alice: Daemon, message_id: str) -> list[dict[str, Any]]:
    rows = alice.rpc("dm.list", limit=500)["messages"]
    return [row for row in rows if row["messageId"] == message_id and row["direction"] == "in"]


def test_ours_arrives_whole_in_one_chunk_and_stays_unconfirmed(alice: Daemon, carol: JsPeer) -> None:
    sent = alice.cli("dm", "send", carol.peer_id, "just us")
    assert sent["status"] == "unconfirmed"
    event = carol.event("dm", lambda e: e["frame"]["messageId"] == sent["messageId"])
    frame = event["frame"]
    assert event["from"] == alice.peer_id
    assert set(frame) >= DM_FIELDS
    assert set(frame) - DM_FIELDS <= {"timestamp", "fromAgent", "toAgent"}
    assert (frame["type"], frame["version"]) == ("dm.message", 1)
    assert (frame["contentFormat"], frame["content"]) == ("text/plain", "just us")
    assert event["text"].endswith("\n")


def test_theirs_is_stored_and_acknowledged_after_the_commit(alice: Daemon, carol: JsPeer) -> None:
    sent = carol.call("dm", peer=alice.peer_id, content="*psst*", format="text/markdown")
    assert not sent["reset"]
    assert [json.loads(line) for line in sent["lines"]] == [
        {"type": "dm.ack", "version": 1, "messageId": sent["messageId"]}
    ]
    (row,) = received(alice, sent["messageId"])
    assert (row["sender"], row["content"], row["format"]) == (carol.peer_id, "*psst*", "text/markdown")


def test_the_same_id_twice_is_stored_once_and_acknowledged_twice(alice: Daemon, carol: JsPeer) -> None:
    message_id = str(uuid.uuid4())
    for content in ("first", "second"):
        sent = carol.call("dm", peer=alice.peer_id, content=content, messageId=message_id)
        assert len(sent["lines"]) == 1
    assert [row["content"] for row in received(alice, message_id)] == ["first"]


def test_unknown_fields_are_ignored(alice: Daemon, carol: JsPeer) -> None:
    sent = carol.call("dm", peer=alice.peer_id, content="more", fields={"mood": "fine", "nested": {"a": [1]}})
    assert received(alice, sent["messageId"])


def test_watch_shows_it_as_it_comes(alice: Daemon, carol: JsPeer) -> None:
    watch = alice.spawn_cli("dm", "watch")
    poll(
        lambda: (
            carol.call("dm", peer=alice.peer_id, content="seen live") and any("seen live" in x for x in watch.lines)
        ),
        "the message on the watch",
        every=0.2,
    )
    watch.interrupt()


def line(**changes: Any) -> bytes:
    frame = {
        "type": "dm.message",
        "version": 1,
        "requestId": "r",
        "messageId": str(uuid.uuid4()),
        "contentFormat": "text/plain",
        "content": "refused",
    }
    return json.dumps({k: v for k, v in {**frame, **changes}.items() if v is not None}).encode() + b"\n"


BAD = {
    "not JSON": b"{\n",
    "invalid UTF-8": line().replace(b"refused", b"\xff"),
    "another version": line(version=2),
    "another type": line(type="dm.massage"),
    "no content": line(content=None),
    "no message id": line(messageId=None),
    "an endless line": b'{"content":"' + b"refused " * 200_000,
    "nested": line(nested="x").replace(b'"x"', b"[" * 10_000 + b"]" * 10_000),
    "nothing": b"",
    "a torn line": line()[:-20],
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_frames_are_not_stored_and_the_next_message_is(alice: Daemon, carol: JsPeer, fault: str, end: str) -> None:
    since = carol.mark()
    pieces = [base64.b64encode(BAD[fault]).decode()]
    answer = carol.call("stream", peer=alice.peer_id, protocol=DM, base64=pieces, end=end)
    assert not answer.get("open"), "the stream must end"
    assert "dm.ack" not in answer["text"]
    assert not [row for row in alice.rpc("dm.list", limit=500)["messages"] if "refused" in row["content"]]
    assert carol.call("dm", peer=alice.peer_id, content="good")["lines"]
    assert not carol.all_events("disconnected", since=since)


def test_a_blocked_peer_is_refused_until_it_is_unblocked(alice: Daemon, carol: JsPeer) -> None:
    alice.cli("peers", "block", carol.peer_id)
    try:
        with pytest.raises(AssertionError):
            carol.call("dm", peer=alice.tcp, content="blocked")
        assert not [row for row in alice.rpc("dm.list", limit=500)["messages"] if row["content"] == "blocked"]
        assert alice.cli_error("dm", "send", carol.peer_id, "no")["code"] == "peer_blocked"
    finally:
        alice.cli("peers", "unblock", carol.peer_id)
    carol.call("dial", address=alice.tcp)
    assert carol.call("dm", peer=alice.peer_id, content="unblocked")["lines"]
