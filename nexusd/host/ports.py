"""What services see of the network: peers, streams driven by machines, topics. Nothing here names libp2p."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar

from nexusd_protocols.content.cid import Cid
from nexusd_protocols.gossipsub.counters import TopicCounters
from nexusd_protocols.gossipsub.score import PeerScore
from nexusd_protocols.identity import PeerId
from nexusd_protocols.machine import StreamMachine
from nexusd_protocols.pubsub.signed import SignedMessage

EventT_co = TypeVar("EventT_co", covariant=True)
CommandT_contra = TypeVar("CommandT_contra", contravariant=True)
EventT = TypeVar("EventT")
CommandT = TypeVar("CommandT")


class HostError(Exception):
    """Something the network did not do. The message is fit for a person."""


class UnreachableError(HostError):
    """No address of the peer answered."""


class UnsupportedError(HostError):
    """The peer is there, and does not speak the protocol."""


class ConnectionLostError(HostError):
    """The stream or its connection broke: it was reset, or the peer went away."""


class DeadlineError(HostError):
    """The peer did not send, or take, in time."""


class NotFoundError(HostError):
    """Nobody who was asked has it."""


class NotTakenError(HostError):
    """The peer ended the stream without having acted upon a request, which may therefore be made again."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A connection to a peer that had none. `address` is the remote multiaddr, without /p2p."""

    peer: PeerId
    address: str
    direction: Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class PeerIdentified:
    """What the peer says of itself through identify: its words, untrusted, bounded."""

    peer: PeerId
    agent_version: str
    listen_addresses: tuple[str, ...]
    protocols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The last connection to the peer is gone."""

    peer: PeerId


PeerEvent = PeerConnected | PeerIdentified | PeerDisconnected


class Channel(Protocol[EventT_co, CommandT_contra]):
    """A stream with a machine on it. One task receives and one sends; both may at once.

    Whoever holds it ends it: `aclose` after everything was said, `reset` otherwise. Leaving a channel open leaks a
    stream on both hosts, so hold it in `async with`: leaving by an exception resets, else closes.
    """

    @property
    def peer(self) -> PeerId: ...

    @property
    def protocol(self) -> str: ...

    async def receive(self, *, timeout: float | None = None) -> EventT_co | None:
        """The next event, or None once the peer half-closed and everything was handed out.

        Raises RemoteProtocolError (the reply was sent, the penalty charged and the stream reset), ConnectionLostError,
        DeadlineError. Cancel-safe: nothing is lost.
        """
        ...

    def ready(self) -> Sequence[EventT_co]:
        """The events that came along with the last one, at once: whoever handles several together need not wait."""
        ...

    async def send(self, *commands: CommandT_contra, timeout: float | None = None) -> None:
        """Carry out commands, in order and in as few writes as may be: returns once the transport took the bytes.
        `timeout` is for a peer that takes none. Raises ConnectionLostError, DeadlineError, and LocalProtocolError where
        the machine refuses one: those before it are carried out. Not torn by cancellation: either all of the bytes
        went, or the stream is reset."""
        ...

    async def close_write(self) -> None:
        """Half-close: nothing more will be sent."""
        ...

    async def aclose(self) -> None:
        """End the stream after everything was said."""
        ...

    async def reset(self) -> None:
        """Tear the stream down, so that the peer sees a reset."""
        ...

    async def __aenter__(self) -> Channel[EventT_co, CommandT_contra]: ...

    async def __aexit__(self, *exc: object) -> None: ...


class PendingRequest(Protocol[EventT_co]):
    """A request under way."""

    async def answer(self, *, timeout: float) -> EventT_co:
        """The answer. Raises NotTakenError, ConnectionLostError, DeadlineError, RemoteProtocolError. Who stops waiting
        leaves the request under way."""
        ...


class Pipeline(Protocol[EventT_co, CommandT_contra]):
    """Requests of several tasks on one channel, each of which gets one answer, in whatever order."""

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests: open another."""
        ...

    async def send(self, key: str, command: CommandT_contra, *, timeout: float) -> PendingRequest[EventT_co]:
        """Make a request once there is room for one, as `Channel.send`; `key` is what its answer goes by. Raises
        NotTakenError too."""
        ...


class Streams(Protocol):
    """The stream router: protocol ids to handlers, and machines onto streams."""

    def handle(
        self,
        protocol: str,
        machine: Callable[[PeerId], StreamMachine[EventT, CommandT]],
        handler: Callable[[Channel[EventT, CommandT]], Awaitable[None]],
        *,
        streams: int | None = None,
    ) -> None:
        """Serve a protocol: each inbound stream gets its own machine. An error in one handler touches no other; the
        stream is closed when the handler returns and reset when it raises. `streams` is how many a peer may have open
        at once, if not as many as usual."""
        ...

    async def open(
        self,
        peer: PeerId,
        protocols: Sequence[str],
        machine: Callable[[str], StreamMachine[EventT, CommandT]],
        *,
        replayable: bool = False,
    ) -> Channel[EventT, CommandT]:
        """Open a stream, dialling the peer if need be; the first protocol that it speaks is used and handed to
        `machine`. Raises UnreachableError, UnsupportedError, ConnectionLostError, DeadlineError.

        Where one protocol is named and the peer is known to speak it, nothing is asked: the stream reaches it with the
        first data, and UnsupportedError may come from `Channel.receive` instead. Then nothing that was sent has been
        looked at. `replayable` is for what does no harm if it is sent twice, such as a question: should the peer
        refuse, it is sent again, once, on a stream that was asked for. Anything else, such as a call, is sent once."""
        ...

    def pipeline(
        self, channel: Channel[EventT, CommandT], key: Callable[[EventT], str], requests: int
    ) -> Pipeline[EventT, CommandT]:
        """Share a channel that was opened: `key` says which request an event answers, `requests` is how many may be
        under way. It ends by itself when the peer ends the stream."""
        ...


Verdict = Literal["accept", "ignore", "reject"]


@dataclass(frozen=True, slots=True)
class TopicStats:
    """A joined topic now, and what happened in it since it was joined. `dropped`: copies of messages that a peer which
    took too little did not get."""

    peers: int
    mesh: tuple[PeerId, ...]
    counters: TopicCounters
    dropped: int


class Topics(Protocol):
    """GossipSub."""

    async def join(
        self,
        topic: str,
        validate: Callable[[PeerId, SignedMessage], Verdict | Awaitable[Verdict]],
        deliver: Callable[[PeerId, SignedMessage], Awaitable[None]],
    ) -> None:
        """Subscribe. `validate` runs before a message is passed on: quick, in order of arrival. One that must wait for
        something returns an awaitable instead of a verdict; it has some seconds, and no order. `deliver` is awaited for
        each accepted message of others, one at a time and in order of arrival; a slow one holds back this topic only,
        and nothing accepted is dropped while it waits (bounded by the memory budget, then counted)."""
        ...

    async def leave(self, topic: str) -> None: ...

    async def publish(self, message: SignedMessage) -> int:
        """Hand a signed message to the mesh. Returns how many peers it went to (0: nobody is there). Waits while the
        mesh is slower than the publisher; never drops silently."""
        ...

    def peers(self, topic: str) -> Sequence[PeerId]:
        """Connected peers that are subscribed to the topic."""
        ...

    def stats(self, topic: str) -> TopicStats | None:
        """How a joined topic fares; None for another. Its counters go on counting: read them at once."""
        ...

    def scores(self) -> Sequence[PeerScore]:
        """The scores of connected peers that speak GossipSub, in their parts."""
        ...


class BlockSource(Protocol):
    """Where blocks for others come from. `peer` is who asks: what is not for it is as good as not here."""

    async def size(self, cid: Cid, peer: PeerId) -> int | None:
        """Bytes of a block, None if it is not here."""
        ...

    async def get(self, cid: Cid, peer: PeerId) -> bytes | None:
        """A block, checked against its CID; None if it is not here."""
        ...


class BlockSession(Protocol):
    """Blocks that belong together, from whoever has them. Hold it in `async with`: leaving forgets what is wanted."""

    def add_peers(self, peers: Iterable[PeerId]) -> None:
        """Ask these too, dialling them at addresses that are known (`Network.add_addresses`) if need be."""
        ...

    async def get(self, cid: Cid, *, timeout: float) -> bytes:
        """A block that fits its CID, 2 MiB at most. Many tasks may want some at once; 32 blocks are under way, the
        others wait for their turn, which is when `timeout` seconds begin to count.

        Raises NotFoundError as soon as nobody is left who could have it, DeadlineError."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True)
class ExchangeStats:
    """What was exchanged since the start. `duplicates` came twice or too late, `unasked` were wanted by nobody; `peers`
    are connected and speak the protocol, `wants` are theirs, and `sending` the bytes read and not yet taken by them."""

    blocks_sent: int = 0
    bytes_sent: int = 0
    blocks_received: int = 0
    bytes_received: int = 0
    duplicates: int = 0
    unasked: int = 0
    peers: int = 0
    wants: int = 0
    sending: int = 0


class BlockExchange(Protocol):
    """Bitswap."""

    def session(self) -> BlockSession:
        """A session that asks connected peers, and those that are added to it."""
        ...

    def set_source(self, source: BlockSource) -> None:
        """Serve others from here. Until this is called nothing is here."""
        ...

    def arrived(self, cids: Iterable[Cid]) -> None:
        """These blocks are in the source from now on: peers that wait for them get them."""
        ...

    def stats(self) -> ExchangeStats:
        """How it fares."""
        ...


class Network(Protocol):
    """Connections."""

    @property
    def peer_id(self) -> PeerId: ...

    def addresses(self) -> list[str]:
        """Listen addresses with real ports and interfaces' own addresses, each ending in /p2p/<peerId>."""
        ...

    async def connect(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        """Have a connection to the peer: returns at once if there is one, else tries every given and known address.
        Raises UnreachableError, whose message names each address and why it failed."""
        ...

    async def disconnect(self, peer: PeerId) -> None: ...

    def connected(self) -> Sequence[PeerId]: ...

    def add_addresses(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Remember where a peer may be dialled."""
        ...

    def set_gate(self, allowed: Callable[[PeerId], bool]) -> None:
        """Ask this before any handler of a peer runs and for each new connection; the refused are disconnected."""
        ...

    def set_judge(self, convict: Callable[[PeerId, str, str], None]) -> None:
        """Tell this of a peer that owes so much that it is to be banned, of its last offence, and of the IP address
        that it came from (empty if unknown). Its debt is forgotten."""
        ...

    def penalise(self, peer: PeerId, reason: str, points: int) -> None:
        """Charge a peer's account."""
        ...

    def balance(self, peer: PeerId) -> float:
        """What a peer owes now: points that fade."""
        ...

    def pardon(self, peer: PeerId) -> None:
        """Forget what a peer owes."""
        ...

    def peer_events(self) -> Any:
        """An async iterator of PeerEvent, from now on. Each caller gets all of them."""
        ...
