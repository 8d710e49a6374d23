"""The frames: what comes out is what went in, with the published field names."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.frames import FrameReader, type_of, write
from nexusd_protocols.invoke import frames
from nexusd_protocols.invoke.frames import InvokeFrame

FIELDS = {
    "invoke.open": "version requestId capability inputFormat outputMode maxDurationMs maxInputBytes maxOutputBytes",
    "invoke.accept": "version requestId accepted",
    "invoke.chunk": "version requestId seq isFinalInput data",
    "invoke.event": "version requestId seq event data",
    "invoke.done": "version requestId",
    "invoke.error": "version requestId code message",
    "invoke.cancel": "version requestId reason",
    "invoke.payment_required": "version requestId",
    "invoke.payment_proof": "version requestId",
    "invoke.payment_due": "version requestId tab units amount final",
    "invoke.payment": "version requestId tab",
}
"""What is always there; but for the last two, from the table of the published network."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
ID = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
COUNT = st.integers(0, 2**53 - 1)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
ENVELOPE: dict[str, Any] = {"version": st.just(1), "request_id": ID}
UNSET = st.just(msgspec.UNSET)
AGENTS: dict[str, Any] = {
    "from_agent": UNSET | st.text("abc", min_size=1, max_size=64),
    "to_agent": UNSET | st.text("abc", min_size=1, max_size=64),
    "agent_sig": UNSET | st.text("abc", min_size=88, max_size=88),
}
TERMS = st.builds(
    frames.Terms,
    amount=WORD,
    currency=WORD,
    recipient=WORD,
    description=st.none() | TEXT,
    valid_until=st.none() | COUNT,
)
PROOF = st.builds(
    frames.Proof,
    from_=WORD,
    to=WORD,
    amount=WORD,
    currency=WORD,
    signature=WORD,
    nonce=WORD,
    valid_before=st.none() | COUNT,
)
META = UNSET | st.builds(
    frames.PaymentMeta, required=UNSET | JSON, payment=UNSET | JSON, response=UNSET | JSON, status=UNSET | WORD
)
UINT = st.integers(0, 2**256 - 1).map(str)
SIGNATURES = st.binary(min_size=65, max_size=65).map(lambda raw: f"0x{raw.hex()}")
FRAMES = st.one_of(
    st.builds(
        frames.OpenFrame,
        capability=WORD,
        input_format=WORD,
        output_mode=st.sampled_from(["stream", "unary"]),
        max_duration_ms=st.integers(1, limits.INVOKE_DURATION_CEILING_MS),
        max_input_bytes=st.integers(0, limits.INVOKE_INPUT_CEILING_BYTES),
        max_output_bytes=st.integers(0, limits.INVOKE_OUTPUT_CEILING_BYTES),
        metadata=UNSET | st.dictionaries(TEXT, JSON, max_size=3),
        meta=META,
        **AGENTS,
        **ENVELOPE,
    ),
    st.builds(frames.AcceptFrame, accepted=st.booleans(), estimated_start_ms=UNSET | COUNT, meta=META, **ENVELOPE),
    st.builds(frames.ChunkFrame, seq=COUNT, is_final_input=st.booleans(), data=JSON, **ENVELOPE),
    st.builds(frames.EventFrame, seq=COUNT, event=WORD, data=JSON, **ENVELOPE),
    st.builds(
        frames.DoneFrame,
        usage=UNSET | st.builds(frames.Usage, input_bytes=COUNT, output_bytes=COUNT, events=COUNT),
        meta=META,
        **ENVELOPE,
    ),
    st.builds(frames.ErrorFrame, code=WORD, message=TEXT, meta=META, **ENVELOPE),
    st.builds(frames.CancelFrame, reason=TEXT, **ENVELOPE),
    st.builds(frames.PaymentRequiredFrame, terms=UNSET | TERMS, meta=META, **ENVELOPE),
    st.builds(frames.PaymentProofFrame, proof=UNSET | PROOF, meta=META, **ENVELOPE),
    st.builds(frames.PaymentDueFrame, tab=COUNT, units=COUNT, amount=UINT, final=st.booleans(), **ENVELOPE),
    st.builds(
        frames.PaymentFrame,
        tab=COUNT,
        amount=UNSET | UINT,
        signature=UNSET | SIGNATURES,
        final=st.booleans(),
        meta=META,
        **ENVELOPE,
    ),
)


def reader() -> FrameReader[InvokeFrame]:
    return FrameReader(InvokeFrame, max_line=limits.INVOKE_LINE_BYTES, wide=(frames.ChunkFrame, frames.EventFrame))


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 5000), max_size=8))
def test_round_trip_however_it_is_split(sent, cuts):
    data = b"".join(write(frame, max_line=limits.INVOKE_LINE_BYTES) for frame in sent)
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    incoming = reader()
    got = [frame for start, end in pairwise(bounds) for frame in incoming.feed(data[start:end])]
    assert got == sent
    assert list(incoming.finish()) == []


@given(FRAMES)
def test_field_names(frame):
    fields = json.loads(write(frame, max_line=limits.INVOKE_LINE_BYTES))
    assert fields["type"] in FIELDS
    assert set(FIELDS[fields["type"]].split()) <= fields.keys()


@given(FRAMES, st.data())
def test_a_changed_byte_is_refused_or_read_as_another_frame(frame, data):
    line = bytearray(write(frame, max_line=limits.INVOKE_LINE_BYTES))
    line[data.draw(st.integers(0, len(line) - 2))] = data.draw(st.integers(0, 255))
    try:
        got = list(reader().feed(bytes(line)))
    except RemoteProtocolError:
        return
    for read in got:
        assert write(read, max_line=limits.INVOKE_LINE_BYTES) if isinstance(read, InvokeFrame) else read.type


def test_every_type_is_named_as_published():
    assert {type_of(frame) for frame in InvokeFrame.__args__} == FIELDS.keys()


@pytest.mark.parametrize("code", sorted(frames.CODES))
def test_the_specification_lists_every_code(code):
    spec = Path(__file__).parents[4] / "protocols" / "specs" / "invoke.md"
    assert f"`{code}`" in spec.read_text("utf-8")


@given(st.dictionaries(TEXT, st.integers() | TEXT | st.none(), max_size=4))
def test_what_a_proof_covers_does_not_depend_on_the_order_of_keys(metadata):
    def content(value: dict[str, Any]) -> bytes:
        return frames.OpenFrame(
            version=1, request_id="r", capability="c", input_format="f", output_mode="unary", metadata=value
        ).content()

    assert content(metadata) == content(dict(reversed(metadata.items())))
    assert content(metadata) != content({**metadata, "mallory": 1})
