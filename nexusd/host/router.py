"""The pump: drives a machine over a stream, in both directions, for every protocol alike.

    inbound:  muxer -> StreamGuard (gate, multistream-select) -> Router._serve -> Channel(machine) -> handler
    outbound: Router.open -> dialer -> Opener (multistream-select, or lazily) -> Channel(machine)

Deadlines, back-pressure, penalties and the end of a stream live here and nowhere else. A peer's stock Yamux may end a
stream where it meant to reset it, so machines decide by their own framing whether something was cut short.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog
import trio
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost

from nexusd.host.channel import StreamChannel
from nexusd.host.dialer import Dialer
from nexusd.host.opener import Opener
from nexusd.host.pipeline import StreamPipeline
from nexusd.host.ports import Channel, ConnectionLostError, DeadlineError, HostError
from nexusd.host.slots import StreamSlots
from nexusd.host.stream import Stream
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.machine import StreamMachine

_log = structlog.get_logger(__name__)
_noise = logging.getLogger(__name__)

EventT = TypeVar("EventT")
CommandT = TypeVar("CommandT")

FIRST_BYTE_SECONDS: Final = 5.0
"""An inbound stream that says nothing for so long was opened to hold a slot."""
OPEN_SECONDS: Final = 15.0
"""Waiting for a slot and negotiating, on a connection that exists."""

Charge = Callable[[PeerId, str, int], None]


class Router:
    """Implements `ports.Streams`."""

    def __init__(
        self,
        host: BasicHost,
        dialer: Dialer,
        opener: Opener,
        slots: StreamSlots,
        charge: Charge,
        changed: Callable[[], None],
    ) -> None:
        self._host = host
        self._dialer = dialer
        self._opener = opener
        self._slots = slots
        self._charge = charge
        self._changed = changed
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Let streams end in this nursery from now on."""
        self._nursery = nursery

    def handle(
        self,
        protocol: str,
        machine: Callable[[PeerId], StreamMachine[EventT, CommandT]],
        handler: Callable[[Channel[EventT, CommandT]], Awaitable[None]],
        *,
        streams: int | None = None,
    ) -> None:
        """Serve a protocol, as `ports.Streams.handle`."""
        self._host.set_stream_handler(TProtocol(protocol), partial(self._serve, protocol, streams, machine, handler))
        self._changed()

    async def open(
        self,
        peer: PeerId,
        protocols: Sequence[str],
        machine: Callable[[str], StreamMachine[EventT, CommandT]],
        *,
        replayable: bool = False,
    ) -> Channel[EventT, CommandT]:
        """Open a stream, as `ports.Streams.open`."""
        if not protocols:
            raise ValueError("no protocol named")
        await self._dialer.connect(peer)
        stream: Stream | None = None
        with trio.CancelScope(deadline=trio.current_time() + OPEN_SECONDS):
            ticket = await self._slots.wait(peer, protocols[0])
            release = partial(self._slots.release, peer, protocols[0], ticket)
            try:
                stream = await self._opener.open(peer, protocols, replayable=replayable)
            except BaseException:
                release()
                raise
        if stream is None:
            raise DeadlineError(f"{peer} did not open a stream for {protocols[0]} in {OPEN_SECONDS:.0f} s")
        try:
            protocol = stream.get_protocol()
            return self._channel(stream, peer, protocol, machine(protocol), release, first_byte=None)
        except BaseException:
            await reset_stream(stream)
            release()
            raise

    def pipeline(
        self, channel: Channel[EventT, CommandT], key: Callable[[EventT], str], requests: int
    ) -> StreamPipeline[EventT, CommandT]:
        """Share a channel, as `ports.Streams.pipeline`."""
        if self._nursery is None:
            raise HostError("The host is not running")
        return StreamPipeline(channel, key, requests, self._nursery.start_soon)

    async def _serve(
        self,
        protocol: str,
        streams: int | None,
        machine: Callable[[PeerId], StreamMachine[EventT, CommandT]],
        handler: Callable[[Channel[EventT, CommandT]], Awaitable[None]],
        stream: Stream,
    ) -> None:
        peer = stream.peer
        if not self._slots.take(peer, protocol, streams):
            self._charge(peer, "too_many_streams", 1)
            await reset_stream(stream)
            return
        release = partial(self._slots.give_back, peer, protocol)
        channel = self._channel(stream, peer, protocol, machine(peer), release, first_byte=FIRST_BYTE_SECONDS)
        try:
            await handler(channel)
        except (RemoteProtocolError, ConnectionLostError, DeadlineError) as error:
            _noise.debug("%s of %s ended: %s", protocol, peer, error)
        except HostError as error:
            _log.info("stream_failed", protocol=protocol, peer=peer, error=str(error))
        except Exception:
            _log.exception("handler_failed", protocol=protocol, peer=peer)
        else:
            await channel.aclose()
        finally:
            if not channel.ended:
                await channel.reset()

    def _channel(
        self,
        stream: Stream,
        peer: PeerId,
        protocol: str,
        machine: StreamMachine[EventT, CommandT],
        release: Callable[[], None],
        first_byte: float | None,
    ) -> StreamChannel[EventT, CommandT]:
        if self._nursery is None:
            raise HostError("The host is not running")
        return StreamChannel(
            stream,
            peer,
            protocol,
            machine,
            charge=self._charge,
            release=release,
            linger=self._nursery.start_soon,
            first_byte=first_byte,
        )
