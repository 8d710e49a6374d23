"""Implements `ports.BlockExchange` with the machines of `nexusd_protocols.bitswap`.

The machines decide and this carries out: a task reads each stream of a peer, one writes to each peer (`line`), and one
keeps the time. Whoever sends more than can be looked at is read more slowly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from nexusd.host.bitswap.line import PROTOCOL, Line
from nexusd.host.bitswap.session import Session
from nexusd.host.ports import BlockSource, Channel, ExchangeStats, HostError, Streams
from nexusd_protocols.bitswap.client import Client
from nexusd_protocols.bitswap.events import (
    Arrived,
    Broken,
    Charge,
    ClientInput,
    Got,
    Heard,
    Joined,
    Left,
    Missing,
    Need,
    Send,
    ServerInput,
    SessionId,
    Tick,
)
from nexusd_protocols.bitswap.message import Message, MessageStream
from nexusd_protocols.bitswap.server import Server
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rate import Rates

INBOUND_STREAMS: Final = 56
"""Streams of one peer: js-bitswap opens one for each message, and up to 50 at once. Eight of the 64 that a peer may
have are left for all else."""
IDLE_SECONDS: Final = 300.0
"""A stream of a peer on which nothing comes for so long is given up: it opens another when it has something to say."""
ENTRIES: Final = 8192
ENTRIES_PER_SECOND: Final = 5000.0
"""Wants, cancels, words and blocks of one peer that are looked at. 5,000 a second cost a tenth of a core, and are four
times what 100 MB/s of our blocks need. Who sends more is read more slowly."""
RATES: Final = 1024
"""Peers whose pace is remembered: more than can be connected."""


class _Nothing:
    """The source of a node that has none."""

    async def size(self, cid: Cid, peer: PeerId) -> int | None:
        return None

    async def get(self, cid: Cid, peer: PeerId) -> bytes | None:
        return None


@dataclass(slots=True)
class _Count:
    blocks: int = 0
    bytes: int = 0

    def add(self, message: Message) -> None:
        self.blocks += len(message.blocks)
        self.bytes += sum(len(block.data) for block in message.blocks)


class Exchange:
    """Made with the host; `start` before anything else."""

    def __init__(self, streams: Streams, own: PeerId, charge: Callable[[PeerId, str, int], None]) -> None:
        self._streams = streams
        self._own = own
        self._charge = charge
        self._client = Client()
        self._server = Server()
        self._source: BlockSource = _Nothing()
        self._lines: dict[PeerId, Line] = {}
        self._sessions: dict[SessionId, Session] = {}
        self._numbers = itertools.count(1)
        self._rates: Rates[PeerId] = Rates(ENTRIES, ENTRIES_PER_SECOND, most=RATES)
        self._nursery: trio.Nursery | None = None
        self._sleeps_until = math.inf
        self._sooner = trio.Event()
        self._sent = _Count()
        self._received = _Count()
        streams.handle(PROTOCOL, lambda _peer: MessageStream(), self._read, streams=INBOUND_STREAMS)

    def start(self, nursery: trio.Nursery) -> None:
        """Write and keep time in this nursery from now on."""
        self._nursery = nursery
        nursery.start_soon(self._keep_time)

    # --- ports.BlockExchange ----------------------------------------------------------------------------------------

    def session(self) -> Session:
        """Begin a session, as `ports.BlockExchange.session`."""
        number = SessionId(next(self._numbers))
        session = self._sessions[number] = Session(number, self._own, self._tell_client, self._forget)
        return session

    def set_source(self, source: BlockSource) -> None:
        """Serve others from here."""
        self._source = source

    def arrived(self, cids: Iterable[Cid]) -> None:
        """Send these to who waits for them."""
        self._tell_server(Arrived(tuple(cids)))

    def stats(self) -> ExchangeStats:
        """How it fares."""
        return ExchangeStats(
            self._sent.blocks,
            self._sent.bytes,
            self._received.blocks,
            self._received.bytes,
            self._client.duplicates,
            self._client.unasked,
            len(self._client.connected),
            self._server.wants,
            self._server.held,
        )

    # --- what the host tells ----------------------------------------------------------------------------------------

    def identified(self, peer: PeerId, protocols: Iterable[str]) -> None:
        """A peer said what it speaks."""
        if PROTOCOL in set(protocols):
            self._joined(peer)

    def left(self, peer: PeerId) -> None:
        """The last connection of a peer is gone."""
        if (line := self._lines.pop(peer, None)) is not None:
            line.scope.cancel()
        self._lost(peer)

    def _joined(self, peer: PeerId) -> None:
        if peer not in self._client.connected:
            self._tell_client(Joined(peer))

    def _lost(self, peer: PeerId) -> None:
        self._tell_server(Left(peer))
        self._tell_client(Left(peer))

    # --- the machines -----------------------------------------------------------------------------------------------

    def _tell_client(self, event: ClientInput) -> None:
        if self._nursery is None and isinstance(event, Need):
            raise HostError("The host is not running")
        for output in self._client.handle(event, trio.current_time()):
            match output:
                case Send(peer, message):
                    if (line := self._line(peer)) is not None:
                        line.say(message)
                case Got(session, cid, data):
                    self._sessions[session].settle(cid, data)
                case Missing(session, cid):
                    self._sessions[session].settle(cid, None)
                case Charge(peer, code, points):
                    self._charge(peer, code, points)
        if self._client.deadline() < self._sleeps_until:
            self._sooner.set()

    def _tell_server(self, event: ServerInput) -> None:
        for output in self._server.handle(event, trio.current_time()):
            if isinstance(output, Send):
                self._sent.add(output.message)
            if (line := self._line(output.peer)) is not None:
                line.give(output)

    def _line(self, peer: PeerId) -> Line | None:
        """None where the host is not running any more: a session may end later than it."""
        if self._nursery is None:
            return None
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = Line(
                peer,
                self._streams,
                lambda: self._source,
                answer=self._tell_server,
                broken=lambda broken: self._tell_client(Broken(broken)),
                given_up=self._lost,
                ended=self._ended,
            )
            self._nursery.start_soon(line.run)
        return line

    def _ended(self, line: Line) -> None:
        if self._lines.get(line.peer) is line:
            del self._lines[line.peer]

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)

    async def _keep_time(self) -> None:
        try:
            while True:
                self._sooner = trio.Event()
                self._sleeps_until = self._client.deadline()
                with trio.move_on_at(self._sleeps_until):
                    await self._sooner.wait()
                if trio.current_time() >= self._client.deadline():
                    self._tell_client(Tick())
        finally:
            self._nursery = None

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _read(self, channel: Channel[Message, Message]) -> None:
        """Hear what a peer says on one of its streams, until it ends."""
        peer = channel.peer
        while (message := await channel.receive(timeout=IDLE_SECONDS)) is not None:
            # identify may come later than the peer's first words
            self._joined(peer)
            self._received.add(message)
            self._tell_client(Heard(peer, message))
            self._tell_server(Heard(peer, message))
            now = trio.current_time()
            debt = self._rates.of(peer, now).turn(now, max(1, message.entries))
            del message  # or as many would be held here as there are streams
            await trio.sleep(debt)
