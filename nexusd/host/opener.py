"""Opening streams, so that neither a slow peer nor a caller that gives up leaves one behind.

Where one protocol alone will do, and the peer is known to speak it, the stream is opened lazily: nothing is asked, and
the proposal goes with the first data in one flight (`lazy_stream`). Otherwise the peer's answer is waited for: where it
may be one of several, it may be a better one than the one that we know of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.host.exceptions import StreamFailure
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamError

from nexusd.host.lazy_stream import LazyStream
from nexusd.host.peer_ids import libp2p_id
from nexusd.host.ports import ConnectionLostError, DeadlineError, HostError, UnsupportedError
from nexusd.host.stream import Stream
from nexusd.host.stream_guard import NEGOTIATE_SECONDS, READ_BYTES, reset_stream
from nexusd.host.yamux import YamuxConnection
from nexusd.host.yamux_stream import YamuxStream
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.multistream.dialer import Dialer

_log = logging.getLogger(__name__)

SPOKEN: Final = 256
"""Protocols remembered of one connection: twice what identify lets a peer tell."""


class Opener:
    """Opens streams on connections; dialling is the dialler's."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Open again in this nursery what was opened lazily and refused."""
        self._nursery = nursery

    def learn(self, peer: PeerId, protocols: Iterable[str]) -> None:
        """What the peer says that it serves: all of it."""
        for connection in self._connections(peer):
            connection.spoken = set(protocols)

    async def open(
        self, peer: PeerId, protocols: Sequence[str], *, lazily: bool = True, replayable: bool = False
    ) -> Stream:
        """A stream for the first of these protocols that the peer speaks; `get_protocol` tells which. Not `lazily`: it
        is open on the peer's side too when this returns. `replayable`: what is written before the peer has agreed may
        be sent twice; where it is not, it is sent once, come what may.

        Raises UnsupportedError, ConnectionLostError, DeadlineError; a stream opened lazily may raise UnsupportedError
        later, from any call that waits for the peer: then nothing that was written has been looked at.
        """
        connection = await self._connection(peer)
        only = protocols[0] if len(protocols) == 1 else None
        if not lazily or only not in connection.spoken:
            return await self._negotiate(connection, protocols)
        muxed = await self._open(connection)
        refused = partial(self._again if replayable else self._give_up, connection, only)
        return LazyStream(muxed, only, refused=refused, spawn=self._spawn)

    async def open_stock(self, peer_id: ID, protocol_ids: Sequence[str]) -> Stream:
        """As `BasicHost.new_stream`, for the parts of py-libp2p that open streams by themselves: it dials, waits for
        the peer's answer, and raises StreamFailure."""
        try:
            peer = PeerId(str(peer_id))
            if not self._connections(peer):
                await self._swarm.dial_peer(peer_id)
            return await self._negotiate(await self._connection(peer), protocol_ids)
        except HostError as error:
            raise StreamFailure(f"failed to open a stream to peer {peer_id}") from error

    def take_over(self, host: BasicHost) -> None:
        """Have a stock host open its streams here: its own client reads byte by byte."""
        host.new_stream = self.open_stock

    def _spawn(self, function: Any) -> None:
        if self._nursery is None:
            raise HostError("The host is not running")
        self._nursery.start_soon(function)

    def _connections(self, peer: PeerId) -> list[YamuxConnection]:
        return [
            connection.muxed_conn
            for connection in self._swarm.get_connections(libp2p_id(peer))
            if not connection.is_closed
        ]

    async def _connection(self, peer: PeerId) -> YamuxConnection:
        connections = self._connections(peer)
        if not connections:
            raise ConnectionLostError(f"The connection to {peer} broke: it is gone, or refuses this node")
        connection = min(connections, key=lambda each: (not each.is_established, each.spare))
        if not connection.event_started.is_set():
            with trio.move_on_after(NEGOTIATE_SECONDS):
                await connection.event_started.wait()
        return connection

    async def _open(self, connection: YamuxConnection) -> YamuxStream:
        try:
            return await connection.open_stream()
        except MuxedConnUnavailable as error:
            raise ConnectionLostError(f"The connection to {connection.peer} is closing") from error

    async def _again(self, connection: YamuxConnection, protocol: str) -> Stream:
        """The peer refused what it was known to speak: ask it."""
        connection.spoken.discard(protocol)
        return await self._negotiate(connection, [protocol])

    async def _give_up(self, connection: YamuxConnection, protocol: str) -> Stream:
        """The same, and nothing may be said again. The next stream is asked for."""
        connection.spoken.discard(protocol)
        await trio.lowlevel.checkpoint()
        raise UnsupportedError(_unsupported(connection.peer, [protocol]))

    async def _negotiate(self, connection: YamuxConnection, protocols: Sequence[str]) -> Stream:
        muxed = await self._open(connection)
        try:
            with trio.fail_after(NEGOTIATE_SECONDS):
                stream = await _agree(muxed, protocols)
        except BaseException as error:
            await reset_stream(muxed)
            peer = connection.peer
            match error:
                case trio.TooSlowError():
                    raise DeadlineError(f"{peer} did not answer the request for a stream") from error
                case RemoteProtocolError():
                    connection.blame(error)
                    raise ConnectionLostError(f"{peer} answers nonsense to the request for a stream") from error
                case MuxedStreamError():
                    _log.debug("no stream to %s: %r", peer, error)
                    raise ConnectionLostError(
                        f"The connection to {peer} broke: it is gone, or refuses this node"
                    ) from error
            raise
        if len(connection.spoken) < SPOKEN:
            connection.spoken.add(stream.get_protocol())
        return stream


def _unsupported(peer: PeerId, protocols: Sequence[str]) -> str:
    return f"{peer} does not speak {' or '.join(protocols)}"


async def _agree(muxed: YamuxStream, protocols: Sequence[str]) -> Stream:
    dialer = Dialer(protocols)
    await muxed.write(dialer.start())
    while dialer.agreed is None:
        try:
            data = await muxed.read(READ_BYTES)
        except MuxedStreamEOF:
            dialer.receive_eof()
            raise
        proposal = dialer.receive(data)
        if dialer.refused:
            raise UnsupportedError(_unsupported(muxed.muxed_conn.peer, protocols))
        if proposal:
            await muxed.write(proposal)
    return Stream(muxed, dialer.agreed, dialer.ahead)
