"""Names and ids that travel, and what makes each of them valid."""

from __future__ import annotations

import re
import uuid
from typing import Final, NewType

from nexusd_protocols import limits

RoomId = NewType("RoomId", str)
CapabilityName = NewType("CapabilityName", str)
MessageId = NewType("MessageId", str)

_ROOM: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{limits.ROOM_ID_CHARS - 1}}}", re.ASCII)
_CAPABILITY: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{limits.CAPABILITY_NAME_CHARS - 1}}}", re.ASCII)
_MESSAGE: Final = re.compile(rf"[\x21-\x7e]{{1,{limits.MESSAGE_ID_CHARS}}}", re.ASCII)


def parse_room_id(text: str) -> RoomId:
    """Raises ValueError, saying what a room id looks like."""
    if not _ROOM.fullmatch(text):
        raise ValueError(
            f"a room id is 1 to {limits.ROOM_ID_CHARS} of the characters A-Z a-z 0-9 . _ - "
            "and begins with a letter or digit"
        )
    return RoomId(text)


def parse_capability_name(text: str) -> CapabilityName:
    """Raises ValueError, saying what a capability's name looks like."""
    if not _CAPABILITY.fullmatch(text):
        raise ValueError(
            f"a capability's name is 1 to {limits.CAPABILITY_NAME_CHARS} of the characters A-Z a-z 0-9 . _ : - "
            "and begins with a letter or digit"
        )
    return CapabilityName(text)


def parse_message_id(text: str) -> MessageId:
    """Raises ValueError. Published peers send UUIDv7, but any printable ASCII of 64 characters is accepted."""
    if not _MESSAGE.fullmatch(text):
        raise ValueError(f"a message id is 1 to {limits.MESSAGE_ID_CHARS} printable ASCII characters without blanks")
    return MessageId(text)


def uuid7(now_ms: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562 §5.7) from unix milliseconds and 10 random bytes."""
    if not 0 <= now_ms < 1 << 48:
        raise ValueError("unix milliseconds of 48 bits expected")
    if len(random) != 10:
        raise ValueError("10 random bytes expected")
    bits = int.from_bytes(random, "big")
    rand_a, rand_b = (bits >> 62) & 0xFFF, bits & ((1 << 62) - 1)
    return str(uuid.UUID(int=now_ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b))
