"""Frames: a header of 12 bytes, and for data its payload. (specs/yamux.md §2)

version 8 | type 8 | flags 16 | stream id 32 | length 32      big-endian
"""

from __future__ import annotations

import struct
from typing import Final

from nexusd_protocols.errors import RemoteProtocolError

_header: Final = struct.Struct("!HHII")

HEADER_BYTES: Final = _header.size

DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8
_FLAGS: Final = SYN | ACK | FIN | RST

NORMAL: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2

MAX: Final = 2**32 - 1
"""The largest stream id, window and ping value."""

unpack_header: Final = _header.unpack_from
"""(type, flags, stream id, length). The version is the high byte of the type; it is zero in a sound header."""

pack_header: Final = _header.pack
"""The reverse: `pack_header(type, flags, stream id, length)`."""


def check_header(kind: int, flags: int, stream_id: int) -> None:
    """What a header must satisfy whatever the state.

    Raises RemoteProtocolError: `bad_version`, `bad_type`, `bad_flags`, `stream_id_zero`, `stream_id_not_zero`.
    """
    if kind > GO_AWAY:
        if kind >> 8:
            raise RemoteProtocolError("bad_version", f"version {kind >> 8}, not 0", penalty=10)
        raise RemoteProtocolError("bad_type", f"type {kind}", penalty=10)
    if flags > _FLAGS:
        raise RemoteProtocolError("bad_flags", f"flags {flags:#06x}", penalty=10)
    if kind <= WINDOW_UPDATE:
        if stream_id == 0:
            raise RemoteProtocolError("stream_id_zero", "a frame of a stream without a stream", penalty=10)
        return
    if stream_id != 0:
        raise RemoteProtocolError("stream_id_not_zero", f"type {kind} on stream {stream_id}", penalty=10)
    if flags not in ((SYN, ACK) if kind == PING else (0,)):
        raise RemoteProtocolError("bad_flags", f"type {kind} with flags {flags:#06x}", penalty=10)
