"""A result as it is digested, kept, and given again: lines of JSON, one `[event, data]` for each piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.payments.charge import Result

_pair: Final = msgspec.json.Decoder(tuple[str, Any])


def pieces_of(data: bytes) -> Iterator[tuple[str, Any]]:
    """The pieces of lines that `trade.line_of` made."""
    for line in data.splitlines():
        yield _pair.decode(line)


class Kept:
    """Lines so far: their digest, size, and themselves while they are few."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._data: bytearray | None = bytearray()
        self.size = 0
        self.content_bytes = 0

    def add(self, line: bytes, content: int = 0) -> None:
        """The next line. `content` is what its data counts."""
        self._digest.update(line)
        self.size += len(line)
        self.content_bytes += content
        if self._data is not None:
            self._data += line
            if len(self._data) > limits.PAYMENT_RESULT_BYTES:
                self._data = None

    @property
    def digest(self) -> bytes:
        """SHA-256."""
        return self._digest.digest()

    def result(self) -> Result:
        """As the ledger keeps it."""
        return Result(digest=self.digest, size=self.size, data=None if self._data is None else bytes(self._data))
