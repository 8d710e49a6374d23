"""Lines of text: a protocol to test the pump with."""

from __future__ import annotations

from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError


class Lines:
    """Lines of text. `stop` is a breach of the protocol, and so is an end within a line."""

    def __init__(self) -> None:
        self._buffer = b""
        self.sent_sizes: list[int] = []

    def receive(self, data: bytes) -> list[str]:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if b"stop" in lines:
            raise RemoteProtocolError("said_stop", "not allowed", reply=b"go on\n", penalty=7)
        return [line.decode() for line in lines]

    def receive_eof(self) -> list[str]:
        if self._buffer:
            raise RemoteProtocolError("cut_short", penalty=2)
        return []

    def send(self, command: str) -> bytes:
        if "\n" in command:
            raise LocalProtocolError("one line")
        return command.encode() + b"\n"

    def sent(self, size: int) -> None:
        self.sent_sizes.append(size)
