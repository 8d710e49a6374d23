"""The side on which a stream was opened, and which chooses. (specs/multistream.md §3)"""

from __future__ import annotations

from collections.abc import Collection

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.multistream.messages import HEADER, LS, NA, MessageReader, encode, encode_list


class Listener:
    """Agrees to the first proposal that is served. Bytes in, bytes out:

        while listener.agreed is None:
            send(listener.receive(await read()))
        ahead = listener.ahead          # what the peer said in its protocol already

    Says nothing before the peer does: its header goes with the first answer, in one write.
    """

    def __init__(self, serves: Collection[str], *, max_proposals: int = limits.MULTISTREAM_PROPOSALS) -> None:
        self._serves = serves
        self._left = max_proposals
        self._reader = MessageReader()
        self._greeted = False
        self._listed = False
        self._failed = False
        self.agreed: str | None = None
        """The protocol, once there is agreement."""
        self.ahead = b""
        """What followed the proposal."""

    def receive(self, data: bytes) -> bytes:
        """Take what the peer sent; returns the answer to it, or nothing.

        Raises RemoteProtocolError: the reasons of `MessageReader.take`, `bad_header`, `too_many_proposals`. After it,
        and once there is agreement, nothing more is read.
        """
        if self._failed or self.agreed is not None:
            return b""
        self._reader.feed(data)
        answer = b""
        try:
            while self.agreed is None and (message := self._reader.take()) is not None:
                answer += self._take(message)
        except RemoteProtocolError:
            self._failed = True
            raise
        return answer

    def receive_eof(self) -> None:
        """The peer ends its side: no fault, whatever was agreed, unless within a message (RemoteProtocolError
        `cut_short`)."""
        if len(self._reader) and not self._failed:
            self._failed = True
            raise RemoteProtocolError("cut_short", "the stream ended within a message")

    def _take(self, message: str) -> bytes:
        if not self._greeted:
            if message != HEADER:
                raise RemoteProtocolError("bad_header", f"{message[:40]!r}")
            self._greeted = True
            return encode(HEADER)
        if self._left <= 0:
            raise RemoteProtocolError("too_many_proposals")
        self._left -= 1
        if message in self._serves:
            self.agreed = message
            self.ahead = self._reader.rest()
            return encode(message)
        if message == LS and not self._listed:
            self._listed = True  # once: the list is a hundred times the question
            return encode_list(self._serves)
        # peers that lost their place begin anew
        return encode(HEADER if message == HEADER else NA)
