from __future__ import annotations

import hashlib
import json

import pytest

from nexusd_protocols.content import dag_cbor, json_blocks
from nexusd_protocols.content.block import read_block
from nexusd_protocols.content.cid import DAG_CBOR, JSON, RAW, Cid
from nexusd_protocols.content.dag_cbor import DagCborError
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import Directory, Entry, FileBuilder, directory, read_node
from tests.harness.filebytes import file_bytes, file_pieces
from tests.harness.vectors import named, vectors

VECTORS = vectors("content")


@pytest.mark.parametrize("row", **named(VECTORS["cids"]))
def test_cids(row):
    cid = Cid(row["codec"], bytes.fromhex(row["digest"]), row["version"])
    assert Cid.parse(row["cid"]) == cid == Cid.decode(bytes.fromhex(row["binary"]))
    assert cid.encode().hex() == row["binary"]


@pytest.mark.parametrize("row", **named(VECTORS["notCids"]))
def test_not_cids(row):
    with pytest.raises(ValueError, match="not a CID"):
        Cid.parse(row["cid"])


def plain(value):
    """Out of DAG-JSON."""
    match value:
        case {"/": str(text)}:
            return Cid.parse(text)
        case {"/": {"bytes": text}}:
            return bytes.fromhex(text)
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
    return value


@pytest.mark.parametrize("row", **named(VECTORS["dagCbor"]))
def test_dag_cbor(row):
    value, block = plain(row["value"]), bytes.fromhex(row["block"])
    assert dag_cbor.decode(block) == value
    assert dag_cbor.encode(value) == block
    assert str(Cid.of(DAG_CBOR, block)) == row["cid"]


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_refused(row):
    with pytest.raises(DagCborError) as caught:
        dag_cbor.decode(bytes.fromhex(row["block"]))
    assert caught.value.code == row["code"]


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] * (row["size"] > 10**7), id=row["name"]) for row in VECTORS["files"]],
)
def test_files(row):
    builder = FileBuilder()
    for piece in file_pieces(row["size"]):
        builder.feed(piece)
    _, root, size = builder.finish()
    assert (str(root), size) == (row["cid"], row["size"])


@pytest.mark.parametrize("row", **named(VECTORS["directories"]))
def test_directories(row):
    block = directory([Entry(entry["name"], Cid.parse(entry["cid"]), entry["size"]) for entry in row["entries"]])
    assert (str(block.cid), block.data.hex()) == (row["cid"], row["block"])
    node = read_node(block.cid, block.data)
    assert isinstance(node, Directory)
    assert sorted(entry.name for entry in node.entries) == sorted(entry["name"] for entry in row["entries"])


@pytest.mark.parametrize("row", **named(VECTORS["trees"]))
def test_trees(row):
    blocks = {hashlib.sha256(data).digest(): data for data in map(bytes.fromhex, row["blocks"])}
    content = file_bytes(row["size"])
    for start, end in ((0, None), (0, 1), (17, 83), (row["size"] - 1, None), (33, 34)):
        reader = RangeReader(Cid.parse(row["root"]), start, end)
        read = b""
        while not reader.done:
            for cid in reader.wanted(4):
                read += b"".join(reader.take(cid, read_block(cid, blocks[cid.digest]).data))
        assert read == content[start:end]
        assert reader.size == row["size"]


@pytest.mark.parametrize("row", **named(VECTORS["json"]))
def test_json(row):
    data = row["text"].encode()
    value = json.loads(row["text"]) if row["codec"] == "json" else row["text"]
    block = json_blocks.block_of(value)
    assert (str(block.cid), block.data) == (row["cid"], data)
    assert block.cid.codec == (JSON if row["codec"] == "json" else RAW)
    read = json_blocks.read_value(read_block(block.cid, data))
    assert read == (value if row["codec"] == "json" else data)
