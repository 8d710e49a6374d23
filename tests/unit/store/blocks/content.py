"""Blocks to put into a store."""

from random import Random

from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, RAW


def raw(text: str, size: int = 0) -> Block:
    """A leaf that begins with the text, with so many bytes behind it."""
    return Block.of(RAW, text.encode() + Random(text).randbytes(size))


def node(*children: Block, name: str = "") -> Block:
    """A block that names others."""
    value = {"links": [child.cid for child in children], "name": name}
    return Block.of(DAG_CBOR, dag_cbor.encode(value), [child.cid for child in children])
