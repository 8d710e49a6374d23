"""Messages: a length, text, a line feed. (specs/multistream.md §1)"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nexusd_protocols import limits, varint
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError

HEADER: Final = "/multistream/1.0.0"
"""The first message of each side."""
NA: Final = "na"
"""The answer to a proposal: that protocol is not spoken here."""
LS: Final = "ls"
"""The question what is spoken here."""

_LENGTH_BYTES: Final = 2
"""A varint for MULTISTREAM_MESSAGE_BYTES."""


def encode(text: str) -> bytes:
    """One message. Raises LocalProtocolError for text that no reader would take."""
    octets = text.encode() + b"\n"
    if len(octets) > limits.MULTISTREAM_MESSAGE_BYTES or octets.find(b"\n") != len(octets) - 1:
        raise LocalProtocolError(f"not a protocol id: {text[:100]!r}")
    return varint.encode(len(octets)) + octets


def encode_list(protocols: Iterable[str]) -> bytes:
    """The answer to `ls`: one message that holds a message for each protocol."""
    body = b"".join(encode(protocol) for protocol in protocols) + b"\n"
    return varint.encode(len(body)) + body


class MessageReader:
    """Cuts a byte stream into messages, one at a time: what follows the last one is not a message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Bytes that were fed and are not taken yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Bytes as they came."""
        self._buffer += data

    def take(self) -> str | None:
        """The next message, None if it is not complete.

        Raises RemoteProtocolError `bad_length`, `message_too_long`, `no_line_feed`, `not_utf8`.
        """
        buffer = self._buffer
        length = 0
        for index in range(_LENGTH_BYTES):
            if index >= len(buffer):
                return None
            byte = buffer[index]
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                break
        else:
            raise RemoteProtocolError("message_too_long", "a length of over two bytes", penalty=10)
        start = index + 1
        if length == 0 or (index and byte == 0):
            raise RemoteProtocolError("bad_length", "zero, or not the shortest form", penalty=10)
        if length > limits.MULTISTREAM_MESSAGE_BYTES:
            raise RemoteProtocolError("message_too_long", f"{length} bytes", penalty=10)
        end = start + length
        if len(buffer) < end:
            return None
        octets = bytes(buffer[start:end])
        if octets[-1:] != b"\n":
            raise RemoteProtocolError("no_line_feed", "a message ends with a line feed", penalty=10)
        try:
            text = octets[:-1].decode()
        except UnicodeDecodeError as error:
            raise RemoteProtocolError("not_utf8", "a protocol id is text", penalty=10) from error
        del buffer[:end]
        return text

    def rest(self) -> bytes:
        """Take everything that is left."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
