"""Newline-delimited JSON: strict decoding of one line, and lines out of a stream that splits and merges them anywhere.

One JSON object a line, UTF-8, ended by `\\n` (a `\\r` before it is tolerated, empty lines are skipped).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.untrusted import printable

T = TypeVar("T")

_DETAIL_CHARS: Final = 200

_encoder: Final = msgspec.json.Encoder()

# possessive, so that a string of a million escapes leaves no million ways back
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def encode_line(message: object) -> bytes:
    """One line of JSON, with its newline."""
    return _encoder.encode(message) + b"\n"


def encode(value: object) -> bytes:
    """JSON without a newline."""
    return _encoder.encode(value)


def too_deep(data: bytes, depth: int = limits.JSON_DEPTH) -> bool:
    """Whether brackets outside strings nest deeper than `depth`. For what is not JSON the answer is rough, but
    after False no decoder gets deeper than twice `depth`. Linear: 60 ms for the worst megabyte."""
    if data.count(b"{") + data.count(b"[") <= depth:
        return False
    brackets = _STRING.sub(b"", data).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(depth):
        inner = brackets.replace(b"[]", b"")  # takes the innermost level away, everywhere
        if len(inner) == len(brackets):
            # what never closes; behind what was never opened no decoder goes
            return len(brackets) > depth and not brackets.startswith(b"]")
        brackets = inner
    return bool(brackets)


def value(data: bytes, depth: int = limits.JSON_DEPTH) -> Any:
    """Any JSON value. Raises ValueError for what is no JSON or nests deeper than `depth`: how deep a decoder goes by
    itself, other libraries of the process may have changed."""
    if too_deep(data, depth):
        raise ValueError(f"more than {depth} levels")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(explained(error)) from error


def decode(
    data: bytes,
    decoder: msgspec.json.Decoder[T],
    *,
    reply: bytes = b"",
    depth: int = limits.JSON_DEPTH,
) -> T:
    """Decode strictly. Raises RemoteProtocolError: `too_deep`, `bad_json` (not JSON, NaN, bad UTF-8) or `bad_message`
    (JSON of another shape)."""
    if too_deep(data, depth):
        raise RemoteProtocolError("too_deep", f"more than {depth} levels", reply=reply, penalty=10)
    try:
        if not data.isascii():
            data.decode()  # msgspec passes over bad UTF-8 in fields that it does not decode
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError("bad_message", explained(error), reply=reply) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError("bad_json", explained(error), reply=reply, penalty=5) from error


def explained(error: Exception) -> str:
    """What a decoder says, fit for a log: it quotes the input, and that may be long and full of escapes."""
    return printable(str(error), _DETAIL_CHARS)


def json_size(value: Any) -> int:
    """What a JSON value counts against a byte limit: text by its UTF-8, anything else by its JSON."""
    return len(value.encode()) if isinstance(value, str) else len(_encoder.encode(value))


class LineBuffer:
    """Cuts a byte stream into lines. Holds at most one line and what came behind it in the same read."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._buffer = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> None:
        """Append bytes; the lines are then taken with `lines`."""
        self._buffer += data

    def lines(self, *, reply: bytes = b"") -> Iterator[bytes]:
        """Complete lines without their ends. Raises RemoteProtocolError `line_too_long`, for an unfinished line too."""
        start, scanned = 0, self._scanned
        try:
            while (end := self._buffer.find(b"\n", scanned)) >= 0:
                if end - start > self._max_line:
                    raise RemoteProtocolError("line_too_long", f"over {self._max_line} bytes", reply=reply, penalty=10)
                line = bytes(self._buffer[start:end])
                start = scanned = end + 1
                if line := line.removesuffix(b"\r"):
                    yield line
            scanned = len(self._buffer)
        finally:
            # no byte is looked at twice, however small the pieces in which a line comes
            del self._buffer[:start]
            self._scanned = scanned - start
        if len(self._buffer) > self._max_line:
            raise RemoteProtocolError("line_too_long", f"over {self._max_line} bytes", reply=reply, penalty=10)

    def pending(self) -> int:
        """Bytes of an unfinished line."""
        return len(self._buffer)
