"""The golden vectors of handshake: whole, byte by byte, and split anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexusd_protocols.handshake.answerer import Answerer
from nexusd_protocols.handshake.asker import Ask, Asker
from nexusd_protocols.handshake.frames import Wanted
from tests.harness import stream_vectors
from tests.harness.people import ALICE, BOB
from tests.harness.vectors import cuts, named, vectors

DOC = vectors("handshake")
CASES = pytest.mark.parametrize("case", **named(DOC["cases"]))
REFUSALS = pytest.mark.parametrize("case", **named([case for case in DOC["cases"] if "refused" in case["expect"]]))


def machine(case: dict[str, Any]) -> Asker | Answerer:
    if case["direction"] == "asker to answerer":
        return Answerer(BOB.peer_id, ALICE.peer_id)
    end = Asker(ALICE.peer_id, BOB.peer_id)
    wanted = Wanted(capability_status=True, relay_options=True)
    ask = Ask(request_id="r1", agent_name="alice", agent_type="assistant", roles=("full",), wanted=wanted)
    assert json.loads(end.send(ask)) == DOC["init"]
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
