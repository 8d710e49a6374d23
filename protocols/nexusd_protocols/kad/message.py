"""Messages, and the stream that carries them: each after its length, an unsigned varint. (specs/kad.md §2)"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols import delimited, limits, varint
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import peer_id_bytes
from nexusd_protocols.kad import kademlia_pb2 as pb
from nexusd_protocols.kad.contact import Contact, peer_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(IntEnum):
    """What is asked."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


class Record(msgspec.Struct, frozen=True):
    """A value under its key. `received_at` is told and never believed: unix milliseconds."""

    key: bytes
    value: bytes
    received_at: int = 0


class Message(msgspec.Struct, frozen=True):
    """A question or its answer."""

    kind: Kind
    key: bytes = b""
    record: Record | None = None
    closer: tuple[Contact, ...] = ()
    providers: tuple[Contact, ...] = ()


def encode(message: Message) -> bytes:
    """The protobuf, without a length before it."""
    wire = pb.Message(type=message.kind.name, key=message.key)
    if message.record is not None:
        record = message.record
        told = (_EPOCH + timedelta(milliseconds=record.received_at)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        wire.record.CopyFrom(pb.Record(key=record.key, value=record.value, time_received=told))
    wire.closer_peers.extend(_peer(contact) for contact in message.closer)
    wire.provider_peers.extend(_peer(contact) for contact in message.providers)
    return wire.SerializeToString()


def decode(raw: bytes) -> Message:
    """Read one message. Peers whose ids are not of Ed25519 keys are left out, and so is what exceeds a bound in number
    or length of addresses: both are no fault. Raises RemoteProtocolError: `bad_protobuf`, `unknown_type`, `bad_key`,
    `record_too_large`."""
    try:
        wire = pb.Message.FromString(raw)
    except DecodeError as error:
        raise RemoteProtocolError("bad_protobuf", str(error), penalty=10) from error
    try:
        kind = Kind(wire.type)
    except ValueError as error:
        raise RemoteProtocolError("unknown_type", str(wire.type)) from error
    if len(wire.key) > limits.KAD_KEY_BYTES:
        raise RemoteProtocolError("bad_key", f"over {limits.KAD_KEY_BYTES} bytes", penalty=10)
    record = None
    if wire.HasField("record"):
        record = Record(wire.record.key, wire.record.value)
        if len(record.key) > limits.KAD_KEY_BYTES or len(record.value) > limits.KAD_RECORD_BYTES:
            raise RemoteProtocolError("record_too_large", f"over {limits.KAD_RECORD_BYTES} bytes", penalty=10)
    return Message(kind, wire.key, record, _contacts(wire.closer_peers), _contacts(wire.provider_peers))


class MessageStream:
    """A stream machine for both sides: events and commands are messages."""

    def __init__(self, max_bytes: int = limits.KAD_MESSAGE_BYTES) -> None:
        self._max = max_bytes
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Message]:
        """As `StreamMachine.receive`. Raises also `bad_length` and `too_large`."""
        self._buffer += data
        found: list[Message] = []
        while self._buffer and len(found) < limits.LINES_PER_READ:
            bounds = delimited.bounds(self._buffer, 0, self._max)
            if bounds is None or bounds[1] > len(self._buffer):
                break
            found.append(decode(bytes(self._buffer[slice(*bounds)])))
            del self._buffer[: bounds[1]]
        return found

    def receive_eof(self) -> list[Message]:
        """As `StreamMachine.receive_eof`. Raises `truncated`."""
        if self._buffer:
            raise RemoteProtocolError("truncated", "the stream ended within a message")
        return []

    def send(self, command: Message) -> bytes:
        """The message with its length."""
        raw = encode(command)
        return varint.encode(len(raw)) + raw


def _peer(contact: Contact) -> pb.Message.Peer:
    return pb.Message.Peer(id=peer_id_bytes(contact.peer), addrs=contact.addresses)


def _contacts(peers: Iterable[pb.Message.Peer]) -> tuple[Contact, ...]:
    found: dict[str, Contact] = {}
    for number, peer in enumerate(peers):
        if number >= limits.KAD_PEERS:
            break
        try:
            who = peer_of(peer.id)
        except ValueError:
            continue
        fit = [a for a in peer.addrs[: limits.KAD_ADDRESSES] if 0 < len(a) <= limits.KAD_ADDRESS_BYTES]
        found.setdefault(who, Contact(who, tuple(dict.fromkeys(fit))))
    return tuple(found.values())
