"""A file, or a part of it, out of its blocks, which may come in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.content.block import BlockError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.unixfs import Inner, Leaf, read_node

DEPTH: Final = 32
"""Nodes one below the other. Of 174 children each, 8 hold all there is; trickle layouts go a little deeper."""


@dataclass(slots=True)
class _Piece:
    """A part of the file, in a chain in the order of the file. `size` is what the node above says, -1 of the root;
    `data` is there once the piece is a leaf that came."""

    cid: Cid
    offset: int
    size: int
    depth: int
    next: _Piece | None = None
    asked: bool = False
    data: bytes | None = None


class RangeReader:
    """Reads the bytes [start, end) of a file; `end` None is its end, and what is behind it is nothing.

    Ask `wanted` for the next blocks, `take` them as they come, write what that returns. No more blocks are held than
    `wanted` was asked for, and one: so a block that is long in coming stops the others and does not let them pile up.
    """

    def __init__(self, root: Cid, start: int = 0, end: int | None = None) -> None:
        if start < 0 or (end is not None and end < start):
            raise ValueError("a range begins at 0 or later, and ends where it begins or later")
        self._start = start
        self._end = end
        self._size: int | None = None
        self._first: _Piece | None = _Piece(root, 0, -1, 0)
        # asked for and not here yet, by name: a file may have one block in many places
        self._asked: dict[Cid, list[_Piece]] = {}
        # asked for, and not returned yet
        self._held = 0
        self._pieces = 1

    @property
    def size(self) -> int | None:
        """Bytes of the whole file, once its first block came."""
        return self._size

    @property
    def done(self) -> bool:
        """Has everything been returned?"""
        return self._first is None

    def wanted(self, most: int) -> list[Cid]:
        """The next blocks that have not come, in the order of the file, each once: among them those asked for before.
        At most `most` pieces of the file are asked for or held at a time."""
        found: dict[Cid, None] = {}
        piece = self._first
        for _ in range(most):
            if piece is None:
                break
            if not piece.asked and (self._held < most or piece is self._first):
                piece.asked = True
                self._held += 1
                self._asked.setdefault(piece.cid, []).append(piece)
            if piece.asked and piece.data is None:
                found[piece.cid] = None
            piece = piece.next
        return list(found)

    def take(self, cid: Cid, data: bytes) -> list[bytes]:
        """Take a block that was wanted, and whose bytes have been verified; one that is not wanted changes nothing.
        Gives the bytes that are now next in the file. Raises BlockError: `not_a_file`, `bad_block` for sizes that do
        not add up and for nodes below nodes without end."""
        for piece in self._asked.pop(cid, ()):
            self._read(piece, data)
        out: list[bytes] = []
        while self._first is not None and self._first.data is not None:
            if self._first.data:
                out.append(self._first.data)
            self._held -= self._first.asked
            self._pieces -= 1
            self._first = self._first.next
        return out

    def _read(self, piece: _Piece, data: bytes) -> None:
        """Put in the place of a piece what is in it."""
        node = read_node(piece.cid, data)
        if not isinstance(node, Leaf | Inner):
            raise BlockError("not_a_file", f"{piece.cid} is not a file, nor part of one")
        size = len(node.data) if isinstance(node, Leaf) else node.size
        if piece.size < 0:
            self._size = size
        elif piece.size != size:
            raise BlockError("bad_block", f"{piece.cid} has {size} bytes and not {piece.size}, as the node above says")
        data = self._cut(node.data, piece.offset)
        if isinstance(node, Leaf):
            piece.data = data
            return
        if piece.depth == DEPTH:
            raise BlockError("bad_block", f"more than {DEPTH} nodes one below the other")
        parts = self._parts(piece, node)
        if data or not parts:
            piece.data = data
        else:
            # a node that has no bytes itself gives its place to its first part
            first = parts.pop(0)
            piece.cid, piece.offset, piece.size, piece.depth = first.cid, first.offset, first.size, first.depth
            piece.asked = False
            self._held -= 1
        self._pieces += len(parts)
        if self._pieces > limits.FILE_PIECES:
            raise BlockError("bad_block", f"more than {limits.FILE_PIECES} parts before the next byte")
        for part in parts:
            part.next, piece.next = piece.next, part
            piece = part

    def _parts(self, piece: _Piece, node: Inner) -> list[_Piece]:
        """What is below a node, in the range, and not empty: nodes of nothing could go on for ever."""
        found: list[_Piece] = []
        offset = piece.offset + len(node.data)
        for child in node.children:
            if child.size and offset + child.size > self._start and (self._end is None or offset < self._end):
                found.append(_Piece(child.cid, offset, child.size, piece.depth + 1))
            offset += child.size
        return found

    def _cut(self, data: bytes, offset: int) -> bytes:
        end = len(data) if self._end is None else max(self._end - offset, 0)
        return data[max(self._start - offset, 0) : end]
