from __future__ import annotations

import pytest

from nexusd_protocols.content import dag_cbor, dag_pb
from nexusd_protocols.content.block import MAX_BLOCK_BYTES, Block, BlockError, read_block
from nexusd_protocols.content.cid import DAG_CBOR, DAG_JSON, DAG_PB, JSON, RAW, Cid

A, B = Cid.of(RAW, b"a"), Cid.of(RAW, b"b")

BLOCKS = {
    "raw": (RAW, b"anything", ()),
    "dag-cbor": (DAG_CBOR, dag_cbor.encode([B, {"x": A}, B]), (B, A)),
    "dag-pb": (DAG_PB, dag_pb.encode([dag_pb.Link(A, "a", 1), dag_pb.Link(B, "b", 1)], None), (A, B)),
    "dag-json": (DAG_JSON, f'[{{"/":"{A}"}},{{"/":{{"bytes":"aGk"}}}},{{"/":"no link","and":1}}]'.encode(), (A,)),
    "json, which has no links": (JSON, f'{{"/":"{A}"}}'.encode(), ()),
    "a codec that nobody here knows": (0x0300, b"\xff\xff", ()),
}


@pytest.mark.parametrize(("codec", "data", "links"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_is_what_its_name_says(codec, data, links):
    cid = Cid.of(codec, data)
    assert read_block(cid, data) == Block(cid, data, links) == Block.of(codec, data, links)


def test_it_is_no_other():
    with pytest.raises(BlockError) as caught:
        read_block(A, b"b")
    assert caught.value.code == "block_mismatch"


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (DAG_CBOR, b"\x18\x01"),
        (DAG_CBOR, b"\x81" * 2000 + b"\x00"),
        (DAG_PB, b"\xff"),
        (DAG_PB, dag_pb.encode([dag_pb.Link(A)], b"") + b"\x1a\x00"),
        (DAG_PB, b"\x12\x04\x0a\x02ab"),
        (DAG_JSON, b"{"),
        (DAG_JSON, b'{"/":"no CID"}'),
        (DAG_JSON, b"[" * 2000 + b"]" * 2000),
    ],
)
def test_bytes_that_the_codec_does_not_allow(codec, data):
    with pytest.raises(BlockError) as caught:
        read_block(Cid.of(codec, data), data)
    assert caught.value.code == "bad_block"


def test_size_comes_before_everything():
    data = b"x" * (MAX_BLOCK_BYTES + 1)
    with pytest.raises(BlockError) as caught:
        read_block(Cid.of(RAW, data), data)
    assert caught.value.code == "block_too_large"
    assert read_block(Cid.of(RAW, data[1:]), data[1:]).data == data[1:]
