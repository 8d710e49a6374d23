from __future__ import annotations

import struct

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.content.dag_cbor import DagCborError

CID = Cid.of(RAW, b"hello")
LINK = bytes.fromhex("d82a5825") + b"\x00" + CID.encode()

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.text(max_size=20)
    | st.binary(max_size=40)
    | st.builds(Cid.of, st.sampled_from([RAW, DAG_CBOR]), st.binary(max_size=4))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=30,
)


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


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


REFUSED = {
    "nothing": (b"", "truncated"),
    "a list that ends early": (b"\x82\x00", "truncated"),
    "text that ends early": (b"\x63ab", "truncated"),
    "a length that ends early": (b"\x19\x01", "truncated"),
    "text of 2^64 - 1 bytes": (b"\x7b" + b"\xff" * 8, "truncated"),
    "trailing bytes": (b"\x00\x00", "trailing_bytes"),
    "a long integer": (b"\x18\x17", "long_integer"),
    "a longer integer": (b"\x19\x00\xff", "long_integer"),
    "a still longer integer": (b"\x1a\x00\x00\xff\xff", "long_integer"),
    "the longest integer": (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", "long_integer"),
    "a long negative integer": (b"\x38\x00", "long_integer"),
    "a long length": (b"\x78\x01a", "long_integer"),
    "a long tag": (b"\xd9\x00\x2a" + LINK[2:], "long_integer"),
    "an indefinite list": (b"\x9f\x00\xff", "indefinite_length"),
    "an indefinite map": (b"\xbf\xff", "indefinite_length"),
    "indefinite bytes": (b"\x5f\x41a\xff", "indefinite_length"),
    "indefinite text": (b"\x7f\x61a\xff", "indefinite_length"),
    "a break by itself": (b"\xff", "indefinite_length"),
    "a float": (b"\xfb" + struct.pack(">d", 1.5), "float"),
    "a short float": (b"\xfa" + struct.pack(">f", 1.5), "float"),
    "a half float": (b"\xf9\x3e\x00", "float"),
    "not a number": (b"\xfb" + struct.pack(">d", float("nan")), "float"),
    "a date": (b"\xc1\x00", "bad_tag"),
    "a big integer": (b"\xc2\x41\x01", "bad_tag"),
    "a shared value": (b"\xd8\x1c\x80", "bad_tag"),
    "a link of text": (b"\xd8\x2a\x61a", "bad_link"),
    "a link without its zero": (b"\xd8\x2a\x58\x24" + CID.encode(), "bad_link"),
    "a link that is no CID": (b"\xd8\x2a\x42\x00\x01", "bad_link"),
    "an empty link": (b"\xd8\x2a\x40", "bad_link"),
    "a link of nothing": (b"\xd8\x2a", "truncated"),
    "a key that is a number": (b"\xa1\x00\x00", "bad_key"),
    "a key that is bytes": (b"\xa1\x41a\x00", "bad_key"),
    "a key that is a map": (b"\xa1\xa0\x00", "bad_key"),
    "unsorted keys": (b"\xa2\x61b\x00\x61a\x00", "unsorted_keys"),
    "keys sorted as a dictionary is": (b"\xa2\x62aa\x00\x61b\x00", "unsorted_keys"),
    "a key twice": (b"\xa2\x61a\x00\x61a\x01", "duplicate_key"),
    "text that is not UTF-8": (b"\x61\xff", "bad_text"),
    "text with a surrogate": (b"\x63\xed\xa0\x80", "bad_text"),
    "undefined": (b"\xf7", "bad_simple"),
    "a simple value": (b"\xe0", "bad_simple"),
    "a simple value in two bytes": (b"\xf8\xff", "bad_simple"),
    "null in two bytes": (b"\xf8\x16", "bad_simple"),
    "a reserved length": (b"\x1c", "bad_simple"),
    "33 levels": (nested(33), "too_deep"),
    "2,000 levels": (nested(2000), "too_deep"),
    "2,000 levels of maps": (b"\xa1\x60" * 2000 + b"\x00", "too_deep"),
    "a million levels": (nested(1_000_000), "too_deep"),
    "a list of 2^64 - 1": (b"\x9b" + b"\xff" * 8, "too_many_items"),
    "a map of 2^63": (b"\xbb\x80" + b"\x00" * 7, "too_many_items"),
    "65,536 in a list": (b"\x99\xff\xff" + b"\x00" * 65_535 + b"", None),
    "65,537 in a list": (b"\x9a\x00\x01\x00\x00" + b"\x00" * 65_536, "too_many_items"),
    "over 2 MiB": (b"\x5a\x00\x20\x00\x00" + b"\x00" * (2 << 20), "too_large"),
}


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
