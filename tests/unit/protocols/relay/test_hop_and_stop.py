from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import peer_id_bytes
from nexusd_protocols.relay import circuit_pb2 as pb
from nexusd_protocols.relay import hop, stop
from nexusd_protocols.relay.frame import OneFrame, framed
from nexusd_protocols.relay.hop import Connected, Hop, Limits, Refused, Reserved
from nexusd_protocols.relay.stop import Incoming, Stop
from tests.harness.people import ALICE
from tests.harness.vectors import named, vectors

VECTORS = vectors("relay")


def answer(**fields) -> bytes:
    return framed(pb.HopMessage(**({"type": "STATUS", "status": "OK"} | fields)).SerializeToString())


@pytest.mark.parametrize("row", **named(VECTORS["questions"]))
def test_questions(row):
    asked = hop.reserve() if row["asked"] == "reserve" else hop.connect(row["peer"])
    assert asked.hex() == row["wire"]


@pytest.mark.parametrize("row", **named(VECTORS["answers"]))
def test_answers(row):
    machine = Hop(row["asked"])
    found = machine.receive(bytes.fromhex(row["wire"]))
    limits = Limits(row.get("seconds", 0), row.get("octets", 0))
    match row["found"]:
        case "reserved":
            assert found == Reserved(row["expire"], limits)
        case "connected":
            assert found == Connected(limits)
        case "refused":
            assert isinstance(found, Refused)
            assert (found.status, found.reason) == (row["status"], row["reason"])
    assert machine.rest.hex() == row.get("rest", "")


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_answers_that_are_none(row):
    with pytest.raises(RemoteProtocolError) as caught:
        Hop(row["asked"]).receive(bytes.fromhex(row["wire"]))
    assert caught.value.code == row["code"]


@pytest.mark.parametrize("row", **named(VECTORS["incoming"]))
def test_who_comes(row):
    machine = Stop()
    if "code" in row:
        with pytest.raises(RemoteProtocolError) as caught:
            machine.receive(bytes.fromhex(row["wire"]))
        assert (caught.value.code, caught.value.reply.hex()) == (row["code"], row["reply"])
        return
    limits = Limits(row.get("seconds", 0), row.get("octets", 0))
    assert machine.receive(bytes.fromhex(row["wire"])) == Incoming(row["peer"], limits)
    assert machine.rest.hex() == row.get("rest", "")


@given(st.binary(max_size=50), st.data())
def test_what_follows_belongs_to_the_connection(rest, data):
    wire = answer(limit=pb.Limit(duration=5)) + rest
    machine, found = Hop("connect"), None
    while wire and found is None:
        cut = data.draw(st.integers(1, len(wire)))
        found, wire = machine.receive(wire[:cut]), wire[cut:]
    assert found == Connected(Limits(5, 0))
    assert machine.rest + wire == rest


def test_our_answers():
    assert pb.StopMessage.FromString(stop.accept()[1:]).status == pb.OK
    assert pb.StopMessage.FromString(stop.refuse()[1:]).status == pb.PERMISSION_DENIED


def test_an_unknown_refusal_has_its_number():
    assert Hop("connect").receive(answer(status=None)) == Refused(0, "the relay says 0")


def test_a_frame_is_bounded():
    frame = OneFrame(max_bytes=10)
    assert frame.receive(b"\x0a" + b"x" * 9) is None
    assert frame.receive(b"xy") == b"x" * 10
    assert frame.rest == b"y"
    with pytest.raises(RemoteProtocolError, match="too_large"):
        OneFrame(max_bytes=10).receive(b"\x0b")
    with pytest.raises(RemoteProtocolError, match="bad_length"):
        OneFrame().receive(b"\xff" * 10)
    with pytest.raises(RemoteProtocolError) as caught:
        Stop().receive(b"\xff" * 10)
    assert caught.value.reply == stop.refuse(pb.MALFORMED_MESSAGE)


def test_a_peer_is_named_by_its_bytes():
    question = pb.HopMessage.FromString(hop.connect(ALICE.peer_id)[1:])
    assert question.peer.id == peer_id_bytes(ALICE.peer_id)
