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
from tests.harness.vectors import named, vectors

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
@pytest.mark.parametrize("way", stream_vectors.WAYS)
def test_however_the_bytes_come(case, way):
    stream_vectors.check_pieces(case, machine, way)


@REFUSALS
def test_nothing_follows_a_refusal(case):
    stream_vectors.check_silence(case, machine(case))


def many(case: dict[str, Any]) -> ManySender | ManyReceiver:
    if case["direction"] == "sender to receiver":
        return ManyReceiver(BOB.peer_id, ALICE.peer_id)
    end = ManySender(ALICE.peer_id, BOB.peer_id)
    for number in (1, 2):
        end.send(Message(message_id=f"m{number}", content=f"message {number}"))
    return end


@pytest.mark.parametrize("case", **named(DOC["many"]))
def test_many_on_a_stream(case):
    stream_vectors.check_pieces(case, many, "whole")
    if "refused" not in case["expect"]:  # else what precedes a fault in the same bytes is dropped
        stream_vectors.check_pieces(case, many, "byte by byte")
