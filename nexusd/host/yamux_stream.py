"""One stream of a Yamux connection, as py-libp2p wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from nexusd.host.waiting import Turns
from nexusd_protocols import limits
from nexusd_protocols.yamux.stream import Stream

if TYPE_CHECKING:
    from nexusd.host.yamux import YamuxConnection

_READ_BYTES: Final = limits.MIB
_SENT_SECONDS: Final = 0.5
"""For what was written before a reset, if the transport is slow."""
_TURNS: Final = 32
"""Calls that succeed at once before the task lets others run: negotiation reads byte by byte."""


class YamuxStream(IMuxedStream):  # type: ignore[misc] # libp2p is not typed
    """Made by `YamuxConnection`. Any call may be cancelled; a cancelled write has sent the beginning or nothing."""

    def __init__(self, conn: YamuxConnection, stream: Stream) -> None:
        self.muxed_conn = conn
        self.stream_id = stream.id
        self.is_initiator = stream.outbound
        self._stream = stream
        self._closed = False
        self._breaking = False
        self._turns = 0
        self._writing = Turns()

    @property
    def reset_by(self) -> str | None:
        """Who broke the stream: peer, local, memory, connection; None if nobody did."""
        return self._stream.reset_by

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can come of it."""
        return self._closed or self._stream.finished

    @property
    def readable(self) -> bool:
        """Whether `read` would return, or raise, at once."""
        stream = self._stream
        return bool(stream.incoming.size) or self._closed or stream.ended or stream.reset_by is not None

    @property
    def room(self) -> int:
        """Bytes that `write` takes at once."""
        return 0 if self._writing.taken else self._stream.room

    async def read(self, n: int | None = None) -> bytes:
        """1 to `n` bytes. Raises MuxedStreamEOF only when the peer has said all, MuxedStreamReset when it has not."""
        await self._checkpoint()
        if n == 0:
            return b""
        stream = self._stream
        limit = _READ_BYTES if n is None or n < 0 else n
        while not self._closed:
            data = stream.read(limit, trio.current_time())
            self.muxed_conn.turn()
            if data:
                return data
            if stream.at_end:
                raise MuxedStreamEOF("the peer has said all")
            if stream.reset_by is not None:
                raise MuxedStreamReset(f"reset by {stream.reset_by}")
            await self.muxed_conn.readable(stream)
            self._turns = 0
        raise MuxedStreamClosed("closed by this side")

    def keep(self, count: int) -> None:
        """So many bytes of what was read wait for more to come: they are charged to the peer like unread ones."""
        self._stream.keep(count)
        self.muxed_conn.turn()

    async def write(self, data: bytes) -> None:
        """Give all of it to the connection, waiting for room; several tasks take turns. Raises MuxedStreamReset, and
        MuxedStreamClosed after `close_write`."""
        await self._checkpoint()
        async with self._writing:
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        stream = self._stream
        rest: bytes | memoryview = data
        while True:
            if self._breaking:
                raise MuxedStreamReset("reset by local")
            if stream.closing:
                raise MuxedStreamClosed("closed for writing")
            if stream.reset_by is not None:
                raise MuxedStreamReset(f"reset by {stream.reset_by}")
            taken = stream.write(rest)
            self.muxed_conn.turn()
            if taken == len(rest):
                return
            rest = memoryview(rest)[taken:]
            await self.muxed_conn.writable(stream)
            self._turns = 0

    def end(self) -> None:
        """Half-close: the peer reads a clean end behind what was written. Never waits."""
        self._stream.close_write()
        self.muxed_conn.turn()

    def leave(self, gone: Callable[[], None] = lambda: None) -> None:
        """Half-close, and read no more. The stream lives until the peer ends its side, or for a while: `gone` is called
        then. Never waits."""
        if not self._closed:
            self._closed = True
            self._stream.close_write()
            self.muxed_conn.linger(self._stream, gone)

    async def close_write(self) -> None:
        """As `end`."""
        self.end()
        await self._checkpoint()

    async def close(self) -> None:
        """As `leave`."""
        self.leave()
        await self._checkpoint()

    async def reset(self) -> None:
        """Break it, in both directions. What `write` has taken goes out before: a last word, such as a cancellation, is
        followed by a reset. Not cancelled, since it is what cancelled tasks do last."""
        self._closed = self._breaking = True
        if self._stream.outgoing.size:
            with trio.move_on_after(_SENT_SECONDS, shield=True):
                await self.muxed_conn.sent(self._stream)
        self._stream.reset()
        self.muxed_conn.turn()

    def set_deadline(self, ttl: int) -> None:
        """Deadlines are Trio's."""
        raise NotImplementedError("use trio.fail_after")  # as in stock streams: the interface has it

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP and port of the other end."""
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is None:
            await self.close()
        else:
            await self.reset()

    async def _checkpoint(self) -> None:
        self._turns += 1
        if self._turns < _TURNS:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._turns = 0
            await trio.lowlevel.checkpoint()
