"""History as the published network writes it: message batches and room checkpoints of version 1. (specs/history.md §5)

JSON under the codec json, signed by the member that made it. The messages inside carry no signatures of their authors,
so what others made is for people to look at, on its maker's word, and never becomes part of our history. What we make
is rendered from batches that we have verified, and always the same for the same batch and maker.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final, Literal, TypeVar, cast

import msgspec
from msgspec import Meta

from nexusd_protocols import limits, ndjson
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.content.json_blocks import encode_json
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.bounds import CLOSE_MS, HOUR_MS
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.identity import Signer, verify
from nexusd_protocols.ids import RoomId, uuid7
from nexusd_protocols.room.message import RoomMessage
from nexusd_protocols.room.payloads import Chat

CHECKPOINT_BATCHES: Final = 100
"""Batch CIDs in one of our checkpoints; `previousCheckpoint` leads to those before."""

_Timestamp = Annotated[int, Meta(ge=0, lt=1 << 53)]
_RoomIdField = Annotated[str, Meta(min_length=1, max_length=limits.ROOM_ID_CHARS)]
_Peer = Annotated[str, Meta(min_length=1, max_length=limits.SENDER_CHARS)]
_CidText = Annotated[str, Meta(min_length=1, max_length=limits.REFERENCE_CHARS)]
_Text = Annotated[str, Meta(max_length=limits.MESSAGE_ID_CHARS)]
_Signature = Annotated[str, Meta(max_length=88)]  # base64 of 64 bytes


class MessageV1(msgspec.Struct, frozen=True):
    """A chat message, on the word of the batch's author."""

    id: _Text
    timestamp: _Timestamp
    sender: _Peer
    format: _Text
    content: str


class BatchV1(msgspec.Struct, frozen=True, rename="camel"):
    """Up to 100 messages. `sig` is the author's, in base64, over the JSON of the other fields in this order."""

    schema: Literal["nexus:message-batch:v1"]
    room_id: _RoomIdField
    batch_id: _Text
    author: _Peer
    created_at: _Timestamp
    messages: Annotated[tuple[MessageV1, ...], Meta(max_length=limits.BATCH_MESSAGES)]
    retention_class: _Text
    sig: _Signature


class CheckpointV1(msgspec.Struct, frozen=True, rename="camel"):
    """Batches, the oldest first, and the checkpoint before. `sig` is the aggregator's, as a batch's."""

    schema: Literal["nexus:room-checkpoint:v1"]
    room_id: _RoomIdField
    epoch: _Timestamp
    created_at: _Timestamp
    aggregator: _Peer
    batch_cids: Annotated[tuple[_CidText, ...], Meta(max_length=limits.V1_CHECKPOINT_BATCHES)]
    previous_checkpoint: _CidText | None
    sig: _Signature


_Signed = TypeVar("_Signed", BatchV1, CheckpointV1)
_batch: Final = msgspec.json.Decoder(BatchV1)
_checkpoint: Final = msgspec.json.Decoder(CheckpointV1)


# --- writing ----------------------------------------------------------------------------------------------------------
def render_batch(
    room: RoomId,
    hour: int,
    source: Cid,
    messages: Iterable[RoomMessage],
    signer: Signer,
    retention: RetentionClass,
) -> Block | None:
    """The chat messages of a batch, in the order of their timestamps; None if it has none. `source` is the batch's own
    CID, from which the id follows, as the date follows from the hour: so nothing about it is random."""
    closed = (hour + 1) * HOUR_MS + CLOSE_MS
    chats = [
        MessageV1(message.message_id, message.timestamp, message.sender, chat.format, chat.content)
        for message in sorted(messages, key=lambda message: (message.timestamp, message.sender, message.message_id))
        if isinstance(chat := message.payload, Chat)
    ]
    if not chats:
        return None
    batch = BatchV1(
        schema="nexus:message-batch:v1",
        room_id=room,
        batch_id=uuid7(closed, source.digest[:10]),
        author=signer.peer_id,
        created_at=closed,
        messages=tuple(chats),
        retention_class=retention,
        sig="",
    )
    return _sealed(batch, signer)


def render_checkpoints(
    room: RoomId, batches: Sequence[tuple[int, Cid]], signer: Signer, *, size: int = CHECKPOINT_BATCHES
) -> list[Block]:
    """The chain of checkpoints over rendered batches, each given with its hour, the oldest first. Each checkpoint but
    the last is full, so those do not change when batches are added."""
    blocks: list[Block] = []
    for epoch, at in enumerate(range(0, len(batches), size)):
        part = batches[at : at + size]
        checkpoint = CheckpointV1(
            schema="nexus:room-checkpoint:v1",
            room_id=room,
            epoch=epoch,
            created_at=(part[-1][0] + 1) * HOUR_MS + CLOSE_MS,
            aggregator=signer.peer_id,
            batch_cids=tuple(str(cid) for _, cid in part),
            previous_checkpoint=str(blocks[-1].cid) if blocks else None,
            sig="",
        )
        blocks.append(_sealed(checkpoint, signer))
    return blocks


# --- reading ----------------------------------------------------------------------------------------------------------
def read_batch(block: Block, *, room: RoomId) -> BatchV1:
    """A batch whose author signed it. Raises HistoryError `too_large`, `bad_object`, `wrong_room`, `bad_signature`."""
    return _read(block, _batch, room, lambda batch: batch.author)


def read_checkpoint(block: Block, *, room: RoomId) -> CheckpointV1:
    """A checkpoint that its aggregator signed. Whoever follows `previousCheckpoint` counts its steps: nobody said that
    the chain is short. Raises as `read_batch`."""
    return _read(block, _checkpoint, room, lambda checkpoint: checkpoint.aggregator)


def _read(
    block: Block, decoder: msgspec.json.Decoder[_Signed], room: RoomId, signer: Callable[[_Signed], str]
) -> _Signed:
    if block.cid.codec != JSON:
        raise HistoryError("bad_object", f"{block.cid.codec_name} is not JSON")
    if len(block.data) > limits.BLOCK_BYTES:
        raise HistoryError("too_large", f"over {limits.BLOCK_BYTES} bytes")
    try:
        value = ndjson.decode(block.data, decoder)
    except RemoteProtocolError as error:
        raise HistoryError("bad_object", str(error)) from error
    if value.room_id != room:
        raise HistoryError("wrong_room", "it is of another room")
    try:
        signature = base64.b64decode(value.sig, validate=True)
    except ValueError as error:
        raise HistoryError("bad_signature", "not base64") from error
    if not verify(signer(value), _signed_part(value), signature):
        raise HistoryError("bad_signature", "its maker did not sign it")
    return value


def _sealed(value: _Signed, signer: Signer) -> Block:
    signature = base64.b64encode(signer.sign(_signed_part(value))).decode()
    return Block.of(JSON, encode_json(_members(value) | {"sig": signature}))


def _signed_part(value: _Signed) -> bytes:
    members = _members(value)
    del members["sig"]
    return encode_json(members)


def _members(value: _Signed) -> dict[str, object]:
    return cast("dict[str, object]", msgspec.to_builtins(value))
