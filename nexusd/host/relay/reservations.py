"""Places at relays, so that peers reach this node through them: taken, kept, and told of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

import structlog
import trio
from libp2p.abc import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from multiaddr import Multiaddr

from nexusd.host.opener import Opener
from nexusd.host.ports import HostError
from nexusd.host.relay.circuits import CIRCUIT, Connect, ask
from nexusd.host.relay.connection import RelayedConnection
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.relay import hop, stop

_log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 2.0
RETRY_MAX_SECONDS: Final = 300.0
"""After a try that failed; twice as long after each more."""
EARLY: Final = 0.25
"""A place is asked for again when this part of its time is left."""
LEAST_SECONDS: Final = 30.0
MOST_SECONDS: Final = 3600.0
"""A place is renewed no more and no less often, whatever the relay says of its time."""
QUESTION_SECONDS: Final = 5.0
"""For the relay to say who comes."""


class Reservations:
    """`relays` are addresses `…/p2p/<relay>`. `connected` says whether there is a connection, `accept` serves a raw
    connection, `changed` is called when the addresses are others, `now` gives unix milliseconds."""

    def __init__(
        self,
        relays: Sequence[str],
        *,
        opener: Opener,
        connect: Connect,
        connected: Callable[[PeerId], bool],
        accept: Callable[[RawConnection], Awaitable[None]],
        charge: Callable[[PeerId, str, int], None],
        changed: Callable[[], None],
        now: Callable[[], int],
        random: Random,
    ) -> None:
        self._relays = {parse_peer_id(relay.rpartition("/p2p/")[2]): relay for relay in relays}
        self._opener = opener
        self._connect = connect
        self._connected = connected
        self._accept = accept
        self._charge = charge
        self._changed = changed
        self._now = now
        self._random = random
        self._held: dict[PeerId, trio.Event] = {}

    def register(self, host: BasicHost) -> None:
        """Let relays tell who comes; nothing, where no relay is configured."""
        if self._relays:
            host.set_stream_handler(TProtocol(stop.PROTOCOL), self._answer)

    def addresses(self) -> list[str]:
        """Where this node is reached through relays: without its own /p2p."""
        return [f"{self._relays[relay]}{CIRCUIT}" for relay in self._held]

    def left(self, peer: PeerId) -> None:
        """The last connection to a peer is gone: if it is a relay, our place there is too."""
        lost = self._held.get(peer)
        if lost is not None:
            lost.set()

    async def run(self) -> None:
        """Keep a place at every relay."""
        async with trio.open_nursery() as nursery:
            for relay, address in self._relays.items():
                nursery.start_soon(self._keep, relay, address)

    async def _keep(self, relay: PeerId, address: str) -> None:
        failures = 0
        while True:
            try:
                seconds = await self._reserve(relay, address)
            except HostError as error:
                self._lose(relay)
                wait = min(RETRY_MAX_SECONDS, RETRY_SECONDS * 2**failures) * (0.5 + self._random.random())
                failures = min(failures + 1, 16)
                _log.warning("relay_refused", relay=relay, error=str(error), again_in=round(wait))
                await trio.sleep(wait)
                continue
            failures = 0
            if relay not in self._held:
                self._held[relay] = trio.Event()
                _log.info("relay_reserved", relay=relay, address=f"{address}{CIRCUIT}", seconds=round(seconds))
                self._changed()
            lost = self._held[relay]
            with trio.move_on_after(min(MOST_SECONDS, max(LEAST_SECONDS, seconds * (1 - EARLY)))):
                await lost.wait()
                self._lose(relay)

    async def _reserve(self, relay: PeerId, address: str) -> float:
        """Take or renew a place. Returns for how many seconds. Raises HostError."""
        await self._connect(relay, [address.rpartition("/p2p/")[0]])
        stream, _, answer = await ask(self._opener, relay, "reserve", hop.reserve())
        await reset_stream(stream)
        if not isinstance(answer, hop.Reserved):
            raise HostError("the relay answered another question")
        if not self._connected(relay):
            raise HostError("the relay has closed the connection")
        return answer.expire - self._now() / 1000

    def _lose(self, relay: PeerId) -> None:
        if self._held.pop(relay, None) is not None:
            self._changed()

    async def _answer(self, stream: Any) -> None:
        """A relay says that somebody comes through it. Returns when that connection is over."""
        relay = stream.peer
        machine = stop.Stop()
        try:
            if relay not in self._held:
                await stream.write(stop.refuse())
                await stream.close()
                return
            with trio.fail_after(QUESTION_SECONDS):
                while (incoming := machine.receive(await stream.read(limits.RELAY_MESSAGE_BYTES))) is None:
                    pass
            await stream.write(stop.accept())
        except RemoteProtocolError as error:
            self._charge(relay, error.code, error.penalty)
            await stream.write(error.reply)
            await stream.close()
            return
        except (StreamEOF, StreamError, trio.TooSlowError):
            await reset_stream(stream)
            return
        address = Multiaddr(f"{self._relays[relay]}{CIRCUIT}/p2p/{incoming.peer}")
        connection = RelayedConnection(stream, machine.rest)
        try:
            await self._accept(RawConnection(connection, False, ConnectionType.RELAYED, [address]))
        finally:
            await connection.close()
