"""Fault C10: a stock dial costs at least 251 ms, tries one address a transport, and a failure blocks the peer for 60 s.

So all of a peer's addresses are tried here, each once, one starting a moment after the other until one succeeds. A peer
is dialled by one task at a time, whoever else wants it waits for the same outcome.

Whoever asks for a peer gets a dial at once. What the daemon does by itself for itself (the DHT, libp2p's own parts)
asks by `try_connect`, which leaves a peer alone for a while after each failure, and has places of its own: a thousand
dead entries of a routing table do not keep a person waiting. When a remembered peer is wanted again is decided by who
wants it (`services.peers`).
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import trio
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from nexusd.host.backoff import Backoff
from nexusd.host.dial_order import order
from nexusd.host.peer_ids import libp2p_id
from nexusd.host.ports import HostError, UnreachableError
from nexusd_protocols.identity import PeerId

STAGGER_SECONDS: Final = 0.25
"""Head start of each address over the next (RFC 8305 §5 recommends 250 ms)."""
ADDRESS_SECONDS: Final = 8.0
"""One address: connect, Noise and Yamux. Three round trips to the far side of the world take one."""
DIAL_SECONDS: Final = 15.0
"""All addresses together."""
ADDRESSES_PER_PEER: Final = 16
KNOWN_PEERS: Final = 2048
"""Peers whose addresses are remembered; the one heard of longest ago goes first."""
DIALS: Final = 16
"""Addresses tried at the same time: for those who ask, and as many for the daemon itself. A handshake costs 2 ms of
processor time, and a silent address holds a descriptor for ADDRESS_SECONDS."""


@dataclass(slots=True)
class _Known:
    """Where a peer may be: what was heard last comes first. `good` is where it was found last."""

    addresses: list[str] = field(default_factory=list)
    good: str | None = None


@dataclass(slots=True)
class _Attempt:
    tried: set[str]
    places: trio.CapacityLimiter
    changed: trio.Event = field(default_factory=trio.Event)
    done: bool = False
    error: str = ""
    _queue: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def place(self, holder: object) -> trio.CapacityLimiter:
        """Take a place for an address; who gives it back."""
        while True:
            places = self.places
            with trio.CancelScope() as self._queue:
                await places.acquire_on_behalf_of(holder)
                return places

    def hurry(self, places: trio.CapacityLimiter) -> None:
        """Somebody waits for it: these places from now on."""
        if self.places is not places:
            self.places = places
            self._queue.cancel()

    def tell(self) -> None:
        """Wake who waits for the outcome."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()


class Dialer:
    """Connections to peers by their addresses. `admit` is asked before any packet leaves; `own` tells where this host
    listens."""

    def __init__(
        self,
        swarm: Swarm,
        own: PeerId,
        admit: Callable[[PeerId], bool],
        addresses: Callable[[], Sequence[str]],
        random: Random,
    ) -> None:
        self._swarm = swarm
        self._own = own
        self._admit = admit
        self._addresses = addresses
        self._known: OrderedDict[PeerId, _Known] = OrderedDict()
        self._attempts: dict[PeerId, _Attempt] = {}
        self._nursery: trio.Nursery | None = None
        self._peers = Backoff(random)
        self._failed = Backoff(random)  # by address and peer
        self._places = trio.CapacityLimiter(DIALS)
        self._own_places = trio.CapacityLimiter(DIALS)
        # every stream that libp2p opens by itself dials through here too
        swarm.dial_peer = self._dial_for_libp2p

    def start(self, nursery: trio.Nursery) -> None:
        """Dial in this nursery from now on."""
        self._nursery = nursery

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Add addresses, the newest first. A new one is a reason to try the peer again."""
        known = self._known.setdefault(peer, _Known())
        self._known.move_to_end(peer)
        if not known.addresses or not set(addresses).issubset(known.addresses):
            self._peers.forget(peer)
        known.addresses = list(dict.fromkeys([*addresses, *known.addresses]))[:ADDRESSES_PER_PEER]
        if known.good is not None and known.good not in known.addresses:
            known.addresses[-1] = known.good
        while len(self._known) > KNOWN_PEERS:
            self._known.popitem(last=False)

    def known(self, peer: PeerId) -> list[str]:
        """Where a peer may be dialled."""
        known = self._known.get(peer)
        return list(known.addresses) if known else []

    def connected(self, peer: PeerId) -> bool:
        """Whether a connection to the peer is open."""
        return any(not c.is_closed for c in self._swarm.get_connections(libp2p_id(peer)))

    def arrived(self, peer: PeerId) -> None:
        """There is a connection to the peer, whoever made it."""
        self._peers.forget(peer)
        if (attempt := self._attempts.get(peer)) is not None:
            attempt.tell()

    async def connect(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        """Have a connection to the peer. Raises UnreachableError."""
        if (attempt := self._attempts.get(peer)) is not None:
            attempt.hurry(self._places)
        await self._connect(peer, addresses, self._places)

    async def try_connect(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        """As `connect`, for what nobody waits for. Raises UnreachableError at once while the peer is left alone, unless
        there is an address that has not failed."""
        if not self.connected(peer) and peer not in self._attempts:
            now = trio.current_time()
            wait = self._peers.wait(peer, now)
            if wait > 0 and all(self._failed.wait(_key(address, peer), now) > 0 for address in addresses):
                raise UnreachableError(f"{peer} could not be reached, and is left alone for another {wait:.0f} s")
        await self._connect(peer, addresses, self._own_places)

    async def _connect(self, peer: PeerId, addresses: Sequence[str], places: trio.CapacityLimiter) -> None:
        while not self.connected(peer):
            attempt = self._attempts.get(peer) or self._begin(peer, addresses, places)
            if not attempt.done:
                await attempt.changed.wait()
            if attempt.done and attempt.error and attempt.tried.issuperset(addresses):
                raise UnreachableError(attempt.error)

    async def _dial_for_libp2p(self, peer: ID) -> list[Any]:
        await self.try_connect(PeerId(str(peer)))
        return list(self._swarm.get_connections(peer))

    def _begin(self, peer: PeerId, addresses: Sequence[str], places: trio.CapacityLimiter) -> _Attempt:
        if self._nursery is None:
            raise HostError("The host is not running")
        known, now = self._known.get(peer, _Known()), trio.current_time()
        candidates = order(
            [*addresses, *known.addresses],
            asked=addresses,
            good=known.good,
            own=self._addresses(),
            failed=lambda address: self._failed.wait(_key(address, peer), now) > 0,
        )
        attempt = _Attempt({*addresses, *candidates}, places)
        if peer == self._own:
            attempt.error = "That is this node itself"
        elif not self._admit(peer):
            attempt.error = f"{peer} is blocked"
        elif not candidates:
            attempt.error = f"No address of {peer} is known"
        if attempt.error:
            attempt.done = True
        else:
            self._attempts[peer] = attempt
            self._nursery.start_soon(self._dial, peer, candidates[:ADDRESSES_PER_PEER], attempt)
        return attempt

    async def _dial(self, peer: PeerId, candidates: Sequence[str], attempt: _Attempt) -> None:
        attempt.error = "The dial was cancelled"
        try:
            failures: dict[str, str] = {}
            winner = None
            with trio.move_on_after(DIAL_SECONDS):
                winner = await self._race(peer, candidates, attempt, failures)
            if winner is not None:
                attempt.error = ""
                self.remember(peer, [winner])
                self._known[peer].good = winner
            elif self.connected(peer):
                attempt.error = ""  # the peer dialled us in the meantime
            else:
                tried = "; ".join(f"{a}: {failures.get(a, 'no answer')}" for a in candidates)
                attempt.error = f"Cannot reach {peer} ({tried})"
                self._peers.fail(peer, trio.current_time())
        finally:
            del self._attempts[peer]
            attempt.done = True
            attempt.tell()

    async def _race(
        self, peer: PeerId, candidates: Sequence[str], attempt: _Attempt, failures: dict[str, str]
    ) -> str | None:
        """Try the addresses, each starting STAGGER_SECONDS after the one before or when that one fails, and none once
        the peer has come to us. The first that connects, or None; `failures` says why of each that did not."""
        winner: str | None = None
        async with trio.open_nursery() as nursery:

            async def try_one(address: str, failed: trio.Event, places: trio.CapacityLimiter) -> None:
                nonlocal winner
                key = _key(address, peer)
                try:
                    await self._dial_address(peer, address)
                except HostError as error:
                    failures[address] = str(error)
                    self._failed.fail(key, trio.current_time())
                    failed.set()
                else:
                    self._failed.forget(key)
                    winner = winner or address
                    nursery.cancel_scope.cancel()
                finally:
                    places.release_on_behalf_of(failed)

            for address in candidates:
                failed = trio.Event()
                places = await attempt.place(failed)
                if self.connected(peer):
                    places.release_on_behalf_of(failed)
                    break
                nursery.start_soon(try_one, address, failed, places)
                with trio.move_on_after(STAGGER_SECONDS):
                    await failed.wait()
        return winner

    async def _dial_address(self, peer: PeerId, address: str) -> None:
        """One address, once. Raises HostError with the reason."""
        if address.endswith("/p2p-circuit"):
            address = f"{address}/p2p/{peer}"
        try:
            parsed = Multiaddr(address)
        except Exception as error:
            # multiaddr raises errors of its own and of its codecs
            raise HostError("not a multiaddr") from error
        named = address.rpartition("/p2p/")[2] if "/p2p/" in address else peer
        if named != peer:
            raise HostError(f"that is the address of {named}")
        try:
            with trio.fail_after(ADDRESS_SECONDS):
                await self._swarm._dial_addr_single_attempt(parsed, ID.from_string(peer))
        except trio.TooSlowError as error:
            raise HostError("no answer") from error
        except Exception as error:
            raise HostError(_reason(error)) from error


def _key(address: str, peer: PeerId) -> str:
    return f"{address.partition('/p2p/')[0]}/p2p/{peer}"


def _reason(error: BaseException) -> str:
    """What a person can use of libp2p's chain of errors."""
    causes = list(_causes(error))
    words = " ".join(str(cause) for cause in causes)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "connection refused"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "the name does not resolve"
    if "No registered transport" in words:
        return "not a TCP or WebSocket address"
    if "mismatch" in words.lower() or "does not correspond" in words:
        return "another peer answered"
    return str(causes[-1]) or type(causes[-1]).__name__


def _causes(error: BaseException, depth: int = 16) -> Iterator[BaseException]:
    """The error and what led to it, the root last."""
    yield error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for cause in (*inner, error.__cause__ or error.__context__):
        if cause is not None and depth:
            yield from _causes(cause, depth - 1)
