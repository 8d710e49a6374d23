"""Yamux under py-libp2p: a `Session` with tasks round it. (specs/yamux.md)

    reader   connection -> session -> wakes who waits       one task each, a connection
    writer   session -> connection, whatever there is
    beat     pings, dead peers

Stock Yamux shows a reset as a clean end (fault C7), breaks a stream whose reader rests for five seconds (C8), does not
notice dead peers (C9) and is torn by a cancelled write (C5). Here a stream only touches the session; nobody but the
writer sends, so any task may be cancelled anywhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from weakref import WeakValueDictionary

import trio
from libp2p.abc import IMuxedConn
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream

from nexusd.host.lingering import Lingering
from nexusd.host.noise import NoiseConnection
from nexusd.host.waiting import Waiting
from nexusd.host.yamux_stream import YamuxStream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import (
    Drained,
    Event,
    GoneAway,
    Incoming,
    Openable,
    Overdrawn,
    Readable,
    Unresponsive,
    Writable,
)
from nexusd_protocols.yamux.session import Session
from nexusd_protocols.yamux.stream import Stream

_log = logging.getLogger(__name__)

YAMUX: Final = TProtocol("/yamux/1.0.0")
BATCH_BYTES: Final = 2 * limits.NOISE_TEXT_BYTES
"""What goes out in one write. More would keep answers waiting behind it, less would cost more calls."""
FLUSH_SECONDS: Final = 1.0
"""For what was written before the connection is closed; a peer that does not read must not hold up our end."""
CLOSE_SECONDS: Final = 1.0
"""For the transport below: WebSocket says goodbye too."""
HOOK_SECONDS: Final = 5.0
"""For the swarm to take notice; it sleeps for 0.1 s a connection."""
TURN_SECONDS: Final = 0.005
"""Time of this thread for what one read of a connection holds. Bulk takes a tenth of it; of frames that carry a few
octets each it is less than a full message."""
REST: Final = 4.0
"""What a connection pauses after such a turn, in turns: so small frames, however many, keep a fifth of a core busy, and
the others wait for few turns."""
REST_SECONDS: Final = 0.1
"""The same at most. A turn is long now and then for a reason of ours, such as the collection of garbage."""

Charge = Callable[[PeerId, str, int], None]
Serve = Callable[[YamuxStream], Awaitable[None]]


class YamuxMuxer(MuxerMultistream):  # type: ignore[misc] # libp2p is not typed
    """Agrees on Yamux and makes the connection. (Stock code makes its own Yamux, whatever class it is given.)

    `budget` is the daemon's; `charge` is told what a peer did wrong; `serve` carries streams that peers open.
    """

    def __init__(
        self,
        budget: Budget,
        charge: Charge,
        negotiate_timeout: int,
        bounds: Bounds | None = None,
        serve: Serve | None = None,
    ) -> None:
        super().__init__({YAMUX: YamuxConnection}, negotiate_timeout)
        self._budget = budget
        # each for as long as a connection has it
        self._shares: WeakValueDictionary[ID, Budget] = WeakValueDictionary()
        self._charge = charge
        self._bounds = bounds
        self._serve = serve

    async def new_conn(self, conn: NoiseConnection, peer_id: ID) -> Any:
        """As the upgrader wants it."""
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        share = self._shares.get(peer_id)
        if share is None:
            share = self._shares[peer_id] = self._budget.child()
        muxed = YamuxConnection(
            conn, peer_id, budget=share.child(), charge=self._charge, bounds=self._bounds, serve=self._serve
        )
        return self._annotate_connection(muxed, conn, protocol)


class YamuxConnection(IMuxedConn):  # type: ignore[misc] # libp2p is not typed
    """One connection. `start` runs it and returns when it is over; `close` ends it, from any task."""

    on_close: Callable[[], Awaitable[None]] | None = None
    """Set by the swarm."""

    def __init__(
        self,
        conn: NoiseConnection,
        peer_id: ID,
        *,
        budget: Budget,
        charge: Charge,
        bounds: Bounds | None = None,
        serve: Serve | None = None,
    ) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.peer = PeerId(str(peer_id))
        self.spoken: set[str] = set()
        """Protocols that the peer is known to serve on this connection. The opener's."""
        self.since = trio.current_time()
        self._spare = False
        self.when_spare: set[Callable[[], None]] = set()
        """Called when it becomes spare: for streams that would last as long as the connection."""
        self._charge = charge
        self._serve = serve
        self.session = Session(dialer=conn.is_initiator, budget=budget, now=self.since, bounds=bounds)
        budget.debtor = self  # not the session: its streams wait here
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self._over = trio.Event()
        self._output = trio.Event()
        self._resting = False  # the writer has sent all that there is
        self._nursery: trio.Nursery | None = None  # for streams that are served
        self._goodbye = b""
        self._mute = False  # nothing can be sent any more
        self._gone = False  # nobody is there to take it
        self._readers: Waiting[Stream] = Waiting()
        self._writers: Waiting[Stream] = Waiting()
        self._senders: Waiting[None] = Waiting()
        self._openers: Waiting[None] = Waiting()
        self._acceptors: Waiting[None] = Waiting()
        self._lingering = Lingering(self.turn)

    # --- what libp2p asks for ---------------------------------------------------------------------------------------
    @property
    def is_initiator(self) -> bool:
        """Whether this side dialled."""
        return bool(self.secured_conn.is_initiator)

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened."""
        return self.event_started.is_set() and not self._over.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether it is all over."""
        return self.event_closed.is_set()

    def get_remote_address(self) -> tuple[str, int] | None:
        """IP and port of the other end."""
        return self.secured_conn.get_remote_address()

    def get_transport_addresses(self) -> list[Any]:
        """Multiaddrs of the other end."""
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> Any:
        """Direct or relayed."""
        return self.secured_conn.get_connection_type()

    @property
    def spare(self) -> bool:
        """Whether another connection to the same peer is kept, and this one is closed when it carries no stream. New
        streams are better opened on the other. `duplicates` sets it."""
        return self._spare

    @spare.setter
    def spare(self, spare: bool) -> None:
        turned, self._spare = spare and not self._spare, spare
        if turned:
            for tell in list(self.when_spare):
                tell()

    async def open_stream(self) -> YamuxStream:
        """A new stream; waits while as many are open as may be. Raises MuxedConnUnavailable."""
        await trio.lowlevel.checkpoint_if_cancelled()
        session = self.session
        while not session.may_open or self._over.is_set():
            if session.over or session.leaving or session.peer_left or self._over.is_set():
                raise MuxedConnUnavailable("the connection takes no more streams")
            await self._openers.wait(None)
        return YamuxStream(self, session.open(trio.current_time()))

    async def accept_stream(self) -> YamuxStream:
        """The next stream that the peer opens. Raises MuxedConnUnavailable.

        With `serve` none is ever handed out: stock code, which asks for them, would wrap each in locks of its own. They
        are served here, while it waits, each in a task that ends by itself when the connection does."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._serve is not None:
            try:
                async with trio.open_nursery() as self._nursery:
                    self._serve_accepted()
                    await self._over.wait()
            finally:
                self._nursery = None
        elif (stream := await self._accept()) is not None:
            return stream
        raise MuxedConnUnavailable("the connection is closed")

    async def _accept(self) -> YamuxStream | None:
        while True:
            stream = None if self._over.is_set() else self.session.accept()
            if stream is not None:
                return YamuxStream(self, stream)
            if self._over.is_set() or self.session.over:
                return None
            await self._acceptors.wait(None)

    def _serve_accepted(self) -> None:
        """Begin with each stream that the peer has opened."""
        if self._nursery is not None and self._serve is not None and not self._over.is_set():
            while (stream := self.session.accept()) is not None:
                self._nursery.start_soon(self._serve, YamuxStream(self, stream))

    async def start(self) -> None:
        """Run until the connection is over."""
        if self.event_started.is_set():
            return
        self.event_started.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._send)
                nursery.start_soon(self._beat)
                self._lingering.start(nursery)
                try:
                    await self._over.wait()
                    with trio.move_on_after(FLUSH_SECONDS):
                        await self._part()
                finally:
                    self._lingering.end()
                nursery.cancel_scope.cancel()
        finally:
            await self._finish()

    async def close(self) -> None:
        """Send what was written, say goodbye, close. Returns when it is done; cancelling it only stops the waiting."""
        self._end()
        if self.event_started.is_set():
            await self.event_closed.wait()
        else:
            self.event_started.set()
            await self._finish()

    # --- what streams ask for ---------------------------------------------------------------------------------------
    async def readable(self, stream: Stream) -> None:
        """Until there may be something to read. `turn` must have been called since nothing was found."""
        await self._readers.wait(stream)

    async def writable(self, stream: Stream) -> None:
        """Until there may be room."""
        await self._writers.wait(stream)

    async def sent(self, stream: Stream) -> None:
        """Until all that the stream has taken is on its way, or never will be."""
        while stream.outgoing.size and not self._mute:
            self._output.set()
            await self._senders.wait(None)

    def turn(self) -> None:
        """The session was touched: wake whom it concerns."""
        events = self.session.take_events()
        if events:
            self._dispatch(events)
        if self.session.has_output:
            self._output.set()

    def linger(self, stream: Stream, gone: Callable[[], None]) -> None:
        """Nobody will read the stream any more: drop what still comes until the peer ends its side, then call
        `gone`."""
        self._lingering.add(stream, gone)
        self.turn()

    def relieve(self, now: float) -> list[Event]:
        """Memory is short, and this connection holds most of it: `Debtor`. Deals with the events itself."""
        try:
            self._dispatch(self.session.relieve(now))
        except RemoteProtocolError as error:
            self._fail(error)
        self.turn()
        return []

    # --- tasks ------------------------------------------------------------------------------------------------------
    async def _receive(self) -> None:
        session = self.session
        try:
            while texts := await self.secured_conn.receive():
                began, now = time.thread_time(), trio.current_time()
                for text in texts:
                    self._dispatch(session.receive(text, now))
                    took = time.thread_time() - began
                    if took > TURN_SECONDS:
                        self.turn()
                        await trio.sleep(min(took * REST, REST_SECONDS))
                        began, now = time.thread_time(), trio.current_time()
                if session.has_output:
                    self._output.set()
            self._gone = True
        except RemoteProtocolError as error:
            self._fail(error)
        except Exception as error:
            # what the transport and the socket raise of their own
            _log.debug("connection to %s lost: %r", self.peer_id, error)
            self._gone = True
        self._lose()

    async def _send(self) -> None:
        session = self.session
        try:
            while True:
                while texts := self._batch():
                    await self.secured_conn.send(*texts)
                    self._senders.wake(None)
                    if session.has_output:
                        await trio.lowlevel.checkpoint()
                self._resting = True
                self._senders.wake(None)
                await self._output.wait()
                self._resting = False
                self._output = trio.Event()
        except Exception as error:
            # what the transport and the socket raise of their own
            _log.debug("connection to %s broke: %r", self.peer_id, error)
            self._lose()
        finally:
            self._mute = True
            self._senders.wake(None)

    def _batch(self) -> list[bytes]:
        session = self.session
        texts: list[bytes] = []
        size = 0
        while session.has_output and size + limits.NOISE_TEXT_BYTES <= BATCH_BYTES:
            if text := session.take_output():
                texts.append(text)
                size += len(text)
        if self._goodbye:
            texts.append(self._goodbye)
            self._goodbye = b""
        if events := session.take_events():
            self._dispatch(events)
        return texts

    async def _beat(self) -> None:
        session = self.session
        while not session.over:
            await trio.sleep_until(session.deadline(trio.current_time()))
            now = trio.current_time()
            self._dispatch(session.tick(now))
            self.turn()

    # --- events -----------------------------------------------------------------------------------------------------
    def _dispatch(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Readable):
                self._readers.wake(event.stream)
                if event.stream in self._lingering:
                    self._lingering.drop(event.stream)
            elif isinstance(event, Writable):
                self._writers.wake(event.stream)
            elif isinstance(event, Incoming):
                self._serve_accepted()
                self._acceptors.wake(None)
            elif isinstance(event, Openable):
                self._openers.wake(None)
            elif isinstance(event, Overdrawn):
                event.debtor.relieve(trio.current_time())
            elif isinstance(event, GoneAway):
                _log.debug("%s goes away: %d", self.peer_id, event.code)
                self._openers.wake(None)
                if self.session.over:
                    self._end()
            elif isinstance(event, Unresponsive):
                _log.info("%s does not answer", self.peer_id)
                self._gone = True
                self._end()
            elif isinstance(event, Drained):
                self._end()

    def blame(self, error: RemoteProtocolError) -> None:
        """Charge the peer for what it broke. The connection goes on."""
        self._charge(self.peer, error.code, error.penalty)

    def _fail(self, error: RemoteProtocolError) -> None:
        _log.debug("%s broke the protocol: %s", self.peer_id, error)
        self.blame(error)
        self._goodbye = error.reply
        self._output.set()
        self._lose()

    def _lose(self) -> None:
        self._dispatch(self.session.receive_eof())
        self._end()

    def _end(self) -> None:
        self._over.set()
        self._openers.wake(None)
        self._acceptors.wake(None)

    # --- the end ----------------------------------------------------------------------------------------------------
    async def _part(self) -> None:
        """Send what is left, then goodbye."""
        if not self.session.over:
            await self._flushed()
            self.session.abort()
            self.turn()
        elif self._gone:
            return
        await self._flushed()

    async def _flushed(self) -> None:
        while not self._mute and (self.session.has_output or self._goodbye or not self._resting):
            self._output.set()
            await self._senders.wait(None)

    async def _finish(self) -> None:
        self._end()
        self.session.abort()
        self.turn()
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                await self.secured_conn.close()
            except Exception as error:
                _log.debug("closing: %r", error)
        self.event_closed.set()
        if self.on_close is not None:
            with trio.move_on_after(HOOK_SECONDS, shield=True):
                try:
                    await self.on_close()
                except Exception as error:
                    _log.debug("closing: %r", error)
        while (refused := self.session.accept()) is not None:
            refused.reset()
