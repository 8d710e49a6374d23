"""Messages, and the stream that carries them: each after its length, an unsigned varint. (specs/bitswap.md §2)"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols import delimited, limits, varint
from nexusd_protocols.bitswap import message_pb2 as pb
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import RemoteProtocolError

_SHA2_256: Final = 0x12
_DIGEST_BYTES: Final = 32
_VARINT_BYTES: Final = 10
_CRUMB_BYTES: Final = 1024
_PAYLOAD_TAG: Final = bytes((3 << 3 | 2,))
_DATA_TAG: Final = bytes((2 << 3 | 2,))


class Kind(IntEnum):
    """What is wanted: the block, or word of whether it is there."""

    BLOCK = 0
    HAVE = 1


class Want(msgspec.Struct, frozen=True):
    """`answer`: the peer is to say so if the block is not there. The highest priority goes first."""

    cid: Cid
    kind: Kind = Kind.BLOCK
    priority: int = 1
    answer: bool = True


class Payload(msgspec.Struct, frozen=True):
    """A block. Its name was made from its bytes, so they fit; whether anybody asked for it is another matter."""

    cid: Cid
    data: bytes


class Message(msgspec.Struct, frozen=True):
    """What one side tells the other: what it wants and no longer wants, what it has and has not, and blocks.

    `full`: the wants are all there are, and not an addition. `foreign` are binary CIDs with another hash function than
    SHA-256: read, those of which the sender would know that they are not here; written, those that are not here.
    `strays` counts the blocks read with such a hash function, which nobody here can have asked for.
    """

    wants: tuple[Want, ...] = ()
    cancels: tuple[Cid, ...] = ()
    full: bool = False
    blocks: tuple[Payload, ...] = ()
    haves: tuple[Cid, ...] = ()
    lacks: tuple[Cid, ...] = ()
    foreign: tuple[bytes, ...] = ()
    strays: int = 0

    @property
    def entries(self) -> int:
        """How much there is to do about it."""
        said = len(self.wants) + len(self.cancels) + len(self.haves) + len(self.lacks)
        return said + len(self.foreign) + len(self.blocks) + self.strays


def encode(message: Message) -> bytes:
    """The protobuf, without a length before it."""
    return b"".join(_pieces(message))


def _pieces(message: Message) -> list[bytes]:
    wire = pb.Message()
    for want in message.wants:
        wire.wantlist.entries.add(
            block=want.cid.encode(), priority=want.priority, wantType=want.kind.value, sendDontHave=want.answer
        )
    for cid in message.cancels:
        wire.wantlist.entries.add(block=cid.encode(), cancel=True)
    # also where it is empty: go-bitswap looks into it without asking whether it is there
    wire.wantlist.full = message.full
    for cid in message.haves:
        wire.blockPresences.add(cid=cid.encode(), type=pb.Message.Have)
    for raw in (*(cid.encode() for cid in message.lacks), *message.foreign):
        wire.blockPresences.add(cid=raw, type=pb.Message.DontHave)
    pieces = [wire.SerializeToString()]
    for block in message.blocks:
        # by hand: protobuf copies twice what is most of the message
        head = pb.Message.Block(prefix=_prefix(block.cid)).SerializeToString()
        head += _DATA_TAG + varint.encode(len(block.data)) if block.data else b""
        pieces += (_PAYLOAD_TAG + varint.encode(len(head) + len(block.data)) + head, block.data)
    return pieces


def decode(raw: bytes | memoryview) -> Message:
    """Read one message. What is beyond the bounds in number is not looked at, and no fault; of several entries about
    one CID the last counts. Raises RemoteProtocolError: `bad_protobuf`, `too_many_entries`, `bad_cid`,
    `block_too_large`."""
    _check_number(raw)
    try:
        wire = pb.Message.FromString(raw)  # type: ignore[arg-type] # it takes any buffer
    except DecodeError as error:
        raise RemoteProtocolError("bad_protobuf", str(error), penalty=10) from error
    wants, foreign = _wanted(wire.wantlist)
    haves, lacks = _presences(wire)
    blocks = [block for block in (_payload(entry) for entry in wire.payload) if block is not None]
    return Message(
        tuple(want for want in wants if isinstance(want, Want)),
        tuple(cid for cid in wants if isinstance(cid, Cid)),
        wire.wantlist.full,
        tuple(blocks),
        haves,
        lacks,
        foreign,
        len(wire.payload) - len(blocks),
    )


class MessageStream:
    """A stream machine for both sides: events and commands are messages. Nothing is ever sent on a stream by the side
    that did not open it."""

    def __init__(self, max_bytes: int = limits.BITSWAP_MESSAGE_BYTES) -> None:
        self._max = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0
        # with fewer bytes there is nothing new to find
        self._needed = 1

    def receive(self, data: bytes) -> list[Message]:
        """As `StreamMachine.receive`. Raises also `bad_length` and `too_large`."""
        if self._chunks and len(self._chunks[-1]) < _CRUMB_BYTES:
            self._chunks[-1] += data  # or each octet of a message would be an object
        else:
            self._chunks.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return []
        buffer = b"".join(self._chunks)
        view = memoryview(buffer)
        found: list[Message] = []
        at = 0
        self._needed = 0
        while len(found) < limits.LINES_PER_READ:
            bounds = delimited.bounds(buffer, at, self._max)
            if bounds is None or bounds[1] > len(buffer):
                self._needed = len(buffer) - at + 1 if bounds is None else bounds[1] - at
                break
            found.append(decode(view[slice(*bounds)]))
            at = bounds[1]
        self._chunks = [buffer[at:]]
        self._size = len(buffer) - at
        return found

    def receive_eof(self) -> list[Message]:
        """As `StreamMachine.receive_eof`. Raises `cut_short`."""
        if self._size:
            raise RemoteProtocolError("cut_short", "the stream ended within a message")
        return []

    def send(self, command: Message) -> bytes:
        """The message with its length."""
        pieces = _pieces(command)
        return b"".join((varint.encode(sum(map(len, pieces))), *pieces))


def _check_number(raw: bytes | memoryview) -> None:
    """Refuse what would become far more objects than it has bytes to show for, before it does."""
    left = limits.BITSWAP_FIELDS
    for field, start, end in _fields(raw, 0, len(raw)):
        left -= 1
        if field == 1:
            for _ in _fields(raw, start, end):
                left -= 1
                if left < 0:
                    break
        if left < 0:
            raise RemoteProtocolError("too_many_entries", f"over {limits.BITSWAP_FIELDS}", penalty=10)


def _fields(raw: bytes | memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field of a protobuf message. Raises RemoteProtocolError `bad_protobuf`."""
    while at < end:
        tag, at = _number(raw, at)
        start = at
        match tag & 7:
            case 0:
                _value, at = _number(raw, at)
            case 1:
                at += 8
            case 2:
                length, start = _number(raw, at)
                at = start + length
            case 5:
                at += 4
            case _:
                raise RemoteProtocolError("bad_protobuf", "groups are in no message", penalty=10)
        if at > end:
            raise RemoteProtocolError("bad_protobuf", "a field ends behind its message", penalty=10)
        yield tag >> 3, start, at


def _number(raw: bytes | memoryview, at: int) -> tuple[int, int]:
    """A varint as protobuf has them, which may be longer than they need to be."""
    value = 0
    for index, byte in enumerate(raw[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise RemoteProtocolError("bad_protobuf", "a number without an end", penalty=10)


def _wanted(wire: pb.Message.Wantlist) -> tuple[list[Want | Cid], tuple[bytes, ...]]:
    """Wants, and the CIDs of cancelled ones; and what is wanted by another hash function, with an answer."""
    wanted: dict[bytes, Want | Cid] = {}
    foreign: dict[bytes, None] = {}
    for entry in islice(wire.entries, limits.BITSWAP_ENTRIES):
        cid = _cid(entry.block)
        if cid is None:
            if entry.sendDontHave and not entry.cancel:
                foreign[entry.block] = None
            continue
        # a later word about the same block takes the place of an earlier one
        wanted.pop(cid.digest, None)
        if entry.cancel:
            wanted[cid.digest] = cid
        else:
            kind = Kind.HAVE if entry.wantType == pb.Message.Wantlist.Have else Kind.BLOCK
            wanted[cid.digest] = Want(cid, kind, entry.priority, entry.sendDontHave)
    return list(wanted.values()), tuple(foreign)


def _presences(wire: pb.Message) -> tuple[tuple[Cid, ...], tuple[Cid, ...]]:
    haves: list[Cid] = []
    lacks: list[Cid] = []
    for entry in islice(wire.blockPresences, limits.BITSWAP_ENTRIES):
        cid = _cid(entry.cid)
        if cid is not None:
            (haves if entry.type == pb.Message.Have else lacks).append(cid)
    return tuple(haves), tuple(lacks)


def _cid(raw: bytes) -> Cid | None:
    """None for one with another hash function."""
    try:
        return Cid.decode(raw)
    except ValueError as error:
        if _is_foreign(raw):
            return None
        raise RemoteProtocolError("bad_cid", str(error), penalty=10) from error


def _is_foreign(raw: bytes) -> bool:
    """Is it a CID of version 1, whose hash function is not SHA-256?"""
    if len(raw) > limits.BITSWAP_CID_BYTES:
        return False
    try:
        version, at = varint.read(raw, 0)
        _codec, at = varint.read(raw, at)
        function, at = varint.read(raw, at)
        length, at = varint.read(raw, at)
    except ValueError:
        return False
    return version == 1 and function != _SHA2_256 and length == len(raw) - at


def _payload(entry: pb.Message.Block) -> Payload | None:
    """None for a block with another hash function."""
    data = entry.data
    if len(data) > limits.BLOCK_BYTES:
        raise RemoteProtocolError("block_too_large", f"over {limits.BLOCK_BYTES} bytes")
    try:
        version, at = varint.read(entry.prefix, 0)
        codec, at = varint.read(entry.prefix, at)
        function, at = varint.read(entry.prefix, at)
        length, at = varint.read(entry.prefix, at)
        if at != len(entry.prefix):
            raise ValueError("the prefix of a CID has four numbers")
        if (function, length) != (_SHA2_256, _DIGEST_BYTES):
            return None
        return Payload(Cid(codec, hashlib.sha256(data).digest(), version), data)
    except ValueError as error:
        raise RemoteProtocolError("bad_cid", str(error), penalty=10) from error


def _prefix(cid: Cid) -> bytes:
    return bytes((cid.version,)) + varint.encode(cid.codec) + bytes((_SHA2_256, _DIGEST_BYTES))
