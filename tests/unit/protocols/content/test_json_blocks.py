from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import DAG_CBOR, DAG_JSON, JSON, RAW
from nexusd_protocols.content.json_blocks import block_of, encode_json, read_value

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_a_value_comes_back(value):
    block = block_of(value)
    if isinstance(value, str):
        assert (block.cid.codec, read_value(block)) == (RAW, value.encode())
    else:
        assert (block.cid.codec, read_value(block)) == (JSON, value)
        assert json.loads(block.data) == value
        assert encode_json(read_value(block)) == block.data


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, "\ud800", {"\ud800": 1}, {1: 2}, b"bytes", {"x": b""}, [object()]],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json(value):
    with pytest.raises(ValueError, match=r"JSON|text|surrogates"):
        encode_json(value)


def test_depth_and_size_are_bounded():
    value: list = []
    for _ in range(limits.JSON_DEPTH - 1):
        value = [value]
    assert read_value(block_of(value)) == value
    with pytest.raises(ValueError, match="levels"):
        encode_json([value])
    with pytest.raises(ValueError, match="bytes"):
        block_of("x" * (limits.BLOCK_BYTES + 1))


def test_dag_json_is_read_and_others_are_not():
    assert read_value(Block.of(DAG_JSON, b'{"a": 1}')) == {"a": 1}
    assert read_value(block_of(b"\xff")) == b"\xff"
    for block in (Block.of(JSON, b"{"), Block.of(DAG_CBOR, dag_cbor.encode({}))):
        with pytest.raises(BlockError) as caught:
            read_value(block)
        assert caught.value.code == "bad_block"
