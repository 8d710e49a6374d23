"""Peers: who was seen, who is connected, who is refused, and keeping connections up.

    sources -> offer -> dial (back-off a peer) -> network
    network -> peer events -> known, store, live events

Every peer that was ever connected is remembered and redialled: at the start, then with a delay that doubles
from 1 s to 5 min, with jitter so that a restarted network does not dial in step. Who was there until a moment ago is
mostly cut off, and not gone: for ten minutes the delay stays short, so that two halves of a network soon meet again.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import msgspec
import structlog
import trio

from nexusd.host.ports import (
    HostError,
    Network,
    PeerConnected,
    PeerDisconnected,
    PeerIdentified,
)
from nexusd.services.policy import NO_REASON, Policy
from nexusd.services.ports import Emit, LiveEvent, WallClock, refusal_of
from nexusd.store import Store
from nexusd.store import bans as kept
from nexusd_protocols.gossipsub import score
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    Ban,
    Done,
    Peer,
    PeersBlockParams,
    PeersConnectParams,
    PeerScore,
    PeersList,
    PeersListParams,
    PeersUnblockParams,
    TopicScore,
)

log = structlog.get_logger(__name__)

KNOWN_PEERS = 10_000
"""Peers held in memory: about 5 MB. The longest unseen make room."""
FORGET_AFTER_MS = 30 * 24 * 3600 * 1000
"""A peer unseen for a month is forgotten, unless it is blocked."""
DIALS_AT_ONCE = 8
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
LOST_RETRY_S = 5.0
LOST_S = 600.0
"""That is the longest delay for so long after a connection was lost that had lasted."""
STEADY_S = 10.0
"""A connection that lasts for less counts as a failed dial: two nodes that cannot get on must not try every second."""
SPREAD_S = 30.0
"""Over this time the remembered peers are tried that no source offered at once."""
NAMED_BY_A_PERSON = ("manual", "bootstrap")
"""Sources that are somebody's word: `nexus connect`, and the configuration."""
SUFFIX_CHARS = 6
"""Six characters of base58 tell 38 billion apart; fewer invite mistakes."""


@dataclass(slots=True)
class Known:
    """What is remembered of a peer."""

    peer: PeerId
    source: str
    first_seen: int
    last_seen: int
    addresses: tuple[str, ...] = ()
    display_name: str | None = None
    agent_version: str | None = None
    direction: Literal["in", "out"] | None = None
    failures: int = 0
    dialling: bool = False
    since: float = 0.0
    """When the connection was made, on the loop's clock."""
    lost_at: float = -LOST_S
    """When the last connection that had lasted was lost, on the loop's clock."""
    due: float | None = None
    """When the next dial begins, on the loop's clock. One at a time: retries of retries would add up."""

    @property
    def connected(self) -> bool:
        return self.direction is not None


@dataclass(order=True, slots=True)
class _Due:
    at: float
    peer: PeerId = field(compare=False)


class Peers:
    """The peers of this node."""

    def __init__(
        self,
        network: Network,
        store: Store,
        emit: Emit,
        clock: WallClock,
        random: Random,
        policy: Policy,
        scores: Callable[[], Sequence[score.PeerScore]],
        direct: Collection[PeerId] = (),
    ) -> None:
        """`scores` are those of the topics' router; `direct` peers are those that the network stays connected to."""
        self._network = network
        self._store = store
        self._emit = emit
        self._clock = clock
        self._random = random
        self._known: dict[PeerId, Known] = {}
        self._policy = policy
        self._scores = scores
        self._direct = direct
        self._due: list[_Due] = []
        self._wake = trio.Event()
        self._identified: list[Callable[[PeerIdentified], Awaitable[None]]] = []
        self._readmitted: list[Callable[[], None]] = []
        self._blocking = trio.Lock()
        """Of two words on a peer at once, disk and memory keep the same one."""

    # --- life -------------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Read what is remembered. Before this nothing is known or refused, so it comes before the network."""
        self._policy.blocks = dict(await self._store.peers.blocked())
        await self._store.peers.forget_stale(self._clock() - FORGET_AFTER_MS)
        for row in await self._store.peers.list(KNOWN_PEERS):
            self._known[row.peer] = Known(
                row.peer,
                row.source,
                row.first_seen,
                row.last_seen,
                tuple(row.addresses),
                row.display_name or None,
                row.agent_version or None,
            )
        self._network.set_gate(self._policy.allows)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the network's peers and keep connections up, until cancelled."""
        async with trio.open_nursery() as nursery:
            events = self._network.peer_events()
            nursery.start_soon(self._follow, events)
            nursery.start_soon(self._dial_when_due, nursery)
            for known in self._known.values():
                self._network.add_addresses(known.peer, known.addresses)
                self._schedule(known, self._random.uniform(FIRST_RETRY_S, SPREAD_S))
            task_status.started()

    async def remembered(self) -> list[tuple[PeerId, tuple[str, ...]]]:
        """Peers from before with their addresses, the last seen first: for the cache among the sources."""
        best = sorted(self._known.values(), key=lambda known: -known.last_seen)
        return [(known.peer, known.addresses) for known in best if known.addresses and not known.connected]

    def vouched(self, peer: PeerId) -> bool:
        """Whether a person named the peer. Others, wherever they were found, are strangers to us."""
        known = self._known.get(peer)
        return known is not None and known.source in NAMED_BY_A_PERSON

    def readmit(self, peer: PeerId) -> None:
        """A peer is refused no more: dial it, if it is known where, and tell who follows that."""
        if (known := self._known.get(peer)) is not None and not known.connected:
            known.failures = 0
            self._schedule(known, 0.0)
        for follower in self._readmitted:
            follower()

    def on_readmit(self, follower: Callable[[], None]) -> None:
        """Call this whenever somebody is refused no more."""
        self._readmitted.append(follower)

    async def offer(self, peer: PeerId, addresses: Iterable[str], source: str) -> None:
        """A source found a peer: remember where, and dial unless it is connected or refused."""
        if peer == self._network.peer_id or not self._policy.allows(peer):
            return
        fresh = peer not in self._known
        known = self._remember(peer, tuple(addresses), source)
        if source in NAMED_BY_A_PERSON:
            known.source = source
        if fresh:
            self._tell("discovered", peer, {"peerId": peer, "source": source, "addresses": list(known.addresses)})
        if not known.connected and not known.dialling:
            known.failures = min(known.failures, 1)  # someone vouches for it now: do not sit out a long back-off
            self._schedule(known, 0.0)

    # --- following --------------------------------------------------------------------------------------------------
    async def _follow(self, events: Any) -> None:
        async for event in events:
            match event:
                case PeerConnected(peer, address, direction):
                    # where an inbound connection comes from is no place to dial: its port is ephemeral
                    found = (address,) if direction == "out" else ()
                    known = self._remember(peer, found, "inbound" if direction == "in" else "dialled")
                    known.direction, known.since = direction, trio.current_time()
                    self._tell("connected", peer, {"peerId": peer, "address": address, "direction": direction})
                    await self._keep(known)
                case PeerIdentified(peer, agent_version, listen_addresses, _):
                    known = self._remember(peer, listen_addresses, "inbound")
                    known.agent_version = agent_version
                    await self._keep(known)
                    await self._try(self._store.peers.identified(peer, agent_version, known.last_seen))
                case PeerDisconnected(peer):
                    if (gone := self._known.get(peer)) is not None:
                        gone.direction = None
                        gone.last_seen = self._clock()
                        steady = trio.current_time() - gone.since >= STEADY_S
                        gone.lost_at = trio.current_time() if steady else gone.lost_at
                        pause = FIRST_RETRY_S if steady else self._pause(gone)
                        gone.failures = 0 if steady else gone.failures + 1
                        self._schedule(gone, self._random.uniform(0.2, 1.0) * pause)
                    self._tell("disconnected", peer, {"peerId": peer})

    async def _keep(self, known: Known) -> None:
        peer, addresses, now = known.peer, known.addresses, known.last_seen
        await self._try(self._store.peers.seen(peer, addresses=addresses, source=known.source, now=now))

    async def _try(self, write: Awaitable[None]) -> None:
        """A peer that cannot be stored now, since the disk is full, is stored when it is seen again."""
        try:
            await write
        except OSError as error:
            log.warning("peer_not_stored", error=str(error))

    async def named(self, peer: PeerId, name: str) -> None:
        """A peer said what it is called."""
        known = self._known.get(peer)
        if known is None or known.display_name == name:
            return
        known.display_name = name
        await self._try(self._store.peers.named(peer, name, self._clock()))

    def name_of(self, peer: str) -> str | None:
        """The name that a peer last gave itself: untrusted."""
        known = self._known.get(PeerId(peer))
        return known.display_name if known else None

    def addresses_of(self, peer: PeerId) -> tuple[str, ...]:
        """Where a peer was found so far."""
        known = self._known.get(peer)
        return known.addresses if known else ()

    def _remember(self, peer: PeerId, addresses: tuple[str, ...], source: str) -> Known:
        now = self._clock()
        known = self._known.get(peer)
        if known is None:
            if len(self._known) >= KNOWN_PEERS:
                # strangers come without end: whom a person named goes after all of them
                away = (k for k in self._known.values() if not k.connected)
                oldest = min(away, key=lambda k: (k.source in NAMED_BY_A_PERSON, k.last_seen))
                del self._known[oldest.peer]
            known = self._known[peer] = Known(peer, source, now, now)
        known.last_seen = now
        if addresses:
            known.addresses = tuple(dict.fromkeys((*addresses, *known.addresses)))[:16]
            self._network.add_addresses(peer, known.addresses)
        return known

    def _tell(self, type_: str, peer: PeerId, data: dict[str, object]) -> None:
        self._emit(LiveEvent(kind="peer", type=type_, at=self._clock(), data=data, peer=peer))

    # --- dialling ---------------------------------------------------------------------------------------------------
    def _schedule(self, known: Known, delay: float) -> None:
        at = trio.current_time() + delay
        if known.addresses and self._policy.allows(known.peer) and (known.due is None or at < known.due):
            known.due = at
            heapq.heappush(self._due, _Due(at, known.peer))
            self._wake.set()

    async def _dial_when_due(self, nursery: trio.Nursery) -> None:
        slots = trio.Semaphore(DIALS_AT_ONCE)
        while True:
            wait = self._due[0].at - trio.current_time() if self._due else float("inf")
            if wait > 0:
                with trio.move_on_after(wait):
                    await self._wake.wait()
                self._wake = trio.Event()
                continue
            due = heapq.heappop(self._due)
            known = self._known.get(due.peer)
            if known is None or known.due != due.at:
                continue  # it was brought forward since
            known.due = None
            if known.connected or known.dialling or not self._policy.allows(known.peer):
                continue
            await slots.acquire()
            known.dialling = True
            nursery.start_soon(self._dial, known, slots)

    async def _dial(self, known: Known, slots: trio.Semaphore) -> None:
        try:
            await self._network.connect(known.peer, known.addresses)
        except HostError as error:
            known.failures += 1
            log.debug("dial_failed", peer=known.peer, failures=known.failures, error=str(error))
            self._schedule(known, self._pause(known) * self._random.uniform(0.5, 1.5))
        finally:
            known.dialling = False
            slots.release()

    @staticmethod
    def _pause(known: Known) -> float:
        longest = LOST_RETRY_S if trio.current_time() < known.lost_at + LOST_S else LONGEST_RETRY_S
        return min(longest, FIRST_RETRY_S * 2.0 ** min(known.failures, 10))

    # --- requests ---------------------------------------------------------------------------------------------------
    def resolve(self, text: str) -> PeerId | Refusal:
        """A full peer id, or the last six or more characters of one that is known."""
        try:
            return parse_peer_id(text)
        except ValueError:
            pass
        if len(text) < SUFFIX_CHARS:
            return Refusal("invalid_peer", f"{text!r} is not a peer id, nor {SUFFIX_CHARS} characters of one's end")
        fits = sorted(peer for peer in {*self._known, self._network.peer_id} if peer.endswith(text))
        if len(fits) > 1:
            return Refusal("ambiguous_peer", f"{len(fits)} peers end in {text!r}", {"peers": fits[:20]})
        if not fits:
            return Refusal("unknown_peer", f"No known peer's id is {text!r} or ends in it")
        return fits[0]

    def admit(self, text: str) -> PeerId | Refusal:
        """As `resolve`, and refuses this node itself and whom the policy refuses."""
        peer = self.resolve(text)
        if isinstance(peer, Refusal):
            return peer
        if peer == self._network.peer_id:
            return Refusal("invalid_peer", "That is this daemon itself")
        return self._policy.refuses_peer(peer) or peer

    @property
    def counts(self) -> tuple[int, int]:
        """Connected, and known."""
        return len(self._network.connected()), len(self._known)

    async def list(self, params: PeersListParams) -> PeersList:
        """Connected first, then the most recently seen; the direct, the blocked and the banned are there even if never
        seen. With scores, the worst first."""
        banned = {ban.peer: ban for ban in self._policy.bans.holding(self._clock())}
        unseen = {*self._policy.blocks, *banned, *self._direct} - self._known.keys()
        shown = [
            self._view(known, banned.get(known.peer))
            for known in (
                *self._known.values(),
                *(Known(peer, "direct" if peer in self._direct else "", 0, 0) for peer in unseen),
            )
            if (not (params.connected or params.scores) or known.connected)
            and (not params.blocked or known.peer in self._policy.blocks)
            and (not params.banned or known.peer in banned)
        ]
        shown.sort(key=lambda peer: (not peer.connected, -peer.last_seen, peer.peer_id))
        return PeersList(peers=[*self._scored(shown)] if params.scores else shown)

    def _scored(self, shown: Sequence[Peer]) -> Sequence[Peer]:
        found = {each.peer: each for each in self._scores()}
        scored = [
            msgspec.structs.replace(
                peer, score=_score(found.get(PeerId(peer.peer_id)), self._network.balance(PeerId(peer.peer_id)))
            )
            for peer in shown
        ]
        return sorted(scored, key=_merit)

    def _view(self, known: Known, ban: kept.Ban | None = None) -> Peer:
        return Peer(
            peer_id=known.peer,
            connected=known.connected,
            direction=known.direction,
            addresses=list(known.addresses),
            display_name=known.display_name,
            agent_version=known.agent_version,
            source=known.source,
            first_seen=known.first_seen,
            last_seen=known.last_seen,
            direct=known.peer in self._direct,
            blocked=known.peer in self._policy.blocks,
            block_reason=self._policy.blocks.get(known.peer),
            ban=None if ban is None else _ban(ban),
        )

    async def connect(self, params: PeersConnectParams) -> Peer | Refusal:
        """Dial one address now, and remember the peer."""
        address, slash, text = params.address.rpartition("/p2p/")
        try:
            peer = parse_peer_id(text)
        except ValueError:
            slash = ""
        if not slash or not address.startswith("/"):
            return Refusal("invalid_address", f"{params.address!r} is not a multiaddr that ends in /p2p/<peer id>")
        admitted = self.admit(peer)
        if isinstance(admitted, Refusal):
            return admitted
        tried = peer not in self._network.connected()
        try:
            await self._network.connect(peer, [address])
        except HostError as error:
            return refusal_of(error)
        except ValueError as error:
            return Refusal("invalid_address", f"{params.address!r}: {error}")
        # with a connection at hand nothing was dialled, and the address may be anybody's
        known = self._remember(peer, (address,) if tried else (), "manual")
        known.source = "manual"
        await self._keep(known)
        # the event that says so may still be on its way
        return msgspec.structs.replace(self._view(known), connected=True, direction=known.direction or "out")

    async def block(self, params: PeersBlockParams) -> Done | Refusal:
        """Refuse everything from a peer, on disk before in memory, and cut it off."""
        peer = self.resolve(params.peer)
        if isinstance(peer, Refusal):
            return peer
        if peer == self._network.peer_id:
            return Refusal("invalid_peer", "That is this daemon itself")
        reason = params.reason or NO_REASON
        async with self._blocking:
            await self._store.peers.block(peer, reason, self._clock())
            self._policy.blocks[peer] = reason
        await self._network.disconnect(peer)
        log.info("peer_blocked", peer=peer, reason=reason)
        return Done()

    async def unblock(self, params: PeersUnblockParams) -> Done | Refusal:
        """Allow a blocked peer again, and dial it."""
        peer = self.resolve(params.peer)
        if isinstance(peer, Refusal):
            return peer
        async with self._blocking:
            was = await self._store.peers.unblock(peer)
            self._policy.blocks.pop(peer, None)
        if not was:
            banned = self._policy.bans.find(peer, self._clock()) is not None
            return Refusal("refused", f"{peer} is banned: unban it" if banned else f"{peer} is not blocked")
        self.readmit(peer)
        return Done()


def _score(found: score.PeerScore | None, penalty: float) -> PeerScore:
    if found is None:
        return PeerScore(penalty=penalty)
    topics = [
        TopicScore(topic=each.topic, in_mesh=each.in_mesh, p1=each.p1, p2=each.p2, p3=each.p3, p3b=each.p3b, p4=each.p4)
        for each in found.topics
    ]
    return PeerScore(total=found.total, penalty=penalty, topics=topics, p5=found.p5, p6=found.p6, p7=found.p7)


def _merit(peer: Peer) -> tuple[float, float, str]:
    assert peer.score is not None
    return peer.score.total or 0.0, -peer.score.penalty, peer.peer_id


def _ban(ban: kept.Ban) -> Ban:
    return Ban(reason=ban.reason, since=ban.since, until=ban.until, times=ban.times, by_hand=ban.by_hand)
