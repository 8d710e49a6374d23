"""Every inbound stream: the gate, the negotiation, and a handler that fails alone.

    muxer -> gate (is the peer allowed, has it fewer streams than its share?) -> multistream-select -> handler

Fault C1: in stock code an exception in any stream handler stops the whole host, and 25 bytes from a stranger raise one:
`SwarmConn` runs handlers in a bare nursery, so `UnicodeDecodeError` out of the negotiation climbs to the swarm and
cancels every connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from nexusd.host.ports import DeadlineError
from nexusd.host.slots import StreamSlots
from nexusd.host.stream import Stream
from nexusd.host.yamux_stream import YamuxStream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.multistream.listener import Listener

_log = logging.getLogger(__name__)

NEGOTIATE_SECONDS: Final = 10.0
"""For a peer to say which protocol its stream carries: as go-libp2p gives it."""
RESET_SECONDS: Final = 2.0
"""A reset is one small frame; a transport that does not take it in this time is stuck."""
READ_BYTES: Final = 64 * limits.KIB

Handler = Callable[[Any], Awaitable[None]]
Charge = Callable[[PeerId, str, int], None]


class StreamGuard:
    """Serves the streams that peers open. `handlers` is the table of py-libp2p's host, in which all are registered."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        admit: Callable[[PeerId], bool],
        slots: StreamSlots,
        charge: Charge,
    ) -> None:
        self._handlers = handlers
        self._admit = admit
        self._slots = slots
        self._charge = charge

    async def serve(self, muxed: YamuxStream) -> None:
        """Carry one stream to its end. Whatever goes wrong with it is its own end only."""
        peer = muxed.muxed_conn.peer
        if not self._admit(peer) or not self._slots.enter(peer):
            await reset_stream(muxed)
            return
        try:
            stream = await self._agree(muxed)
            if stream is not None:
                await self._handlers[stream.get_protocol()](stream)
        except RemoteProtocolError as error:
            self._charge(peer, error.code, error.penalty)
            await reset_stream(muxed)
        except Exception as error:
            # Exception only: Cancelled must pass
            _log.debug("stream of %s failed: %r", peer, error)
            await reset_stream(muxed)
        finally:
            self._slots.exit(peer)

    async def _agree(self, muxed: YamuxStream) -> Stream | None:
        """The stream, or None if the peer ended it without an agreement."""
        listener = Listener(self._handlers)
        with trio.CancelScope(deadline=trio.current_time() + NEGOTIATE_SECONDS):
            while listener.agreed is None:
                try:
                    data = await muxed.read(READ_BYTES)
                except MuxedStreamEOF:
                    listener.receive_eof()
                    await muxed.close()
                    return None
                if answer := listener.receive(data):
                    await muxed.write(answer)
            return Stream(muxed, listener.agreed, listener.ahead)
        raise DeadlineError(f"{muxed.muxed_conn.peer} named no protocol for {NEGOTIATE_SECONDS:g} s")


async def reset_stream(stream: Any) -> None:
    """Tear a stream down, whatever state it is in; shielded, so that the peer hears of it when a task is cancelled."""
    with trio.move_on_after(RESET_SECONDS, shield=True):
        try:
            await stream.reset()
        except Exception as error:
            _log.debug("reset failed: %r", error)
