"""The end that receives a direct message."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.dm.frames import CODES, Code
from nexusd_protocols.dm.receiver import Ack, DmReceiver, Received, Refuse
from nexusd_protocols.dm.sender import Acknowledged, DmSender, Message, Refused, Unconfirmed
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.identity import AgentId
from tests.harness.people import ALICE, BOB, CAROL, MALLORY


def receiver(**options: int) -> DmReceiver:
    return DmReceiver(BOB.peer_id, ALICE.peer_id, **options)


def message(**changes: object) -> bytes:
    frame = {"type": "dm.message", "version": 1, "messageId": "m1", "contentFormat": "text/plain", "content": "hi"}
    return json.dumps({**frame, **changes}).encode() + b"\n"


def test_the_acknowledgement_is_exactly_this():
    machine = receiver()
    assert machine.receive(message()) == [Received("m1", "hi", "text/plain", ALICE.peer_id, None)]
    assert machine.send(Ack()) == b'{"type":"dm.ack","version":1,"messageId":"m1"}\n'


@pytest.mark.parametrize("answer", [Ack(), Refuse(Code.BUSY)])
def test_one_answer(answer):
    machine = receiver()
    with pytest.raises(LocalProtocolError, match="before the message"):
        machine.send(answer)
    machine.receive(message())
    machine.send(answer)
    with pytest.raises(LocalProtocolError, match="answered"):
        machine.send(answer)
    assert machine.receive(message(messageId="m2")) == []
    assert machine.receive_eof() == []


def test_a_refusal_reaches_the_sender():
    sender, machine = DmSender(ALICE.peer_id, BOB.peer_id), receiver()
    machine.receive(sender.send(Message(message_id="m1", content="hi")))
    assert sender.receive(machine.send(Refuse(Code.NOT_FOUND, "no such agent"))) == [
        Refused("NOT_FOUND", "no such agent", "m1")
    ]


def test_a_refusal_is_cut():
    machine = receiver()
    machine.receive(message())
    frame = json.loads(machine.send(Refuse("X" * 99, "m" * 9999)))
    assert (len(frame["code"]), len(frame["message"])) == (64, limits.ERROR_MESSAGE_CHARS)
    other = receiver()
    other.receive(message())
    assert json.loads(other.send(Refuse("")))["code"] == "INTERNAL"
    assert Code.FORBIDDEN in CODES


@pytest.mark.parametrize(("size", "fits"), [(9, True), (10, True), (11, False)])
def test_content_limit(size, fits):
    machine = receiver(max_content=10)
    line = message(content="é" + "x" * (size - 2))
    if fits:
        assert len(machine.receive(line)) == 1
        return
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(line)
    reply = json.loads(caught.value.reply)
    assert (reply["type"], reply["messageId"], reply["code"]) == ("dm.error", "m1", "TOO_LARGE")


def test_a_line_that_is_too_long():
    machine = receiver(max_line=100)
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(message(content="x" * 200))
    assert json.loads(caught.value.reply) | {"messageId": "", "code": "TOO_LARGE"} == json.loads(caught.value.reply)


def test_a_ten_megabyte_line():
    machine = receiver()
    with pytest.raises(RemoteProtocolError, match="line_too_long"):
        machine.receive(message(content="x" * 10_000_000))
    assert machine.receive(message()) == []


def test_a_stolen_message_is_worth_nothing_from_another_peer():
    line = DmSender(ALICE.peer_id, BOB.peer_id).send(Message(message_id="m1", content="hi", author=CAROL))
    with pytest.raises(RemoteProtocolError) as caught:
        DmReceiver(BOB.peer_id, MALLORY.peer_id).receive(line)
    assert (caught.value.code, caught.value.penalty) == ("forged_agent", 10)
    assert json.loads(caught.value.reply)["code"] == "FORBIDDEN"
    with pytest.raises(RemoteProtocolError, match="forged_agent"):
        DmReceiver(MALLORY.peer_id, ALICE.peer_id).receive(line)


def test_unknown_frames_are_bounded():
    machine = receiver(max_unknown=1)
    machine.receive(message())
    later = b'{"type":"dm.later","version":1}\n'
    assert machine.receive(later) == []
    with pytest.raises(RemoteProtocolError, match="too_many_unknown"):
        machine.receive(later)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
ID = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)


@given(
    ID,
    TEXT,
    st.sampled_from(["text/plain", "text/markdown", "application/json"]),
    st.sampled_from([None, CAROL]),
    st.sampled_from([None, AgentId(MALLORY.peer_id)]),
    st.integers(0, 1000),
)
def test_round_trip(message_id, content, content_format, author, to_agent, cut):
    sender, machine = DmSender(ALICE.peer_id, BOB.peer_id), receiver()
    line = sender.send(
        Message(message_id=message_id, content=content, content_format=content_format, author=author, to_agent=to_agent)
    )
    got = machine.receive(line[:cut]) + machine.receive(line[cut:]) + machine.receive_eof()
    author_id = (author or ALICE).peer_id
    assert got == [Received(message_id, content, content_format, AgentId(author_id), to_agent)]
    ack = machine.send(Ack())
    assert sender.receive(ack[:cut]) + sender.receive(ack[cut:]) == [Acknowledged(message_id)]


def test_a_published_peer_says_nothing():
    sender = DmSender(ALICE.peer_id, BOB.peer_id)
    sender.send(Message(message_id="m1", content="hi"))
    assert sender.receive_eof() == [Unconfirmed()]
    assert sender.receive_eof() == []
