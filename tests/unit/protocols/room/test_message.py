"""Room messages and their verdict against specs/room.md §2, §3 and the vectors."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.room import message as room
from nexusd_protocols.room import payloads
from nexusd_protocols.room.message import Ignored, RoomMessage
from nexusd_protocols.room.payloads import Chat, Presence
from tests.harness.people import ALICE, BOB, MALLORY
from tests.harness.vectors import named, vectors

VECTORS = vectors("room")
TOPIC = "/nexus/room/general"
NOW = 1_760_000_000_000
COMMON = {"topic": TOPIC, "sender": ALICE.peer_id, "message_id": "m1", "timestamp": NOW}

unicode = st.text(st.characters(exclude_categories=["Cs"]))
message_ids = st.from_regex(r"\A[!-~]{1,64}\Z")
names = st.text("abcXYZ09 -_.é界", max_size=64)
capability_names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")


def as_json(message: RoomMessage) -> dict:
    """A message as the vectors write it."""
    return {
        "type": message.kind,
        "id": message.message_id,
        "timestamp": message.timestamp,
        "references": list(message.references),
        "payload": msgspec.to_builtins(message.payload, builtin_types=()),
    }


@pytest.mark.parametrize("row", **named(VECTORS["accepted"]))
def test_an_accepted_message(row):
    message = room.read(row["topic"], row["data"].encode(), row["signer"], row["now"])
    assert isinstance(message, RoomMessage), message
    assert json.loads(json.dumps(as_json(message))) == row["expect"]
    assert message.sender == row["signer"]
    assert message.topic == row["topic"]


@pytest.mark.parametrize("row", **named(VECTORS["ignored"]))
def test_an_ignored_message(row):
    verdict = room.read(row["topic"], row["data"].encode(), row["signer"], row["now"])
    assert isinstance(verdict, Ignored), verdict
    assert (verdict.reason, verdict.penalty) == (row["reason"], row["penalty"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * 10_000_000, "too_large"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
        (b"\xff\xfe", "bad_json"),
        (b'{"version":1,"mood":"\xff"}', "bad_json"),
        (b"{}\n" * 80_000, "bad_message"),
    ],
)
def test_hostile_bytes(data, reason):
    verdict = room.read(TOPIC, data, MALLORY.peer_id, NOW)
    assert isinstance(verdict, Ignored)
    assert verdict.reason == reason
    assert len(verdict.detail) < 200


@pytest.mark.parametrize("field", ["status", "agentName", "capabilities"])
def test_the_reason_that_is_logged_is_short_and_clean(field):
    row = next(row for row in VECTORS["accepted"] if row["name"] == "presence")
    message = json.loads(row["data"])
    message["payload"][field] = {"\x1b[2J" * 50: 1} if field != "status" else "\x1b[2J" * 50
    verdict = room.read(TOPIC, json.dumps(message).encode(), ALICE.peer_id, NOW)
    assert isinstance(verdict, Ignored)
    assert verdict.reason == "bad_payload"
    assert len(verdict.detail) <= 200
    assert verdict.detail.isprintable()


def test_chat_has_the_published_fields_in_their_order():
    data = room.chat(**COMMON, content="hi", reply_to="m0")
    assert data == (
        b'{"version":1,"type":"chat","id":"m1","timestamp":1760000000000,"sender":"%s","topic":"/nexus/room/general",'
        b'"payload":{"content":"hi","format":"text/plain","replyTo":"m0","threadId":null},"references":[]}'
        % ALICE.peer_id.encode()
    )


def test_an_edit_and_a_retraction_say_what_they_mean():
    edit = room.edit(**{**COMMON, "message_id": "m2"}, target="m1", content="bye", format="text/markdown")
    assert json.loads(edit)["payload"] == {"messageId": "m1", "content": "bye", "format": "text/markdown"}
    read = room.read(TOPIC, edit, ALICE.peer_id, NOW)
    assert isinstance(read, RoomMessage)
    assert (read.kind, read.target, read.payload) == ("edit", "m1", payloads.Edit("m1", "bye", "text/markdown"))

    read = room.read(TOPIC, room.retract(**COMMON, target="m0"), ALICE.peer_id, NOW)
    assert isinstance(read, RoomMessage)
    assert (read.kind, read.target) == ("retract", "m0")

    # what chat answers is no target: it stays as it is
    read = room.read(TOPIC, room.chat(**COMMON, content="hi", reply_to="m0"), ALICE.peer_id, NOW)
    assert isinstance(read, RoomMessage)
    assert (read.kind, read.target) == ("chat", "")


def test_an_edit_or_retraction_of_no_message_is_not_built():
    with pytest.raises(ValueError, match="messageId"):
        room.edit(**COMMON, target="", content="x")
    with pytest.raises(ValueError, match="messageId"):
        room.retract(**COMMON, target="two words")


def test_presence_and_meta_have_the_published_fields():
    presence = json.loads(room.presence(**COMMON, status="busy", capabilities=["upper"], agent_name="alice"))
    assert presence["type"] == "presence"
    assert presence["payload"] == {
        "status": "busy",
        "capabilities": ["upper"],
        "agentName": "alice",
        "agentType": "",
        "version": "",
    }
    meta = json.loads(room.meta(**COMMON, action="room:created", room_id="general"))
    assert meta["payload"] == {"action": "room:created", "roomId": "general"}


@given(
    content=unicode,
    format_=st.sampled_from(["text/plain", "text/markdown", "application/json"]),
    message_id=message_ids,
    reply_to=st.none() | message_ids,
    thread_id=st.none() | names.filter(bool),
    references=st.lists(st.text("abc123", min_size=1, max_size=128), max_size=8),
    timestamp=st.integers(0, NOW + limits.CLOCK_AHEAD_MS),
)
@settings(deadline=None)
def test_chat_round_trip(content, format_, message_id, reply_to, thread_id, references, timestamp):
    data = room.chat(
        topic=TOPIC,
        sender=ALICE.peer_id,
        message_id=message_id,
        timestamp=timestamp,
        content=content,
        format=format_,
        reply_to=reply_to,
        thread_id=thread_id,
        references=references,
    )
    assert room.read(TOPIC, data, ALICE.peer_id, NOW) == RoomMessage(
        TOPIC, message_id, ALICE.peer_id, timestamp, Chat(content, format_, reply_to, thread_id), tuple(references)
    )


@given(
    status=st.sampled_from(["online", "idle", "busy", "offline"]),
    capabilities=st.lists(capability_names, max_size=32),
    agent_name=names,
)
@settings(deadline=None)
def test_presence_round_trip(status, capabilities, agent_name):
    data = room.presence(**COMMON, status=status, capabilities=capabilities, agent_name=agent_name, version="1.0")
    message = room.read(TOPIC, data, ALICE.peer_id, NOW)
    assert isinstance(message, RoomMessage)
    assert message.payload == Presence(status, tuple(capabilities), payloads.clean(agent_name), "", "1.0")


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_get_a_verdict(data):
    assert isinstance(room.read(TOPIC, data, ALICE.peer_id, NOW), Ignored)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | unicode,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(unicode, children, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(VECTORS["accepted"]), st.data())
@settings(deadline=None)
def test_any_field_may_hold_anything(row, data):
    message = json.loads(row["data"])
    where = data.draw(st.sampled_from([message, message["payload"]]))
    field = data.draw(st.sampled_from(sorted(where)))
    where[field] = data.draw(json_values)
    raw = json.dumps(message).encode()
    verdict = room.read(row["topic"], raw, row["signer"], row["now"])
    assert isinstance(verdict, RoomMessage | Ignored)
    if (
        field in ("sender", "version", "type", "topic")
        and where is message
        and where[field] != json.loads(row["data"])[field]
    ):
        assert isinstance(verdict, Ignored)


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_id": ""},
        {"message_id": "two words"},
        {"message_id": "x" * 65},
        {"timestamp": -1},
        {"timestamp": 2**48},
        {"content": "\ud800"},
        {"reply_to": "x" * 65},
        {"thread_id": ""},
        {"thread_id": "a\nb"},
        {"references": ["a"] * 9},
        {"references": [""]},
        {"references": ["a" * 129]},
    ],
)
def test_what_no_receiver_takes_is_not_built(wrong):
    with pytest.raises(ValueError, match=r"."):
        room.chat(**({"content": "hi"} | COMMON | wrong))


def test_the_largest_message_and_one_byte_more():
    spare = limits.ROOM_MESSAGE_BYTES - len(room.chat(**COMMON, content=""))
    largest = room.chat(**COMMON, content="x" * spare)
    assert isinstance(room.read(TOPIC, largest, ALICE.peer_id, NOW), RoomMessage)
    with pytest.raises(room.MessageTooLargeError):
        room.chat(**COMMON, content="x" * (spare + 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"capabilities": ["c"] * 33},
        {"capabilities": ["no good"]},
        {"agent_name": "x" * 65},
        {"agent_type": "x" * 65},
        {"version": "x" * 65},
    ],
)
def test_our_own_presence_keeps_the_bounds(wrong):
    with pytest.raises(ValueError, match=r"."):
        room.presence(**COMMON, status="online", **wrong)


def test_a_message_of_another_is_not_read_under_our_name():
    data = room.chat(**COMMON | {"sender": BOB.peer_id}, content="hi")
    assert room.read(TOPIC, data, ALICE.peer_id, NOW) == Ignored("sender_mismatch", "the sender did not sign it", 10)
