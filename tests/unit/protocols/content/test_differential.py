"""Beside `dag-cbor`, a strict implementation by others (which lets a few plain exceptions out, and knows no depth)."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.dag_cbor import DagCborError
from tests.unit.protocols.content.cbor import REFUSED, values

other = pytest.importorskip("dag_cbor")
multiformats = pytest.importorskip("multiformats")

REFUSALS = (ValueError, OverflowError, IndexError, other.decoding.CBORDecodingError)
# what the specification allows, and our records do not have
OURS_ALONE = {"float", "too_deep", "too_many_items", "too_large"}


def theirs(value):
    """Our value in their types. They know no version 0."""
    match value:
        case Cid():
            return multiformats.CID.decode(value.encode())
        case list():
            return [theirs(item) for item in value]
        case dict():
            return {key: theirs(item) for key, item in value.items()}
    return value


@given(values)
def test_both_write_the_same(value):
    wire = dag_cbor.encode(value)
    assert other.encode(theirs(value)) == wire
    assert other.decode(wire) == theirs(value)


@pytest.mark.parametrize("wire", [wire for wire, code in REFUSED.values() if code and code not in OURS_ALONE])
def test_both_refuse(wire):
    with pytest.raises(REFUSALS):
        other.decode(wire)


@given(values, st.integers(0, 400), st.integers(0, 255))
def test_of_one_byte_changed_both_make_the_same(value, at, byte):
    wire = bytearray(dag_cbor.encode(value))
    wire[at % len(wire)] = byte
    try:
        read = dag_cbor.decode(bytes(wire))
    except DagCborError as error:
        assume(error.code not in OURS_ALONE | {"bad_link"})  # hashes that we do not read
        with pytest.raises(REFUSALS):
            other.decode(bytes(wire))
    else:
        try:
            ours = theirs(read)
        except KeyError:  # a link by a codec that has no name there
            reject()
        assert other.decode(bytes(wire)) == ours
