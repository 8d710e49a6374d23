"""The end that sends a direct message."""

from __future__ import annotations

import json

import pytest

from nexusd_protocols import limits
from nexusd_protocols.dm.frames import PROTOCOL
from nexusd_protocols.dm.receiver import DmReceiver, Received
from nexusd_protocols.dm.sender import Acknowledged, DmSender, Message, Refused
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.identity import AgentId
from tests.harness.people import ALICE, BOB, CAROL

ACK = b'{"type":"dm.ack","version":1,"messageId":"m1"}\n'


def sender(**options: int) -> DmSender:
    return DmSender(ALICE.peer_id, BOB.peer_id, **options)


def test_the_message_is_one_line_with_the_published_fields():
    assert PROTOCOL == "/nexus/dm/1.1.0"
    line = sender().send(Message(message_id="m1", content="a\nb", content_format="text/markdown"))
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "type": "dm.message",
        "version": 1,
        "requestId": "m1",
        "messageId": "m1",
        "contentFormat": "text/markdown",
        "content": "a\nb",
    }


def test_one_message_one_answer():
    machine = sender()
    machine.send(Message(message_id="m1", content="hi"))
    with pytest.raises(LocalProtocolError, match="one message"):
        machine.send(Message(message_id="m2", content="hi"))
    assert machine.receive(ACK) == [Acknowledged("m1")]
    assert machine.receive(ACK) == []
    assert machine.receive_eof() == []
    with pytest.raises(LocalProtocolError):
        machine.send(Message(message_id="m2", content="hi"))


@pytest.mark.parametrize(
    "frame", [ACK, b'{"type":"dm.error","version":1,"messageId":"","code":"X"}\n', b'{"type":"dm.later","version":1}\n']
)
def test_an_answer_before_the_message(frame):
    machine = sender()
    with pytest.raises(RemoteProtocolError, match="unexpected_frame"):
        machine.receive(frame)
    with pytest.raises(LocalProtocolError):
        machine.send(Message(message_id="m1", content="hi"))


def test_the_end_before_the_message():
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        sender().receive_eof()


@pytest.mark.parametrize(("size", "fits"), [(9, True), (10, True), (11, False)])
def test_content_limit(size, fits):
    machine = sender(max_content=10)
    message = Message(message_id="m1", content="é" + "x" * (size - 2))
    if fits:
        assert machine.send(message)
        return
    with pytest.raises(LimitExceededError) as caught:
        machine.send(message)
    assert caught.value.limit == "content"
    assert machine.send(Message(message_id="m1", content="shorter"))


def test_what_escapes_make_too_long():
    machine = sender()
    with pytest.raises(LimitExceededError) as caught:
        machine.send(Message(message_id="m1", content="\x01" * limits.DM_CONTENT_BYTES))
    assert caught.value.limit == "line"


@pytest.mark.parametrize(
    "message",
    [
        Message(message_id="", content="x"),
        Message(message_id="m" * 65, content="x"),
        Message(message_id="m 1", content="x"),
        Message(message_id="m1", content="x", content_format=""),
        Message(message_id="m1", content="x", content_format="f" * 65),
        Message(message_id="m1", content=7),  # type: ignore[arg-type]  # what an untyped program may pass
        Message(message_id="m1", content="\ud800"),
        Message(message_id="m1", content="\ud800", author=CAROL),
        Message(message_id="m1", content="x", to_agent=AgentId("bob")),
    ],
)
def test_a_malformed_message_is_refused_here(message):
    with pytest.raises(LocalProtocolError):
        sender().send(message)


def test_a_refusal_of_the_receiver_is_cut():
    machine = sender()
    machine.send(Message(message_id="m1", content="hi"))
    frame = {"type": "dm.error", "version": 1, "messageId": "m1", "code": "BUSY", "message": "x" * 9999}
    assert machine.receive(json.dumps(frame).encode() + b"\n") == [
        Refused("BUSY", "x" * limits.ERROR_MESSAGE_CHARS, "m1")
    ]


def test_an_author_and_an_addressee():
    line = sender().send(Message(message_id="m1", content="hi", author=CAROL, to_agent=BOB.peer_id))
    receiver = DmReceiver(BOB.peer_id, ALICE.peer_id)
    assert receiver.receive(line) == [Received("m1", "hi", "text/plain", CAROL.peer_id, BOB.peer_id)]


def test_unknown_frames_are_bounded():
    machine = sender(max_unknown=1)
    machine.send(Message(message_id="m1", content="hi"))
    later = b'{"type":"dm.later","version":1}\n'
    assert machine.receive(later) == []
    with pytest.raises(RemoteProtocolError, match="too_many_unknown"):
        machine.receive(later)
