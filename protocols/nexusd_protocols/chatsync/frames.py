"""The frames of `/nexus/chat-sync/2.0.0`: who says them, and what they mean. (specs/chat-sync.md §4)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nexusd_protocols.chatsync.ranges import Ranges
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.ids import RoomId

PROTOCOL: Final = "/nexus/chat-sync/2.0.0"


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """initiator: about this room, of which I keep what is dated from `horizon` (unix milliseconds) on."""

    room: RoomId
    horizon: int


@dataclass(frozen=True, slots=True)
class OpenedFrame:
    """responder: so do I from this `horizon` on. `head` is the checkpoint over all closed hours, `count` the number of
    messages that are known."""

    horizon: int
    head: Cid | None
    count: int


@dataclass(frozen=True, slots=True)
class RefusedFrame:
    """responder: no, and nothing more."""

    code: str


@dataclass(frozen=True, slots=True)
class RangesFrame:
    """Both: what I know of these ranges."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class WantFrame:
    """initiator: give me these messages."""

    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MessagesFrame:
    """responder: some of them, in their canonical encoding, and the digests of what is not here. `last` ends the
    answer."""

    messages: tuple[bytes, ...]
    absent: tuple[bytes, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class PutFrame:
    """initiator: take these messages."""

    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TookFrame:
    """responder: so many of them are committed now; these are not, each with its reason."""

    stored: int
    refused: tuple[tuple[bytes, str], ...]


@dataclass(frozen=True, slots=True)
class HeadFrame:
    """initiator: which checkpoint is over the closed hours from `first` on and before `last` (unix hours)?"""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class HeadedFrame:
    """responder: this one, over so many messages; none over none."""

    head: Cid | None
    count: int


Frame = (
    OpenFrame
    | OpenedFrame
    | RefusedFrame
    | RangesFrame
    | WantFrame
    | MessagesFrame
    | PutFrame
    | TookFrame
    | HeadFrame
    | HeadedFrame
)
