"""The end that asks."""

from __future__ import annotations

import json

import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.handshake.asker import Ask, Asker, Refused
from nexusd_protocols.handshake.frames import PROTOCOL, Wanted
from tests.harness.people import ALICE, BOB


def asker(**options: int) -> Asker:
    return Asker(ALICE.peer_id, BOB.peer_id, **options)


def test_the_question_has_the_published_fields():
    assert PROTOCOL == "/nexus/handshake/1.1.0"
    line = asker().send(Ask(request_id="r1", agent_name="alice", agent_type="assistant", roles=("full",)))
    assert json.loads(line) == {
        "type": "handshake.init",
        "version": 1,
        "requestId": "r1",
        "peerId": ALICE.peer_id,
        "agentName": "alice",
        "agentType": "assistant",
        "roles": ["full"],
        "wanted": {"capabilityStatus": True, "relayOptions": False, "roomSummaries": False},
    }


def test_one_question():
    machine = asker()
    machine.send(Ask(request_id="r1"))
    with pytest.raises(LocalProtocolError, match="one question"):
        machine.send(Ask(request_id="r2"))


@pytest.mark.parametrize(
    "ask",
    [
        Ask(request_id=""),
        Ask(request_id="a b"),
        Ask(request_id="r1", agent_name="a" * 65),
        Ask(request_id="r1", agent_type="a" * 65),
        Ask(request_id="r1", roles=("full",) * 17),
        Ask(request_id="r1", agent_name="\ud800"),
        Ask(request_id="r1", wanted=Wanted(capability_status="yes")),  # type: ignore[arg-type]  # untyped callers
    ],
)
def test_a_malformed_question_is_refused_here(ask):
    machine = asker()
    with pytest.raises(LocalProtocolError):
        machine.send(ask)
    assert machine.send(Ask(request_id="r1"))


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "handshake.ack", "version": 1, "requestId": "r1", "peerId": BOB.peer_id},
        {"type": "handshake.error", "version": 1, "requestId": "", "code": "X"},
        {"type": "handshake.later", "version": 1},
    ],
)
def test_an_answer_before_the_question(frame):
    machine = asker()
    with pytest.raises(RemoteProtocolError, match="unexpected_frame"):
        machine.receive(json.dumps(frame).encode() + b"\n")
    with pytest.raises(LocalProtocolError):
        machine.send(Ask(request_id="r1"))


def test_a_refusal_is_cut():
    machine = asker()
    machine.send(Ask(request_id="r1"))
    frame = {"type": "handshake.error", "version": 1, "requestId": "r1", "code": "BUSY", "message": "x" * 9999}
    assert machine.receive(json.dumps(frame).encode() + b"\n") == [Refused("BUSY", "x" * limits.ERROR_MESSAGE_CHARS)]
    assert machine.receive_eof() == []


def test_an_answer_that_is_too_long():
    machine = asker()
    machine.send(Ask(request_id="r1"))
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(b"x" * (limits.CONTROL_LINE_BYTES + 1))
    assert (caught.value.code, caught.value.reply) == ("line_too_long", b"")


def test_unknown_frames_are_bounded():
    machine = asker(max_unknown=1)
    machine.send(Ask(request_id="r1"))
    later = b'{"type":"handshake.later","version":1}\n'
    assert machine.receive(later) == []
    with pytest.raises(RemoteProtocolError, match="too_many_unknown"):
        machine.receive(later)
