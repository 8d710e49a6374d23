"""Room messages: one JSON object, published in a signed pubsub message (specs/room.md §2).

    author:   chat(…) | presence(…) | … -> bytes -> SignedMessage.sign
    receiver: SignedMessage.verify -> read(topic, data, signer, now) -> RoomMessage | Ignored

The fields and their order are those of the published network. A message that is not for us is a value, `Ignored`, and
never an exception: published peers pass on whatever has a good signature, so the neighbour that sent it is not to
blame; its author is, by `penalty`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import MessageId, parse_message_id
from nexusd_protocols.room.payloads import (
    DECODERS,
    KINDS,
    Chat,
    Edit,
    Format,
    Meta,
    Payload,
    Presence,
    Retract,
    Status,
    clean,
    cleaned,
    fault_of,
)

VERSION: Final = 1

_MAX_TIMESTAMP_MS: Final = (1 << 48) - 1  # as many bits as a UUIDv7 has for it


class MessageTooLargeError(ValueError):
    """The message would be larger than any receiver takes."""


class NexusMessage(msgspec.Struct, frozen=True):
    """The message as it travels."""

    version: int
    type: str
    id: str
    timestamp: int | float
    sender: str
    topic: str
    payload: msgspec.Raw
    references: tuple[str, ...] = ()


class _Head(msgspec.Struct, frozen=True):
    version: int
    type: str


@dataclass(frozen=True, slots=True)
class RoomMessage:
    """A message that was read and found good. `sender` signed it; all else is the sender's word. `timestamp` is in
    unix milliseconds of the sender's clock: it informs, and never orders."""

    topic: str
    message_id: MessageId
    sender: PeerId
    timestamp: int
    payload: Payload
    references: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The `type` that it travels under."""
        return KINDS[type(self.payload)]

    @property
    def target(self) -> str:
        """The id of the message that it edits or retracts, else empty. Only a message of the same sender is meant."""
        return self.payload.message_id if isinstance(self.payload, Edit | Retract) else ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that is neither delivered nor passed on. `reason` is a stable word; `penalty` is what the author's
    account is charged, 0 where an honest author can have made it."""

    reason: str
    detail: str = ""
    penalty: int = 0


_message: Final = msgspec.json.Decoder(NexusMessage)
_head: Final = msgspec.json.Decoder(_Head)


# --- building ---------------------------------------------------------------------------------------------------------
def build(
    payload: Payload,
    *,
    topic: str,
    sender: PeerId,
    message_id: str,
    timestamp: int,
    references: Sequence[str] = (),
) -> bytes:
    """The JSON of a message, ready to be signed. `timestamp` is in unix milliseconds, `message_id` a UUIDv7.

    Raises ValueError for what no receiver would take, in words for the person who asked for it; `MessageTooLargeError`
    if that is the size.
    """
    parse_message_id(message_id)
    if not 0 <= timestamp <= _MAX_TIMESTAMP_MS:
        raise ValueError("a timestamp is in unix milliseconds of 48 bits")
    fault = _references_fault(references) or fault_of(payload)
    if fault:
        raise ValueError(fault)
    message = NexusMessage(
        version=VERSION,
        type=KINDS[type(payload)],
        id=message_id,
        timestamp=timestamp,
        sender=sender,
        topic=topic,
        payload=msgspec.Raw(ndjson.encode(payload)),
        references=tuple(references),
    )
    data = ndjson.encode(message)
    if len(data) > limits.ROOM_MESSAGE_BYTES:
        raise MessageTooLargeError(
            f"a room message has at most {limits.ROOM_MESSAGE_BYTES} bytes; this has {len(data)}"
        )
    return data


def chat(
    *,
    topic: str,
    sender: PeerId,
    message_id: str,
    timestamp: int,
    content: str,
    format: Format = "text/plain",  # noqa: A002 - the name of the field
    reply_to: str | None = None,
    thread_id: str | None = None,
    references: Sequence[str] = (),
) -> bytes:
    """A chat message. Raises as `build`."""
    return build(
        Chat(content, format, reply_to, thread_id),
        topic=topic,
        sender=sender,
        message_id=message_id,
        timestamp=timestamp,
        references=references,
    )


def edit(
    *,
    topic: str,
    sender: PeerId,
    message_id: str,
    timestamp: int,
    target: str,
    content: str,
    format: Format = "text/plain",  # noqa: A002 - the name of the field
    references: Sequence[str] = (),
) -> bytes:
    """Another text for the sender's message `target`. Raises as `build`."""
    return build(
        Edit(target, content, format),
        topic=topic,
        sender=sender,
        message_id=message_id,
        timestamp=timestamp,
        references=references,
    )


def retract(*, topic: str, sender: PeerId, message_id: str, timestamp: int, target: str) -> bytes:
    """Take the sender's message `target` back. Raises as `build`."""
    return build(Retract(target), topic=topic, sender=sender, message_id=message_id, timestamp=timestamp)


def presence(
    *,
    topic: str,
    sender: PeerId,
    message_id: str,
    timestamp: int,
    status: Status,
    capabilities: Sequence[str] = (),
    agent_name: str = "",
    agent_type: str = "",
    version: str = "",
) -> bytes:
    """A presence message. Raises as `build`."""
    return build(
        Presence(status, tuple(capabilities), agent_name, agent_type, version),
        topic=topic,
        sender=sender,
        message_id=message_id,
        timestamp=timestamp,
    )


def meta(
    *,
    topic: str,
    sender: PeerId,
    message_id: str,
    timestamp: int,
    action: str,
    room_id: str | None = None,
    room_manifest: str | None = None,
) -> bytes:
    """A meta message. Raises as `build`."""
    return build(
        Meta(action, room_id, room_manifest), topic=topic, sender=sender, message_id=message_id, timestamp=timestamp
    )


# --- reading ----------------------------------------------------------------------------------------------------------
def read(
    topic: str,
    data: bytes,
    signer: PeerId,
    now_ms: int,
    *,
    max_bytes: int = limits.ROOM_MESSAGE_BYTES,
    ahead_ms: int = limits.CLOCK_AHEAD_MS,
) -> RoomMessage | Ignored:
    """The verdict on a message whose signature by `signer` on `topic` was verified.

    Old messages are good: that is what catching up brings. Reasons to ignore one: `too_large`, `too_deep`, `bad_json`,
    `bad_message`, `bad_version`, `sender_mismatch`, `wrong_topic`, `bad_id`, `bad_timestamp`, `clock_ahead`,
    `bad_references`, `unknown_type`, `bad_payload`.
    """
    if len(data) > max_bytes:
        return Ignored("too_large", f"over {max_bytes} bytes", 10)
    try:
        message = ndjson.decode(data, _message)
    except RemoteProtocolError as error:
        return _foreign(data) or Ignored(error.code, error.detail, error.penalty)
    if message.version != VERSION:
        return Ignored("bad_version", f"version {message.version}")
    if message.sender != signer:
        return Ignored("sender_mismatch", "the sender did not sign it", 10)
    if message.topic != topic:
        return Ignored("wrong_topic", "it names another topic", 1)
    try:
        message_id = parse_message_id(message.id)
    except ValueError as error:
        return Ignored("bad_id", str(error), 1)
    if not 0 <= message.timestamp <= _MAX_TIMESTAMP_MS:
        return Ignored("bad_timestamp", "not unix milliseconds", 1)
    timestamp = int(message.timestamp)
    if timestamp > now_ms + ahead_ms:
        return Ignored("clock_ahead", f"{timestamp - now_ms} ms in the future")
    if fault := _references_fault(message.references):
        return Ignored("bad_references", fault, 1)
    payload = _read_payload(message)
    if isinstance(payload, Ignored):
        return payload
    return RoomMessage(topic, message_id, signer, timestamp, payload, message.references)


def _foreign(data: bytes) -> Ignored | None:
    """Whether what did not decode is a message of another version or type: no fault of its author."""
    try:
        head = ndjson.decode(data, _head)
    except RemoteProtocolError:
        return None
    if head.version != VERSION:
        return Ignored("bad_version", f"version {head.version}")
    if head.type not in DECODERS:
        return Ignored("unknown_type", clean(head.type))
    return None


def _read_payload(message: NexusMessage) -> Payload | Ignored:
    decoder = DECODERS.get(message.type)
    if decoder is None:
        return Ignored("unknown_type", clean(message.type))
    try:
        payload: Payload = decoder.decode(message.payload)
    except msgspec.MsgspecError as error:
        return Ignored("bad_payload", ndjson.explained(error), 1)
    if isinstance(payload, Presence):
        return cleaned(payload)
    if fault := fault_of(payload):
        return Ignored("bad_payload", fault, 1)
    return payload


def _references_fault(references: Sequence[str]) -> str | None:
    if len(references) > limits.REFERENCES:
        return f"a message has at most {limits.REFERENCES} references"
    if not all(0 < len(reference) <= limits.REFERENCE_CHARS for reference in references):
        return f"a reference has 1 to {limits.REFERENCE_CHARS} characters"
    return None
