"""Which agent speaks: the vectors, and that a proof is worth nothing anywhere else."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest

from nexusd_protocols.agent_proof import AgentFrame, ProofFault, canonical, check, digest, prove, require, sign
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import Signer, verify
from tests.harness.people import ALICE, BOB, CAROL, MALLORY
from tests.harness.vectors import named, vectors


class Said(AgentFrame, frozen=True, kw_only=True, tag="test.said"):
    """A frame that can name its agents."""


CONTENT = digest(b"hello")
PLACE: dict[str, Any] = {
    "protocol": "/test/1",
    "exchange": "m1",
    "sender": ALICE.peer_id,
    "receiver": BOB.peer_id,
}


def frame(**fields: Any) -> Said:
    return Said(version=1, **fields)


def signature(signer: Signer = CAROL, to_agent: str = "", **changes: Any) -> str:
    return sign(signer, **{**PLACE, "to_agent": to_agent, "content": CONTENT, **changes})


def verdict(said: Said, **changes: Any) -> Any:
    return check(said, **{**PLACE, "content": lambda: CONTENT, **changes})


@pytest.mark.parametrize("case", **named(vectors("agent_proof")["cases"]))
def test_vectors(case):
    content = digest(*(part.encode() for part in case["parts"]))
    assert content.hex() == case["digest"]
    place = {key: case[key] for key in ("protocol", "exchange", "sender", "receiver")}
    assert sign(CAROL, **place, to_agent=case["toAgent"], content=content) == case["agentSig"]
    raw = base64.b64decode(case["agentSig"])
    assert verify(case["fromAgent"], bytes.fromhex(case["statement"]), raw)


def test_the_statement_is_what_the_specification_says():
    [case, _] = vectors("agent_proof")["cases"]
    words = ("protocol", "exchange", "fromAgent", "toAgent", "sender", "receiver")
    parts = [b"nexusd agent proof 1", *(case[word].encode() for word in words), bytes.fromhex(case["digest"])]
    assert b"".join(struct.pack(">Q", len(part)) + part for part in parts).hex() == case["statement"]


def test_without_fields_the_peers_own_agent_speaks():
    assert verdict(frame()) == ALICE.peer_id
    assert verdict(frame(to_agent=BOB.peer_id)) == ALICE.peer_id
    assert verdict(frame(from_agent=ALICE.peer_id)) == ALICE.peer_id


def test_a_proven_agent():
    assert verdict(frame(from_agent=CAROL.peer_id, agent_sig=signature())) == CAROL.peer_id
    addressed = signature(to_agent=MALLORY.peer_id)
    said = frame(from_agent=CAROL.peer_id, to_agent=MALLORY.peer_id, agent_sig=addressed)
    assert verdict(said) == CAROL.peer_id


def test_the_nodes_own_agent_may_sign_too_but_not_falsely():
    assert verdict(frame(from_agent=ALICE.peer_id, agent_sig=signature(ALICE))) == ALICE.peer_id
    assert verdict(frame(from_agent=ALICE.peer_id, agent_sig=signature(CAROL))) is ProofFault.FORGED


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "/test/2"},
        {"exchange": "m2"},
        {"sender": MALLORY.peer_id},
        {"receiver": MALLORY.peer_id},
        {"content": lambda: digest(b"hell", b"o")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_proof_is_worth_nothing_elsewhere(changes):
    said = frame(from_agent=CAROL.peer_id, agent_sig=signature())
    assert verdict(said) == CAROL.peer_id
    assert verdict(said, **changes) is ProofFault.FORGED


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"from_agent": CAROL.peer_id}, ProofFault.UNSIGNED),
        ({"agent_sig": signature()}, ProofFault.UNNAMED),
        ({"from_agent": "carol", "agent_sig": signature()}, ProofFault.BAD_AGENT),
        ({"from_agent": ALICE.peer_id, "to_agent": "bob"}, ProofFault.BAD_AGENT),
        ({"from_agent": CAROL.peer_id, "to_agent": BOB.peer_id, "agent_sig": signature()}, ProofFault.FORGED),
        ({"from_agent": MALLORY.peer_id, "agent_sig": signature()}, ProofFault.FORGED),
        ({"from_agent": CAROL.peer_id, "agent_sig": "*" * 88}, ProofFault.FORGED),
        ({"from_agent": CAROL.peer_id, "agent_sig": "é" * 88}, ProofFault.FORGED),
        ({"from_agent": CAROL.peer_id, "agent_sig": signature()[:-4] + "AA=="}, ProofFault.FORGED),
        ({"from_agent": CAROL.peer_id, "agent_sig": base64.b64encode(bytes(66)).decode()}, ProofFault.FORGED),
    ],
    ids=str,
)
def test_faults(fields, fault):
    assert verdict(frame(**fields)) is fault


def test_content_without_canonical_form():
    def content() -> bytes:
        return canonical({"a": 1.5})

    said = frame(from_agent=CAROL.peer_id, agent_sig=signature())
    assert verdict(said, content=content) is ProofFault.UNSIGNABLE


def test_prove():
    place = {**PLACE, "content": lambda: CONTENT}
    assert prove(frame(), None, **place) == frame()
    assert verdict(prove(frame(), CAROL, **place)) == CAROL.peer_id
    said = prove(frame(to_agent=MALLORY.peer_id), CAROL, **place)
    assert (verdict(said), said.to_agent) == (CAROL.peer_id, MALLORY.peer_id)
    with pytest.raises(ValueError, match="PeerId"):
        prove(frame(to_agent="bob"), None, **place)


def test_require():
    assert require(verdict(frame())) == ALICE.peer_id
    with pytest.raises(RemoteProtocolError) as caught:
        require(ProofFault.UNSIGNED)
    assert (caught.value.code, caught.value.penalty) == ("forged_agent", 10)


def test_digest_keeps_parts_apart():
    assert digest(b"ab", b"c") != digest(b"a", b"bc") != digest(b"abc")
    assert len(digest()) == 32


def test_canonical():
    assert (
        canonical({"b": [1, "é\n"], "a": {"z": None, "y": True}}) == '{"a":{"y":true,"z":null},"b":[1,"é\\n"]}'.encode()
    )
    for value in (1.0, [1.0], {"a": [{"b": 0.5}]}):
        with pytest.raises(ValueError, match="float"):
            canonical(value)


@pytest.mark.parametrize(
    "field", ['"agentSig":"short"', '"fromAgent":""', '"toAgent":"' + "a" * 65 + '"', '"fromAgent":7']
)
def test_fields_are_bounded(field):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode('{"type":"test.said","version":1,' + field + "}", type=Said)
