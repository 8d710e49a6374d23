"""The golden vectors of invoke: whole, byte by byte, and split anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.commands import Open
from nexusd_protocols.invoke.provider import Provider
from tests.harness import stream_vectors
from tests.harness.people import ALICE, BOB
from tests.harness.vectors import named, vectors

DOC = vectors("invoke")
CASES = pytest.mark.parametrize("case", **named(DOC["cases"]))
REFUSALS = pytest.mark.parametrize("case", **named([case for case in DOC["cases"] if "refused" in case["expect"]]))


def machine(case: dict[str, Any]) -> Caller | Provider:
    if case["direction"] == "caller to provider":
        return Provider(BOB.peer_id, ALICE.peer_id)
    end = Caller(ALICE.peer_id, BOB.peer_id)
    opened = Open(request_id="r1", capability="upper", max_input_bytes=10, max_output_bytes=10)
    assert json.loads(end.send(opened)) == DOC["open"]
    return end


@CASES
@pytest.mark.parametrize("way", stream_vectors.WAYS)
def test_however_the_bytes_come(case, way):
    stream_vectors.check_pieces(case, machine, way)


@REFUSALS
def test_nothing_follows_a_refusal(case):
    stream_vectors.check_silence(case, machine(case))
