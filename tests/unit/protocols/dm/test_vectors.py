"""The golden vectors of dm: whole, byte by byte, and split anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexusd_protocols.dm.many_receiver import ManyReceiver
from nexusd_protocols.dm.many_sender import ManySender
from nexusd_protocols.dm.receiver import DmReceiver
from nexusd_protocols.dm.sender import DmSender, Message
from tests.harness import stream_vectors
from tests.harness.people import ALICE, BOB
from tests.harness.vectors import cuts, named, vectors

DOC = vectors("dm")
CASES = pytest.mark.parametrize("case", **named(DOC["cases"]))
REFUSALS = pytest.mark.parametrize("case", **named([case for case in DOC["cases"] if "refused" in case["expect"]]))


def machine(case: dict[str, Any]) -> DmSender | DmReceiver:
    if case["direction"] == "sender to receiver":
        return DmReceiver(BOB.peer_id, ALICE.peer_id)
    end = DmSender(ALICE.peer_id, BOB.peer_id)
    assert json.loads(end.send(Message(message_id="m1", content="just us"))) == DOC["message"]
    return end


@CASES
def test_whole(case):
    data = stream_vectors.stream(case)
    stream_vectors.check(case, *stream_vectors.outcome(machine(case), [data], eof=case.get("eof", False)))


@CASES
def test_byte_by_byte(case):
    pieces = [bytes([byte]) for byte in stream_vectors.stream(case)]
    stream_vectors.check(case, *stream_vectors.outcome(machine(case), pieces, eof=case.get("eof", False)))


@CASES
def test_split_anywhere(case):
    data = stream_vectors.stream(case)
    for at in cuts(data):
        pieces = [data[:at], data[at:]]
        stream_vectors.check(case, *stream_vectors.outcome(machine(case), pieces, eof=case.get("eof", False)))


@REFUSALS
def test_nothing_follows_a_refusal(case):
    end = machine(case)
    stream_vectors.outcome(end, [stream_vectors.stream(case)], eof=case.get("eof", False))
    assert end.receive(stream_vectors.stream(case)) == []
    assert end.receive_eof() == []


def many(case: dict[str, Any]) -> ManySender | ManyReceiver:
    if case["direction"] == "sender to receiver":
        return ManyReceiver(BOB.peer_id, ALICE.peer_id)
    end = ManySender(ALICE.peer_id, BOB.peer_id)
    for number in (1, 2):
        end.send(Message(message_id=f"m{number}", content=f"message {number}"))
    return end


@pytest.mark.parametrize("case", **named(DOC["many"]))
def test_many_on_a_stream(case):
    data, eof = stream_vectors.stream(case), case.get("eof", False)
    stream_vectors.check(case, *stream_vectors.outcome(many(case), [data], eof=eof))
    if "refused" not in case["expect"]:  # else what precedes a fault in the same bytes is dropped
        pieces = [bytes([byte]) for byte in data]
        stream_vectors.check(case, *stream_vectors.outcome(many(case), pieces, eof=eof))
