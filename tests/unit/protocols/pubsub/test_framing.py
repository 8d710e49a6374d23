from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.utils.varint import encode_uvarint

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.pubsub.framing import FrameBuffer


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(0, 2000), max_size=10))
def test_frames_survive_any_cut(frames, cuts):
    wire = b"".join(encode_uvarint(len(frame)) + frame for frame in frames)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    buffer = FrameBuffer(1000)
    got = [frame for start, end in itertools.pairwise(edges) for frame in buffer.feed(wire[start:end])]
    assert got == frames


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\xe9\x07", "rpc_too_large"),
        (b"\xff\xff\xff\xff\x7f", "rpc_too_large"),
        (b"\x80\x80\x80\x80\x01", "bad_length"),
    ],
)
def test_lengths_that_are_refused(wire, code):
    with pytest.raises(RemoteProtocolError) as caught:
        FrameBuffer(1000).feed(wire)
    assert caught.value.code == code


def test_the_largest_frame():
    assert FrameBuffer(1000).feed(encode_uvarint(1000) + bytes(1000)) == [bytes(1000)]


@given(st.binary(max_size=500))
def test_any_bytes_are_frames_or_a_named_refusal(data):
    code = ""
    try:
        for frame in FrameBuffer(100).feed(data):
            assert len(frame) <= 100
    except RemoteProtocolError as error:
        code = error.code
    assert code in ("", "rpc_too_large", "bad_length")
