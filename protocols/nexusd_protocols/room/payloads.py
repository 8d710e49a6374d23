"""What a room message carries, by type, and the bounds that both sides keep (specs/room.md §2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.ids import parse_capability_name, parse_message_id
from nexusd_protocols.untrusted import printable

Format = Literal["text/plain", "text/markdown", "application/json"]
Status = Literal["online", "idle", "busy", "offline"]


class Chat(msgspec.Struct, frozen=True, rename="camel"):
    """Something said. `reply_to` is a message id, `thread_id` whatever name the agents gave a thread."""

    content: str
    format: Format
    reply_to: str | None = None
    thread_id: str | None = None


class Edit(msgspec.Struct, frozen=True, rename="camel"):
    """What a message of the same author says from now on. The newest edit is shown, and all are kept."""

    message_id: str
    content: str
    format: Format


class Retract(msgspec.Struct, frozen=True, rename="camel"):
    """The author takes a message back. It is kept, and not shown."""

    message_id: str


class Presence(msgspec.Struct, frozen=True, rename="camel"):
    """Who is here. As read, the texts are shortened and cleaned for display; they are still the sender's words."""

    status: Status
    capabilities: tuple[str, ...] = ()
    agent_name: str | None = ""
    agent_type: str | None = ""
    version: str | None = ""


class Meta(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """News of the network, such as `room:created`; `room_manifest` is a CID."""

    action: str
    room_id: str | None = None
    room_manifest: str | None = None


class CapabilityDefinition(msgspec.Struct, frozen=True, rename="camel"):
    """One capability in the words of its provider."""

    name: str
    protocol: str = ""
    description: str = ""
    pricing: str = ""
    rate_limit: str = ""


class Capabilities(msgspec.Struct, frozen=True, rename="camel"):
    """What a provider offers."""

    capabilities: tuple[CapabilityDefinition, ...]


class Sync(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The published network's early form of catching up; timestamps in unix milliseconds."""

    action: Literal["request", "response"]
    since: int | None = None
    limit: int | None = None
    message_count: int | None = None
    oldest_timestamp: int | None = None
    newest_timestamp: int | None = None


Payload = Chat | Edit | Retract | Presence | Meta | Capabilities | Sync
HISTORY: Final = (Chat, Edit, Retract, Meta)
"""What a room's history keeps. The rest is about now."""

DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "chat": msgspec.json.Decoder(Chat),
    "edit": msgspec.json.Decoder(Edit),
    "retract": msgspec.json.Decoder(Retract),
    "presence": msgspec.json.Decoder(Presence),
    "meta": msgspec.json.Decoder(Meta),
    "capability": msgspec.json.Decoder(Capabilities),
    "sync": msgspec.json.Decoder(Sync),
}
KINDS: Final[dict[type, str]] = {
    Chat: "chat",
    Edit: "edit",
    Retract: "retract",
    Presence: "presence",
    Meta: "meta",
    Capabilities: "capability",
    Sync: "sync",
}
"""The `type` that each travels under."""


# --- names for display -----------------------------------------------------------------------------------------------
def cleaned(payload: Presence) -> Presence:
    """Presence is never refused for its words: what does not fit is left out."""
    return Presence(
        status=payload.status,
        capabilities=tuple(filter(_is_capability_name, payload.capabilities[: limits.PROFILE_CAPABILITIES])),
        agent_name=clean(payload.agent_name or ""),
        agent_type=clean(payload.agent_type or ""),
        version=clean(payload.version or ""),
    )


def _is_capability_name(text: str) -> bool:
    try:
        parse_capability_name(text)
    except ValueError:
        return False
    return True


def clean(name: str, max_chars: int = limits.DISPLAY_NAME_CHARS) -> str:
    """A name fit for display: letters, marks and digits of any script, blank and `- _ .`; at most `max_chars`. What
    moves a cursor, hides or reverses text is gone."""
    # four characters in for one out: enough for decomposed scripts, and a bound on the work
    text = unicodedata.normalize("NFC", printable(name[: 4 * max_chars]))
    kept = "".join(
        character if character in "-_." or unicodedata.category(character)[0] in "LMN" else " "
        for character in text
        if character.isspace() or character in "-_." or unicodedata.category(character)[0] in "LMN"
    )
    return " ".join(kept.split())[:max_chars].rstrip()


# --- bounds that both sides keep ------------------------------------------------------------------------------------
def _id_fault(field: str, text: str) -> str | None:
    try:
        parse_message_id(text)
    except ValueError as error:
        return f"{field}: {error}"
    return None


def _chat_fault(payload: Chat) -> str | None:
    if payload.reply_to is not None and (fault := _id_fault("replyTo", payload.reply_to)):
        return fault
    thread = payload.thread_id
    if thread is not None and not (0 < len(thread) <= limits.MESSAGE_ID_CHARS and thread.isprintable()):
        return f"a thread id has 1 to {limits.MESSAGE_ID_CHARS} printable characters"
    return None


def _presence_fault(payload: Presence) -> str | None:
    if len(payload.capabilities) > limits.PROFILE_CAPABILITIES:
        return f"a profile names at most {limits.PROFILE_CAPABILITIES} capabilities"
    for name in payload.capabilities:
        try:
            parse_capability_name(name)
        except ValueError as error:
            return str(error)
    texts = (payload.agent_name, payload.agent_type, payload.version)
    if any(text and len(text) > limits.DISPLAY_NAME_CHARS for text in texts):
        return f"a name has at most {limits.DISPLAY_NAME_CHARS} characters"
    return None


def _meta_fault(payload: Meta) -> str | None:
    if not 0 < len(payload.action) <= limits.MESSAGE_ID_CHARS:
        return f"an action has 1 to {limits.MESSAGE_ID_CHARS} characters"
    if payload.room_id is not None and len(payload.room_id) > limits.ROOM_ID_CHARS:
        return f"a room id has at most {limits.ROOM_ID_CHARS} characters"
    if payload.room_manifest is not None and len(payload.room_manifest) > limits.REFERENCE_CHARS:
        return f"a CID has at most {limits.REFERENCE_CHARS} characters"
    return None


def _capabilities_fault(payload: Capabilities) -> str | None:
    if len(payload.capabilities) > limits.PROFILE_CAPABILITIES:
        return f"a provider names at most {limits.PROFILE_CAPABILITIES} capabilities"
    for row in payload.capabilities:
        if not 0 < len(row.name) <= limits.CAPABILITY_NAME_CHARS:
            return f"a capability's name has 1 to {limits.CAPABILITY_NAME_CHARS} characters"
        if any(
            len(text) > limits.DESCRIPTION_CHARS
            for text in (row.protocol, row.description, row.pricing, row.rate_limit)
        ):
            return f"a text has at most {limits.DESCRIPTION_CHARS} characters"
    return None


_FAULTS: Final[dict[type, Callable[[Any], str | None]]] = {
    Chat: _chat_fault,
    Edit: lambda edit: _id_fault("messageId", edit.message_id),
    Retract: lambda retract: _id_fault("messageId", retract.message_id),
    Presence: _presence_fault,
    Meta: _meta_fault,
    Capabilities: _capabilities_fault,
    Sync: lambda _: None,
}


def fault_of(payload: Payload) -> str | None:
    """Why neither side takes it, if so."""
    return _FAULTS[type(payload)](payload)
