"""UnixFS: files and directories as DAG-PB nodes over raw leaves. (specs.ipfs.tech/unixfs; specs/content.md §5)

The layout is the one of every IPFS tool by default, so that the same file has the same CID everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols import limits
from nexusd_protocols.content import dag_pb
from nexusd_protocols.content import unixfs_pb2 as pb
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import DAG_PB, RAW, Cid
from nexusd_protocols.content.names import check_name

CHUNK_BYTES: Final = 256 * limits.KIB
"""One leaf of a file, but for the last."""
WIDTH: Final = 174
"""Children of one node: with 48 bytes each, the node has 8 KiB."""

_OTHER_KINDS: Final = {
    pb.Data.Metadata: "metadata",
    pb.Data.Symlink: "symbolic link",
    pb.Data.HAMTShard: "sharded directory",
}


class Entry(msgspec.Struct, frozen=True):
    """One name in a directory. `size` is of all blocks from there on, as its writer says."""

    name: str
    cid: Cid
    size: int = 0


class Child(msgspec.Struct, frozen=True):
    """A part of a file: `size` bytes of it, as the node above says."""

    cid: Cid
    size: int


class Leaf(msgspec.Struct, frozen=True):
    """Bytes of a file, perhaps all of them."""

    data: bytes


class Inner(msgspec.Struct, frozen=True):
    """`size` bytes of a file: `data`, then those of the children. Only trickle layouts have data here."""

    children: tuple[Child, ...]
    size: int
    data: bytes = b""


class Directory(msgspec.Struct, frozen=True):
    """Names in their order. Those of a foreign directory may be any text: see `names.check_name`."""

    entries: tuple[Entry, ...]


class Other(msgspec.Struct, frozen=True):
    """Neither file nor directory; `reason` says what it is, to a person."""

    reason: str


Node: TypeAlias = Leaf | Inner | Directory | Other


class FileBuilder:
    """Bytes in, blocks out: leaves of 256 KiB, and above them nodes of 174 children each, all leaves at one depth. A
    file of one leaf is that leaf. What is held is a part of a leaf, and a row of children for each level."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = 0
        # of each level, the children that have no node above them yet, with their sizes as links
        self._levels: list[list[tuple[Child, int]]] = [[]]
        self._finished = False

    def feed(self, data: bytes) -> list[Block]:
        """The next bytes of the file, in pieces of any size. Gives the blocks that are complete."""
        assert not self._finished, "the file is finished"
        self._size += len(data)
        done: list[Block] = []
        left = memoryview(data)
        if self._buffer:
            missing = CHUNK_BYTES - len(self._buffer)
            self._buffer += left[:missing]
            left = left[missing:]
            if len(self._buffer) == CHUNK_BYTES:
                self._add_leaf(bytes(self._buffer), done)
                self._buffer.clear()
        while len(left) >= CHUNK_BYTES:
            self._add_leaf(bytes(left[:CHUNK_BYTES]), done)
            left = left[CHUNK_BYTES:]
        self._buffer += left
        return done

    def finish(self) -> tuple[list[Block], Cid, int]:
        """The last blocks, the name of the file, its bytes."""
        done: list[Block] = []
        if self._buffer or not self._size:
            self._add_leaf(bytes(self._buffer), done)
        self._finished = True
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._close(level, done)
            level += 1
        return done, self._levels[level][0][0].cid, self._size

    def _add_leaf(self, data: bytes, done: list[Block]) -> None:
        block = Block.of(RAW, data)
        done.append(block)
        self._add(0, Child(block.cid, len(data)), len(data), done)

    def _add(self, level: int, child: Child, total: int, done: list[Block]) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append((child, total))
        if len(self._levels[level]) == WIDTH:
            self._close(level, done)

    def _close(self, level: int, done: list[Block]) -> None:
        """Put a node above the children of a level."""
        children, self._levels[level] = self._levels[level], []
        size = sum(child.size for child, _ in children)
        data = pb.Data(Type=pb.Data.File, filesize=size, blocksizes=[child.size for child, _ in children])
        links = [dag_pb.Link(child.cid, "", total) for child, total in children]
        block = _block(links, data)
        done.append(block)
        self._add(level + 1, Child(block.cid, size), len(block.data) + sum(link.size for link in links), done)


def directory(entries: Sequence[Entry]) -> Block:
    """A directory of these, sorted by name. Raises ValueError for a name that no directory can have, one that comes
    twice, and more than fit into a block."""
    if len(entries) > limits.DIRECTORY_ENTRIES:
        raise ValueError(f"a directory has at most {limits.DIRECTORY_ENTRIES} entries")
    links: dict[bytes, dag_pb.Link] = {}
    for entry in entries:
        check_name(entry.name)
        name = entry.name.encode()
        if name in links:
            raise ValueError(f"the name {entry.name!r} comes twice")
        links[name] = dag_pb.Link(entry.cid, entry.name, entry.size)
    block = _block([links[name] for name in sorted(links)], pb.Data(Type=pb.Data.Directory))
    if len(block.data) > limits.BLOCK_BYTES:
        raise ValueError(f"a directory has at most {limits.BLOCK_BYTES} bytes, with all its names")
    return block


def total_size(cid: Cid, data: bytes) -> int:
    """The bytes of all blocks from this one on, as it says, up to CONTENT_SAID_BYTES: what a link to it carries. Raises
    BlockError."""
    below = sum(link.size for link in _read(data).links) if cid.codec == DAG_PB else 0
    return min(len(data) + below, limits.CONTENT_SAID_BYTES)


def read_node(cid: Cid, data: bytes) -> Node:
    """What a block is, whose bytes have been verified. Raises BlockError `bad_block` for what is not DAG-PB, and for a
    file whose sizes do not add up."""
    if cid.codec == RAW:
        return Leaf(data)
    if cid.codec != DAG_PB:
        return Other(cid.codec_name)
    node = _read(data)
    try:
        about = pb.Data.FromString(node.data or b"")
    except DecodeError:
        about = pb.Data()
    if not about.HasField("Type"):
        return Other("dag-pb")  # which anybody may use for anything
    if about.Type == pb.Data.Directory:
        return Directory(tuple(Entry(link.name, link.cid, link.size) for link in node.links))
    if about.Type not in (pb.Data.File, pb.Data.Raw):
        return Other(_OTHER_KINDS[about.Type])
    if len(node.links) > limits.FILE_CHILDREN:
        raise BlockError("bad_block", f"more than {limits.FILE_CHILDREN} parts in one node")
    if len(about.blocksizes) != len(node.links):
        raise BlockError("bad_block", "a file has one size for each of its parts")
    size = len(about.Data) + sum(about.blocksizes)
    if about.HasField("filesize") and about.filesize != size:
        raise BlockError("bad_block", f"the parts of a file have {size} bytes and not {about.filesize}")
    if not node.links:
        return Leaf(about.Data)
    children = tuple(Child(link.cid, part) for link, part in zip(node.links, about.blocksizes, strict=True))
    return Inner(children, size, about.Data)


def _block(links: Sequence[dag_pb.Link], data: pb.Data) -> Block:
    raw = dag_pb.encode(links, data.SerializeToString(deterministic=True))
    return Block.of(DAG_PB, raw, (link.cid for link in links))


def _read(data: bytes) -> dag_pb.Node:
    try:
        return dag_pb.decode(data)
    except dag_pb.DagPbError as error:
        raise BlockError("bad_block", str(error)) from error
