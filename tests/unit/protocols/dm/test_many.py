"""Many direct messages on one stream, both ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.dm.frames import Code
from nexusd_protocols.dm.many_receiver import Answer, ManyReceiver
from nexusd_protocols.dm.many_sender import ManySender
from nexusd_protocols.dm.receiver import DmReceiver
from nexusd_protocols.dm.sender import Acknowledged, Message, Refused
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from tests.harness.people import ALICE, BOB, CAROL


def sender(**options) -> ManySender:
    return ManySender(ALICE.peer_id, BOB.peer_id, **options)


def receiver(**options) -> ManyReceiver:
    return ManyReceiver(BOB.peer_id, ALICE.peer_id, **options)


def message(number: int, **fields) -> Message:
    return Message(message_id=f"m{number}", content=f"message {number}", **fields)


def refused(machine, data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(data)
    return caught.value


def test_messages_are_answered_in_any_order():
    alice, bob = sender(), receiver()
    received = bob.receive(b"".join(alice.send(message(number)) for number in range(3)))
    assert [event.content for event in received] == ["message 0", "message 1", "message 2"]
    assert alice.unacknowledged == 3
    answers = bob.send([Answer("m2"), Answer("m0", Code.NOT_FOUND, "nobody"), Answer("m1")])
    assert alice.receive(answers) == [Acknowledged("m2"), Refused(Code.NOT_FOUND, "nobody", "m0"), Acknowledged("m1")]
    assert alice.unacknowledged == 0
    assert bob.receive(alice.send(message(1)))[0].message_id == "m1"
    assert alice.receive_eof() == bob.receive_eof() == []


def test_so_many_are_under_way_and_no_more():
    alice, bob = sender(), receiver()
    lines = [alice.send(message(number)) for number in range(limits.DM_UNACKNOWLEDGED)]
    with pytest.raises(LimitExceededError, match="32 messages"):
        alice.send(message(32))
    bob.receive(b"".join(lines))
    further = sender().send(message(32))
    assert refused(bob, further).code == "too_many_messages"


def test_an_answer_makes_room_on_both_ends():
    alice, bob = sender(max_unacknowledged=1), receiver(max_unacknowledged=1)
    for number in range(100):
        bob.receive(alice.send(message(number)))
        alice.receive(bob.send([Answer(f"m{number}")]))
    assert alice.unacknowledged == 0


def test_a_proof_is_of_this_protocol():
    """One made for a stream of the other version is of no use here, nor the other way."""
    bob, old = receiver(), DmReceiver(BOB.peer_id, ALICE.peer_id)
    line = sender().send(message(1, author=CAROL, to_agent=BOB.peer_id))
    [received] = bob.receive(line)
    assert (received.sender, received.to_agent) == (CAROL.peer_id, BOB.peer_id)
    error = refused(old, line)
    assert (error.code, error.penalty) == ("forged_agent", 10)


@pytest.mark.parametrize(
    ("line", "code", "penalty", "named"),
    [
        (b"hello\n", "bad_json", None, ""),
        (b'{"type":"dm.ack","version":1,"messageId":"m1"}\n', "unexpected_frame", 1, ""),
        (sender().send(message(1)), "repeated_message", 1, ""),
    ],
)
def test_what_is_refused_by_the_receiver(line, code, penalty, named):
    bob = receiver()
    bob.receive(sender().send(message(1)))
    error = refused(bob, line)
    assert error.code == code
    assert penalty is None or error.penalty == penalty
    assert json.loads(error.reply)["messageId"] == named
    assert bob.receive(sender().send(message(2))) == []
    assert bob.receive_eof() == []


def test_a_fault_of_one_message_names_it():
    bob = receiver(max_content=5)
    error = refused(bob, sender().send(message(1)))
    assert error.code == "content_too_large"
    assert json.loads(error.reply) == {
        "type": "dm.error", "version": 1, "messageId": "m1", "code": "TOO_LARGE",
        "message": "content_too_large: over 5 bytes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"type":"dm.ack","version":1,"messageId":"m9"}\n', "wrong_message_id"),
        (b'{"type":"dm.error","version":1,"messageId":"m9","code":"BUSY"}\n', "wrong_message_id"),
        (sender().send(message(1)), "unexpected_frame"),
        (b"[]\n", "bad_message"),
    ],
)
def test_what_is_refused_by_the_sender(line, code):
    alice = sender()
    alice.send(message(1))
    error = refused(alice, line)
    assert (error.code, error.reply) == (code, b"")
    assert alice.receive(b'{"type":"dm.ack","version":1,"messageId":"m1"}\n') == []
    with pytest.raises(LocalProtocolError, match="over"):
        alice.send(message(2))


def test_an_error_without_a_message_is_of_none():
    alice = sender()
    alice.send(message(1))
    line = b'{"type":"dm.error","version":1,"messageId":"","code":"BAD_REQUEST","message":"bad_json"}\n'
    assert alice.receive(line + b'{"type":"dm.later","version":1}\n') == [Refused("BAD_REQUEST", "bad_json")]
    assert alice.unacknowledged == 1


def test_misuse():
    alice, bob = sender(), receiver()
    alice.send(message(1))
    with pytest.raises(LocalProtocolError, match="under way"):
        alice.send(message(1))
    with pytest.raises(LocalProtocolError, match="not a message"):
        alice.send(Message(message_id="", content="x"))
    with pytest.raises(LimitExceededError) as caught:
        alice.send(Message(message_id="m2", content="x" * (limits.DM_CONTENT_BYTES + 1)))
    assert caught.value.limit == "content"
    assert alice.unacknowledged == 1
    with pytest.raises(LocalProtocolError, match="does not wait"):
        bob.send([Answer("m1")])
    alice.receive_eof()
    with pytest.raises(LocalProtocolError, match="over"):
        alice.send(message(3))


@given(st.lists(st.text(max_size=200), max_size=20), st.integers(1, 400))
def test_messages_arrive_in_order_however_they_are_cut(texts, size):
    alice, bob = sender(), receiver()
    wire = b"".join(alice.send(Message(message_id=f"m{n}", content=text)) for n, text in enumerate(texts))
    received = [event for at in range(0, len(wire), size) for event in bob.receive(wire[at : at + size])]
    assert [event.content for event in received] == texts
    answers = bob.send([Answer(event.message_id) for event in received])
    acknowledged = [event for at in range(0, len(answers), size) for event in alice.receive(answers[at : at + size])]
    assert acknowledged == [Acknowledged(f"m{n}") for n in range(len(texts))]
