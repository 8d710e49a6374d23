"""The frames of `/nexus/chat-sync/2.0.0`: who says them, and what they mean. (specs/chat-sync.md §4)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.chatsync.ranges import Ranges
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.ids import RoomId

PROTOCOL: Final = "/nexus/chat-sync/2.0.0"


class Open(msgspec.Struct, frozen=True):
    """initiator: about this room, of which I keep what is dated from `horizon` (unix milliseconds) on."""

    room: RoomId
    horizon: int


class Opened(msgspec.Struct, frozen=True):
    """responder: so do I from this `horizon` on. `head` is the checkpoint over all closed hours, `count` the number of
    messages that are known."""

    horizon: int
    head: Cid | None
    count: int


class Refused(msgspec.Struct, frozen=True):
    """responder: no, and nothing more."""

    code: str


class Compare(msgspec.Struct, frozen=True):
    """Both: what I know of these ranges."""

    ranges: Ranges


class Want(msgspec.Struct, frozen=True):
    """initiator: give me these messages."""

    digests: tuple[bytes, ...]


class Messages(msgspec.Struct, frozen=True):
    """responder: some of them, in their canonical encoding, and the digests of what is not here. `last` ends the
    answer."""

    messages: tuple[bytes, ...]
    absent: tuple[bytes, ...]
    last: bool


class Put(msgspec.Struct, frozen=True):
    """initiator: take these messages."""

    messages: tuple[bytes, ...]


class Took(msgspec.Struct, frozen=True):
    """responder: so many of them are committed now; these are not, each with its reason."""

    stored: int
    refused: tuple[tuple[bytes, str], ...]


class Head(msgspec.Struct, frozen=True):
    """initiator: which checkpoint is over the closed hours from `first` on and before `last` (unix hours)?"""

    first: int
    last: int


class Headed(msgspec.Struct, frozen=True):
    """responder: this one, over so many messages; none over none."""

    head: Cid | None
    count: int


Frame = Open | Opened | Refused | Compare | Want | Messages | Put | Took | Head | Headed

CONTENT_BYTES: Final = limits.MIB
"""Messages in one frame, together; the rest of it is for their lengths, and digests."""


def puts(messages: Iterable[bytes]) -> Iterator[Put]:
    """Frames for any number of messages, each filled as far as it goes."""
    for each in _packed(messages):
        yield Put(each)


def deliveries(wanted: Sequence[bytes], found: Mapping[bytes, bytes]) -> Iterator[Messages]:
    """The frames that answer a want: `found` are the messages that are here, by their digests."""
    absent = tuple(digest for digest in wanted if digest not in found)
    packed = list(_packed(found[digest] for digest in wanted if digest in found)) or [()]
    for at, messages in enumerate(packed, 1):
        last = at == len(packed)
        yield Messages(messages, absent if last else (), last)


def _packed(messages: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    frame: list[bytes] = []
    size = 0
    for raw in messages:
        if frame and (len(frame) == limits.SYNC_WANTS or size + len(raw) > CONTENT_BYTES):
            yield tuple(frame)
            frame, size = [], 0
        frame.append(raw)
        size += len(raw)
    if frame:
        yield tuple(frame)
