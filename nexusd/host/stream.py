"""A stream above the muxer that carries a protocol: what channels of ours and handlers of py-libp2p read and write.

Stock streams take a lock, and with it a turn of the scheduler, at every call, and keep a state that says less than the
muxer's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from libp2p.abc import INetStream
from libp2p.network.stream.exceptions import StreamClosed, StreamEOF, StreamError, StreamReset
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from nexusd.host.yamux_stream import YamuxStream
from nexusd_protocols.identity import PeerId


class Stream(INetStream):  # type: ignore[misc] # libp2p is not typed
    """`ahead` is what was read along with the negotiation: it is read again, first."""

    def __init__(self, muxed: YamuxStream, protocol: str, ahead: bytes = b"") -> None:
        self.muxed_stream = muxed
        self._protocol = protocol
        self._ahead = ahead

    @property
    def muxed_conn(self) -> Any:
        """The connection it is on."""
        return self.muxed_stream.muxed_conn

    @property
    def swarm_conn(self) -> Any:
        """What stock code asks for the connection's end (`event_closed`)."""
        return self.muxed_stream.muxed_conn

    @property
    def peer(self) -> PeerId:
        """Who is at the other end."""
        return self.muxed_stream.muxed_conn.peer

    def get_protocol(self) -> str:
        """The protocol agreed on."""
        return self._protocol

    def set_protocol(self, protocol_id: str) -> None:
        """For stock code."""
        self._protocol = protocol_id

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP and port of the other end."""
        return self.muxed_stream.get_remote_address()

    @property
    def readable(self) -> bool:
        """Whether `read` would return, or raise, at once: then it needs no deadline."""
        return bool(self._ahead) or self.muxed_stream.readable

    @property
    def settled(self) -> bool:
        """Whether the peer has agreed to the protocol."""
        return True

    @property
    def room(self) -> int:
        """Bytes that `write` takes at once."""
        return self.muxed_stream.room

    async def read(self, n: int | None = None) -> bytes:
        """1 to `n` bytes. Raises StreamEOF only when the peer has said all, StreamReset when it has not."""
        if self._ahead:
            data = self._ahead if n is None or n < 0 else self._ahead[:n]
            self._ahead = self._ahead[len(data) :]
            return data
        try:
            return await self.muxed_stream.read(n)
        except MuxedStreamEOF as error:
            raise StreamEOF from error
        except MuxedStreamReset as error:
            raise StreamReset(str(error)) from error
        except MuxedStreamClosed as error:
            raise StreamError(str(error)) from error

    def keep(self, count: int) -> None:
        """So many bytes of what was read wait for more to come, as `YamuxStream.keep`."""
        self.muxed_stream.keep(count)

    async def write(self, data: bytes) -> None:
        """All of it. Raises StreamReset, and StreamClosed after `close_write`."""
        try:
            await self.muxed_stream.write(data)
        except MuxedStreamClosed as error:
            raise StreamClosed from error
        except MuxedStreamReset as error:
            raise StreamReset(str(error)) from error

    async def close_write(self) -> None:
        """Half-close: the peer reads a clean end behind what was written."""
        await self.muxed_stream.close_write()

    def end(self) -> None:
        """As `close_write`, of a stream that is settled."""
        self.muxed_stream.end()

    def leave(self, gone: Callable[[], None]) -> None:
        """As `close`, of a stream that is settled. `gone` is called once the peer has ended its side too, or the stream
        was reset because it did not."""
        self.muxed_stream.leave(gone)

    async def close_read(self) -> None:
        """For stock code: nobody reads any more, which the peer need not know."""

    async def close(self) -> None:
        """Half-close, and read no more."""
        await self.muxed_stream.close()

    async def reset(self) -> None:
        """Break it, in both directions."""
        await self.muxed_stream.reset()
