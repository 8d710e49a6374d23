"""Fault C10: a stock dial costs at least 251 ms, tries one address a transport, and a failure blocks the peer for 60 s.

So all of a peer's addresses are tried here, each once, one starting a moment after the other until one succeeds. A peer
is dialled by one task at a time, whoever else wants it waits for the same outcome. Waiting between tries is not decided
here: who dials knows how much it matters.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

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


@dataclass(slots=True)
class _Attempt:
    tried: set[str]
    done: trio.Event = field(default_factory=trio.Event)
    error: str = ""


class Dialer:
    """Connections to peers by their addresses. `admit` is asked before any packet leaves."""

    def __init__(self, swarm: Swarm, own: PeerId, admit: Callable[[PeerId], bool]) -> None:
        self._swarm = swarm
        self._own = own
        self._admit = admit
        self._known: OrderedDict[PeerId, list[str]] = OrderedDict()
        self._attempts: dict[PeerId, _Attempt] = {}
        self._nursery: trio.Nursery | None = None
        # every stream that libp2p opens by itself (Kademlia, GossipSub) dials through here too
        swarm.dial_peer = self._dial_for_libp2p

    def start(self, nursery: trio.Nursery) -> None:
        """Dial in this nursery from now on."""
        self._nursery = nursery

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Add addresses, the newest first."""
        known = self._known.setdefault(peer, [])
        self._known.move_to_end(peer)
        self._known[peer] = list(dict.fromkeys([*addresses, *known]))[:ADDRESSES_PER_PEER]
        while len(self._known) > KNOWN_PEERS:
            self._known.popitem(last=False)

    def connected(self, peer: PeerId) -> bool:
        """Whether a connection to the peer is open."""
        return any(not c.is_closed for c in self._swarm.get_connections(libp2p_id(peer)))

    async def connect(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        """Have a connection to the peer. Raises UnreachableError."""
        while not self.connected(peer):
            attempt = self._attempts.get(peer) or self._begin(peer, addresses)
            await attempt.done.wait()
            if attempt.error and attempt.tried.issuperset(addresses):
                raise UnreachableError(attempt.error)

    async def _dial_for_libp2p(self, peer: ID) -> list[Any]:
        await self.connect(PeerId(str(peer)))
        return list(self._swarm.get_connections(peer))

    def _begin(self, peer: PeerId, addresses: Sequence[str]) -> _Attempt:
        if self._nursery is None:
            raise HostError("The host is not running")
        candidates = list(dict.fromkeys([*addresses, *self._known.get(peer, ()), *self._peerstore(peer)]))
        attempt = _Attempt({*addresses, *candidates})
        if peer == self._own:
            attempt.error = "That is this node itself"
        elif not self._admit(peer):
            attempt.error = f"{peer} is blocked"
        elif not candidates:
            attempt.error = f"No address of {peer} is known"
        if attempt.error:
            attempt.done.set()
        else:
            self._attempts[peer] = attempt
            self._nursery.start_soon(self._dial, peer, candidates[:ADDRESSES_PER_PEER], attempt)
        return attempt

    def _peerstore(self, peer: PeerId) -> list[str]:
        try:
            return [str(address) for address in self._swarm.peerstore.addrs(ID.from_string(peer))]
        except Exception:
            # it raises errors of several kinds for a peer that it has never heard of
            return []

    async def _dial(self, peer: PeerId, candidates: Sequence[str], attempt: _Attempt) -> None:
        attempt.error = "The dial was cancelled"
        try:
            failures: dict[str, str] = {}
            winner = None
            with trio.move_on_after(DIAL_SECONDS):
                winner = await self._race(peer, candidates, failures)
            if winner is not None:
                attempt.error = ""
                self.remember(peer, [winner])
            elif self.connected(peer):
                attempt.error = ""  # the peer dialled us in the meantime
            else:
                tried = "; ".join(f"{a}: {failures.get(a, 'no answer')}" for a in candidates)
                attempt.error = f"Cannot reach {peer} ({tried})"
        finally:
            del self._attempts[peer]
            attempt.done.set()

    async def _race(self, peer: PeerId, candidates: Sequence[str], failures: dict[str, str]) -> str | None:
        """Try the addresses, each starting STAGGER_SECONDS after the one before or when that one fails. The first that
        connects, or None; `failures` says why of each that did not."""
        winner: str | None = None
        async with trio.open_nursery() as nursery:

            async def attempt(address: str, failed: trio.Event) -> None:
                nonlocal winner
                try:
                    await self._dial_address(peer, address)
                except HostError as error:
                    failures[address] = str(error)
                    failed.set()
                else:
                    winner = winner or address
                    nursery.cancel_scope.cancel()

            for address in candidates:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(STAGGER_SECONDS):
                    await failed.wait()
        return winner

    async def _dial_address(self, peer: PeerId, address: str) -> None:
        """One address, once. Raises HostError with the reason."""
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
