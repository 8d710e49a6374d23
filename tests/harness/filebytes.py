"""Bytes of files that anybody can make again: SHA-256 of 0, 1, 2 …, one behind the other (vectors/content.json)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from nexusd_protocols.content.unixfs import FileBuilder


def file_bytes(size: int) -> bytes:
    """The first `size` of them."""
    return b"".join(file_pieces(size))


def file_pieces(size: int, piece: int = 1 << 20) -> Iterator[bytes]:
    """The same, a piece at a time."""
    number = 0
    for start in range(0, size, piece):
        wanted = min(piece, size - start)
        digests = -(-wanted // 32)
        yield b"".join(hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(number, number + digests))[:wanted]
        number += digests


def built(data: bytes) -> tuple[str, dict]:
    """The CID of a file and its blocks by CID."""
    builder = FileBuilder()
    blocks = builder.feed(data)
    last, root, _size = builder.finish()
    return root, {block.cid: block for block in blocks + last}
