"""Where a frame begins and ends, by the length before it."""

from __future__ import annotations

import pytest

from nexusd_protocols import varint
from nexusd_protocols.delimited import bounds
from nexusd_protocols.errors import RemoteProtocolError


def test_a_frame_is_behind_its_length():
    wire = b"before" + varint.encode(300) + bytes(300)
    assert bounds(wire, 6, 300) == (8, 308)
    assert bounds(wire[:8], 6, 300) == (8, 308), "its end need not be here"
    assert bounds(wire[:7], 6, 300) is bounds(wire[:6], 6, 300) is None


@pytest.mark.parametrize(
    ("wire", "code"), [(varint.encode(301), "too_large"), (b"\x80\x00", "bad_length"), (b"\xff" * 9, "bad_length")]
)
def test_lengths_that_are_refused(wire, code):
    with pytest.raises(RemoteProtocolError) as caught:
        bounds(wire, 0, 300)
    assert caught.value.code == code
