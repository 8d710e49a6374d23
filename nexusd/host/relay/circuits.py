"""Dialling through relays: a transport for addresses `…/p2p/<relay>/p2p-circuit/p2p/<peer>`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import trio
from libp2p.abc import ConnectionType, IListener, ITransport
from libp2p.custom_types import THandler
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from nexusd.host.opener import Opener
from nexusd.host.ports import ConnectionLostError, DeadlineError, HostError
from nexusd.host.relay.connection import RelayedConnection
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.relay import hop

CIRCUIT: Final = "/p2p-circuit"
ANSWER_SECONDS: Final = 10.0
"""For the relay to reach the peer, which answers it."""

Connect = Callable[[PeerId, Sequence[str]], Awaitable[None]]
"""Have a connection to a peer. Raises HostError."""


class RefusedByRelayError(HostError):
    """The relay answered, and did not do it. The message says why."""


def split(address: str) -> tuple[PeerId, str, PeerId]:
    """The relay, its own address, and the peer behind it. Raises ValueError for what is no such address."""
    before, mark, after = address.partition(CIRCUIT)
    place, relay_mark, relay = before.rpartition("/p2p/")
    if not mark or not relay_mark or not place or not after.startswith("/p2p/"):
        raise ValueError("not /…/p2p/<relay>/p2p-circuit/p2p/<peer>")
    if CIRCUIT in after:
        raise ValueError("one relay behind another is not dialled")
    return parse_peer_id(relay), place, parse_peer_id(after.removeprefix("/p2p/"))


async def ask(
    opener: Opener, relay: PeerId, asked: Literal["reserve", "connect"], question: bytes
) -> tuple[Any, bytes, hop.Reserved | hop.Connected]:
    """Ask a connected relay. Returns the stream, what was read beyond the answer, and the answer. Raises HostError:
    RefusedByRelayError if it said no. The stream is then gone."""
    stream = None
    try:
        with trio.fail_after(ANSWER_SECONDS):
            stream = await opener.open(relay, [hop.PROTOCOL], lazily=False)
            await stream.write(question)
            machine = hop.Hop(asked)
            while (answer := machine.receive(await stream.read(limits.RELAY_MESSAGE_BYTES))) is None:
                pass
        if isinstance(answer, hop.Refused):
            raise RefusedByRelayError(answer.reason)
    except BaseException as error:
        if stream is not None:
            await reset_stream(stream)
        match error:
            case trio.TooSlowError():
                raise DeadlineError(f"The relay {relay} did not answer in {ANSWER_SECONDS:g} s") from error
            case StreamEOF() | StreamError():
                raise ConnectionLostError(f"The relay {relay} cut the stream") from error
            case RemoteProtocolError():
                raise HostError(f"The relay {relay} answers nonsense: {error}") from error
        raise
    return stream, machine.rest, answer


class Circuits(ITransport):  # type: ignore[misc] # libp2p is not typed
    """The transport. The dialler dials the relay, and has its deadline also where relays point to one another."""

    def __init__(self) -> None:
        self._connect: Connect | None = None
        self._opener: Opener | None = None

    def start(self, connect: Connect, opener: Opener) -> None:
        """A transport is made before what it dials with."""
        self._connect = connect
        self._opener = opener

    async def dial(self, maddr: Multiaddr) -> RawConnection:
        """Connect to the relay, and through it. Raises OpenConnectionError, whose message says why not."""
        if self._connect is None or self._opener is None:
            raise OpenConnectionError("the host is not running")
        try:
            relay, place, peer = split(str(maddr))
            if relay == peer:
                raise ValueError("a relay is not behind itself")
            await self._connect(relay, [place])
            stream, rest, _ = await ask(self._opener, relay, "connect", hop.connect(peer))
        except (ValueError, HostError) as error:
            raise OpenConnectionError(str(error)) from error
        return RawConnection(RelayedConnection(stream, rest), True, ConnectionType.RELAYED, [maddr])

    def create_listener(self, handler_function: THandler) -> IListener:
        """Raises NotImplementedError: `Reservations` listens."""
        raise NotImplementedError

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Whether it is a relayed address."""
        try:
            split(str(maddr))
        except ValueError:
            return False
        return True

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Never."""
        return False

    def protocols(self) -> list[str]:
        """What an address must have."""
        return ["p2p-circuit"]
