"""A block: bytes under their name, and which others they name. (specs/content.md §2)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor, dag_json, dag_pb
from nexusd_protocols.content.cid import DAG_CBOR, DAG_JSON, DAG_PB, Cid

MAX_BLOCK_BYTES: Final = limits.BLOCK_BYTES


class BlockError(ValueError):
    """Bytes that are not this block. `code` is one of: `block_mismatch` (another block's, or nobody's),
    `block_too_large`, `bad_block` (its codec does not allow them)."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Block:
    """`data` has been checked against `cid`, or was what `cid` was made of. `links` are in the order of their first
    occurrence, each once."""

    cid: Cid
    data: bytes
    links: tuple[Cid, ...] = ()

    @classmethod
    def of(cls, codec: int, data: bytes, links: Iterable[Cid] = ()) -> Block:
        """A block of what this program has made."""
        return cls(Cid.of(codec, data), data, tuple(dict.fromkeys(links)))


def read_block(cid: Cid, data: bytes, *, max_bytes: int = MAX_BLOCK_BYTES) -> Block:
    """Take bytes that somebody says are this block. Of codecs that are not known here no links are read; that is no
    fault. Raises BlockError."""
    if len(data) > max_bytes:
        raise BlockError("block_too_large", f"over {max_bytes} bytes")
    if not cid.verifies(data):
        raise BlockError("block_mismatch", f"these bytes are not {cid}")
    try:
        links = _links(cid.codec, data, max_bytes)
    except ValueError as error:
        raise BlockError("bad_block", str(error)) from error
    return Block(cid, data, tuple(dict.fromkeys(links)))


def _links(codec: int, data: bytes, max_bytes: int) -> Iterable[Cid]:
    if codec == DAG_CBOR:
        return dag_cbor.links(data, max_bytes=max_bytes)
    if codec == DAG_PB:
        return [link.cid for link in dag_pb.decode(data).links]
    if codec == DAG_JSON:
        return dag_json.links(data)
    return ()
