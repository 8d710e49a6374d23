from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import varint


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=3))
def test_what_is_written_is_read(number, rest):
    raw = varint.encode(number)
    assert varint.read(raw + rest, 0) == (number, len(raw))
    assert len(raw) <= varint.MAX_BYTES


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 8])
def test_cut_short(raw):
    with pytest.raises(varint.IncompleteError):
        varint.read(raw, 0)


@pytest.mark.parametrize("raw", [b"\xff" * 10, b"\x80\x00", b"\x81\x80\x00", b"\x80" * 8 + b"\x80"])
def test_refused(raw):
    with pytest.raises(ValueError, match="varint") as caught:
        varint.read(raw, 0)
    assert not isinstance(caught.value, varint.IncompleteError)


@pytest.mark.parametrize("number", [-1, 1 << 63])
def test_too_large_to_write(number):
    with pytest.raises(ValueError, match="63"):
        varint.encode(number)
