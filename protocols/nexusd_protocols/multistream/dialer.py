"""The side that opened a stream, and proposes. (specs/multistream.md §2)"""

from __future__ import annotations

from collections.abc import Sequence

from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.multistream.messages import HEADER, NA, MessageReader, encode


class Dialer:
    """Proposes protocols in order until the peer agrees to one. Bytes in, bytes out:

        send(dialer.start())
        while not (dialer.agreed or dialer.refused):
            send(dialer.receive(await read()))
        ahead = dialer.ahead            # what the peer said in its protocol already

    With a single protocol, data may follow `start` at once: it is the peer's to read if it agrees, and was not looked
    at if it refuses.
    """

    def __init__(self, protocols: Sequence[str]) -> None:
        if not protocols:
            raise LocalProtocolError("nothing to propose")
        self._left = list(protocols)
        self._reader = MessageReader()
        self._greeted = False
        self._failed = False
        self.agreed: str | None = None
        """The protocol, once the peer agreed."""
        self.refused = False
        """Whether the peer speaks none of them."""
        self.ahead = b""
        """What followed the agreement."""

    def start(self) -> bytes:
        """The header and the first proposal: one flight."""
        return encode(HEADER) + encode(self._left[0])

    def receive(self, data: bytes) -> bytes:
        """Take what the peer sent; returns the next proposal, or nothing.

        Raises RemoteProtocolError: the reasons of `MessageReader.take`, `bad_header`, `unexpected_answer`. After it,
        and once the matter is decided, nothing more is read.
        """
        if self._failed or self.refused or self.agreed is not None:
            return b""
        self._reader.feed(data)
        proposals = b""
        try:
            while self.agreed is None and not self.refused and (answer := self._reader.take()) is not None:
                proposals += self._take(answer)
        except RemoteProtocolError:
            self._failed = True
            raise
        return proposals

    def receive_eof(self) -> None:
        """The peer ends its side. Raises RemoteProtocolError `cut_short` within a message; without an answer it is for
        the caller to say that the stream broke."""
        if len(self._reader) and not (self._failed or self.refused):
            self._failed = True
            raise RemoteProtocolError("cut_short", "the stream ended within a message")

    def _take(self, answer: str) -> bytes:
        if not self._greeted:
            if answer != HEADER:
                raise RemoteProtocolError("bad_header", f"{answer[:40]!r}")
            self._greeted = True
            return b""
        if answer == self._left[0]:
            self.agreed = answer
            self.ahead = self._reader.rest()
            return b""
        if answer != NA:
            raise RemoteProtocolError("unexpected_answer", f"{answer[:40]!r}", penalty=10)
        del self._left[0]
        self.refused = not self._left
        return b"" if self.refused else encode(self._left[0])
