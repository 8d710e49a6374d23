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
from tests.harness.vectors import named, vectors

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
@pytest.mark.parametrize("way", stream_vectors.WAYS)
def test_however_the_bytes_come(case, way):
    stream_vectors.check_pieces(case, machine, way)


@REFUSALS
def test_nothing_follows_a_refusal(case):
    stream_vectors.check_silence(case, machine(case))
