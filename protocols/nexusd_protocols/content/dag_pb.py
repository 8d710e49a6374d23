"""DAG-PB: the nodes of which files and directories are made. (ipld.io/specs/codecs/dag-pb; specs/content.md §4)"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols.content import merkledag_pb2 as pb
from nexusd_protocols.content.cid import Cid


class DagPbError(ValueError):
    """Bytes that are no DAG-PB."""


class Link(msgspec.Struct, frozen=True):
    """What is below a node. `size` is of all blocks from there on, as its writer says; nobody has checked it."""

    cid: Cid
    name: str = ""
    size: int = 0


class Node(msgspec.Struct, frozen=True):
    """`data` is UnixFS's, or None."""

    links: tuple[Link, ...] = ()
    data: bytes | None = None


def encode(links: Iterable[Link], data: bytes | None) -> bytes:
    """The block. Links keep the order in which they are given."""
    wire = pb.PBNode()
    for link in links:
        wire.Links.add(Hash=link.cid.encode(), Name=link.name, Tsize=link.size)
    return _serialized(wire, data)


def decode(raw: bytes) -> Node:
    """Read a block. Only canonical protobuf is taken; the data may come before the links, as old writers have it.
    Raises DagPbError."""
    try:
        wire = pb.PBNode.FromString(raw)
    except DecodeError as error:
        raise DagPbError(str(error)) from error
    data = wire.Data if wire.HasField("Data") else None
    wire.ClearField("Data")
    wire.DiscardUnknownFields()
    if raw not in (_serialized(wire, data), _serialized(wire, data, data_first=True)):
        raise DagPbError("fields in another order, unknown, or longer than they need to be")
    return Node(tuple(_link(link) for link in wire.Links), data)


def _serialized(links: pb.PBNode, data: bytes | None, *, data_first: bool = False) -> bytes:
    # protobuf writes fields by their number, DAG-PB wants the links first: two messages one behind the other are one
    first = links.SerializeToString(deterministic=True)
    second = b"" if data is None else pb.PBNode(Data=data).SerializeToString(deterministic=True)
    return second + first if data_first else first + second


def _link(link: pb.PBLink) -> Link:
    if not isinstance(link.Name, str):
        # protobuf gives bytes that are not UTF-8 as they are, whatever its types say
        raise DagPbError("a name that is not UTF-8")
    try:
        return Link(Cid.decode(link.Hash), link.Name, link.Tsize)
    except ValueError as error:
        raise DagPbError(f"a link that is no CID: {error}") from error
