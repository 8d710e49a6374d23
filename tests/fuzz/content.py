"""Blocks of any codec: the first byte picks what the rest is read as."""

from __future__ import annotations

import contextlib

from nexusd_protocols.content import dag_cbor, dag_json, dag_pb, json_blocks
from nexusd_protocols.content.block import BlockError, read_block
from nexusd_protocols.content.cid import DAG_CBOR, DAG_JSON, DAG_PB, JSON, RAW, Cid
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import read_node
from tests.harness.vectors import vectors

_VECTORS = vectors("content")
_CODECS = (DAG_CBOR, DAG_PB, DAG_JSON, JSON, RAW)
SEEDS = (
    [b"\x00" + bytes.fromhex(row["block"]) for rows in ("dagCbor", "refused") for row in _VECTORS[rows]]
    + [b"\x01" + bytes.fromhex(row["block"]) for row in _VECTORS["directories"]]
    + [b"\x01" + bytes.fromhex(block) for row in _VECTORS["trees"] for block in row["blocks"]]
    + [b"\x02" + row["text"].encode() for row in _VECTORS["json"]]
    + [b"\x05" + row["cid"].encode() for rows in ("cids", "notCids") for row in _VECTORS[rows]]
    + [b"\x06" + bytes.fromhex(row["binary"]) for row in _VECTORS["cids"]]
)


def target(data: bytes) -> None:
    pick, rest = data[:1], data[1:]
    if pick == b"\x05":
        with contextlib.suppress(ValueError):
            text = rest.decode(errors="replace")
            assert Cid.decode(Cid.parse(text).encode()) == Cid.parse(text)
        return
    if pick == b"\x06":
        with contextlib.suppress(ValueError):
            assert Cid.decode(rest).encode() == rest
        return
    cid = Cid.of(_CODECS[pick[0] % len(_CODECS)] if pick else RAW, rest)
    try:
        block = read_block(cid, rest)
    except BlockError:
        return
    with contextlib.suppress(BlockError):
        json_blocks.read_value(block)
    if cid.codec == DAG_CBOR:
        with contextlib.suppress(dag_cbor.DagCborError):
            assert dag_cbor.encode(dag_cbor.decode(rest)) == rest
    if cid.codec == DAG_PB:
        node = dag_pb.decode(rest)
        assert dag_pb.decode(dag_pb.encode(node.links, node.data)) == node
    if cid.codec == DAG_JSON:
        assert set(dag_json.links(rest)) == set(block.links)
    with contextlib.suppress(BlockError):
        read_node(cid, rest)
        reader = RangeReader(cid, 1, 1000)
        reader.wanted(4)
        reader.take(cid, rest)
        assert len(reader.wanted(4)) <= 4
