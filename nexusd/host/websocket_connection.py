"""One WebSocket connection: bytes in, bytes out, over the sans-IO core of `websockets` (RFC 6455).

A message is whatever its sender wrote at once and means nothing: what is read is the stream of all payloads. The stock
transport takes a connection in reads of 4 KiB, unmasks in Python, and hands messages from task to task; here whoever
reads does all of it, in reads of 64 KiB and more.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import deque
from typing import Final

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import BINARY, CLOSE, CONT, PING, PONG, CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import OPEN, Event, Protocol
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from nexusd.host.ports import HostError
from nexusd_protocols import limits
from nexusd_protocols.errors import FLOOD, RemoteProtocolError

_log = logging.getLogger(__name__)
_library_log = _log.getChild("protocol")
_library_log.setLevel(logging.WARNING)  # it tells of every connection

MESSAGE_BYTES: Final = limits.MIB
"""A message holds Noise frames, 64 KiB each; libp2p peers batch a few."""
READ_BYTES: Final = 256 * limits.KIB
"""One read of the socket."""
HANDSHAKE_BYTES: Final = 16 * limits.KIB
"""The opening request or its answer, headers of proxies on the way included. They have a few hundred bytes."""
HANDSHAKE_READ_BYTES: Final = 4 * limits.KIB
CREDIT_BYTES: Final = 64 * limits.KIB
"""What a peer may be ahead in frames that carry little: four thousand empty ones."""
CREDIT_PER_SECOND: Final = 16 * limits.KIB
"""A thousand empty frames, which cost us a hundredth of a core."""
FRAME_COST: Final = 16
"""js-libp2p sends the two bytes of a Noise length in a frame of their own, and at least 30 bytes in the next."""
PONGS: Final = 16
"""Answers that wait behind a slow write; RFC 6455 §5.5.3 asks for that to the most recent ping only."""
PONG_SECONDS: Final = 10.0
"""For an answer that nobody takes off the wire."""
CLOSE_SECONDS: Final = 0.5
"""For the peer's goodbye. What it has sent meanwhile must be read, or the kernel answers it by a reset, which destroys
what we sent last."""


class HandshakeError(HostError):
    """The other end does not speak WebSocket, or not as RFC 6455 says."""


class FrameCredit:
    """Frames cost something each, and their payload pays for them: what floods with small ones runs out."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(CREDIT_BYTES)
        self._at = now

    def take(self, payload: int, now: float) -> bool:
        """Count a frame with so many bytes of use. False if that is one too many."""
        self._left = min(CREDIT_BYTES, self._left + payload - FRAME_COST)
        if self._left < 0:
            self._left = min(CREDIT_BYTES, self._left + max(0.0, now - self._at) * CREDIT_PER_SECOND)
            self._at = now
        return self._left >= 0


class WebSocketConnection(ReadWriteCloser):  # type: ignore[misc] # libp2p is not typed
    """What Noise reads and writes. One task reads and one writes at a time; any may be cancelled.

    A cancelled read loses nothing. A write that is cancelled while it sends leaves a torn frame: nothing is sent after.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol, remote: tuple[str, int] | None) -> None:
        self._stream = stream
        self._protocol = protocol
        self._remote = remote
        self._credit = FrameCredit(trio.current_time())
        self._chunks: deque[bytes] = deque()
        self._start = 0  # of what is unread in the first
        self._fault: RemoteProtocolError | None = None
        self._ended = False
        self._torn = False
        self._closed = False
        self._reading = trio.Lock()
        self._sending = trio.Lock()
        self._process()  # what came with the last of the handshake

    async def read(self, n: int | None = None) -> bytes:
        """1 to `n` bytes, empty at the end. Raises RemoteProtocolError `websocket_…`, ConnectionClosedError."""
        if n == 0:
            return b""
        async with self._reading:
            while not self._chunks:
                if self._fault is not None:
                    raise self._fault
                if self._ended or self._closed:
                    return b""
                self._take(await self._receive(READ_BYTES))
                await self._answer()
            return self._taken(n)

    async def write(self, data: bytes) -> None:
        """Send it all, in one message. Raises ConnectionClosedError."""
        async with self._sending:
            if self._protocol.state is not OPEN or self._torn or self._closed:
                raise ConnectionClosedError("the connection is closed", transport="websocket")
            self._protocol.send_binary(data)
            await self._flush()

    async def close(self) -> None:
        """Say goodbye, wait for the peer's, close. Idempotent, and closes even where it is cancelled."""
        if self._closed:
            return
        self._closed = True
        try:
            with trio.move_on_after(CLOSE_SECONDS):
                if self._protocol.state is OPEN:
                    async with self._sending:
                        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                        await self._flush()
                async with self._reading:
                    while not self._ended:
                        self._take(await self._receive(READ_BYTES))
                        self._chunks.clear()
                        self._start = 0
        except (ConnectionClosedError, RemoteProtocolError) as error:
            _log.debug("closing a WebSocket: %s", error)
        finally:
            await trio.aclose_forcefully(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP and port of the other end."""
        return self._remote

    # --- receiving --------------------------------------------------------------------------------------------------
    async def _receive(self, limit: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(limit))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._ended = True
            if self._closed:
                return b""
            raise ConnectionClosedError(f"the connection is lost: {error}", transport="websocket") from error

    def _take(self, data: bytes) -> None:
        """What came; the empty string is the end."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._ended = True
            self._protocol.receive_eof()
        self._process()

    def _process(self) -> None:
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                raise AssertionError("a handshake after the handshake")
            self._frame(event)
            if self._fault is not None:
                return
        error = self._protocol.parser_exc
        if error is not None and not isinstance(error, EOFError):
            self._fault = RemoteProtocolError("websocket_frame", str(error), penalty=10)

    def _frame(self, frame: Frame) -> None:
        carries = frame.opcode in (BINARY, CONT)
        if not self._credit.take(len(frame.data) if carries else 0, trio.current_time()):
            self._fail("websocket_flood", "frames that carry nothing", CloseCode.POLICY_VIOLATION, FLOOD)
        elif carries:
            if frame.data:
                self._chunks.append(bytes(frame.data))
        elif frame.opcode is CLOSE:
            self._ended = True
        elif frame.opcode not in (PING, PONG):
            self._fail("websocket_text", "a text message", CloseCode.UNSUPPORTED_DATA)

    def _fail(self, code: str, detail: str, close: CloseCode, penalty: int = 10) -> None:
        self._fault = RemoteProtocolError(code, detail, penalty=penalty)
        if self._protocol.parser_exc is None and self._protocol.state is OPEN:
            self._protocol.fail(close, detail)

    def _taken(self, n: int | None) -> bytes:
        """Whole chunks as long as they fit, or the next part of one."""
        limit = sys.maxsize if n is None or n < 0 else n
        head = self._chunks[0]
        if self._start or len(head) > limit:
            part = head[self._start : self._start + limit]
            self._start += len(part)
            if self._start == len(head):
                self._chunks.popleft()
                self._start = 0
            return part
        chunks = []
        while self._chunks and len(self._chunks[0]) <= limit:
            chunks.append(self._chunks.popleft())
            limit -= len(chunks[-1])
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    # --- sending ----------------------------------------------------------------------------------------------------
    async def _answer(self) -> None:
        """Pongs and goodbyes, which the reader sends unless a writer is at it, who takes them along: a reader that
        waited for a writer, on both sides, would wait for ever."""
        del self._protocol.writes[:-PONGS]
        if self._protocol.writes and not self._sending.locked():
            with trio.move_on_after(PONG_SECONDS) as limit:
                async with self._sending:
                    # that nobody is there to hear it, the next read finds out, after what has come
                    with contextlib.suppress(ConnectionClosedError):
                        await self._flush()
            if limit.cancelled_caught:
                raise ConnectionClosedError("the peer takes nothing", transport="websocket")

    async def _flush(self) -> None:
        """Send what the protocol has to say; holds `_sending`."""
        while (writes := self._outgoing()) and not self._torn:
            self._torn = True
            try:
                await self._stream.send_all(writes)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ConnectionClosedError(f"the connection is lost: {error}", transport="websocket") from error
            self._torn = False

    def _outgoing(self) -> bytes:
        # the empty string asks for a half-close, which the close of the socket does
        return b"".join(self._protocol.data_to_send())


async def accept(stream: trio.abc.Stream, remote: tuple[str, int]) -> WebSocketConnection:
    """Answer a request to open a WebSocket, on any path. Raises HandshakeError, trio's errors of a broken stream."""
    protocol = ServerProtocol(max_size=MESSAGE_BYTES, logger=_library_log)
    request = await _handshake(stream, protocol)
    if isinstance(request, Request):
        if protocol.events or protocol.reader.buffer:
            raise HandshakeError("the dialler did not wait for the answer to its WebSocket handshake")
        protocol.send_response(protocol.accept(request))
    await stream.send_all(b"".join(protocol.data_to_send()))
    return _opened(stream, protocol, remote)


async def connect(
    stream: trio.abc.Stream, host: str, port: int, *, secure: bool, remote: tuple[str, int]
) -> WebSocketConnection:
    """Ask for a WebSocket at `/`; `host` and `port` are what the request names. Raises HandshakeError, trio's errors
    of a broken stream."""
    protocol = ClientProtocol(WebSocketURI(secure, host, port, "/", ""), max_size=MESSAGE_BYTES, logger=_library_log)
    protocol.send_request(protocol.connect())
    await stream.send_all(b"".join(protocol.data_to_send()))
    await _handshake(stream, protocol)
    return _opened(stream, protocol, remote)


async def _handshake(stream: trio.abc.Stream, protocol: Protocol) -> Event | None:
    """What the other end says, None if that is not HTTP."""
    size = 0
    while protocol.handshake_exc is None:
        data = await stream.receive_some(HANDSHAKE_READ_BYTES)
        size += len(data)
        if not data:
            raise HandshakeError("the connection ended in the midst of the WebSocket handshake")
        if size > HANDSHAKE_BYTES:
            raise HandshakeError("the WebSocket handshake is too long")
        protocol.receive_data(data)
        if protocol.events:
            return protocol.events.pop(0)
    return None


def _opened(stream: trio.abc.Stream, protocol: Protocol, remote: tuple[str, int]) -> WebSocketConnection:
    error = protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        raise HandshakeError(f"no WebSocket there: HTTP status {error.response.status_code}") from error
    if error is not None:
        # its text quotes the other end
        raise HandshakeError("the other end does not speak WebSocket") from error
    return WebSocketConnection(stream, protocol, remote)
