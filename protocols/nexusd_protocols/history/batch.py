"""A batch: up to 100 messages of one hour of a room, named by its content. (specs/history.md §2)

    the messages of an hour -> batches() -> blocks -> … -> read_batch() -> messages, each to be verified by itself

It holds nothing of who made it or when: whoever holds the same messages of an hour makes the same batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeVar

import msgspec

from nexusd_protocols import limits, ndjson
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.bounds import hour_of
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.history.record import number, read_record, rows
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room.topics import room_topic

T = TypeVar("T")

SCHEMA: Final = "nexus:message-batch:v2"
CONTENT_BYTES: Final = limits.BATCH_BYTES - 1024
"""The messages of one batch together. The rest is for the object around them: the keys, a room id of 64 characters,
and the lengths of 100 messages."""

_FIELDS: Final = frozenset({"hour", "part", "messages"})
_ITEMS: Final = 16 + limits.BATCH_MESSAGES


class _Dated(msgspec.Struct, frozen=True):
    timestamp: int | float


_dated: Final = msgspec.json.Decoder(_Dated)


class BatchRef(msgspec.Struct, frozen=True, order=True):
    """One batch of a closed hour (unix hours): its number among the hour's, its name, and how many messages it has."""

    hour: int
    part: int
    cid: Cid
    count: int


class Batch(msgspec.Struct, frozen=True):
    """What a batch holds, in the order of the digests. No signature was checked."""

    hour: int
    part: int
    messages: tuple[SignedMessage, ...]
    digests: tuple[bytes, ...]


def batches(room: RoomId, hour: int, signed: Iterable[bytes]) -> list[tuple[BatchRef, Block]]:
    """The batches of all messages of an hour, which are given in their canonical encoding, in any order. What one batch
    takes is cut in the order of digests, by number and by bytes, so that equal sets give equal batches."""
    named = sorted({hashlib.sha256(raw).digest(): raw for raw in signed}.items())
    return [make_batch(room, hour, part, messages) for part, messages in enumerate(cut((raw for _, raw in named), len))]


def make_batch(room: RoomId, hour: int, part: int, messages: Sequence[bytes]) -> tuple[BatchRef, Block]:
    """One batch of the messages that `cut` puts together, in the order of their digests."""
    value: dag_cbor.Value = {
        "schema": SCHEMA,
        "room": room,
        "hour": hour,
        "part": part,
        "messages": list[dag_cbor.Value](messages),
    }
    block = Block.of(DAG_CBOR, dag_cbor.encode(value))
    return BatchRef(hour, part, block.cid, len(messages)), block


def cut(messages: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Messages of an hour in the order of their digests, or what stands for them, in the parts that batches are made
    of. `size` is how many bytes the message has."""
    part: list[T] = []
    total = 0
    for message in messages:
        if part and (len(part) == limits.BATCH_MESSAGES or total + size(message) > CONTENT_BYTES):
            yield part
            part, total = [], 0
        part.append(message)
        total += size(message)
    if part:
        yield part


def read_batch(block: Block, *, room: RoomId) -> Batch:
    """Take apart what somebody made. A forged message is for the reader to find, who verifies each by itself and keeps
    the others; what is refused here as a whole is what shows its maker's hand.

    Raises HistoryError `too_large`, `bad_object`, `wrong_room`, `too_many`, `unsorted`, `wrong_hour`.
    """
    record = read_record(block, SCHEMA, _FIELDS, room, max_bytes=limits.BATCH_BYTES, items=_ITEMS)
    hour, part = number(record, "hour"), number(record, "part")
    messages = []
    digests = []
    topic = room_topic(room)
    for raw in rows(record, "messages", limits.BATCH_MESSAGES):
        message = _message(raw)
        if message.topic != topic:
            raise HistoryError("wrong_room", "a message is of another room")
        if _hour(message) != hour:
            raise HistoryError("wrong_hour", "a message is of another hour")
        messages.append(message)
        digests.append(message.digest)
    if any(last >= digest for last, digest in pairwise(digests)):
        raise HistoryError("unsorted", "messages ascend by their digests")
    return Batch(hour, part, tuple(messages), tuple(digests))


def _message(raw: dag_cbor.Value) -> SignedMessage:
    if not isinstance(raw, bytes):
        raise HistoryError("bad_object", "a message is bytes")
    try:
        return SignedMessage.decode(raw)
    except RemoteProtocolError as error:
        raise HistoryError("bad_object", f"a message: {error}") from error


def _hour(message: SignedMessage) -> int:
    try:
        return hour_of(int(ndjson.decode(message.data, _dated).timestamp))
    except RemoteProtocolError as error:
        raise HistoryError("bad_object", f"a message without a date: {error}") from error
