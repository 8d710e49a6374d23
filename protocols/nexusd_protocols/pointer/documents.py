"""What pointers point to: JSON documents, each the block that a CID of codec `json` names. (specs/pointer.md §4)

    nexus:agent-profile:v1    who an agent is, and where it may be dialled
    nexus:room-manifest:v1    a room, in the words of one who is in it
    nexus:capability:v1       what somebody can do, at which price and within which limits
    nexus:storage-offer:v1    of which rooms somebody keeps a copy for others, and how much of them

The fields of the first two, and their bounds, are those of the published network; it has no document for the others
(the first fields of a capability's are its CapabilityDefinition). A document names its issuer and its subject, and is
read only for those: else anybody could point to what another wrote. All text in it is the issuer's word: untrusted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from nexusd_protocols import limits, ndjson
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import parse_capability_name, parse_room_id
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.pointer.keys import Key, PointerKind
from nexusd_protocols.room.topics import room_topic

PROFILE: Final = "nexus:agent-profile:v1"
MANIFEST: Final = "nexus:room-manifest:v1"
CAPABILITY: Final = "nexus:capability:v1"
STORAGE: Final = "nexus:storage-offer:v1"

Role = Literal["light", "full", "storage"]

_Name = Annotated[str, Meta(max_length=limits.DISPLAY_NAME_CHARS)]
_Description = Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)]
_Cid = Annotated[str, Meta(max_length=limits.REFERENCE_CHARS)]
_Address = Annotated[str, Meta(max_length=limits.KAD_ADDRESS_BYTES)]
_Agent = Annotated[str, Meta(max_length=limits.SENDER_CHARS)]
_Time = Annotated[int, Meta(ge=0, le=(1 << 48) - 1)]  # unix milliseconds, of as many bits as a UUIDv7 has for them
_Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]  # JavaScript has no larger whole numbers


class DocumentError(ValueError):
    """A document is refused. `code`: `too_large`, `bad_json`, `bad_document` (another shape, or a field out of its
    bounds), `foreign_document` (of another issuer or about something else than it was looked up for)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class AgentProfile(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Who an agent is. `transports` are multiaddrs."""

    schema: str = PROFILE
    peer_id: _Agent
    name: _Name = ""
    description: _Description = ""
    type: _Name = ""
    capabilities: Annotated[tuple[_Name, ...], Meta(max_length=limits.PROFILE_CAPABILITIES)] = ()
    role: Role = "full"
    transports: Annotated[tuple[_Address, ...], Meta(max_length=limits.PROFILE_TRANSPORTS)] = ()
    created_at: _Time
    updated_at: _Time
    previous_version: _Cid | None = None


class RetentionDefaults(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How a room would like to be kept."""

    recommended_class: Literal["ephemeral", "cache", "retained"] = "retained"
    default_batch_size: _Count = 50

    @classmethod
    def of(cls, retention: RetentionClass) -> RetentionDefaults:
        """Of a class of ours: the published network recommends nothing beyond `retained`."""
        return cls(recommended_class=retention if retention in ("ephemeral", "cache") else "retained")


class RoomManifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A room. `created_by` made this manifest, `created_at` is when it entered the room."""

    schema: str = MANIFEST
    room_id: Annotated[str, Meta(max_length=limits.ROOM_ID_CHARS)]
    topic: Annotated[str, Meta(max_length=limits.TOPIC_BYTES)]
    name: _Name = ""
    description: _Description = ""
    created_by: _Agent
    created_at: _Time
    type: Literal["persistent", "ephemeral"] = "persistent"
    access: Literal["public", "token-gated"] = "public"
    retention_defaults: RetentionDefaults = RetentionDefaults()
    member_count: _Count = 0
    previous_version: _Cid | None = None


class CallLimits(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a provider takes and gives in one call."""

    max_input_bytes: _Count = limits.INVOKE_MAX_INPUT_BYTES
    max_duration_ms: _Count = limits.INVOKE_MAX_DURATION_MS
    max_concurrent: _Count = 1


class CapabilityDocument(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What somebody can do. `pricing` and `rate_limit` are for people; without a `price` a call is free. `prices` are
    all that it may be had for, where it says so; `price` is the first of them, for readers that know of one."""

    schema: str = CAPABILITY
    name: Annotated[str, Meta(max_length=limits.CAPABILITY_NAME_CHARS)]
    protocol: Annotated[str, Meta(max_length=limits.FRAME_WORD_CHARS)]
    description: _Description = ""
    pricing: _Description = ""
    rate_limit: _Description = ""
    peer_id: _Agent
    price: Price | None = None
    prices: Annotated[tuple[Price, ...], Meta(max_length=limits.PAYMENT_OFFERS)] | msgspec.UnsetType = msgspec.UNSET
    limits: CallLimits = CallLimits()
    streaming: bool = False
    updated_at: _Time

    @property
    def asked(self) -> tuple[Price, ...]:
        """All of its prices; none if it is free."""
        if self.prices is not msgspec.UNSET and self.prices:
            return self.prices
        return () if self.price is None else (self.price,)


class KeptRoom(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A room of which a copy is kept, and for how long what is said in it."""

    room_id: Annotated[str, Meta(max_length=limits.ROOM_ID_CHARS)]
    retention_class: RetentionClass


class StorageOffer(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What somebody keeps for others: the history of these rooms, and with `references` what messages in them refer to.
    That has at most `total_bytes`, and what belongs to one room `room_bytes` of them."""

    schema: str = STORAGE
    peer_id: _Agent
    rooms: Annotated[tuple[KeptRoom, ...], Meta(max_length=limits.OFFERED_ROOMS)] = ()
    total_bytes: _Count
    room_bytes: _Count
    references: bool = True
    updated_at: _Time


Document = AgentProfile | RoomManifest | CapabilityDocument | StorageOffer
DocumentT = TypeVar("DocumentT", AgentProfile, RoomManifest, CapabilityDocument, StorageOffer)

_READ: Final[dict[type[Any], tuple[PointerKind, str, msgspec.json.Decoder[Any]]]] = {
    AgentProfile: ("profile-pointer", PROFILE, msgspec.json.Decoder(AgentProfile)),
    RoomManifest: ("room-pointer", MANIFEST, msgspec.json.Decoder(RoomManifest)),
    CapabilityDocument: ("capability-pointer", CAPABILITY, msgspec.json.Decoder(CapabilityDocument)),
    StorageOffer: ("storage-offer", STORAGE, msgspec.json.Decoder(StorageOffer)),
}


def write(document: Document, *, max_bytes: int = limits.POINTER_DOCUMENT_BYTES) -> tuple[Cid, bytes]:
    """The block: its CID and its bytes. Raises DocumentError for what no reader would take."""
    data = ndjson.encode(document)
    _read(type(document), data, max_bytes)
    return Cid.of(JSON, data), data


def read(shape: type[DocumentT], key: Key, data: bytes, *, max_bytes: int = limits.POINTER_DOCUMENT_BYTES) -> DocumentT:
    """Read the document behind the pointer of a key. That the bytes are those of the pointer's CID was seen before.
    Unknown fields are passed over. Raises DocumentError."""
    document: DocumentT = _read(shape, data, max_bytes)
    if _READ[shape][0] != key.kind:
        raise ValueError(f"a {key.kind} does not point to a {shape.__name__}")
    if (_issuer(document), _subject(document)) != (key.issuer, key.name):
        raise DocumentError("foreign_document", f"{_subject(document) or document.schema} by {_issuer(document)}")
    return document


def _read(shape: type[Any], data: bytes, max_bytes: int) -> Any:
    _, schema, decoder = _READ[shape]
    if len(data) > max_bytes:
        raise DocumentError("too_large", f"over {max_bytes} bytes")
    try:
        document = ndjson.decode(data, decoder)
    except RemoteProtocolError as error:
        raise DocumentError("bad_json" if error.code == "bad_json" else "bad_document", error.detail) from error
    if document.schema != schema:
        raise DocumentError("bad_document", f"the schema is not {schema}")
    try:
        _FAULTS[shape](document)
    except ValueError as error:
        raise DocumentError("bad_document", str(error)) from error
    return document


def _issuer(document: Document) -> PeerId:
    return PeerId(document.created_by if isinstance(document, RoomManifest) else document.peer_id)


def _subject(document: Document) -> str:
    match document:
        case RoomManifest():
            return document.room_id
        case CapabilityDocument():
            return document.name
        case AgentProfile() | StorageOffer():
            return ""


def _check_manifest(manifest: RoomManifest) -> None:
    if manifest.topic != room_topic(parse_room_id(manifest.room_id)):
        raise ValueError("the topic is another room's")
    _check_previous(manifest.previous_version)


def _check_capability(document: CapabilityDocument) -> None:
    parse_capability_name(document.name)


def _check_offer(offer: StorageOffer) -> None:
    for room in offer.rooms:
        parse_room_id(room.room_id)


def _check_previous(cid: str | None) -> None:
    if cid is not None:
        Cid.parse(cid)


_FAULTS: Final[dict[type[Any], Callable[[Any], None]]] = {
    AgentProfile: lambda profile: _check_previous(profile.previous_version),
    RoomManifest: _check_manifest,
    CapabilityDocument: _check_capability,
    StorageOffer: _check_offer,
}
