"""The end that answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.handshake.answerer import Answer, Answerer, Asked, Refuse
from nexusd_protocols.handshake.asker import Answered, Ask, Asker, Refused
from nexusd_protocols.handshake.frames import CODES, CapabilityStatus, Code, Wanted
from nexusd_protocols.handshake.introduction import Introduction
from tests.harness.people import ALICE, BOB, MALLORY

ROW = CapabilityStatus(name="upper", available=True, free=True, description="makes it loud")


def asked(wanted: Wanted | None = None, **options: int) -> Answerer:
    machine = Answerer(BOB.peer_id, ALICE.peer_id, **options)
    ask = Ask(request_id="r1") if wanted is None else Ask(request_id="r1", wanted=wanted)
    machine.receive(Asker(ALICE.peer_id, BOB.peer_id).send(ask))
    return machine


def test_the_answer_has_the_published_fields():
    frame = json.loads(
        asked(Wanted(capability_status=True, relay_options=True)).send(
            Answer(agent_name="bob", agent_type="tool", roles=("full",), capabilities=(ROW,), relay=False)
        )
    )
    assert frame == {
        "type": "handshake.ack",
        "version": 1,
        "requestId": "r1",
        "peerId": BOB.peer_id,
        "agentName": "bob",
        "agentType": "tool",
        "roles": ["full"],
        "capabilityStatus": [
            {
                "name": "upper",
                "available": True,
                "maxInputBytes": 65536,
                "streaming": False,
                "estimatedQueueMs": 0,
                "description": "makes it loud",
                "free": True,
            }
        ],
        "relay": {"available": False},
    }


def test_only_what_was_wanted_is_told():
    answer = Answer(capabilities=(ROW,), relay=True)
    nothing = json.loads(asked(Wanted()).send(answer))
    assert nothing["capabilityStatus"] == []
    assert "relay" not in nothing
    relay = json.loads(asked(Wanted(relay_options=True)).send(answer))
    assert relay["relay"] == {"available": True}
    assert "relay" not in json.loads(asked(Wanted(relay_options=True)).send(Answer()))


@pytest.mark.parametrize("answer", [Answer(), Refuse(Code.BUSY)])
def test_one_answer(answer):
    machine = Answerer(BOB.peer_id, ALICE.peer_id)
    with pytest.raises(LocalProtocolError, match="before the question"):
        machine.send(answer)
    machine = asked()
    machine.send(answer)
    with pytest.raises(LocalProtocolError, match="answered"):
        machine.send(answer)
    assert machine.receive(b"garbage\n") == []
    assert machine.receive_eof() == []


@pytest.mark.parametrize(("rows", "fits"), [(31, True), (32, True), (33, False)])
def test_rows(rows, fits):
    machine = asked()
    answer = Answer(capabilities=(ROW,) * rows)
    if fits:
        assert len(json.loads(machine.send(answer))["capabilityStatus"]) == rows
        return
    with pytest.raises(LocalProtocolError, match="not an answer"):
        machine.send(answer)
    assert machine.send(Answer())


def test_the_longest_answer_fits_its_line():
    longest = CapabilityStatus(name="n" * 64, available=True, description="\u20ac" * limits.DESCRIPTION_CHARS)
    assert asked().send(Answer(agent_name="\u20ac" * 64, capabilities=(longest,) * limits.HANDSHAKE_ROWS))
    escaped = CapabilityStatus(name="n" * 64, available=True, description="\x01" * limits.DESCRIPTION_CHARS)
    with pytest.raises(LimitExceededError):
        asked().send(Answer(capabilities=(escaped,) * limits.HANDSHAKE_ROWS))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(agent_name="a" * 65),
        Answer(roles=("",)),
        Answer(capabilities=(CapabilityStatus(name="", available=True),)),
        Answer(capabilities=(CapabilityStatus(name="x", available=True, description="d" * 513),)),
        Answer(capabilities=(CapabilityStatus(name="x", available=True, max_input_bytes=-1),)),
        Answer(agent_name="\ud800"),
    ],
)
def test_a_malformed_answer_is_refused_here(answer):
    machine = asked()
    with pytest.raises(LocalProtocolError):
        machine.send(answer)
    assert machine.send(Answer())


def test_a_refusal_reaches_the_asker():
    asker = Asker(ALICE.peer_id, BOB.peer_id)
    machine = Answerer(BOB.peer_id, ALICE.peer_id)
    machine.receive(asker.send(Ask(request_id="r1")))
    assert asker.receive(machine.send(Refuse(Code.FORBIDDEN, "blocked"))) == [Refused("FORBIDDEN", "blocked")]
    assert Code.FORBIDDEN in CODES


def test_a_refusal_is_cut():
    frame = json.loads(asked().send(Refuse("X" * 99, "m" * 9999)))
    assert (len(frame["code"]), len(frame["message"])) == (64, limits.ERROR_MESSAGE_CHARS)
    assert json.loads(asked().send(Refuse("")))["code"] == "INTERNAL"


@pytest.mark.parametrize(
    ("data", "request_id"),
    [
        (b'{"type":"handshake.init","version":2,"requestId":"r9","peerId":"x"}\n', "r9"),
        (b'{"type":"handshake.init","version":1,"requestId":"r9"}\n', "r9"),
        (b"x" * 70_000, ""),
    ],
)
def test_a_refused_question_is_answered(data, request_id):
    with pytest.raises(RemoteProtocolError) as caught:
        Answerer(BOB.peer_id, ALICE.peer_id).receive(data)
    reply = json.loads(caught.value.reply)
    assert (reply["type"], reply["requestId"], reply["code"]) == ("handshake.error", request_id, "BAD_REQUEST")


def test_a_question_under_anothers_name():
    line = Asker(ALICE.peer_id, BOB.peer_id).send(Ask(request_id="r1"))
    with pytest.raises(RemoteProtocolError) as caught:
        Answerer(BOB.peer_id, MALLORY.peer_id).receive(line)
    assert (caught.value.code, caught.value.penalty) == ("wrong_peer_id", 10)
    assert json.loads(caught.value.reply)["code"] == "FORBIDDEN"


def test_unknown_frames_are_bounded():
    machine = asked(max_unknown=1)
    later = b'{"type":"handshake.later","version":1}\n'
    assert machine.receive(later) == []
    with pytest.raises(RemoteProtocolError, match="too_many_unknown"):
        machine.receive(later)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
ROLES = st.lists(st.sampled_from(["light", "full", "storage"]), max_size=3).map(tuple)
ROWS = st.builds(
    CapabilityStatus,
    name=st.text("abc", min_size=1, max_size=64),
    available=st.booleans(),
    max_input_bytes=st.integers(0, 2**53 - 1),
    streaming=st.booleans(),
    estimated_queue_ms=st.integers(0, 2**53 - 1),
    description=st.just(msgspec.UNSET) | TEXT,
    free=st.just(msgspec.UNSET) | st.booleans(),
)


@given(TEXT, TEXT, ROLES, st.lists(ROWS, max_size=8).map(tuple), st.booleans(), st.integers(0, 2000))
def test_round_trip(name, kind, roles, rows, relay, cut):
    asker, machine = Asker(ALICE.peer_id, BOB.peer_id), Answerer(BOB.peer_id, ALICE.peer_id)
    said: dict[str, Any] = {"agent_name": name, "agent_type": kind, "roles": roles}
    wanted = Wanted(capability_status=True, relay_options=True, room_summaries=True)
    line = asker.send(Ask(request_id="r1", wanted=wanted, **said))
    got = machine.receive(line[:cut]) + machine.receive(line[cut:]) + machine.receive_eof()
    assert got == [Asked(Introduction(peer_id=ALICE.peer_id, **said), wanted)]
    line = machine.send(Answer(capabilities=rows, relay=relay, **said))
    answered = asker.receive(line[:cut]) + asker.receive(line[cut:]) + asker.receive_eof()
    assert answered == [Answered(Introduction(peer_id=BOB.peer_id, **said), rows, relay)]
