from __future__ import annotations

import struct

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.dag_cbor import DagCborError
from tests.unit.protocols.content.cbor import CID, LINK, REFUSED, nested, values


@given(values)
def test_a_value_comes_back(value):
    wire = dag_cbor.encode(value)
    again = dag_cbor.decode(wire)
    assert again == value
    assert dag_cbor.encode(again) == wire


@given(values)
def test_links_are_found_wherever_they_are(value):
    def below(item):
        if isinstance(item, Cid):
            yield item
        for inner in item if isinstance(item, list) else item.values() if isinstance(item, dict) else ():
            yield from below(inner)

    assert sorted(dag_cbor.links(dag_cbor.encode(value))) == sorted(below(value))


@given(st.binary(max_size=60) | st.builds(cbor2.dumps, values.map(repr) | st.floats() | st.dates() | st.integers()))
def test_what_is_read_has_no_other_encoding(wire):
    try:
        value = dag_cbor.decode(wire)
    except DagCborError:
        return
    assert dag_cbor.encode(value) == wire


@given(values, st.integers(0, 400), st.integers(0, 255))
def test_one_byte_changed_is_another_value_or_none(value, at, byte):
    wire = bytearray(dag_cbor.encode(value))
    wire[at % len(wire)] = byte
    try:
        read = dag_cbor.decode(bytes(wire))
    except DagCborError:
        return
    assert dag_cbor.encode(read) == bytes(wire)


@pytest.mark.parametrize(("wire", "code"), REFUSED.values(), ids=REFUSED)
def test_one_encoding_only(wire, code):
    if code is None:
        dag_cbor.decode(wire)
        return
    for read in (dag_cbor.decode, *([] if code == "float" else [dag_cbor.links])):
        with pytest.raises(DagCborError) as caught:
            read(wire)
        assert caught.value.code == code


def test_32_levels_are_read():
    assert dag_cbor.encode(dag_cbor.decode(nested(32))) == nested(32)


def test_others_may_write_floats_beside_links():
    wire = b"\x82" + b"\xfb" + struct.pack(">d", 1.5) + LINK
    assert dag_cbor.links(wire) == [CID]
    for float_ in (b"\xfa" + struct.pack(">f", 1.5), b"\xfb" + struct.pack(">d", float("inf"))):
        with pytest.raises(DagCborError, match="float"):
            dag_cbor.links(float_)


def endless() -> list:
    value: list = []
    value.append(value)
    return value


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1.5, "bad_type"),
        ([{1}], "bad_type"),
        (bytearray(b"a"), "bad_type"),
        ({1: 2}, "bad_key"),
        ({b"a": 2}, "bad_key"),
        (1 << 64, "bad_integer"),
        (-(1 << 64) - 1, "bad_integer"),
        ("\ud800", "bad_text"),
        ({"\ud800": 1}, "bad_text"),
        (deep(33), "too_deep"),
        (deep(100_000), "too_deep"),
        (endless(), "too_deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_encoding(value, code):
    with pytest.raises(DagCborError) as caught:
        dag_cbor.encode(value)
    assert caught.value.code == code


def test_known_bytes():
    assert dag_cbor.encode({"bb": 1, "a": [None, True], "c": CID}).hex() == "a3616182f6f56163" + LINK.hex() + "62626201"
