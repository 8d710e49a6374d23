"""A stream whose protocol the peer is known to speak: the proposal goes with the first data, in one flight.

    write -> proposal + data ->          the peer: agreement + answer, in one flight too
    read  <- agreement, then the answer

Should the peer refuse after all, it has not looked at what was written. That is written again, once, on a stream that
was asked for, if whoever opened this one allows it (`Opener.open`, `replayable`); else the refusal is his. If the
stream breaks before the peer has answered, nobody knows, and nothing is repeated.
(specs/multistream.md §4)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.network.stream.exceptions import StreamReset
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset

from nexusd.host.ports import ConnectionLostError, HostError
from nexusd.host.stream import Stream
from nexusd.host.stream_guard import READ_BYTES, reset_stream
from nexusd.host.yamux_stream import YamuxStream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.multistream.dialer import Dialer

LAZY_BYTES: Final = 64 * limits.KIB
"""What is written before the peer has agreed, and kept until it has. Whoever has more to say waits for the answer."""


class LazyStream(Stream):
    """`refused` opens the stream anew, asking first, or raises what the caller is told where nothing may be said
    twice; `spawn` starts a task for it that nobody cancels."""

    def __init__(
        self,
        muxed: YamuxStream,
        protocol: str,
        *,
        refused: Callable[[], Awaitable[Stream]],
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        super().__init__(muxed, protocol)
        self._refused = refused
        self._spawn = spawn
        self._dialer = Dialer([protocol])
        self._greeted = False
        self._settled = False
        self._settling = trio.Lock()
        self._said = bytearray()
        self._ended = False
        self._broken = False
        self._again: trio.Event | None = None
        self._failure: Exception | None = None

    @property
    def readable(self) -> bool:
        """As any stream's."""
        return self._settled and super().readable

    @property
    def settled(self) -> bool:
        """Whether the peer has agreed to the protocol."""
        return self._settled

    @property
    def room(self) -> int:
        """As any stream's."""
        return super().room if self._settled else min(super().room, LAZY_BYTES - len(self._said))

    async def read(self, n: int | None = None) -> bytes:
        """As any stream's. Raises UnsupportedError too."""
        if not self._settled:
            await self._settle()
        return await super().read(n)

    async def write(self, data: bytes) -> None:
        """As any stream's. Raises UnsupportedError too."""
        if self._settled:
            await super().write(data)
            return
        if len(self._said) + len(data) > LAZY_BYTES:
            await self._settle()
            await super().write(data)
            return
        self._said += data
        if self._greeted:
            flight = data
        else:
            self._greeted = True
            flight = self._dialer.start() + data
        muxed = self.muxed_stream
        try:
            await muxed.write(flight)
        except MuxedStreamError as error:
            # refused perhaps: then it is written again, this piece included
            await self._settle()
            if muxed is self.muxed_stream:
                raise StreamReset(str(error)) from error

    async def close_write(self) -> None:
        """As any stream's."""
        await self._greet()
        self._ended = True
        await super().close_write()

    async def close(self) -> None:
        """As any stream's. Whoever wants to know that the protocol was accepted reads to the end first."""
        await self._greet()
        self._ended = True
        await super().close()

    async def reset(self) -> None:
        """As any stream's."""
        self._broken = True
        await super().reset()

    async def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            try:
                await self.muxed_stream.write(self._dialer.start())
            except MuxedStreamError as error:
                raise StreamReset(str(error)) from error

    async def _settle(self) -> None:
        """Until the peer has agreed, here or on another stream."""
        await self._greet()
        async with self._settling:
            dialer = self._dialer
            while dialer.agreed is None and not dialer.refused:
                try:
                    dialer.receive(await self.muxed_stream.read(READ_BYTES))
                except (MuxedStreamEOF, MuxedStreamReset) as error:
                    raise StreamReset("the peer did not agree to the protocol") from error
                except RemoteProtocolError as error:
                    self.muxed_stream.muxed_conn.blame(error)
                    raise ConnectionLostError(f"{self.peer} answers nonsense to the request for a stream") from error
            if dialer.agreed is not None and not self._settled:
                self._ahead = dialer.ahead
                self._finish()
        if dialer.refused:
            await self._repeated()

    async def _repeated(self) -> None:
        if self._again is None:
            self._again = trio.Event()
            self._spawn(self._repeat)
        await self._again.wait()
        if self._failure is not None:
            raise self._failure

    async def _repeat(self) -> None:
        """Not the task of any caller: one that is cancelled half-way would leave half of what was said."""
        assert self._again is not None
        old = self.muxed_stream
        new: Stream | None = None
        try:
            await reset_stream(old)
            new = await self._refused()
            written = 0
            while len(self._said) > written and not self._broken:
                piece = bytes(self._said[written:])
                written += len(piece)
                await new.write(piece)
            if self._ended:
                await new.close_write()
            if self._broken:
                await new.reset()
            else:
                self.muxed_stream, self._ahead = new.muxed_stream, new._ahead
                self._finish()
        except HostError as error:
            self._failure = error
        except Exception as error:
            self._failure = StreamReset(str(error))
            self._failure.__cause__ = error
        finally:
            if not self._settled:
                self._failure = self._failure or StreamReset("reset by local")
                if new is not None:
                    await reset_stream(new)
            self._again.set()

    def _finish(self) -> None:
        self._settled = True
        self._said = bytearray()
