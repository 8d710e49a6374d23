"""The frames of `/nexus/handshake/1.1.0`, field for field. (specs/handshake.md §2)

The published programs define init and ack and serve neither. The fields that we add to a row, and handshake.error,
are such as a reader that does not know them ignores.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.frames import Count, Frame, RequestId, Word
from nexusd_protocols.payments.advertised import Price

PROTOCOL: Final = "/nexus/handshake/1.1.0"

Unset = msgspec.UnsetType
_Name = Annotated[str, Meta(max_length=limits.DISPLAY_NAME_CHARS)]
_Roles = Annotated[tuple[Word, ...], Meta(max_length=limits.HANDSHAKE_ROLES)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the asker would like to be told."""

    capability_status: bool = False
    relay_options: bool = False
    room_summaries: bool = False


class CapabilityStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A capability, and whether a call of it would start now. `description`, `free` and `prices` are ours."""

    name: Annotated[str, Meta(min_length=1, max_length=limits.CAPABILITY_NAME_CHARS)]
    available: bool
    max_input_bytes: Count = limits.INVOKE_MAX_INPUT_BYTES
    streaming: bool = False
    estimated_queue_ms: Count = 0
    description: Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)] | Unset = msgspec.UNSET
    free: bool | Unset = msgspec.UNSET
    prices: Annotated[tuple[Price, ...], Meta(max_length=limits.HANDSHAKE_PRICES)] | Unset = msgspec.UNSET


class Relay(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether the node relays for others."""

    available: bool = False


class _Introduction(Frame, frozen=True, kw_only=True):
    request_id: RequestId
    peer_id: Annotated[str, Meta(min_length=1, max_length=limits.SENDER_CHARS)]
    agent_name: _Name = ""
    agent_type: _Name = ""
    roles: _Roles = ()


class InitFrame(_Introduction, frozen=True, kw_only=True, tag="handshake.init"):
    """asker → answerer: who asks, and for what."""

    wanted: Wanted = Wanted(capability_status=True)


class AckFrame(_Introduction, frozen=True, kw_only=True, tag="handshake.ack"):
    """answerer → asker: who answers, and what it offers now."""

    capability_status: Annotated[tuple[CapabilityStatus, ...], Meta(max_length=limits.HANDSHAKE_ROWS)] = ()
    relay: Relay | Unset | None = msgspec.UNSET


class ErrorFrame(Frame, frozen=True, kw_only=True, tag="handshake.error"):
    """answerer → asker: no answer, and why. `requestId` is empty where it could not be read."""

    request_id: Annotated[str, Meta(max_length=limits.REQUEST_ID_CHARS)]
    code: Word
    message: str = ""


HandshakeFrame = InitFrame | AckFrame | ErrorFrame


class Code:
    """The codes of handshake.error; a reader must expect others."""

    BAD_REQUEST: Final = "BAD_REQUEST"
    FORBIDDEN: Final = "FORBIDDEN"
    BUSY: Final = "BUSY"
    INTERNAL: Final = "INTERNAL"


CODES: Final = frozenset(value for name, value in vars(Code).items() if name.isupper())
